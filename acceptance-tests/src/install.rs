//! Finding the Terraform CLI and putting the provider where it looks.
