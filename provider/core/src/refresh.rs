//! From what is there to the state: the only way live facts enter (P1, P12–P15).

use pgha_schema::desired::document_sha256;
use serde_json::Value as Json;

use crate::anchor::{Anchor, AnchorError};
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::drift::{self, Drift, Entry};
use crate::facts::Facts;
use crate::ignore::Ignore;
use crate::live::{LiveCluster, Seen};
use crate::object::{self, Kind, ObjectKey};
use crate::progress::is_acknowledged;
use crate::value::Value;

/// What a refresh comes to.
#[derive(Clone, Debug, PartialEq)]
pub enum Refreshed {
    /// It is there.
    Present {
        /// The new state.
        state: Value,
        /// Warnings.
        diagnostics: Diagnostics,
    },
    /// It is proven that it is gone.
    Gone,
    /// Neither can be said, or it is another's: the state stays as it is.
    Refused(Diagnostic),
}

/// Judges a snapshot against the state before. `ignore` is the provider's part; the state's own entries are added to it.
pub fn refresh(prior: &Value, facts: &Facts, live: &LiveCluster, ignore: &Ignore) -> Refreshed {
    let anchor = live.anchor();
    let all_missing = anchor.is_missing() && live.stateful_set().is_missing() && live.lease().is_missing();
    if all_missing {
        return gone(facts, live);
    }
    if let (Seen::Forbidden(why), Seen::Forbidden(_), Seen::Forbidden(_)) =
        (&anchor, live.stateful_set(), live.lease())
    {
        return Refreshed::Refused(nothing_readable(live, why));
    }
    if let Some(diagnostic) = anothers(facts, live) {
        return Refreshed::Refused(diagnostic);
    }
    let mut diagnostics = Diagnostics::new();
    let ignore = ignore.and(prior.get("ignore").texts());
    let drift = match anchor {
        Seen::Known(object) => match Anchor::parse(object) {
            Ok(anchor) => drift::drift(&anchor, live, &ignore),
            Err(error @ AnchorError::Newer(_)) => {
                return Refreshed::Refused(Diagnostic::error("Made by a newer provider", error.to_string()));
            }
            Err(error) => without_anchor(live, &error.to_string(), &ignore),
        },
        Seen::Missing => without_anchor(live, "(missing)", &ignore),
        Seen::Forbidden(why) => Drift {
            unreadable: vec![format!("ConfigMap {}: {why}", live.names.anchor())],
            ..drift::drift(&Anchor::new(Json::Null), live, &ignore)
        },
    };
    if !drift.unreadable.is_empty() {
        diagnostics.push(unreadable(&drift.unreadable));
    }
    diagnostics.extend(unheard(live));
    diagnostics.extend(no_lease(live));
    diagnostics.extend(leaving_claims(live));
    let state = state(prior, live, drift, &ignore);
    let changed = drift::who_changed(prior, &state, live);
    if !changed.is_empty() {
        diagnostics.push(changed_by_others(live, &changed));
    }
    Refreshed::Present { state, diagnostics }
}

/// What stands in attributes of its own has no place for who did it, so it is said.
fn changed_by_others(live: &LiveCluster, changed: &[String]) -> Diagnostic {
    Diagnostic::warning(
        format!("Cluster {} was changed outside of Terraform", live.names.cluster()),
        format!("{}.", changed.join("; ")),
    )
}

/// Claims that somebody has deleted go with their pods, and their data with them: nobody can take a deletion back.
fn leaving_claims(live: &LiveCluster) -> Option<Diagnostic> {
    let deleted = |claim: &&Json| claim.pointer("/metadata/deletionTimestamp").is_some();
    let leaving: Vec<&str> = live.wanted_claims().filter(deleted).map(object::name).collect();
    (!leaving.is_empty()).then(|| {
        Diagnostic::warning(
            format!("Volumes of cluster {} are being deleted", live.names.cluster()),
            format!(
                "Somebody deleted PersistentVolumeClaim {}. Kubernetes keeps each until its pod ends, and a deletion can't be taken back: \
                 then the instance gets a new volume and is cloned from the primary. Do it one by one, a standby at a time, \
                 while the others are healthy; hand over before the primary's goes.",
                leaving.join(", ")
            ),
        )
    })
}

