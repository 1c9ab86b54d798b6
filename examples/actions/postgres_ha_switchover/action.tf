# terraform apply -invoke action.postgres_ha_switchover.away
action "postgres_ha_switchover" "away" {
  config {
    name      = postgres_ha_cluster.orders.name
    namespace = postgres_ha_cluster.orders.namespace
    to        = "orders-1"
  }
}
