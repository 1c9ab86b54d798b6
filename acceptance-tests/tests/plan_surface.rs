//! Functions, data source and ephemeral resource through the real CLI, in front of an API server that only holds objects.
#![allow(missing_docs)]

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use pgha_acceptance_tests::proto_client::kubernetes::FakeApi;
use pgha_acceptance_tests::terraform::hcl::VERSIONS;
use pgha_acceptance_tests::terraform::{Cli, clis, offline};
use pgha_schema::names::KEY_STATUS;
use serde_json::{Value, json};

const CLUSTER: &str = r#"
resource "postgres_ha_cluster" "orders" {
  name      = "orders"
  namespace = "shop"
  replicas  = 1
  storage   = { size = "1Gi" }
}
"#;
const SECRET: &str = "hunter2-hunter2";

fn planned_output<'a>(plan: &'a Value, name: &str) -> &'a Value {
    &plan["planned_values"]["outputs"][name]["value"]
}

#[tokio::test]
async fn functions_take_the_resource_as_it_is_and_are_known_at_plan() -> Result<()> {
    for cli in clis()? {
        functions_are_known_at_plan_of(&cli).await.with_context(|| format!("{:?}", cli.tool))?;
    }
    Ok(())
}

async fn functions_are_known_at_plan_of(cli: &Cli) -> Result<()> {
    let tf = offline(cli)?;
    let calls = r#"
output "uri" { value = provider::postgres::connection_uri(postgres_ha_cluster.orders, "all", "app", "app", { sslmode = "require" }) }
output "string" { value = provider::postgres::connection_string(postgres_ha_cluster.orders, "rw", "app", "app", { tcp_user_timeout = null }) }
output "jdbc" { value = provider::postgres::jdbc_url(postgres_ha_cluster.orders, "ro", "app", "app") }
output "bytes" { value = provider::postgres::lsn_diff("16/B4000000", "16/B3000000") }
output "of_the_resource" { value = provider::postgres::failover_bound_seconds(postgres_ha_cluster.orders.failover) }
output "of_some" { value = provider::postgres::failover_bound_seconds({ lease_duration = "20s" }) }
"#;
    tf.write("main.tf", &format!("{VERSIONS}{CLUSTER}{calls}"))?;
    tf.init().await?;
    let planned = tf.plan(&[]).await?;
    let output = |name: &str| planned_output(&planned.json, name);
    let pods = "orders-0.orders-pods.shop.svc:5432,orders-1.orders-pods.shop.svc:5432";
    let uri = output("uri").as_str().context("the URI is not known at plan")?;
    assert!(
        uri.starts_with(&format!("postgresql://app@{pods}/app?")) && uri.contains("sslmode=require"),
        "{uri}"
    );
    let string = output("string").as_str().context("the string is not known at plan")?;
    assert!(
        string.starts_with("host=orders-rw.shop.svc ") && !string.contains("tcp_user_timeout"),
        "{string}"
    );
    let jdbc = output("jdbc").as_str().context("the JDBC URL is not known at plan")?;
    assert!(jdbc.starts_with("jdbc:postgresql://orders-ro.shop.svc:5432/app?"), "{jdbc}");
    assert_eq!(
        (output("bytes"), output("of_the_resource"), output("of_some")),
        (&json!(16_777_216), &json!(15), &json!(25))
    );
    Ok(())
}

#[tokio::test]
async fn a_mistake_in_a_call_points_at_its_argument() -> Result<()> {
    for cli in clis()? {
        a_mistake_in_a_call_is_pointed_at_by(&cli).await.with_context(|| format!("{:?}", cli.tool))?;
    }
    Ok(())
}

async fn a_mistake_in_a_call_is_pointed_at_by(cli: &Cli) -> Result<()> {
    let tf = offline(cli)?;
    for (call, says) in [
        (
            "lsn_diff(\"0/0\", \"nothing\")",
            &["Invalid value for \"behind\" parameter", "two hexadecimal numbers"][..],
        ),
        (
            "failover_bound_seconds({ ttl = \"30s\" })",
            &["Invalid value for \"failover\" parameter", "no timing `ttl`"],
        ),
    ] {
        tf.write("main.tf", &format!("{VERSIONS}output \"it\" {{ value = provider::postgres::{call} }}\n"))?;
        tf.init().await?;
        tf.try_plan(&[]).await?.failed_saying(says)?;
    }
    Ok(())
}

