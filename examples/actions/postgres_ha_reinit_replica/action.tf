# terraform apply -invoke action.postgres_ha_reinit_replica.anew
action "postgres_ha_reinit_replica" "anew" {
  config {
    name      = postgres_ha_cluster.orders.name
    namespace = postgres_ha_cluster.orders.namespace
    instance  = "orders-2"

    timeouts = {
      invoke = "2h"
    }
  }
}
