//! The end of a cluster (P16, P20, P21).

use pgha_schema::desired::{Desired, RunState};
use pgha_schema::names::{
    ANNOTATION_BOOTSTRAP, ANNOTATION_NEVER_INITIALISED, ANNOTATION_RECORD, ANNOTATION_SYSTEM_IDENTIFIER,
    KEY_DESIRED, Names,
};
use pgha_schema::record::Bootstrap;
use serde_json::{Value as Json, json};

use super::update::next_generation;
use super::{Steps, readable, same_cluster, wait};
use crate::diagnostic::Diagnostic;
use crate::facts::Facts;
use crate::live::{LiveCluster, Seen};
use crate::object::{self, Kind, ObjectKey};
use crate::path::Path;
use crate::plan::{holds_data, is_protected};
use crate::render;
use crate::step::{Limit, Step, Wait, Wish};
use crate::value::Value;

/// How long the holder may take to stop cleanly before the pods are simply ended (they get SIGTERM and stop cleanly too).
const CLEAN_STOP_MS: u64 = 60_000;

/// What a destroy is made from.
#[derive(Clone, Debug)]
pub struct Leaving<'a> {
    /// The state before.
    pub prior: &'a Value,
    /// Private state.
    pub facts: &'a Facts,
}

impl Leaving<'_> {
    /// The volumes stay.
    pub fn retains(&self) -> bool {
        self.prior.get("storage.retain").as_bool() != Some(false)
    }

    /// A NetworkPolicy goes too.
    pub fn has_network_policy(&self) -> bool {
        !self.prior.get("network_policy").is_null()
    }
}

/// All three one after the other, as they are if nothing changes in between: who can't do the last of it shall not begin.
pub fn all_ahead(leaving: &Leaving<'_>, live: &LiveCluster) -> Result<Vec<Step>, Diagnostic> {
    let phases = [stop(leaving, live)?, copy_record(leaving, live)?, remove(leaving, live)?];
    Ok(phases.into_iter().flat_map(|phase| phase.steps).collect())
}

/// First: the checks, and the clean stop. After it, a snapshot and [`copy_record`].
pub fn stop(leaving: &Leaving<'_>, live: &LiveCluster) -> Result<Steps, Diagnostic> {
    readable(live, leaving.has_network_policy())?;
    same_cluster(live, leaving.facts)?;
    not_anothers(leaving, live)?;
    protection(leaving, live)?;
    let mut all = Steps::default();
    let Some(set) = live.stateful_set().known().copied() else { return Ok(all) };
    let pods = live.wanted_pods().unwrap_or(0);
    if pods > 0 {
        all.steps.extend(stopped(live));
    }
    let key = ObjectKey::new(Kind::StatefulSet, live.names.cluster());
    let body = json!({"metadata": {"uid": object::uid(set)}, "spec": {"replicas": 0}});
    all.steps.push(Step::Patch { key, body, may_be_missing: true });
    all.steps.push(wait(Wish::PodsGone { from_ordinal: 0 }));
    Ok(all)
}

/// The anchor is gone, and what is there carries another one's uid.
fn not_anothers(leaving: &Leaving<'_>, live: &LiveCluster) -> Result<(), Diagnostic> {
    match (live.carried_anchor_uid(), leaving.facts.anchor_uid.as_deref()) {
        (Some(carried), Some(ours)) if carried != ours && live.anchor_uid() != Some(ours) => {
            Err(Diagnostic::error(
                format!("Another cluster is called {} now", live.names.cluster()),
                format!(
                    "Its objects carry the anchor uid {carried}, and this state was made for {ours}. Nothing was deleted. \
                 `terraform state rm` this resource if its cluster is gone."
                ),
            ))
        }
        _ => Ok(()),
    }
}

