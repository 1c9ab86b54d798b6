terraform {
  required_providers {
    postgres = {
      source = "pgha/postgres"
    }
  }
}

# Without any attribute: as kubectl does.
provider "postgres" {}

# A context of a kubeconfig.
provider "postgres" {
  alias          = "staging"
  config_path    = "~/.kube/config"
  config_context = "staging"

  # Others change these after they were set: no drift, in no cluster.
  ignore_labels      = ["^example\\.com/cost-"]
  ignore_annotations = ["^mesh\\.example\\.com/"]
}

# Credentials from a program, for a managed Kubernetes.
provider "postgres" {
  alias                  = "production"
  host                   = "https://kubernetes.example.com:6443"
  cluster_ca_certificate = file("${path.module}/ca.crt")
  exec = {
    api_version = "client.authentication.k8s.io/v1"
    command     = "example-token"
    args        = ["--cluster", "production"]
  }
}
