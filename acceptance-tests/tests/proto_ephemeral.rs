//! The ephemeral resource on the real binary, in front of an API server that only holds objects.

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use pgha_acceptance_tests::proto_client::host::Host;
use pgha_acceptance_tests::proto_client::kubernetes::FakeApi;
use pgha_acceptance_tests::proto_client::pb::tfplugin6 as pb;
use pgha_acceptance_tests::proto_client::values::{UNKNOWN, config, json, messages};
use serde_json::{Value as Json, json as js};

const TYPE: &str = "postgres_ha_credentials";
const SECRET: &str = "hunter2-hunter2";

fn schema(host: &Host) -> Result<&pb::Schema> {
    host.schemas.ephemeral_resource_schemas.get(TYPE).context("no ephemeral resource")
}

async fn open(host: &Host, given: &Json, deferral: bool) -> Result<pb::open_ephemeral_resource::Response> {
    let capabilities = pb::ClientCapabilities { deferral_allowed: deferral, ..Default::default() };
    let request = pb::open_ephemeral_resource::Request {
        type_name: TYPE.to_owned(),
        config: Some(config(schema(host)?, given)?),
        client_capabilities: Some(capabilities),
    };
    Ok(host.rpc().open_ephemeral_resource(request).await?.into_inner())
}

async fn validate(host: &Host, given: &Json) -> Result<Vec<String>> {
    let request = pb::validate_ephemeral_resource_config::Request {
        type_name: TYPE.to_owned(),
        config: Some(config(schema(host)?, given)?),
    };
    Ok(messages(&host.rpc().validate_ephemeral_resource_config(request).await?.into_inner().diagnostics))
}

fn orders() -> Json {
    js!({ "name": "orders", "namespace": "shop" })
}

fn put_secret(api: &FakeApi) {
    let labels = js!({ "app.kubernetes.io/name": "postgres-ha", "app.kubernetes.io/instance": "orders" });
    let data = js!({
        "username": STANDARD.encode("app"), "password": STANDARD.encode(SECRET), "dbname": STANDARD.encode("app"),
    });
    api.put(
        "api/v1",
        "shop",
        "secrets",
        js!({ "metadata": { "name": "orders-app", "labels": labels }, "data": data }),
    );
}

#[tokio::test]
async fn they_are_read_at_open_and_nothing_is_kept() -> Result<()> {
    let api = FakeApi::start().await?;
    put_secret(&api);
    let host = Host::configured(&js!({ "host": api.address() })).await?;
    let answer = open(&host, &orders(), false).await?;
    assert_eq!(messages(&answer.diagnostics), [""; 0]);
    assert!(answer.private.is_none() && answer.renew_at.is_none() && answer.deferred.is_none());
    let result = json(answer.result.as_ref())?;
    assert_eq!(
        (&result["role"], &result["username"], &result["password"]),
        (&js!("app"), &js!("app"), &js!(SECRET))
    );
    assert_eq!(api.requests(), ["GET /api/v1/namespaces/shop/secrets/orders-app"]);

    let renew = pb::renew_ephemeral_resource::Request { type_name: TYPE.to_owned(), private: None };
    let renewed = host.rpc().renew_ephemeral_resource(renew).await?.into_inner();
    assert!(renewed.diagnostics.is_empty() && renewed.renew_at.is_none());
    let close = pb::close_ephemeral_resource::Request { type_name: TYPE.to_owned(), private: None };
    assert!(host.rpc().close_ephemeral_resource(close).await?.into_inner().diagnostics.is_empty());
    Ok(())
}

#[tokio::test]
async fn what_is_missing_is_named_and_the_secret_is_not() -> Result<()> {
    let api = FakeApi::start().await?;
    let host = Host::configured(&js!({ "host": api.address() })).await?;
    let found = messages(&open(&host, &orders(), false).await?.diagnostics);
    assert!(found[0].contains("no Secret orders-app in namespace shop"), "{found:?}");
    put_secret(&api);
    let superuser = js!({ "name": "orders", "namespace": "shop", "role": "superuser" });
    let found = messages(&open(&host, &superuser, false).await?.diagnostics);
    assert!(found[0].contains("no Secret orders-superuser"), "{found:?}");
    api.forbid("secrets");
    let answer = open(&host, &orders(), false).await?;
    let found = messages(&answer.diagnostics);
    assert!(found.len() == 1 && found[0].contains("No right to read Secret orders-app"), "{found:?}");
    assert!(found[0].contains("verb get on secrets") && !found[0].contains(SECRET), "{found:?}");
    assert_eq!(json(answer.result.as_ref())?, Json::Null);
    Ok(())
}

#[tokio::test]
async fn it_is_validated_and_deferred_with_unknowns() -> Result<()> {
    let unknown = Host::configured(&js!({ "host": UNKNOWN })).await?;
    assert_eq!(
        validate(&unknown, &js!({ "name": UNKNOWN, "namespace": UNKNOWN, "role": UNKNOWN })).await?,
        [""; 0]
    );
    let bad = js!({ "name": "orders", "namespace": "shop", "role": "admin" });
    assert!(validate(&unknown, &bad).await?[0].starts_with("error role: "));
    let answer = open(&unknown, &orders(), true).await?;
    let reason = answer.deferred.context("not deferred")?.reason();
    assert_eq!(reason, pb::deferred::Reason::ProviderConfigUnknown);
    let answer = open(&unknown, &orders(), false).await?;
    assert!(messages(&answer.diagnostics)[0].contains("not known yet"));
    Ok(())
}