/// Judged again on the state and on what is there: the replacement of a tainted instance shows nowhere else (P20).
fn protection(leaving: &Leaving<'_>, live: &LiveCluster) -> Result<(), Diagnostic> {
    let unprotected = leaving.prior.get("deletion_protection").as_bool() == Some(false);
    let data_there = live.system_identifier().is_some() || holds_data(leaving.prior);
    if unprotected || !(data_there || is_protected(leaving.prior)) {
        return Ok(());
    }
    Err(Diagnostic::error(
        format!("Cluster {} is protected against deletion", live.names.cluster()),
        "It holds data and its state has deletion_protection = true. Nothing was deleted. If you mean it, set \
         deletion_protection = false, apply that, and then destroy. If it is to be replaced only because it is tainted, \
         `terraform untaint` keeps it and its data.",
    )
    .at(Path::of("deletion_protection")))
}

/// Asks the holder to stop cleanly; nothing to ask while nobody ever led.
fn stopped(live: &LiveCluster) -> Vec<Step> {
    let running = live.status().is_some_and(|status| status.primary.is_some() && !status.stopped);
    let Some(desired) = live.desired().filter(|_| running) else { return Vec::new() };
    let desired = Desired { state: RunState::Stopped, generation: next_generation(live), ..desired };
    let key = ObjectKey::new(Kind::ConfigMap, live.names.desired());
    let uid = live.object(&key).known().and_then(|object| object::uid(object)).map(str::to_owned);
    let body = json!({"metadata": {"uid": uid}, "data": {KEY_DESIRED: desired.to_text()}});
    vec![
        Step::Patch { key, body, may_be_missing: true },
        Step::Wait(Wait { wish: Wish::Stopped, limit: Limit::GoOnAfterMs(CLEAN_STOP_MS) }),
    ]
}

/// Second, with every pod gone: the record goes onto each volume that is kept. After it, [`remove`].
pub fn copy_record(leaving: &Leaving<'_>, live: &LiveCluster) -> Result<Steps, Diagnostic> {
    readable(live, leaving.has_network_policy())?;
    let mut all = Steps::default();
    if !leaving.retains() {
        return Ok(all);
    }
    let claims = live.claims_by_ordinal();
    let annotations = match live.record() {
        Some(record) if record.bootstrap == Bootstrap::Done => {
            json!({
                ANNOTATION_RECORD: serde_json::to_string(&record).unwrap_or_default(),
                ANNOTATION_BOOTSTRAP: made_with(leaving, live),
                ANNOTATION_NEVER_INITIALISED: null,
            })
        }
        Some(_) => json!({ANNOTATION_NEVER_INITIALISED: "true"}),
        None => {
            if live.lease().is_missing() && !claims.is_empty() && already_copied(live) < claims.len() {
                all.diagnostics.push(no_lease(&live.names));
            }
            return Ok(all);
        }
    };
    let pending = annotations.get(ANNOTATION_RECORD).is_none();
    for claim in claims.values() {
        // A volume with a system identifier was initialised, whatever the record says.
        if pending && object::annotation(claim, ANNOTATION_SYSTEM_IDENTIFIER).is_some() {
            continue;
        }
        all.steps.push(render::annotate(object::name(claim), object::uid(claim), annotations.clone()));
    }
    Ok(all)
}

/// The `bootstrap` that the data was made with, as JSON: what kept volumes say that it came from, else what the state says.
fn made_with(leaving: &Leaving<'_>, live: &LiveCluster) -> Option<String> {
    let claims = live.claims_by_ordinal();
    let told = claims.values().find_map(|claim| object::annotation(claim, ANNOTATION_BOOTSTRAP));
    let of_state = || leaving.prior.get("bootstrap").to_json().filter(Json::is_object);
    told.map(str::to_owned).or_else(|| of_state().map(|json| json.to_string()))
}

fn already_copied(live: &LiveCluster) -> usize {
    let told = |claim: &&Json| {
        [ANNOTATION_RECORD, ANNOTATION_NEVER_INITIALISED]
            .iter()
            .any(|key| object::annotation(claim, key).is_some())
    };
    live.claims_by_ordinal().values().filter(|claim| told(claim)).count()
}

