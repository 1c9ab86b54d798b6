//! Actions: what they are checked for, what a plan warns of, and what they write. They work through the desired state, as everything
//! does, so that nothing imperative dies with the CLI (P18).
//!
//! ```text
//!   config ──validate──> request ──> desired document with it ── agents ──> answer in the record ──> told
//! ```

mod rotation;

use pgha_schema::actions::Action;
use pgha_schema::credentials::CredentialsRole;
use pgha_schema::desired::{DESIRED_FORMAT, Desired, REQUESTS_KEPT, document_sha256};
use pgha_schema::names::{KEY_DESIRED, Names};
use pgha_schema::request::{Answer, Asked, Outcome, Request};
use pgha_schema::status::{InstanceState, Role};
use serde_json::{Value as Json, json};

use crate::anchor::Anchor;
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::live::{LiveCluster, Seen};
use crate::object::{self, Kind, ObjectKey};
use crate::path::Path;
use crate::pauses;
use crate::steps::next_generation;
use crate::validate;
use crate::value::Value;

pub use rotation::{Rotation, rotation, with_rotation};

/// Checks a `config` block, unknowns included, without a cluster.
pub fn validate(action: Action, config: &Value) -> Diagnostics {
    let mut found = validate::attributes(&action.schema().attributes, config);
    let Some(cluster) = config.get("name").as_str().map(Names::new) else { return found };
    for attribute in ["to", "instance"] {
        let Some(pod) = config.get(attribute).as_str() else { continue };
        if !found.has_errors() && cluster.ordinal(pod).is_none_or(|ordinal| cluster.pod(ordinal) != pod) {
            found.error(
                Path::of(attribute),
                format!("Invalid {attribute}"),
                format!(
                    "`{pod}` is no instance of cluster {0}: instances are its pods, {0}-0, {0}-1 and so on.",
                    cluster.cluster()
                ),
            );
        }
    }
    found
}

/// What it will do to the running database.
pub fn warning(action: Action, config: &Value) -> Diagnostic {
    let text = |attribute: &str| match config.get(attribute) {
        Value::String(text) => Some(text.clone()),
        Value::Unknown => Some("(known after apply)".to_owned()),
        _ => None,
    };
    let cluster = format!("{}/{}", text("namespace").unwrap_or_default(), text("name").unwrap_or_default());
    let (summary, detail) = match action {
        Action::Switchover => {
            let to = text("to").map_or_else(|| "its best standby".to_owned(), |pod| format!("instance {pod}"));
            (
                format!("The lead of cluster {cluster} will move"),
                format!(
                    "It is handed over to {to}. Every open session on the primary ends, and {}. No acknowledged commit is lost.",
                    pauses::OF_A_SWITCHOVER
                ),
            )
        }
        Action::Restart => match text("instance") {
            Some(pod) => (
                format!("PostgreSQL in {pod} of cluster {cluster} will restart"),
                format!("Its open sessions end. When it is the primary, {}; nobody takes over.", pauses::OF_A_RESTART),
            ),
            None => (
                format!("PostgreSQL of cluster {cluster} will restart everywhere"),
                format!(
                    "Standbys one by one, the primary last. All open sessions end, and {}; nobody takes over.",
                    pauses::OF_A_RESTART
                ),
            ),
        },
        Action::ReinitReplica => (
            format!("The data of {} will be cloned anew", text("instance").unwrap_or_default()),
            format!(
                "A standby of cluster {cluster}: what is there is thrown away, and copied from the primary. Until it streams again there is one \
                 standby less."
            ),
        ),
        Action::RotateCredentials => (
            format!("Passwords of cluster {cluster} will change"),
            "Open sessions stay. Who connects anew needs the new password from the Secret; programs that keep a copy of the old one are \
             refused."
                .to_owned(),
        ),
    };
    Diagnostic::warning(summary, detail)
}

/// Which roles' passwords a rotation is asked for; none: all that it may.
pub fn roles(config: &Value) -> Vec<CredentialsRole> {
    let roles = config.get("roles").to_json().and_then(|json| serde_json::from_value(json).ok());
    roles.unwrap_or_default()
}

/// What is asked of the cluster, one after the other. A restart of all has the primary last, as the agents' status tells now.
///
/// # Errors
/// When nobody tells which instances there are.
pub fn asked(action: Action, config: &Value, live: &LiveCluster) -> Result<Vec<Asked>, Diagnostic> {
    let pod = |attribute: &str| config.get(attribute).as_str().map(str::to_owned);
    Ok(match (action, pod("instance")) {
        (Action::Switchover, _) => vec![Asked::Switchover { to: pod("to") }],
        (Action::Restart, Some(pod)) => vec![Asked::Restart { pod }],
        (Action::Restart, None) => in_order(live)?.into_iter().map(|pod| Asked::Restart { pod }).collect(),
        (Action::ReinitReplica, pod) => vec![Asked::Reinit { pod: pod.unwrap_or_default() }],
        (Action::RotateCredentials, _) => Vec::new(),
    })
}

/// The instances that answer, the primary last.
fn in_order(live: &LiveCluster) -> Result<Vec<String>, Diagnostic> {
    let status = live.status().filter(|status| status.primary.is_some());
    let status = status.ok_or_else(|| {
        Diagnostic::error(
            format!("Nobody tells which instances cluster {} has", live.names.cluster()),
            "The status document names no primary: the cluster does not serve. Nothing was restarted.",
        )
    })?;
    let mut pods: Vec<(bool, String)> = status
        .instances
        .into_iter()
        .filter(|(_, one)| one.state != InstanceState::Silent)
        .map(|(pod, one)| (one.role == Role::Primary, pod))
        .collect();
    pods.sort();
    Ok(pods.into_iter().map(|(_, pod)| pod).collect())
}

