//! Kubernetes is away: nothing is lost, nothing is taken for gone, and a stop is heeded.

use anyhow::{Context as _, Result};
use pgha_acceptance_tests::proto_client::Connection;
use pgha_acceptance_tests::proto_client::pb::tfplugin6 as pb;
use pgha_acceptance_tests::proto_client::process::Plugin;
use pgha_acceptance_tests::proto_client::values::{UNKNOWN, config, json, messages, null, stored};
use serde_json::{Value as Json, json as js};
use std::future::Future;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

const TYPE: &str = "postgres_ha_cluster";

/// For what must happen; a busy machine may take its time.
const SOON: Duration = Duration::from_mins(1);

/// A provider configured for an API server at `host`.
struct Host {
    /// Dropping it kills it.
    _plugin: Plugin,
    connection: Connection,
    cluster: pb::Schema,
}

impl Host {
    async fn start(host: &str) -> Result<Self> {
        Self::with(js!({ "host": host })).await
    }

    /// The same with this provider block.
    async fn with(given: Json) -> Result<Self> {
        let plugin = Plugin::start().await?;
        let connection = plugin.connect().await?;
        let mut rpc = connection.provider();
        let mut schemas = rpc.get_provider_schema(pb::get_provider_schema::Request {}).await?.into_inner();
        let provider = schemas.provider.take().context("no provider schema")?;
        let configure = pb::configure_provider::Request {
            terraform_version: "1.11.4".to_owned(),
            config: Some(config(&provider, &given)?),
            client_capabilities: None,
        };
        let found = rpc.configure_provider(configure).await?.into_inner();
        assert_eq!(messages(&found.diagnostics), [""; 0]);
        let cluster = schemas.resource_schemas.remove(TYPE).context("no resource schema")?;
        Ok(Self { _plugin: plugin, connection, cluster })
    }

    /// The state of a cluster that was created once.
    async fn state(&self) -> Result<pb::DynamicValue> {
        let plan = self.plan_of_create().await?;
        let mut state = json(plan.planned_state.as_ref())?;
        for (name, value) in
            [("ready", js!(true)), ("system_identifier", js!("7")), ("ro_host", js!("db-ro.shop.svc"))]
        {
            state[name] = value;
        }
        assert!(!state.to_string().contains(UNKNOWN), "{state}");
        config(&self.cluster, &state)
    }

    async fn plan_of_create(&self) -> Result<pb::plan_resource_change::Response> {
        let given = self.given()?;
        let request = pb::plan_resource_change::Request {
            type_name: TYPE.to_owned(),
            prior_state: Some(null()?),
            proposed_new_state: Some(given.clone()),
            config: Some(given),
            ..Default::default()
        };
        Ok(self.connection.provider().plan_resource_change(request).await?.into_inner())
    }

    fn given(&self) -> Result<pb::DynamicValue> {
        let given = js!({ "name": "db", "namespace": "shop", "storage": { "size": "1Gi" } });
        config(&self.cluster, &given)
    }

    async fn read(&self, state: &pb::DynamicValue) -> Result<pb::read_resource::Response> {
        let request = pb::read_resource::Request {
            type_name: TYPE.to_owned(),
            current_state: Some(state.clone()),
            private: br#"{"anchor_uid":"dWlk"}"#.to_vec(),
            ..Default::default()
        };
        Ok(self.connection.provider().read_resource(request).await?.into_inner())
    }

    async fn stop(&self) -> Result<()> {
        self.connection.provider().stop_provider(pb::stop_provider::Request {}).await?;
        Ok(())
    }
}

/// An address at which nobody listens.
async fn nobody() -> Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    Ok(format!("http://{}", listener.local_addr()?))
}

/// A server that takes connections and never answers, and tells of each connection that it took.
async fn mute() -> Result<(String, mpsc::Receiver<TcpStream>)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = format!("http://{}", listener.local_addr()?);
    let (tell, taken) = mpsc::channel(100);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            if tell.send(stream).await.is_err() {
                break;
            }
        }
    });
    Ok((address, taken))
}

/// Runs a call until it hangs at the mute server, stops the provider, and gives the call's answer.
async fn stopped<T>(
    host: &Host,
    taken: &mut mpsc::Receiver<TcpStream>,
    call: impl Future<Output = Result<T>>,
) -> Result<T> {
    let mut held = Vec::new();
    let stop = async {
        held.push(taken.recv().await.context("nobody connected")?);
        host.stop().await
    };
    let both = async { tokio::try_join!(call, stop) };
    Ok(tokio::time::timeout(SOON, both).await.context("the stop was not heeded")??.0)
}

fn errors(diagnostics: &[pb::Diagnostic]) -> Vec<String> {
    messages(diagnostics).into_iter().filter(|message| message.starts_with("error")).collect()
}

