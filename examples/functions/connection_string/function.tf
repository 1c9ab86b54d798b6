data "postgres_ha_cluster" "orders" {
  name      = "orders"
  namespace = "shop"
}

output "psql" {
  value = provider::postgres::connection_string(data.postgres_ha_cluster.orders, "ro", "app", "app")
}
