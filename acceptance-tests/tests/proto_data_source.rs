//! The data source on the real binary, in front of an API server that only holds objects.

use anyhow::{Context as _, Result};
use pgha_acceptance_tests::proto_client::host::Host;
use pgha_acceptance_tests::proto_client::kubernetes::FakeApi;
use pgha_acceptance_tests::proto_client::pb::tfplugin6 as pb;
use pgha_acceptance_tests::proto_client::values::{UNKNOWN, config, json, messages};
use pgha_schema::desired::SyncMode;
use pgha_schema::ids::Era;
use pgha_schema::lsn::{Lsn, TimelineId};
use pgha_schema::names::{ANNOTATION_RECORD, KEY_STATUS};
use pgha_schema::record::{EraEntry, Record};
use serde_json::{Value as Json, json as js};

const TYPE: &str = "postgres_ha_cluster";

fn put_cluster(api: &FakeApi) {
    let mut record = Record::initial("uid", SyncMode::Sync);
    record.eras =
        vec![EraEntry { era: Era(2), parent: None, timeline: Some(TimelineId(2)), start: Some(Lsn(1)) }];
    let annotations = js!({ ANNOTATION_RECORD: js!(record).to_string() });
    let lease = js!({ "metadata": { "name": "orders", "annotations": annotations } });
    api.put("apis/coordination.k8s.io/v1", "shop", "leases", lease);
    let status = js!({
        "format": 1, "accepts_writes": true, "primary": "orders-0", "era": 2, "mode": "sync", "degraded": false,
        "agent_version": "0.1.0",
        "instances": { "orders-0": { "role": "primary", "state": "serving", "node": "a" } },
    });
    let status = js!({ "metadata": { "name": "orders-status" }, "data": { KEY_STATUS: status.to_string() } });
    api.put("api/v1", "shop", "configmaps", status);
    let labels = js!({ "app.kubernetes.io/name": "postgres-ha", "app.kubernetes.io/instance": "orders" });
    let pod = js!({ "metadata": { "name": "orders-0", "labels": labels }, "spec": { "nodeName": "a" } });
    api.put("api/v1", "shop", "pods", pod);
    let secret = js!({ "metadata": { "name": "orders-app" }, "data": {} });
    api.put("api/v1", "shop", "secrets", secret);
}

async fn read(host: &Host, given: &Json, deferral: bool) -> Result<pb::read_data_source::Response> {
    let capabilities = pb::ClientCapabilities { deferral_allowed: deferral, ..Default::default() };
    let request = pb::read_data_source::Request {
        type_name: TYPE.to_owned(),
        config: Some(config(host.data_source()?, given)?),
        provider_meta: None,
        client_capabilities: Some(capabilities),
    };
    Ok(host.rpc().read_data_source(request).await?.into_inner())
}

async fn validate(host: &Host, given: &Json) -> Result<Vec<String>> {
    let request = pb::validate_data_resource_config::Request {
        type_name: TYPE.to_owned(),
        config: Some(config(host.data_source()?, given)?),
    };
    Ok(messages(&host.rpc().validate_data_resource_config(request).await?.into_inner().diagnostics))
}

fn orders() -> Json {
    js!({ "name": "orders", "namespace": "shop" })
}

#[tokio::test]
async fn a_cluster_is_told_without_a_look_at_a_secret() -> Result<()> {
    let api = FakeApi::start().await?;
    put_cluster(&api);
    let host = Host::configured(&js!({ "host": api.address() })).await?;
    let answer = read(&host, &orders(), false).await?;
    assert_eq!(messages(&answer.diagnostics), [""; 0]);
    let state = json(answer.state.as_ref())?;
    assert_eq!(
        (&state["primary"], &state["timeline"], &state["sync_mode"]),
        (&js!("orders-0"), &js!(2), &js!("sync"))
    );
    assert_eq!(state["instances"][0]["node"], "a");
    assert_eq!(state["rw_host"], "orders-rw.shop.svc");
    let asked = api.requests();
    assert!(
        asked.iter().all(|request| request.starts_with("GET ") && !request.contains("/secrets")),
        "{asked:?}"
    );
    assert!(asked.len() <= 6, "{asked:?}");
    Ok(())
}

#[tokio::test]
async fn what_is_not_there_or_may_not_be_read_is_an_error() -> Result<()> {
    let api = FakeApi::start().await?;
    let host = Host::configured(&js!({ "host": api.address() })).await?;
    let found = messages(&read(&host, &orders(), false).await?.diagnostics);
    assert!(found.len() == 1 && found[0].contains("no cluster orders in namespace shop"), "{found:?}");
    put_cluster(&api);
    api.forbid("leases");
    let half = read(&host, &orders(), false).await?;
    let found = messages(&half.diagnostics);
    assert!(
        found.len() == 1 && found[0].starts_with("warning") && found[0].contains("Lease orders"),
        "{found:?}"
    );
    assert_eq!(json(half.state.as_ref())?["primary"], "orders-0");
    api.forbid("configmaps");
    let found = messages(&read(&host, &orders(), false).await?.diagnostics);
    assert!(found.len() == 1 && found[0].starts_with("error"), "{found:?}");
    Ok(())
}

#[tokio::test]
async fn it_is_validated_with_unknowns_and_without_a_network() -> Result<()> {
    let host = Host::start().await?;
    assert_eq!(validate(&host, &orders()).await?, [""; 0]);
    assert_eq!(validate(&host, &js!({ "name": UNKNOWN, "namespace": UNKNOWN })).await?, [""; 0]);
    let bad = js!({ "name": "No Name", "namespace": "shop", "timeouts": { "read": "soon" } });
    let found = validate(&host, &bad).await?;
    assert!(found.len() == 2 && found[0].starts_with("error name: "), "{found:?}");
    let found = validate(&host, &js!({ "name": "a", "namespace": "b", "primary": "a-0" })).await?;
    assert!(found[0].starts_with("error primary: primary can't be set"), "{found:?}");
    Ok(())
}

#[tokio::test]
async fn what_is_not_known_yet_is_deferred_where_the_host_allows_it() -> Result<()> {
    use pb::deferred::Reason;
    let unknown = Host::configured(&js!({ "host": UNKNOWN })).await?;
    let known = Host::configured(&js!({ "host": "http://127.0.0.1:1" })).await?;
    let named = js!({ "name": "orders", "namespace": UNKNOWN });
    for (host, given, reason) in
        [(&unknown, orders(), Reason::ProviderConfigUnknown), (&known, named, Reason::ResourceConfigUnknown)]
    {
        let answer = read(host, &given, true).await?;
        assert_eq!(answer.deferred.context("not deferred")?.reason(), reason);
        let state = json(answer.state.as_ref())?;
        assert_eq!((&state["name"], &state["primary"]), (&js!("orders"), &js!(UNKNOWN)));
        let answer = read(host, &given, false).await?;
        assert!(answer.deferred.is_none());
        assert!(
            messages(&answer.diagnostics)[0].contains("not known"),
            "{:?}",
            messages(&answer.diagnostics)
        );
    }
    Ok(())
}