/// A desired ConfigMap as it is to be written: by server-side apply, with the uid and version of the one that it was made from, so
/// that nobody else's write is undone.
#[derive(Clone, Debug, PartialEq)]
pub struct Written {
    /// The object.
    pub object: Json,
    /// Its document's generation.
    pub generation: u64,
    /// SHA-256 of its document's text.
    pub sha256: String,
}

/// The desired state with one more request. Those that are answered go.
///
/// # Errors
/// When there is no cluster of this name, or its desired state can't be used.
pub fn with_request(live: &LiveCluster, request: &Request) -> Result<Written, Diagnostic> {
    let record = live.record();
    rewritten(live, |document| {
        let answered =
            |one: &Request| record.as_ref().is_some_and(|record| record.answer_to(&one.id).is_some());
        let mut requests: Vec<&Request> = document.requests.iter().filter(|one| !answered(one)).collect();
        requests.drain(..requests.len().saturating_sub(REQUESTS_KEPT - 1));
        requests.push(request);
        json!({"requests": requests})
    })
}

/// The desired state without a request that nobody took up; `None`: it is not there, or was taken up.
///
/// # Errors
/// As [`with_request`].
pub fn without_request(live: &LiveCluster, id: &str) -> Result<Option<Written>, Diagnostic> {
    let asks = live.desired().is_some_and(|desired| desired.requests.iter().any(|one| one.id == id));
    if !asks || live.record().is_some_and(|record| record.knows(id)) {
        return Ok(None);
    }
    rewritten(live, |document| {
        let others: Vec<&Request> = document.requests.iter().filter(|one| one.id != id).collect();
        json!({"requests": others})
    })
    .map(Some)
}

/// The document as it stands, with other values of some fields and the next generation. What this provider does not know of it stays.
fn rewritten(live: &LiveCluster, change: impl FnOnce(&Desired) -> Json) -> Result<Written, Diagnostic> {
    let (anchor, document) = usable(live)?;
    let key = ObjectKey::new(Kind::ConfigMap, live.names.desired());
    let there = live.object(&key);
    let there = there.known().ok_or_else(|| no_cluster(live))?;
    let mut fields: Json =
        live.desired_text().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    let generation = next_generation(live);
    if let (Some(fields), Json::Object(changed)) = (fields.as_object_mut(), change(&document)) {
        // The name of before there were other requests.
        fields.remove("switchover");
        fields.extend(changed);
        fields.insert("generation".to_owned(), json!(generation));
    }
    let text = serde_json::to_string_pretty(&fields).unwrap_or_default();
    // The fields that our last apply owned, so that this one gives none of them up.
    let mut object = anchor.objects.get(&key).cloned().unwrap_or_else(|| {
        json!({"apiVersion": key.kind.api_version(), "kind": key.kind.name(), "metadata": {"name": key.name}})
    });
    object["metadata"]["uid"] = json!(object::uid(there));
    object["metadata"]["resourceVersion"] = there["metadata"]["resourceVersion"].clone();
    object["data"] = json!({KEY_DESIRED: text});
    Ok(Written { object, generation, sha256: document_sha256(&text) })
}

/// The anchor and the desired document, when both are of one cluster and of a kind that this provider knows.
fn usable(live: &LiveCluster) -> Result<(Anchor, Desired), Diagnostic> {
    let uid = live.anchor_uid().ok_or_else(|| no_cluster(live))?;
    if let Seen::Forbidden(why) = live.lease() {
        return Err(Diagnostic::error(
            format!("No right to read the record of cluster {}", live.names.cluster()),
            format!("Its agents answer there: {why}. The Role in examples/rbac/reader.yaml holds the right."),
        ));
    }
    let anchor = live.anchor().known().and_then(|object| Anchor::parse(object).ok());
    let document = live.desired().filter(|document| document.format <= DESIRED_FORMAT);
    let cluster = live.names.cluster();
    let (Some(anchor), Some(document)) = (anchor, document) else {
        return Err(Diagnostic::error(
            format!("The desired state of cluster {cluster} can't be used"),
            "Its anchor or its desired document can't be read, or was written by a newer provider. Nothing was changed. An apply of the \
             cluster's resource repairs it.",
        ));
    };
    if document.anchor_uid != uid {
        return Err(Diagnostic::error(
            format!("Cluster {cluster} has lost its anchor"),
            "Its desired state is of another anchor than the one that is there. Nothing was changed. An apply of the cluster's resource \
             repairs it.",
        ));
    }
    Ok((anchor, document))
}

fn no_cluster(live: &LiveCluster) -> Diagnostic {
    Diagnostic::error(
        format!("There is no cluster called {} in that namespace", live.names.cluster()),
        format!(
            "ConfigMap {}, which every cluster of this provider has, does not exist there or may not be read. Are name and namespace right?",
            live.names.anchor()
        ),
    )
}

/// What came of a request: words for a person who waits, or why it is an error.
///
/// # Errors
/// Unless it was done.
pub fn outcome(answer: &Answer) -> Result<String, Diagnostic> {
    let asked = &answer.asked;
    let (what, then) = match answer.outcome {
        Outcome::Done => return Ok(answer.text.clone()),
        Outcome::Refused => ("was refused", "Nothing was begun."),
        Outcome::Reverted => ("was begun and undone", "Everything is as before."),
        Outcome::Failed => {
            ("came out otherwise", "`pgha-agent status` in one of the pods tells how the cluster fares.")
        }
    };
    Err(Diagnostic::error(format!("The {asked} {what}"), format!("The agent says: {}. {then}", answer.text)))
}

#[cfg(test)]
#[path = "action_tests.rs"]
mod tests;
