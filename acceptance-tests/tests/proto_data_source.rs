//! The data source on the real binary, in front of an API server that only holds objects.

use anyhow::{Context as _, Result};
use pgha_acceptance_tests::proto_client::host::Host;
use pgha_acceptance_tests::proto_client::kubernetes::FakeApi;
use pgha_acceptance_tests::proto_client::pb::tfplugin6 as pb;
use pgha_acceptance_tests::proto_client::values::{UNKNOWN, config, json, messages};
use pgha_acceptance_tests::proto_client::view::{TYPE, orders, put_cluster, read};
use serde_json::{Value as Json, json as js};

async fn validate(host: &Host, given: &Json) -> Result<Vec<String>> {
    let request = pb::validate_data_resource_config::Request {
        type_name: TYPE.to_owned(),
        config: Some(config(host.data_source()?, given)?),
    };
    Ok(messages(&host.rpc().validate_data_resource_config(request).await?.into_inner().diagnostics))
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
