resource "postgres_ha_cluster" "orders" {
  name      = "orders"
  namespace = "shop"
  storage   = { size = "20Gi" }
}

# The primary, through its Service; the client reads the password from elsewhere.
output "uri" {
  value = provider::postgres::connection_uri(postgres_ha_cluster.orders, "rw", "app", "app")
}

# Every instance by its name, with options of the application's own.
output "uri_of_all" {
  value = provider::postgres::connection_uri(postgres_ha_cluster.orders, "all", "app", "app", {
    sslmode          = "require"
    application_name = "orders web"
  })
}
