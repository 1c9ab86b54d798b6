# terraform apply -invoke action.postgres_ha_restart.all
action "postgres_ha_restart" "all" {
  config {
    name      = postgres_ha_cluster.orders.name
    namespace = postgres_ha_cluster.orders.namespace
  }
}
