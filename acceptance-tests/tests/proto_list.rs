//! The list resource and generated configuration, on the real binary in front of an API server that only holds objects.

use anyhow::{Context as _, Result};
use pgha_acceptance_tests::proto_client::host::Host;
use pgha_acceptance_tests::proto_client::kubernetes::FakeApi;
use pgha_acceptance_tests::proto_client::pb::tfplugin6 as pb;
use pgha_acceptance_tests::proto_client::values::{UNKNOWN, config, json, messages};
use serde_json::{Value as Json, json as js};

const TYPE: &str = "postgres_ha_cluster";

fn put_cluster(api: &FakeApi, namespace: &str, name: &str) {
    let labels = js!({ "app.kubernetes.io/name": "postgres-ha", "app.kubernetes.io/instance": name });
    let lease = js!({ "metadata": { "name": name, "namespace": namespace, "labels": labels } });
    api.put("apis/coordination.k8s.io/v1", namespace, "leases", lease);
    let given = js!({
        "name": name, "namespace": namespace, "replicas": 1, "storage": { "size": "2Gi" }, "sync_mode": "sync",
        "parameters": { "work_mem": "8MB" }, "failover": { "lease_duration": "12s" },
        "superuser_password_wo_version": 3,
    });
    let data = js!({ "format": "1", "config.json": given.to_string(), "objects.json": "{}" });
    let anchor = js!({ "metadata": { "name": format!("{name}-anchor"), "uid": "uid" }, "data": data });
    api.put("api/v1", namespace, "configmaps", anchor);
}

/// Three clusters, and a lease of somebody else's.
async fn api() -> Result<FakeApi> {
    let api = FakeApi::start().await?;
    for (namespace, name) in [("shop", "orders"), ("shop", "carts"), ("bank", "books")] {
        put_cluster(&api, namespace, name);
    }
    let other = js!({ "metadata": { "name": "other", "namespace": "shop" } });
    api.put("apis/coordination.k8s.io/v1", "shop", "leases", other);
    Ok(api)
}

fn names(events: &[pb::list_resource::Event]) -> Vec<&str> {
    events.iter().map(|event| event.display_name.as_str()).collect()
}

#[tokio::test]
async fn clusters_are_found_in_one_namespace_and_in_all() -> Result<()> {
    let host = Host::configured(&js!({ "host": api().await?.address() })).await?;
    let shop = host.list(&js!({ "namespace": "shop" }), false, 0).await?;
    assert_eq!(names(&shop), ["shop/carts", "shop/orders"]);
    assert!(shop.iter().all(|event| event.resource_object.is_none() && event.diagnostic.is_empty()));
    let identity = shop[0].identity.as_ref().context("no identity")?;
    assert_eq!(json(identity.identity_data.as_ref())?, js!({ "namespace": "shop", "name": "carts" }));
    assert_eq!(names(&host.list(&js!({}), false, 0).await?), ["bank/books", "shop/carts", "shop/orders"]);
    assert_eq!(names(&host.list(&js!({}), false, 2).await?), ["bank/books", "shop/carts"]);
    assert_eq!(names(&host.list(&js!({ "namespace": "empty" }), false, 0).await?), [""; 0]);
    Ok(())
}

#[tokio::test]
async fn the_whole_state_comes_with_it_and_a_configuration_of_it_changes_nothing() -> Result<()> {
    let host = Host::configured(&js!({ "host": api().await?.address() })).await?;
    let events = host.list(&js!({ "namespace": "bank" }), true, 0).await?;
    let state = events[0].resource_object.clone().context("no state")?;
    assert_eq!(json(Some(&state))?["storage"]["size"], "2Gi");

    let request =
        pb::generate_resource_config::Request { type_name: TYPE.to_owned(), state: Some(state.clone()) };
    let answer = host.rpc().generate_resource_config(request).await?.into_inner();
    assert_eq!(messages(&answer.diagnostics), [""; 0]);
    let generated = json(answer.config.as_ref())?;
    let set: Vec<_> =
        generated.as_object().context("no object")?.iter().filter(|(_, value)| !value.is_null()).collect();
    let names: Vec<_> = set.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(
        names,
        [
            "failover",
            "name",
            "namespace",
            "parameters",
            "replicas",
            "storage",
            "superuser_password_wo_version"
        ],
        "{generated:#}"
    );

    let request = pb::validate_resource_config::Request {
        type_name: TYPE.to_owned(),
        config: answer.config.clone(),
        client_capabilities: None,
    };
    assert_eq!(
        messages(&host.rpc().validate_resource_config(request).await?.into_inner().diagnostics),
        [""; 0]
    );
    let request = pb::plan_resource_change::Request {
        type_name: TYPE.to_owned(),
        prior_state: Some(ready(&host, &state)?),
        proposed_new_state: answer.config.clone(),
        config: answer.config,
        ..Default::default()
    };
    let plan = host.rpc().plan_resource_change(request).await?.into_inner();
    assert_eq!(json(plan.planned_state.as_ref())?, json(Some(&ready(&host, &state)?))?);
    Ok(())
}

/// The state once the agents have said that all is in force.
fn ready(host: &Host, state: &pb::DynamicValue) -> Result<pb::DynamicValue> {
    let mut state = json(Some(state))?;
    state["ready"] = true.into();
    config(host.resource()?, &state)
}

#[tokio::test]
async fn one_that_cannot_be_read_is_listed_with_a_warning() -> Result<()> {
    let api = api().await?;
    let host = Host::configured(&js!({ "host": api.address() })).await?;
    api.forbid("configmaps");
    let events = host.list(&js!({ "namespace": "shop" }), true, 0).await?;
    assert_eq!(names(&events), ["shop/carts", "shop/orders"]);
    for event in events {
        let found = messages(&event.diagnostic);
        assert!(found.len() == 1 && found[0].starts_with("warning"), "{found:?}");
        assert!(event.identity.is_some() && event.resource_object.is_none());
    }
    Ok(())
}

#[tokio::test]
async fn a_list_that_fails_says_what_is_missing() -> Result<()> {
    let api = api().await?;
    let host = Host::configured(&js!({ "host": api.address() })).await?;
    api.forbid("leases");
    for (given, saying) in [
        (js!({}), "ClusterRole"),
        (js!({ "namespace": "shop" }), "No right to list leases in namespace shop"),
    ] {
        let events = host.list(&given, false, 0).await?;
        let found = messages(&events[0].diagnostic);
        assert!(events.len() == 1 && found[0].contains(saying), "{found:?}");
    }
    Ok(())
}

#[tokio::test]
async fn the_config_block_is_validated_with_unknowns() -> Result<()> {
    let host = Host::start().await?;
    assert_eq!(host.validate_list(&js!({}), &Json::Null, &js!(10)).await?, [""; 0]);
    assert_eq!(
        host.validate_list(&js!({ "namespace": UNKNOWN }), &Json::Null, &js!(UNKNOWN)).await?,
        [""; 0]
    );
    assert!(
        host.validate_list(&js!({ "namespace": "No" }), &Json::Null, &Json::Null).await?[0]
            .starts_with("error namespace: ")
    );
    assert!(host.validate_list(&js!({}), &Json::Null, &js!(-1)).await?[0].contains("below zero"));
    Ok(())
}
