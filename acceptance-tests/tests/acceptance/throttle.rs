//! An API server that throttles: its own flow control gives the agents one seat, and somebody sits on it. Each of their requests
//! is answered with 429.
//!
//! ```text
//!   agents ───┐
//!             ├── one seat ──> API server ──> admission's webhook, which never answers
//!   sitter ───┘
//! ```

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use k8s_openapi::api::core::v1::Event;
use k8s_openapi::api::flowcontrol::v1::{FlowSchema, PriorityLevelConfiguration};
use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::api::{DeleteParams, PostParams, Request};
use kube::{Api, Client, Resource};
use pgha_acceptance_tests::cluster::Cluster;
use pgha_acceptance_tests::load::Load;
use pgha_acceptance_tests::poll::{Seen, throughout, until};
use pgha_acceptance_tests::sandbox::{CLIENT_ADDRESS, in_client_namespace};
use serde_json::{Value as Json, json};
use tokio::task::JoinSet;

use crate::cases;
use crate::group::{Group, WRITES};
use crate::runner::Case;
use crate::scene::{PAST_THE_LEASE, Scene, once};

/// How many sit in turns: one of them asks again at once when the seat is free.
const SITTERS: usize = 2;
/// Fewer refused requests, while the lease runs out, would be no throttling: renewals alone are a request a second.
const MANY: u64 = 20;
/// An agent has two connections to the API server, each asks it four times a second after failures; watches are few.
const A_SECOND: u64 = 50;
/// Between two tries to get the seat.
const RETRY: Duration = Duration::from_millis(10);
/// The longest that admission waits for a webhook.
const WEBHOOK_SECONDS: u32 = 30;
/// What a sitter's Event is known by.
const SEAT: &str = "keeps-the-seat";

pub fn cases() -> Vec<Case> {
    cases![=> api_server_throttles]
}

async fn api_server_throttles(group: &mut Group) -> Result<()> {
    once(group, "api_throttles", |scene, load| Box::pin(throttle(scene, load))).await
}

/// The lead lasts for longer than the lease while no request of the agents gets through.
async fn throttle(scene: &Scene, load: &Load) -> Result<()> {
    let reign = scene.reign().await?;
    let throttled = Throttled::begin(&scene.cluster).await?;
    let lasted = async {
        let (before, began) = (throttled.refused().await?, Instant::now());
        throughout("the lead", PAST_THE_LEASE, || async { Ok(reign.lasts()) }).await?;
        load.until_more(50).await?;
        let refused = throttled.refused().await? - before;
        let most = A_SECOND * (began.elapsed().as_secs() + 1);
        ensure!(refused >= MANY, "only {refused} requests of the agents were refused meanwhile");
        ensure!(refused <= most, "{refused} requests of the agents were refused: that is no patience");
        Ok(())
    };
    let lasted = lasted.await;
    throttled.end().await?;
    lasted?;
    scene.led_on(load, &reign).await
}

/// Flow control that has no seat for the agents of one cluster.
struct Throttled<'a> {
    cluster: &'a Cluster,
    // They end with it.
    _sitters: JoinSet<()>,
    // Whoever connects waits for an answer for as long as it is there.
    _webhook: std::net::TcpListener,
}

impl<'a> Throttled<'a> {
    /// Begins, and waits until requests of the agents are refused.
    async fn begin(cluster: &'a Cluster) -> Result<Self> {
        let bind = || async { std::net::TcpListener::bind((CLIENT_ADDRESS, 0)) };
        let webhook = in_client_namespace(bind).await?.context("listen in the client namespace")?;
        let port = webhook.local_addr()?.port();
        let name = &cluster.namespace;
        create::<ValidatingWebhookConfiguration>(&whole(cluster), silent_webhook(name, port)).await?;
        create::<RoleBinding>(&cluster.api(), rights_of_sitters(cluster)).await?;
        create::<PriorityLevelConfiguration>(&whole(cluster), one_seat(name)).await?;
        let agents = json!({"kind": "ServiceAccount", "serviceAccount": {"namespace": name, "name": cluster.names.cluster()}});
        let sitter = json!({"kind": "User", "user": {"name": sitter_of(name)}});
        for (schema, subject) in [(sitter_of(name), sitter), (name.clone(), agents)] {
            create::<FlowSchema>(&whole(cluster), flow(&schema, name, &subject)).await?;
        }
        let sitters = (0..SITTERS).map(|_| sit(cluster.client().clone(), name.clone())).collect();
        let throttled = Self { cluster, _sitters: sitters, _webhook: webhook };
        until("the agents to be throttled", WRITES, || async {
            let refused = throttled.refused().await?;
            Ok(Seen::when(refused > 0, "no request of theirs was refused"))
        })
        .await?;
        Ok(throttled)
    }

