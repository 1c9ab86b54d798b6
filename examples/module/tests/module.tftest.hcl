# terraform test, or tofu test: no Kubernetes is needed, the provider is mocked.
mock_provider "postgres" {}

variables {
  name      = "orders"
  namespace = "shop"
  storage   = { size = "20Gi" }
}

run "production_waits_for_a_standby" {
  command = plan

  assert {
    condition     = postgres_ha_cluster.this.replicas == 2 && postgres_ha_cluster.this.durability == "required"
    error_message = "Production has two standbys and never acknowledges alone."
  }
  assert {
    condition     = postgres_ha_cluster.this.deletion_protection
    error_message = "Production is protected."
  }
}

run "development_is_one_instance" {
  command = plan

  variables {
    environment = "development"
  }

  assert {
    condition     = postgres_ha_cluster.this.replicas == 0 && !postgres_ha_cluster.this.storage.retain
    error_message = "Development has no standby and keeps no volumes."
  }
  assert {
    condition     = !postgres_ha_cluster.this.deletion_protection
    error_message = "Development can be destroyed."
  }
}

run "memory_becomes_settings" {
  command = plan

  variables {
    memory_mib = 4096
    cpu        = "2"
    parameters = { effective_cache_size = "2GB" }
  }

  assert {
    condition     = postgres_ha_cluster.this.parameters["shared_buffers"] == "1024MB"
    error_message = "A quarter of the memory becomes shared_buffers."
  }
  assert {
    condition     = postgres_ha_cluster.this.parameters["effective_cache_size"] == "2GB"
    error_message = "What the caller sets comes first."
  }
  assert {
    condition     = postgres_ha_cluster.this.resources.limits == tomap({ memory = "4096Mi" })
    error_message = "Memory is limited, CPU is not."
  }
}

run "protection_can_be_chosen" {
  command = plan

  variables {
    deletion_protection = false
  }

  assert {
    condition     = !postgres_ha_cluster.this.deletion_protection
    error_message = "The caller's choice comes first."
  }
}

run "names_are_checked" {
  command = plan

  variables {
    name = "Orders"
  }

  expect_failures = [var.name]
}

run "sizes_and_environments_are_checked" {
  command = plan

  variables {
    storage     = { size = "20" }
    environment = "prod"
  }

  expect_failures = [var.storage, var.environment]
}