/// Three objects answer 404, and it is the same Kubernetes cluster (P15).
fn gone(facts: &Facts, live: &LiveCluster) -> Refreshed {
    match (&facts.cluster_id, &live.cluster_id) {
        (Some(known), Some(there)) if known == there => Refreshed::Gone,
        (Some(known), Some(there)) => Refreshed::Refused(no_proof(
            live,
            &format!(
                "This is another Kubernetes cluster than the one that it was made in (root certificate {} instead of {}): \
                 are the credentials those of the right one?",
                short(there),
                short(known)
            ),
        )),
        _ => Refreshed::Refused(no_proof(
            live,
            "Nothing proves that this is the Kubernetes cluster that it was made in: the ConfigMap kube-root-ca.crt of the \
             namespace can't be read.",
        )),
    }
}

fn short(hash: &str) -> &str {
    hash.get(..12).unwrap_or(hash)
}

fn no_proof(live: &LiveCluster, why: &str) -> Diagnostic {
    Diagnostic::error(
        format!("Cluster {} was not found, and that it is gone is not proven", live.names.cluster()),
        format!("{why} The state is kept. If the cluster is gone for good: terraform state rm ADDRESS."),
    )
}

/// A state that nothing was held against was not refreshed.
fn nothing_readable(live: &LiveCluster, why: &str) -> Diagnostic {
    Diagnostic::error(
        format!("No right to read cluster {}", live.names.cluster()),
        format!(
            "Neither its anchor nor its StatefulSet nor its Lease may be read: {why}. The state is kept as it is. \
             examples/rbac/reader.yaml of the provider's repository holds a Role with every right that is needed."
        ),
    )
}

/// What carries our names belongs to another anchor.
fn anothers(facts: &Facts, live: &LiveCluster) -> Option<Diagnostic> {
    let ours = facts.anchor_uid.as_deref()?;
    let there = live.anchor_uid().or_else(|| live.carried_anchor_uid())?;
    if there == ours {
        return None;
    }
    Some(Diagnostic::error(
        format!("Another cluster is called {} now", live.names.cluster()),
        format!(
            "Its anchor has uid {there}, and this state was made for {ours}: the cluster of this state was deleted, and \
             another was made under its name. The state is kept. `terraform state rm ADDRESS` forgets the old one; \
             `terraform import` then takes the new one over."
        ),
    ))
}

/// Without the anchor nothing is remembered: the typed attributes are read, and the loss itself is drift.
fn without_anchor(live: &LiveCluster, what: &str, ignore: &Ignore) -> Drift {
    let mut drift = drift::drift(&Anchor::new(Json::Null), live, ignore);
    drift.entries.push(Entry {
        object: ObjectKey::new(Kind::ConfigMap, live.names.anchor()).to_string(),
        field: String::new(),
        diff: format!("--- applied\n+++ live\n@@ -1 +1 @@\n-ConfigMap {}\n+{what}\n", live.names.anchor()),
        changed_by: String::new(),
        changed_at: String::new(),
    });
    drift
}

fn unheard(live: &LiveCluster) -> Option<Diagnostic> {
    let silent = drift::unheard(live);
    (!silent.is_empty()).then(|| {
        Diagnostic::warning(
            "Drift inside PostgreSQL was not looked for in every instance",
            format!(
                "Nothing is heard of the PostgreSQL of {}, so what somebody changes inside it by ALTER SYSTEM does not show; what was \
                 known before stays. The data source and `pgha-agent status` in a pod tell more.",
                silent.join(", ")
            ),
        )
    })
}

/// The Lease is not the provider's to repair (A4).
fn no_lease(live: &LiveCluster) -> Option<Diagnostic> {
    live.lease().is_missing().then(|| {
        Diagnostic::warning(
            format!("Lease {} is gone", live.names.cluster()),
            "Somebody deleted the record of who leads. The agents make it again by themselves once all instances that hold data are \
             heard; until then there is no failover.",
        )
    })
}

fn unreadable(what: &[String]) -> Diagnostic {
    Diagnostic::warning(
        "Drift was not looked for everywhere",
        format!(
            "These may not be read, so a change in them does not show: {}. The Role for readers in examples/ \
             holds the rights that are needed.",
            what.join("; ")
        ),
    )
}

