ephemeral "postgres_ha_credentials" "app" {
  name      = "orders"
  namespace = "shop"
}

# The password goes from the cluster's Secret into psql's environment, and neither into the state nor into the plan.
resource "terraform_data" "tables" {
  triggers_replace = ["tables.sql, version 1"]

  provisioner "local-exec" {
    command = "psql --no-psqlrc --set ON_ERROR_STOP=1 --file tables.sql"
    environment = {
      PGHOST     = ephemeral.postgres_ha_credentials.app.host
      PGDATABASE = ephemeral.postgres_ha_credentials.app.database
      PGUSER     = ephemeral.postgres_ha_credentials.app.username
      PGPASSWORD = ephemeral.postgres_ha_credentials.app.password
    }
  }
}
