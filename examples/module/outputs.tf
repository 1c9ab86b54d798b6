output "rw_host" {
  description = "Host that always leads to the primary."
  value       = postgres_ha_cluster.this.rw_host
}

output "ro_host" {
  description = "Host that leads to the standbys; nobody answers there in development, which has none."
  value       = postgres_ha_cluster.this.ro_host
}

output "port" {
  description = "Port of PostgreSQL."
  value       = postgres_ha_cluster.this.port
}

output "app_secret" {
  description = "Secret with host, port, dbname, username, password and uri for the application."
  value       = postgres_ha_cluster.this.app_secret
}

output "failover_bound_seconds" {
  description = "Within how many seconds writes come back after the primary's node is lost."
  value       = postgres_ha_cluster.this.failover_bound_seconds
}

output "ready" {
  description = "The whole configuration is in force."
  value       = postgres_ha_cluster.this.ready
}
