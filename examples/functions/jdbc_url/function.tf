data "postgres_ha_cluster" "orders" {
  name      = "orders"
  namespace = "shop"
}

output "jdbc" {
  value = provider::postgres::jdbc_url(data.postgres_ha_cluster.orders, "rw", "app", "app", {
    ApplicationName = "orders"
    socketTimeout   = "30"
  })
}
