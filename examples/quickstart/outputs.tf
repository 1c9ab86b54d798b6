output "rw_host" {
  description = "Always reaches the primary."
  value       = postgres_ha_cluster.orders.rw_host
}

output "ro_host" {
  description = "Reaches the standbys."
  value       = postgres_ha_cluster.orders.ro_host
}

output "app_secret" {
  description = "Secret with host, port, dbname, username, password and uri for the application."
  value       = postgres_ha_cluster.orders.app_secret
}
