# All that is needed: three instances, synchronous replication, automated failover.
resource "postgres_ha_cluster" "orders" {
  name      = "orders"
  namespace = "shop"
  storage   = { size = "20Gi" }
}

# Some of what can be said.
resource "postgres_ha_cluster" "billing" {
  name             = "billing"
  namespace        = "shop"
  replicas         = 2
  durability       = "required"
  postgres_version = "18"

  storage = {
    size  = "100Gi"
    class = "fast"
  }

  resources = {
    requests = { cpu = "2", memory = "4Gi" }
    limits   = { memory = "4Gi" }
  }

  parameters = {
    shared_buffers  = "1GB"
    max_connections = "200"
  }

  pg_hba = ["host billing billing 10.0.0.0/8 scram-sha-256"]

  bootstrap = {
    database = "billing"
    owner    = "billing"
  }

  scheduling = {
    spread        = "required"
    node_selector = { "kubernetes.io/arch" = "amd64" }
  }

  labels      = { team = "billing" }
  annotations = { "example.com/on-call" = "database" }

  services = {
    rw = {
      type        = "LoadBalancer"
      annotations = { "example.com/scheme" = "internal" }
    }
  }

  # The load balancer's controller may change what it reads.
  ignore = ["services.rw.annotations.example.com/*"]

  timeouts = { create = "20m" }
}
