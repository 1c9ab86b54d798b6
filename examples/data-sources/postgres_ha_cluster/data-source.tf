# A cluster that another configuration made.
data "postgres_ha_cluster" "orders" {
  name      = "orders"
  namespace = "shop"
}

output "uri" {
  value = provider::postgres::connection_uri(data.postgres_ha_cluster.orders, "rw", "app", "app")
}

# A warning in each plan while the cluster is not whole.
check "orders_is_whole" {
  assert {
    condition     = !data.postgres_ha_cluster.orders.degraded
    error_message = "orders confirms commits on one instance only: ${join("; ", data.postgres_ha_cluster.orders.activity)}"
  }
  assert {
    condition = alltrue([
      for instance in data.postgres_ha_cluster.orders.instances : contains(["serving", "streaming"], coalesce(instance.state, "unknown"))
    ])
    error_message = "An instance of orders neither serves nor streams."
  }
}