#[tokio::test]
async fn an_unreachable_cluster_is_an_error_and_never_gone() -> Result<()> {
    let host = Host::start(&nobody().await?).await?;
    let state = host.state().await?;
    let answer = host.read(&state).await?;
    assert_eq!(errors(&answer.diagnostics).len(), 1, "{:?}", answer.diagnostics);
    assert_eq!(stored(&host.cluster, answer.new_state.as_ref())?, json(Some(&state))?);
    assert_eq!(answer.private, br#"{"anchor_uid":"dWlk"}"#);
    Ok(())
}

/// The file may be what this run is about to make; whoever misspelled its name hears of it before the apply.
#[tokio::test]
async fn a_plan_tells_of_settings_that_make_no_client() -> Result<()> {
    let host = Host::with(js!({ "config_path": "/nowhere/kubeconfig" })).await?;
    let plan = host.plan_of_create().await?;
    let told = messages(&plan.diagnostics).concat();
    assert!(told.starts_with("warning"), "{told}");
    for part in ["Nothing of this plan could be tried", "/nowhere/kubeconfig"] {
        assert!(told.contains(part), "{told}");
    }
    assert_eq!(json(plan.planned_state.as_ref())?["name"], "db");
    Ok(())
}

#[tokio::test]
async fn a_plan_does_not_need_the_cluster() -> Result<()> {
    let host = Host::start(&nobody().await?).await?;
    let plan = host.plan_of_create().await?;
    assert_eq!(messages(&plan.diagnostics), [""; 0]);
    assert_eq!(json(plan.planned_state.as_ref())?["name"], "db");
    Ok(())
}

#[tokio::test]
async fn an_import_from_an_unreachable_cluster_is_an_error() -> Result<()> {
    let host = Host::start(&nobody().await?).await?;
    for id in ["shop/db", "nonsense", "a/b/c"] {
        let request = pb::import_resource_state::Request {
            type_name: TYPE.to_owned(),
            id: id.to_owned(),
            ..Default::default()
        };
        let answer = host.connection.provider().import_resource_state(request).await?.into_inner();
        assert_eq!(errors(&answer.diagnostics).len(), 1, "{id}: {:?}", answer.diagnostics);
        assert!(answer.imported_resources.is_empty());
    }
    Ok(())
}

#[tokio::test]
async fn a_stop_ends_a_refresh_that_hangs_and_keeps_the_state() -> Result<()> {
    let (address, mut taken) = mute().await?;
    let host = Host::start(&address).await?;
    // Planned elsewhere: a plan tries the mute server too.
    let state = Host::start(&nobody().await?).await?.state().await?;
    let answer = stopped(&host, &mut taken, host.read(&state)).await?;
    assert!(!errors(&answer.diagnostics).is_empty());
    assert_eq!(stored(&host.cluster, answer.new_state.as_ref())?, json(Some(&state))?);
    Ok(())
}

#[tokio::test]
async fn a_stop_ends_a_create_that_hangs() -> Result<()> {
    let (address, mut taken) = mute().await?;
    let host = Host::start(&address).await?;
    let planner = Host::start(&nobody().await?).await?;
    let plan = planner.plan_of_create().await?;
    let request = pb::apply_resource_change::Request {
        type_name: TYPE.to_owned(),
        prior_state: Some(null()?),
        planned_state: plan.planned_state,
        config: Some(host.given()?),
        planned_private: plan.planned_private,
        ..Default::default()
    };
    let apply = async { Ok(host.connection.provider().apply_resource_change(request).await?.into_inner()) };
    let answer = stopped(&host, &mut taken, apply).await?;
    assert!(!errors(&answer.diagnostics).is_empty());
    assert_eq!(json(answer.new_state.as_ref())?, Json::Null);
    Ok(())
}

/// A state of a cluster that exists, planned where nobody listens, with something else in it.
async fn state_with(changes: Json) -> Result<pb::DynamicValue> {
    let planner = Host::start(&nobody().await?).await?;
    let mut state = json(Some(&planner.state().await?))?;
    for (name, value) in changes.as_object().into_iter().flatten() {
        state[name] = value.clone();
    }
    config(&planner.cluster, &state)
}

/// The one error is that of a deadline, and names the attribute that sets it.
fn ran_out(diagnostics: &[pb::Diagnostic], attribute: &str) {
    let found = errors(diagnostics);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].contains("within 1s") && found[0].contains(attribute), "{found:?}");
}

#[tokio::test]
async fn a_refresh_ends_with_its_timeout_and_keeps_the_state() -> Result<()> {
    let (address, _taken) = mute().await?;
    let host = Host::start(&address).await?;
    let state = state_with(js!({ "timeouts": { "read": "1s" } })).await?;
    let answer =
        tokio::time::timeout(SOON, host.read(&state)).await.context("the timeout was not heeded")??;
    ran_out(&answer.diagnostics, "timeouts.read");
    assert_eq!(stored(&host.cluster, answer.new_state.as_ref())?, json(Some(&state))?);
    Ok(())
}

#[tokio::test]
async fn a_destroy_ends_with_its_timeout_and_keeps_the_state() -> Result<()> {
    let (address, _taken) = mute().await?;
    let host = Host::start(&address).await?;
    let state = state_with(js!({ "timeouts": { "delete": "1s" }, "deletion_protection": false })).await?;
    let request = pb::apply_resource_change::Request {
        type_name: TYPE.to_owned(),
        prior_state: Some(state.clone()),
        planned_state: Some(null()?),
        config: Some(null()?),
        planned_private: br#"{"anchor_uid":"dWlk"}"#.to_vec(),
        ..Default::default()
    };
    let mut rpc = host.connection.provider();
    let apply = tokio::time::timeout(SOON, rpc.apply_resource_change(request));
    let answer = apply.await.context("the timeout was not heeded")??.into_inner();
    ran_out(&answer.diagnostics, "timeouts.delete");
    assert_eq!(stored(&host.cluster, answer.new_state.as_ref())?, json(Some(&state))?);
    Ok(())
}
