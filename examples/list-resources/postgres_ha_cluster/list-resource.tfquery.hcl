# Every cluster of one namespace, with what it takes to import it: terraform query -generate-config-out=found.tf
list "postgres_ha_cluster" "shop" {
  provider         = postgres
  include_resource = true
  limit            = 50

  config {
    namespace = "shop"
  }
}

# The names alone, of all namespaces.
list "postgres_ha_cluster" "all" {
  provider = postgres
}