fn no_lease(names: &Names) -> Diagnostic {
    Diagnostic::warning(
        "The kept volumes carry no record",
        format!(
            "Lease {} is gone, and with it the record of which volume holds the last commits. The volumes are kept, but a \
             new cluster of this name will refuse to resume them by itself.",
            names.cluster()
        ),
    )
}

/// Third: the objects, the anchor last.
pub fn remove(leaving: &Leaving<'_>, live: &LiveCluster) -> Result<Steps, Diagnostic> {
    readable(live, leaving.has_network_policy())?;
    same_cluster(live, leaving.facts)?;
    let names = &live.names;
    let cluster = names.cluster();
    let mut all = Steps::default();
    let by_uid = |key: ObjectKey| match live.object(&key) {
        Seen::Known(object) => Some(Step::Delete { uid: object::uid(object).map(str::to_owned), key }),
        Seen::Missing | Seen::Forbidden(_) => None,
    };
    let delete = |kind: Kind, name: String| by_uid(ObjectKey::new(kind, name));
    let set = ObjectKey::new(Kind::StatefulSet, cluster);
    all.steps.extend(by_uid(set.clone()));
    all.steps.extend(delete(Kind::PodDisruptionBudget, cluster.to_owned()));
    let policy = live.network_policy().and_then(|_| delete(Kind::NetworkPolicy, cluster.to_owned()));
    let no_policy = policy.is_none();
    all.steps.extend(policy);
    let services = [names.service_rw(), names.service_ro(), names.service_r(), names.service_pods()];
    all.steps.extend(services.into_iter().filter_map(|name| delete(Kind::Service, name)));
    all.steps.push(wait(Wish::ObjectsGone { keys: vec![set] }));
    all.steps.push(wait(Wish::PodsGone { from_ordinal: 0 }));
    let retains = leaving.retains();
    all.steps.extend(claims(live, |claim| !retains || never_bound(claim)));
    let secrets = [names.secret_app(), names.secret_superuser(), names.secret_internal()];
    all.steps.extend(
        secrets.into_iter().map(|name| Step::Delete { key: ObjectKey::new(Kind::Secret, name), uid: None }),
    );
    all.steps.extend(delete(Kind::ConfigMap, names.status()));
    all.steps.extend(delete(Kind::ConfigMap, names.desired()));
    for kind in [Kind::RoleBinding, Kind::Role, Kind::ServiceAccount, Kind::Lease] {
        all.steps.extend(delete(kind, cluster.to_owned()));
    }
    // Last, so that a destroy that is cut off can be repeated, and the agent's chunks lose this owner only at the end.
    all.steps.extend(delete(Kind::ConfigMap, names.anchor()));
    let mut gone = LiveCluster::keys(names);
    // Another's, or one that may not be looked at.
    gone.retain(|key| key.kind != Kind::NetworkPolicy || !no_policy);
    all.steps.push(wait(Wish::ObjectsGone { keys: gone }));
    Ok(all)
}

/// A claim that no volume was ever bound to keeps nothing, and would hold a later create to its class and size.
fn never_bound(claim: &Json) -> bool {
    claim["status"]["phase"] == "Pending" && claim["spec"]["volumeName"].is_null()
}

fn claims(live: &LiveCluster, goes: impl Fn(&Json) -> bool) -> Vec<Step> {
    let claims: Vec<_> = live.claims_by_ordinal().into_values().filter(|claim| goes(claim)).collect();
    let names: Vec<String> = claims.iter().map(|claim| object::name(claim).to_owned()).collect();
    let mut steps: Vec<Step> = claims
        .iter()
        .map(|claim| Step::Delete {
            key: ObjectKey::new(Kind::PersistentVolumeClaim, object::name(claim)),
            uid: object::uid(claim).map(str::to_owned),
        })
        .collect();
    if !names.is_empty() {
        steps.push(wait(Wish::ClaimsGone { names }));
    }
    steps
}