/// An API server with a cluster that somebody else made.
async fn api() -> Result<FakeApi> {
    let api = FakeApi::start().await?;
    let labels = json!({ "app.kubernetes.io/name": "postgres-ha", "app.kubernetes.io/instance": "orders" });
    let status = json!({
        "format": 1, "accepts_writes": true, "primary": "orders-1", "era": 3, "mode": "sync", "degraded": true,
        "agent_version": "0.1.0",
        "instances": { "orders-1": { "role": "primary", "state": "serving", "node": "a" } },
    });
    let status =
        json!({ "metadata": { "name": "orders-status" }, "data": { KEY_STATUS: status.to_string() } });
    api.put("api/v1", "shop", "configmaps", status);
    let data = json!({
        "username": STANDARD.encode("app"), "password": STANDARD.encode(SECRET), "dbname": STANDARD.encode("app"),
    });
    let secret = json!({ "metadata": { "name": "orders-app", "labels": labels }, "data": data });
    api.put("api/v1", "shop", "secrets", secret);
    Ok(api)
}

#[tokio::test]
async fn a_data_source_is_read_at_plan_and_goes_into_functions() -> Result<()> {
    for cli in clis()? {
        a_data_source_is_read_by(&cli).await.with_context(|| format!("{:?}", cli.tool))?;
    }
    Ok(())
}

async fn a_data_source_is_read_by(cli: &Cli) -> Result<()> {
    let (api, tf) = (api().await?, offline(cli)?);
    let reads = r#"
data "postgres_ha_cluster" "orders" {
  name      = "orders"
  namespace = "shop"
}
output "primary" { value = data.postgres_ha_cluster.orders.primary }
output "states" { value = [for one in data.postgres_ha_cluster.orders.instances : "${one.name} ${one.state}"] }
output "uri" { value = provider::postgres::connection_uri(data.postgres_ha_cluster.orders, "rw", "app", "app") }
"#;
    let provider = format!("provider \"postgres\" {{ host = \"{}\" }}\n", api.address());
    tf.write("main.tf", &format!("{VERSIONS}{provider}{reads}"))?;
    tf.init().await?;
    let planned = tf.plan(&[]).await?;
    assert_eq!(planned_output(&planned.json, "primary"), "orders-1");
    assert_eq!(planned_output(&planned.json, "states"), &json!(["orders-1 down"]), "its pod is not there");
    let uri = planned_output(&planned.json, "uri").as_str().context("no URI")?;
    assert!(uri.starts_with("postgresql://app@orders-rw.shop.svc:5432/app?"), "{uri}");
    Ok(())
}

#[tokio::test]
async fn credentials_are_read_in_plan_and_apply_and_are_in_neither() -> Result<()> {
    for cli in clis()? {
        credentials_are_read_by(&cli).await.with_context(|| format!("{:?}", cli.tool))?;
    }
    Ok(())
}

async fn credentials_are_read_by(cli: &Cli) -> Result<()> {
    let (api, tf) = (api().await?, offline(cli)?);
    // Another provider logs in with the password: what the server was shown proves that it was read.
    let body = format!(
        r#"
provider "postgres" {{
  host = "{0}"
}}
provider "postgres" {{
  alias = "with_it"
  host  = "{0}"
  token = ephemeral.postgres_ha_credentials.app.password
}}
ephemeral "postgres_ha_credentials" "app" {{
  name      = "orders"
  namespace = "shop"
}}
data "postgres_ha_cluster" "orders" {{
  provider  = postgres.with_it
  name      = "orders"
  namespace = "shop"
}}
output "primary" {{ value = data.postgres_ha_cluster.orders.primary }}
"#,
        api.address()
    );
    tf.write("main.tf", &format!("{VERSIONS}{body}"))?;
    tf.init().await?;
    let planned = tf.plan(&[]).await?;
    assert!(api.tokens().contains(SECRET), "the password was not read");
    assert!(!planned.text.contains(SECRET) && !planned.json.to_string().contains(SECRET), "{}", planned.text);
    let opened = || api.requests().iter().filter(|request| request.ends_with("/secrets/orders-app")).count();
    let at_plan = opened();
    tf.apply(&[]).await?;
    assert!(opened() > at_plan, "it is read anew in the apply");
    let state = std::fs::read_to_string(tf.dir().join("terraform.tfstate"))?;
    assert!(state.contains("orders-1") && !state.contains(SECRET), "{state}");
    Ok(())
}
