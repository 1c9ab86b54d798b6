//! Identity, import by it, and moves between providers, on the real binary.

use anyhow::{Context as _, Result};
use pgha_acceptance_tests::proto_client::host::Host;
use pgha_acceptance_tests::proto_client::kubernetes::FakeApi;
use pgha_acceptance_tests::proto_client::pb::tfplugin6 as pb;
use pgha_acceptance_tests::proto_client::values::{UNKNOWN, config, json, messages, null};
use serde_json::{Value as Json, json as js};

const TYPE: &str = "postgres_ha_cluster";
const PRIVATE: &[u8] = br#"{"anchor_uid":"dWlk"}"#;

fn minimal() -> Json {
    js!({ "name": "db", "namespace": "shop", "storage": { "size": "1Gi" } })
}

fn identity(data: Option<&pb::ResourceIdentityData>) -> Result<Json> {
    json(data.context("no identity")?.identity_data.as_ref())
}

async fn plan(
    host: &Host,
    prior: pb::DynamicValue,
    given: pb::DynamicValue,
) -> Result<pb::plan_resource_change::Response> {
    let request = pb::plan_resource_change::Request {
        type_name: TYPE.to_owned(),
        prior_state: Some(prior),
        proposed_new_state: Some(given.clone()),
        config: Some(given),
        ..Default::default()
    };
    Ok(host.rpc().plan_resource_change(request).await?.into_inner())
}

/// The state of a cluster that exists.
async fn state(host: &Host) -> Result<Json> {
    let planned = plan(host, null()?, config(host.resource()?, &minimal())?).await?;
    let mut state = json(planned.planned_state.as_ref())?;
    (state["ready"], state["system_identifier"]) = (js!(true), js!("7"));
    Ok(state)
}

#[tokio::test]
async fn it_is_namespace_and_name_and_goes_with_every_answer() -> Result<()> {
    let host = Host::configured(&js!({ "host": "http://127.0.0.1:1" })).await?;
    let schema = host.identity().await?;
    let parts: Vec<_> = schema
        .identity_attributes
        .iter()
        .map(|part| (part.name.as_str(), part.required_for_import))
        .collect();
    assert_eq!(parts, [("name", true), ("namespace", true)]);

    let here = js!({ "name": "db", "namespace": "shop" });
    let mut given = minimal();
    let create = plan(&host, null()?, config(host.resource()?, &given)?).await?;
    assert_eq!(identity(create.planned_identity.as_ref())?, here);
    given["name"] = js!(UNKNOWN);
    let unknown = plan(&host, null()?, config(host.resource()?, &given)?).await?;
    assert_eq!(identity(unknown.planned_identity.as_ref())?, js!({ "name": UNKNOWN, "namespace": "shop" }));

    let state = state(&host).await?;
    let stored = config(host.resource()?, &state)?;
    let destroy = plan(&host, stored.clone(), null()?).await?;
    assert_eq!(identity(destroy.planned_identity.as_ref())?, here);
    // Out of reach: state and identity stay what they were.
    let read = pb::read_resource::Request {
        type_name: TYPE.to_owned(),
        current_state: Some(stored),
        private: PRIVATE.to_vec(),
        ..Default::default()
    };
    let read = host.rpc().read_resource(read).await?.into_inner();
    assert_eq!(identity(read.new_identity.as_ref())?, here);
    Ok(())
}

#[tokio::test]
async fn a_stored_identity_comes_back_and_what_is_none_is_refused() -> Result<()> {
    let host = Host::start().await?;
    let upgrade = async |version: i64, stored: Json| -> Result<_> {
        let request = pb::upgrade_resource_identity::Request {
            type_name: TYPE.to_owned(),
            version,
            raw_identity: Some(pb::RawState { json: stored.to_string().into_bytes(), ..Default::default() }),
        };
        Ok(host.rpc().upgrade_resource_identity(request).await?.into_inner())
    };
    let stored = js!({ "name": "db", "namespace": "shop" });
    let answer = upgrade(0, stored.clone()).await?;
    assert_eq!(messages(&answer.diagnostics), [""; 0]);
    assert_eq!(identity(answer.upgraded_identity.as_ref())?, stored);
    for (version, stored) in [(1, stored), (0, js!({ "name": "db" })), (0, js!([]))] {
        let answer = upgrade(version, stored.clone()).await?;
        assert!(messages(&answer.diagnostics)[0].starts_with("error"), "{version} {stored}");
        assert!(answer.upgraded_identity.is_none());
    }
    Ok(())
}