fn state(prior: &Value, live: &LiveCluster, drift: Drift, ignore: &Ignore) -> Value {
    let mut state = prior.clone();
    if let Some(typed) = &drift.typed {
        // How many there are is not known then: what was known before is nearer than what was asked for.
        let unseen = live.stateful_set().forbidden().is_some();
        if !unseen || prior.get("replicas").is_null() {
            state.set_at("replicas", Value::int(typed.replicas));
        }
        state.set_at("sync_mode", word(typed.sync_mode));
        state.set_at("sync_replicas", Value::int(typed.sync_replicas));
        state.set_at("durability", word(typed.durability));
    }
    if let Some(ready) = ready(live) {
        state.set_at("ready", Value::Bool(ready));
    }
    if let Some(identifier) = live.system_identifier() {
        state.set_at("system_identifier", identifier.into());
    }
    for service in ["rw", "ro"] {
        if let Some(host) = load_balancer_host(live, service) {
            state.set_at(&format!("{service}_host"), host.into());
        }
    }
    state.set_at("drift", Value::List(entries(prior, live, drift, ignore)));
    state
}

/// What was found, and what was known before of those that can't be asked, in the order of object and field.
fn entries(prior: &Value, live: &LiveCluster, drift: Drift, ignore: &Ignore) -> Vec<Value> {
    let size = prior.get("storage.size").as_str().and_then(|size| size.parse().ok());
    let found = drift.entries.into_iter().chain(drift::small_claims(live, size)).map(entry);
    let unasked = drift::unasked(prior, live, ignore).into_iter().cloned();
    let mut all: Vec<Value> = found.chain(unasked).collect();
    let place = |entry: &Value| ["object", "field"].map(|part| entry.get(part).as_str().map(str::to_owned));
    all.sort_by_key(place);
    all
}

fn word(choice: impl serde::Serialize) -> Value {
    serde_json::to_value(choice).ok().and_then(|json| json.as_str().map(Value::from)).unwrap_or_default()
}

/// Whether the desired document that is there is in force; `None` when it can't be told (P8).
pub fn ready(live: &LiveCluster) -> Option<bool> {
    let desired = ObjectKey::new(Kind::ConfigMap, live.names.desired());
    let status = ObjectKey::new(Kind::ConfigMap, live.names.status());
    let unseen = [live.object(&desired), live.object(&status), live.stateful_set()];
    if unseen.iter().any(|object| object.forbidden().is_some()) {
        return None;
    }
    let (Some(text), Some(desired), Some(status)) = (live.desired_text(), live.desired(), live.status())
    else {
        return Some(false);
    };
    // A scale-down that was cut off after the agents' word has pods left over.
    let pods = live.wanted_pods().is_none_or(|pods| pods == u64::from(desired.replicas) + 1);
    Some(pods && is_acknowledged(&status, desired.generation, &document_sha256(text)))
}

/// The address that the platform gave a Service of type LoadBalancer; `None` for other types and before it has one.
pub fn load_balancer_host(live: &LiveCluster, service: &str) -> Option<String> {
    let name = if service == "rw" { live.names.service_rw() } else { live.names.service_ro() };
    let key = ObjectKey::new(Kind::Service, name);
    let object = live.objects.get(&key)?.known()?;
    if object.pointer("/spec/type")?.as_str()? != "LoadBalancer" {
        return None;
    }
    let ingress = object.pointer("/status/loadBalancer/ingress/0")?;
    ["hostname", "ip"].iter().find_map(|field| ingress.get(field)?.as_str()).map(str::to_owned)
}

/// An entry as the state holds it: `Service/orders-rw`, `spec.selector`.
fn entry(entry: Entry) -> Value {
    let optional = |text: String| if text.is_empty() { Value::Null } else { text.into() };
    let field = entry.field.trim_start_matches('.').to_owned();
    Value::object([
        ("object", entry.object.replacen(' ', "/", 1).into()),
        ("field", field.into()),
        ("diff", entry.diff.into()),
        ("changed_by", optional(entry.changed_by)),
        ("changed_at", optional(entry.changed_at)),
    ])
}
