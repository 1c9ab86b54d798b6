//! From a planned specification and a fresh snapshot to ordered steps (P16–P21, P23).
//!
//! ```text
//!   create:  anchor ── POST, snapshot ──> build
//!   update:  [anchor, when it alone is gone ──>] change
//!   delete:  check ──> stop ── snapshot ──> copy the record ── snapshot ──> remove
//! ```
//!
//! Each function is called with a snapshot taken right before, and refuses before the first write what the plan did not
//! show.

pub mod chunks;
mod create;
mod delete;
mod trial;
mod update;
pub mod volumes;

use pgha_schema::names::Names;
use pgha_schema::resource::{ClusterSpec, schema};
use serde_json::{Value as Json, json};

use crate::anchor::Anchor;
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::drift::altered_settings;
use crate::facts::Facts;
use crate::ignore::Ignore;
use crate::live::{LiveCluster, Seen};
use crate::object::{self, Kind};
use crate::render::{self, Agent, Component, Inputs};
use crate::step::{Forced, Sensitive, Step, Wait, Wish};
use crate::value::Value;

pub use create::{build, create_anchor, resumption, secret_of_others, secret_probes};
pub use delete::{Leaving, all_ahead, copy_record, remove, stop};
pub use trial::{Trial, of_change, of_create};
pub(crate) use update::next_generation;
pub use update::{change, kept_claims, remake_anchor};

/// What create and update are made from.
#[derive(Clone, Debug)]
pub struct Job<'a> {
    /// The planned specification.
    pub spec: &'a ClusterSpec,
    /// The state before; null for a create.
    pub prior: &'a Value,
    /// The configuration as written, for the anchor (P22): [`config_for_anchor`].
    pub config: &'a Json,
    /// Private state.
    pub facts: &'a Facts,
    /// What the provider's configuration leaves to others.
    pub ignore: &'a Ignore,
    /// The agent that the cluster gets.
    pub agent: &'a Agent,
    /// Its gzipped binary; empty when an image holds it.
    pub gzipped: &'a [u8],
    /// The superuser's password, when it is to be written: [`password_to_write`].
    pub superuser_password: Option<&'a Sensitive>,
}

/// Steps, and what the user must hear of them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Steps {
    /// In this order.
    pub steps: Vec<Step>,
    /// Warnings.
    pub diagnostics: Diagnostics,
}

impl Job<'_> {
    fn names(&self) -> Names {
        Names::new(&self.spec.name)
    }

    fn inputs<'b>(&'b self, anchor_uid: &'b str, generation: u64, live: &LiveCluster) -> Inputs<'b> {
        let mut inputs = Inputs::new(self.spec, anchor_uid, self.agent, generation);
        inputs.claim_size = claim_size(live);
        if let Some(there) = live.desired() {
            inputs.requests = there.requested().to_vec();
            inputs.credentials = there.credentials;
        }
        let left = self.left_to_others();
        inputs.taken_back = altered_settings(self.prior);
        inputs.taken_back.retain(|name| !left.parameter(name));
        inputs.superuser_password = self.superuser_password;
        if self.superuser_password.is_some() {
            inputs.credentials.superuser = generation;
        }
        inputs
    }

    /// Whether there is to be a NetworkPolicy, or was one.
    pub fn has_network_policy(&self) -> bool {
        self.spec.network_policy.is_some() || !self.prior.get("network_policy").is_null()
    }

    /// What nobody may touch but others (decision 0051).
    fn left_to_others(&self) -> Ignore {
        self.ignore.and(self.spec.ignore.iter().flatten().map(String::as_str))
    }
}

/// The superuser's password from config, if it is to be written: at a create that gives one, and when its number changes.
pub fn password_to_write(config: &Value, prior: &Value, planned: &Value) -> Option<Sensitive> {
    let given = config.get("superuser_password_wo").as_str().filter(|_| numbers_new_password(planned, prior));
    given.map(Sensitive::new)
}

