import {
  to = postgres_ha_cluster.orders
  identity = {
    namespace = "shop"
    name      = "orders"
  }
}