    /// How many requests of the agents the API server has answered with 429, as it counts them.
    async fn refused(&self) -> Result<u64> {
        let request = hyper::Request::get("/metrics").body(Vec::new())?;
        let metrics = self.cluster.client().request_text(request).await?;
        let label = format!("flow_schema=\"{}\"", self.cluster.namespace);
        let counts = metrics
            .lines()
            .filter(|line| {
                line.starts_with("apiserver_flowcontrol_rejected_requests_total{") && line.contains(&label)
            })
            .filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok());
        // A count of requests.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        Ok(counts.sum::<f64>() as u64)
    }

    /// Takes everything away again.
    async fn end(self) -> Result<()> {
        let (cluster, name) = (self.cluster, &self.cluster.namespace);
        drop(self);
        for schema in [sitter_of(name), name.clone()] {
            delete::<FlowSchema>(&whole(cluster), &schema).await?;
        }
        delete::<PriorityLevelConfiguration>(&whole(cluster), name).await?;
        delete::<ValidatingWebhookConfiguration>(&whole(cluster), name).await
    }
}

/// Sits on the seat, again and again.
async fn sit(client: Client, namespace: String) {
    let event = json!({
        "metadata": {"generateName": "seat-", "namespace": namespace, "labels": {SEAT: "true"}},
        "involvedObject": {"kind": "Namespace", "name": namespace, "namespace": namespace},
    });
    let mut tries = tokio::time::interval(RETRY);
    loop {
        tries.tick().await;
        // Refused because of who sits there, or ended by admission: either way it is to be had again.
        let _ = ask_for_seat(&client, &namespace, &event).await;
    }
}

async fn ask_for_seat(client: &Client, namespace: &str, event: &Json) -> Result<()> {
    let url = Event::url_path(&(), Some(namespace));
    let mut request = Request::new(url).create(&PostParams::default(), serde_json::to_vec(event)?)?;
    request.headers_mut().insert("Impersonate-User", sitter_of(namespace).parse()?);
    client.request::<Event>(request).await?;
    Ok(())
}

fn sitter_of(namespace: &str) -> String {
    format!("{namespace}-sitter")
}

/// The API server asks it about each sitter's Event; nobody reads the question.
fn silent_webhook(name: &str, port: u16) -> Json {
    json!({"metadata": {"name": name}, "webhooks": [{
        "name": "silent.pgha.test",
        "clientConfig": {"url": format!("https://{CLIENT_ADDRESS}:{port}/")},
        "rules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["events"]}],
        "objectSelector": {"matchLabels": {SEAT: "true"}},
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}},
        "failurePolicy": "Fail",
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
        "timeoutSeconds": WEBHOOK_SECONDS,
    }]})
}

/// Sitters may do what the agents may: create Events.
fn rights_of_sitters(cluster: &Cluster) -> Json {
    let name = sitter_of(&cluster.namespace);
    json!({
        "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": cluster.names.cluster()},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": name}],
    })
}

/// A level without shares has one seat, when nobody else sits.
fn one_seat(name: &str) -> Json {
    json!({"metadata": {"name": name}, "spec": {"type": "Limited", "limited": {
        "nominalConcurrencyShares": 0, "lendablePercent": 0, "borrowingLimitPercent": 0,
        "limitResponse": {"type": "Reject"},
    }}})
}

fn flow(name: &str, level: &str, subject: &Json) -> Json {
    json!({"metadata": {"name": name}, "spec": {
        "priorityLevelConfiguration": {"name": level},
        "matchingPrecedence": 2,
        "rules": [{
            "subjects": [subject],
            "resourceRules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"]}],
        }],
    }})
}

/// Objects of a kind that belongs to no namespace.
fn whole<K>(cluster: &Cluster) -> Api<K>
where
    K: Resource,
    K::DynamicType: Default,
{
    Api::all(cluster.client().clone())
}

async fn create<K>(api: &Api<K>, object: Json) -> Result<()>
where
    K: Resource + Clone + serde::Serialize + serde::de::DeserializeOwned + std::fmt::Debug,
{
    api.create(&PostParams::default(), &serde_json::from_value(object)?).await?;
    Ok(())
}

async fn delete<K>(api: &Api<K>, name: &str) -> Result<()>
where
    K: Resource + Clone + serde::de::DeserializeOwned + std::fmt::Debug,
{
    api.delete(name, &DeleteParams::default()).await?;
    Ok(())
}
