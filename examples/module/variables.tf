variable "name" {
  description = "Name of the cluster and of everything that belongs to it."
  type        = string

  validation {
    condition     = can(regex("^[a-z]([-a-z0-9]{0,38}[a-z0-9])?$", var.name))
    error_message = "At most 40 lower-case letters, digits and hyphens, beginning with a letter."
  }
}

variable "namespace" {
  description = "Namespace in which everything is made. It must exist."
  type        = string
}

variable "environment" {
  description = "What the database is for: production refuses to lose data to save a minute, development costs as little as it can."
  type        = string
  default     = "production"

  validation {
    condition     = contains(["production", "staging", "development"], var.environment)
    error_message = "One of production, staging and development."
  }
}

variable "storage" {
  description = "Size of each volume, and its storage class (the Kubernetes cluster's default one without it)."
  type = object({
    size  = string
    class = optional(string)
  })

  validation {
    condition     = can(regex("^[0-9]+(Mi|Gi|Ti)$", var.storage.size))
    error_message = "The size is a whole number of Mi, Gi or Ti, as 20Gi."
  }
}

variable "memory_mib" {
  description = "Memory of each instance, in MiB. A quarter of it becomes shared_buffers, three quarters effective_cache_size. Without it there is no limit, and PostgreSQL's own defaults hold."
  type        = number
  default     = null

  validation {
    condition     = var.memory_mib == null ? true : var.memory_mib >= 256 && floor(var.memory_mib) == var.memory_mib
    error_message = "A whole number of MiB, 256 or more."
  }
}

variable "cpu" {
  description = "CPU that each instance reserves, as 500m or 2."
  type        = string
  default     = null
}

variable "parameters" {
  description = "PostgreSQL settings. They come before those that the module derives from memory_mib."
  type        = map(string)
  default     = {}
}

variable "database" {
  description = "The application's database, owned by a role of the same name."
  type        = string
  default     = "app"
}

variable "postgres_version" {
  description = "Version of PostgreSQL, major or major.minor."
  type        = string
  default     = "18"
}

variable "deletion_protection" {
  description = "Refuse to destroy the cluster once it holds data. Without it, production alone is protected."
  type        = bool
  default     = null
}
