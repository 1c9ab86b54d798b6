terraform {
  required_providers {
    postgres = { source = "pgha/postgres" }
  }
}

provider "postgres" {} # finds Kubernetes as kubectl does

resource "postgres_ha_cluster" "orders" {
  name      = "orders"
  namespace = "default"
  storage   = { size = "1Gi" }
}
