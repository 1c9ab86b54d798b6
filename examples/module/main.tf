locals {
  # What an environment may cost, and what it may lose.
  profile = {
    production  = { replicas = 2, durability = "required", spread = "required", protected = true, retain = true }
    staging     = { replicas = 1, durability = "preferred", spread = "preferred", protected = false, retain = true }
    development = { replicas = 0, durability = "preferred", spread = "none", protected = false, retain = false }
  }[var.environment]

  memory_parameters = var.memory_mib == null ? {} : {
    shared_buffers       = "${floor(var.memory_mib / 4)}MB"
    effective_cache_size = "${floor(var.memory_mib * 3 / 4)}MB"
  }

  memory = var.memory_mib == null ? {} : { memory = "${var.memory_mib}Mi" }
  cpu    = var.cpu == null ? {} : { cpu = var.cpu }
}

resource "postgres_ha_cluster" "this" {
  name             = var.name
  namespace        = var.namespace
  postgres_version = var.postgres_version
  replicas         = local.profile.replicas
  durability       = local.profile.durability

  storage = {
    size   = var.storage.size
    class  = var.storage.class
    retain = local.profile.retain
  }

  # CPU is reserved and not limited: a throttled PostgreSQL is a slow failover.
  resources = {
    requests = merge(local.cpu, local.memory)
    limits   = local.memory
  }

  parameters = merge(local.memory_parameters, var.parameters)

  bootstrap = {
    database = var.database
    owner    = var.database
  }

  scheduling = { spread = local.profile.spread }

  deletion_protection = coalesce(var.deletion_protection, local.profile.protected)
}
