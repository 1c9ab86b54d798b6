terraform {
  required_version = ">= 1.3"
  required_providers {
    postgres = {
      source  = "pgha/postgres"
      version = ">= 0.1"
    }
  }
}