/// Whether this configuration or plan gives the superuser's password a number that it did not have; not yet known is no.
pub fn numbers_new_password(wanted: &Value, prior: &Value) -> bool {
    let version = wanted.get("superuser_password_wo_version");
    !matches!(version, Value::Null | Value::Unknown) && prior.get("superuser_password_wo_version") != version
}

/// The configuration for the anchor: as written, less `timeouts` and what is write-only. It must be wholly known.
pub fn config_for_anchor(config: &Value) -> Json {
    let mut json = config.to_json().unwrap_or_else(|| json!({}));
    if let Some(fields) = json.as_object_mut() {
        fields.remove("timeouts");
        let write_only = schema().attributes.iter().filter(|attribute| attribute.write_only);
        write_only.for_each(|attribute| drop(fields.remove(&attribute.name)));
    }
    json
}

/// Labels and annotations of the anchor's ConfigMap.
pub fn anchor_metadata(spec: &ClusterSpec) -> Json {
    render::own_metadata(spec, Component::State)
}

/// The anchor's ConfigMap of a new cluster. The user's labels and annotations come when it is saved: by server-side apply, so
/// that they can go again.
fn new_anchor(job: &Job<'_>) -> Json {
    let anchor = Anchor::new(job.config.clone());
    let metadata = json!({"labels": render::labels(&job.spec.name, Component::State)});
    anchor.object(&job.names(), &job.spec.namespace, &metadata)
}

/// The size in the live StatefulSet's claim template.
fn claim_size(live: &LiveCluster) -> Option<String> {
    let set = live.stateful_set();
    let size = set.known()?.pointer("/spec/volumeClaimTemplates/0/spec/resources/requests/storage")?.as_str();
    size.map(str::to_owned)
}

/// Waits with the operation's timeout.
fn wait(wish: Wish) -> Step {
    Step::Wait(Wait { wish, limit: crate::step::Limit::Operation })
}

fn apply(object: Json, forced: Forced, expect_uid: Option<String>) -> Step {
    Step::Apply { object, forced, expect_uid, remember: true }
}

/// The uid that a live object of ours has, so that no other is changed in its place.
fn uid_of(live: &LiveCluster, object: &Json) -> Option<String> {
    let key = object::ObjectKey::of(object)?;
    live.object(&key).known().and_then(|live| object::uid(live)).map(str::to_owned)
}

/// What may not be read can't be judged, so nothing is written. The NetworkPolicy matters only where there is to be one or was
/// one: rights to it are for those who want it.
fn readable(live: &LiveCluster, network_policy: bool) -> Result<(), Diagnostic> {
    let mut forbidden: Vec<String> = live
        .objects
        .iter()
        .filter(|(key, _)| network_policy || key.kind != Kind::NetworkPolicy)
        .filter_map(|(key, seen)| match seen {
            Seen::Forbidden(why) => Some(format!("{key}: {why}")),
            Seen::Known(_) | Seen::Missing => None,
        })
        .collect();
    for (what, list) in [("pods", &live.pods), ("persistentvolumeclaims", &live.claims)] {
        if let Seen::Forbidden(why) = list {
            forbidden.push(format!("{what}: {why}"));
        }
    }
    if forbidden.is_empty() {
        return Ok(());
    }
    Err(Diagnostic::error(
        "Not allowed to read what is there",
        format!(
            "Nothing was changed, since what may not be read can't be judged. Give these credentials the Role in \
             examples/, or use others. {}",
            forbidden.join("; ")
        ),
    ))
}

/// The cluster that the state speaks of is the one that is there (P16).
fn same_cluster(live: &LiveCluster, facts: &Facts) -> Result<(), Diagnostic> {
    let (Some(there), Some(ours)) = (live.anchor_uid(), facts.anchor_uid.as_deref()) else { return Ok(()) };
    if there == ours {
        return Ok(());
    }
    let cluster = live.names.cluster();
    Err(Diagnostic::error(
        format!("Another cluster is called {cluster} now"),
        format!(
            "ConfigMap {} has uid {there}, and this state was made for {ours}: somebody made a cluster of this name anew. \
             Nothing was changed. To manage that one, `terraform state rm` this resource and `terraform import` it.",
            live.names.anchor()
        ),
    ))
}
