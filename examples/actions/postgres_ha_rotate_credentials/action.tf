# New passwords each quarter: whoever raises the number gets them.
resource "terraform_data" "quarter" {
  input = "2027-1"

  lifecycle {
    action_trigger {
      events  = [after_update]
      actions = [action.postgres_ha_rotate_credentials.orders]
    }
  }
}

action "postgres_ha_rotate_credentials" "orders" {
  config {
    name      = postgres_ha_cluster.orders.name
    namespace = postgres_ha_cluster.orders.namespace
    roles     = ["app"]
  }
}