#[tokio::test]
async fn an_import_takes_either_form_and_gives_the_same() -> Result<()> {
    let api = FakeApi::start().await?;
    let data = js!({ "format": "1", "config.json": minimal().to_string(), "objects.json": "{}" });
    let anchor = js!({ "metadata": { "name": "db-anchor", "uid": "uid" }, "data": data });
    api.put("api/v1", "shop", "configmaps", anchor);
    let host = Host::configured(&js!({ "host": api.address() })).await?;
    let here = js!({ "name": "db", "namespace": "shop" });
    let by_id = host.import("shop/db", None).await?;
    let by_identity = host.import("", Some(&here)).await?;
    assert_eq!(messages(&by_id.diagnostics), [""; 0]);
    assert_eq!(by_id.imported_resources.len(), 1);
    assert!(by_id == by_identity, "{:?}", messages(&by_identity.diagnostics));
    let imported = &by_id.imported_resources[0];
    assert_eq!(identity(imported.identity.as_ref())?, here);
    assert_eq!(json(imported.state.as_ref())?["storage"]["size"], "1Gi");

    for (id, identity) in [("", None), ("", Some(js!({ "name": "db", "namespace": null }))), ("db", None)] {
        let answer = host.import(id, identity.as_ref()).await?;
        assert!(messages(&answer.diagnostics)[0].starts_with("error"), "{id} {identity:?}");
        assert!(answer.imported_resources.is_empty());
    }
    Ok(())
}

fn move_of(address: &str, source: &str, version: i64, stored: &Json) -> pb::move_resource_state::Request {
    pb::move_resource_state::Request {
        source_provider_address: address.to_owned(),
        source_type_name: source.to_owned(),
        source_schema_version: version,
        source_state: Some(pb::RawState { json: stored.to_string().into_bytes(), ..Default::default() }),
        target_type_name: TYPE.to_owned(),
        source_private: PRIVATE.to_vec(),
        ..Default::default()
    }
}

#[tokio::test]
async fn a_state_moves_from_another_address_of_the_provider_and_from_nowhere_else() -> Result<()> {
    let host = Host::start().await?;
    let state = state(&host).await?;
    let fork = "registry.example.com/fork/postgres";
    let answer = host.rpc().move_resource_state(move_of(fork, TYPE, 0, &state)).await?.into_inner();
    assert_eq!(messages(&answer.diagnostics), [""; 0]);
    assert_eq!(json(answer.target_state.as_ref())?, state);
    assert_eq!(answer.target_private, PRIVATE);
    assert_eq!(identity(answer.target_identity.as_ref())?, js!({ "name": "db", "namespace": "shop" }));

    for (request, saying) in [
        (move_of(fork, "postgres_cluster", 0, &state), "can't become"),
        (move_of("registry.example.com/x/other", TYPE, 0, &state), "registry.example.com/x/other"),
        (move_of(fork, TYPE, 9, &state), "schema version 9"),
        (move_of(fork, TYPE, 0, &js!({ "name": "db" })), "no namespace"),
    ] {
        let answer = host.rpc().move_resource_state(request).await?.into_inner();
        let found = messages(&answer.diagnostics);
        assert!(
            found.len() == 1 && found[0].starts_with("error") && found[0].contains(saying),
            "{saying}: {found:?}"
        );
        assert!(answer.target_state.is_none());
    }
    Ok(())
}
