# namespace/name
terraform import postgres_ha_cluster.orders shop/orders
