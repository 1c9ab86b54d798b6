import {
  to = postgres_ha_cluster.orders
  id = "shop/orders" # namespace/name
}
