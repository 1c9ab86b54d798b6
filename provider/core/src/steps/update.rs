//! A change of a cluster that exists (P6, P16, P17, P18, P23).

use pgha_schema::desired::document_sha256;
use pgha_schema::names::{ANNOTATION_AGENT_HASH, ANNOTATION_SYSTEM_IDENTIFIER, ANNOTATION_TEMPLATE_HASH};
use pgha_schema::quantity::Quantity;
use pgha_schema::record::Record;
use serde_json::{Value as Json, json};

use super::{Job, Steps, apply, chunks, new_anchor, readable, same_cluster, uid_of, wait};
use crate::anchor::Anchor;
use crate::diagnostic::Diagnostic;
use crate::drift::pods;
use crate::live::{LiveCluster, Seen};
use crate::object::{self, Kind, ObjectKey};
use crate::path::Path;
use crate::render::{self, Inputs};
use crate::step::{Forced, Step, Taken, Wish};
use crate::value::Value;

/// In the place of a template's hash on a pod: the hash of no template.
const OF_AN_EDITED_TEMPLATE: &str = "edited";

/// Makes the anchor again when it alone is gone and StatefulSet or Lease prove that this is our cluster (P16). `None`: it is
/// there. After it, take a snapshot and go on with [`change`]; the new uid goes into private state.
pub fn remake_anchor(job: &Job<'_>, live: &LiveCluster) -> Result<Option<Step>, Diagnostic> {
    readable(live, job.has_network_policy())?;
    if live.anchor_uid().is_some() {
        return Ok(None);
    }
    if job.facts.anchor_uid.is_none() || live.carried_anchor_uid() != job.facts.anchor_uid.as_deref() {
        return Err(Diagnostic::error(
            format!("ConfigMap {} is gone", job.names().anchor()),
            "Neither the StatefulSet nor the Lease proves that this is the cluster of this state. Nothing was changed. \
             If the cluster is gone for good, `terraform state rm` this resource.",
        ));
    }
    Ok(Some(Step::Create {
        object: new_anchor(job),
        taken: Taken::Error {
            summary: format!("ConfigMap {} was made by somebody else", job.names().anchor()),
            detail: "Run plan again.".to_owned(),
        },
    }))
}

/// The change itself; `live` holds the anchor. `facts` of the job may still carry the uid of an anchor that was just made
/// again: `remade` says so.
pub fn change(job: &Job<'_>, live: &LiveCluster, remade: bool) -> Result<Steps, Diagnostic> {
    readable(live, job.has_network_policy())?;
    if !remade {
        same_cluster(live, job.facts)?;
    }
    riskier_than_planned(job, live)?;
    let uid = live.anchor_uid().ok_or_else(|| Diagnostic::error("The anchor is gone", "Run plan again."))?;
    let mut inputs = job.inputs(uid, next_generation(live), live);
    let final_pods = inputs.pods;
    let live_pods = live.wanted_pods().unwrap_or(0) as u32;
    inputs.pods = final_pods.max(live_pods);
    let mut all = Steps::default();
    let steps = &mut all.steps;
    steps.extend(chunks::share(job, uid));
    steps.extend(render::secrets(&inputs));
    if live.carried_anchor_uid() != Some(uid)
        && let Some(lease_uid) = live.lease().known().and_then(|lease| object::uid(lease))
    {
        steps.push(render::lease_patch(&inputs, lease_uid));
    }
    steps.extend(first_lease(job, live, &inputs));
    let growing = growth(job, live);
    steps.extend(growing.iter().cloned());
    let fields = |object: &Json| forced(job, live, object);
    let write = |object: Json| {
        let (forced, uid) = (fields(&object), uid_of(live, &object));
        apply(object, forced, uid)
    };
    // Last, so that a pod that the holder rolls at once is made from the new template.
    let (desired, others): (Vec<_>, Vec<_>) =
        wanted(job, live, &inputs).into_iter().partition(|object| is_desired(live, object));
    steps.extend(others.into_iter().map(write));
    steps.extend(edited_pods(job, live, &inputs));
    steps.extend(desired.into_iter().map(write));
    steps.extend(stuck_pods(live, &inputs));
    steps.extend(no_budget(job, live));
    steps.extend(no_network_policy(job, live));
    steps.push(Step::SaveAnchor);
    let sha256 = document_sha256(&render::document(&inputs).to_text());
    steps.push(wait(Wish::Acknowledged { generation: inputs.generation, sha256 }));
    if live_pods < final_pods {
        steps.push(wait(Wish::Streaming { standbys: job.spec.replicas }));
    }
    steps.extend(scale_down(job, live, &inputs, final_pods));
    if !growing.is_empty() || is_growing(job, live) {
        steps.push(wait(Wish::Grown { size: job.spec.storage.size.to_string() }));
    }
    steps.push(Step::GiveUpChunks { owner_uid: uid.to_owned(), kept: chunks::kept(job) });
    Ok(all)
}

/// The objects to apply, with what is left to others as it is.
fn wanted(job: &Job<'_>, live: &LiveCluster, inputs: &Inputs<'_>) -> Vec<Json> {
    let ignore = job.left_to_others();
    let anchor = live.anchor().known().and_then(|object| Anchor::parse(object).ok());
    let mut objects = render::objects(inputs);
    for object in &mut objects {
        let Some(key) = ObjectKey::of(object) else { continue };
        let recorded = anchor.as_ref().and_then(|anchor| anchor.objects.get(&key));
        ignore.leave(&live.names, object, live.object(&key).known().copied(), recorded);
    }
    objects
}

/// Raised above everything that was ever written or acknowledged.
pub(crate) fn next_generation(live: &LiveCluster) -> u64 {
    let written = live.desired().map_or(0, |desired| desired.generation);
    let acknowledged = live.status().and_then(|status| status.acknowledged).map_or(0, |one| one.generation);
    // Somebody's hand may have written the largest there is; the document's hash still tells the next one from it.
    written.max(acknowledged).saturating_add(1)
}

/// Facts that would make a step do more than the plan said stop the apply before its first write (P6).
fn riskier_than_planned(job: &Job<'_>, live: &LiveCluster) -> Result<(), Diagnostic> {
    let known = job.prior.get("system_identifier").as_str();
    if let (Some(known), Some(there)) = (known, live.system_identifier())
        && known != there
    {
        return Err(Diagnostic::error(
            "The data is not the one that was planned for",
            format!(
                "PostgreSQL's system identifier was {known} and is {there} now. Nothing was changed. Run plan again."
            ),
        ));
    }
    let (planned_from, pods) = (job.prior.get("replicas").as_i64(), live.wanted_pods());
    if let (Some(planned_from), Some(pods)) = (planned_from, pods) {
        let there = pods as i64 - 1;
        // What we applied ourselves is a scale-down of ours that was cut off, and is gone on with.
        let ours = recorded_pods(live) == Some(pods);
        if !ours && there > planned_from && there > i64::from(job.spec.replicas) {
            return Err(Diagnostic::error(
                "More instances are there than when the plan was made",
                format!(
                    "The plan knew of {planned_from} replicas, there are {there} now, and {} are planned: instances would go \
                     that the plan did not name. Nothing was changed. Run plan again.",
                    job.spec.replicas
                ),
            )
            .at(Path::of("replicas")));
        }
    }
    let wanted = &job.spec.storage.size;
    for claim in live.claims_by_ordinal().values() {
        let Some(asked) = object::asked_size(claim).filter(|asked| asked > wanted) else { continue };
        if !was_asked_in_vain(claim, wanted)
            && job.prior.get("storage.size").as_str() != Some(wanted.as_str())
        {
            return Err(Diagnostic::error(
                "A volume is larger than planned already",
                format!(
                    "PersistentVolumeClaim {} asks for {}, and volumes can't shrink. Plan at least that size.",
                    object::name(claim),
                    asked
                ),
            )
            .at(Path::of("storage.size")));
        }
    }
    Ok(())
}

/// The pods that our last apply asked for.
fn recorded_pods(live: &LiveCluster) -> Option<u64> {
    let anchor = Anchor::parse(live.anchor().known()?).ok()?;
    let set = ObjectKey::new(Kind::StatefulSet, live.names.cluster());
    anchor.objects.get(&set)?.pointer("/spec/replicas")?.as_u64()
}

/// Claims that ask for less than wanted are asked to grow; so are those that asked for more in vain.
fn growth(job: &Job<'_>, live: &LiveCluster) -> Vec<Step> {
    let size = &job.spec.storage.size;
    let asks_for_less = |claim: &Json| object::asked_size(claim).is_some_and(|asked| asked < *size);
    let claims = live.claims_by_ordinal().into_iter();
    let to_ask = claims.filter(|(_, claim)| asks_for_less(claim) || was_asked_in_vain(claim, size));
    let names = job.names();
    to_ask.map(|(ordinal, claim)| render::grow(&names, ordinal, object::uid(claim), size.as_str())).collect()
}

/// It asks for more than `size`, and its volume has less: a growth that its driver refused, or that goes on still. The request can be taken
/// back to anything above what the volume has (Kubernetes 1.32 and newer); the volume itself is never made smaller.
fn was_asked_in_vain(claim: &Json, size: &Quantity) -> bool {
    let asks_for_more = object::asked_size(claim).is_some_and(|asked| asked > *size);
    asks_for_more && object::capacity(claim).is_some_and(|there| there < *size)
}

/// A volume has less than it was asked to have before.
fn is_growing(job: &Job<'_>, live: &LiveCluster) -> bool {
    let has_less = |claim: &Json| object::capacity(claim).is_some_and(|there| there < job.spec.storage.size);
    live.claims_by_ordinal().into_values().any(has_less)
}

/// The fields whose difference the plan showed: drift entries, and the typed attributes that it changes back (P17).
fn forced(job: &Job<'_>, live: &LiveCluster, object: &Json) -> Forced {
    let Some(key) = ObjectKey::of(object) else { return Forced::default() };
    let shown = format!("{}/{}", key.kind, key.name);
    let entries = job.prior.get("drift").as_items().unwrap_or_default();
    let of_object = entries.iter().filter(|entry| entry.get("object").as_str() == Some(&shown));
    let mut fields: Vec<String> =
        of_object.map(|entry| entry.get("field").as_str().unwrap_or_default().to_owned()).collect();
    let replicas = Value::int(job.spec.replicas);
    let differs = |path: &str, planned: &Value| job.prior.get(path) != planned;
    if key.kind == Kind::StatefulSet && differs("replicas", &replicas) {
        fields.push(".spec.replicas".to_owned());
    }
    let desired = key.kind == Kind::ConfigMap && key.name == live.names.desired();
    let typed_differs = differs("replicas", &replicas)
        || differs("sync_mode", &word(job.spec.sync_mode))
        || differs("durability", &word(job.spec.durability))
        || differs("sync_replicas", &Value::int(job.spec.sync_replicas));
    if desired && typed_differs {
        fields.push(format!(".data.{}", pgha_schema::names::KEY_DESIRED));
    }
    // Left to others no more: the plan showed that in `ignore`.
    let before = job.ignore.and(job.prior.get("ignore").texts()).fields(&live.names, object);
    let still = job.left_to_others().fields(&live.names, object);
    fields.extend(before.into_iter().filter(|field| !still.contains(field)));
    Forced { fields }
}

fn is_desired(live: &LiveCluster, object: &Json) -> bool {
    ObjectKey::of(object) == Some(ObjectKey::new(Kind::ConfigMap, live.names.desired()))
}

/// Pods of an older template, or made with another agent, in which nothing runs: an image that can't be pulled, no node, no
/// Secret, an agent that ends at once. Nobody else makes them anew while no holder leads, and with `OnDelete` a mended
/// template never reaches them.
fn stuck_pods(live: &LiveCluster, inputs: &Inputs<'_>) -> Vec<Step> {
    let hash = render::template_hash(inputs);
    let differs = |pod: &Json, annotation: &str, wanted: &str| {
        object::annotation(pod, annotation).is_some_and(|other| other != wanted)
    };
    let pods = live.pods_by_ordinal().into_values();
    let stuck = pods.filter(|pod| {
        let pending = pod.pointer("/status/phase").and_then(Json::as_str) == Some("Pending");
        let other_agent = differs(pod, ANNOTATION_AGENT_HASH, inputs.agent.mark());
        (pending && differs(pod, ANNOTATION_TEMPLATE_HASH, &hash))
            || (other_agent && object::runs_nothing(pod))
    });
    stuck
        .map(|pod| Step::Delete {
            key: ObjectKey::new(Kind::Pod, object::name(pod)),
            uid: object::uid(pod).map(str::to_owned),
        })
        .collect()
}

/// Pods that were made from an edited template count as stale from now on, and the holder rolls them as it rolls others.
fn edited_pods(job: &Job<'_>, live: &LiveCluster, inputs: &Inputs<'_>) -> Vec<Step> {
    let anchor = live.anchor().known().and_then(|object| Anchor::parse(object).ok());
    let hash = render::template_hash(inputs);
    let edited = anchor.map(|anchor| pods::edited(&anchor, live, &job.left_to_others())).unwrap_or_default();
    let as_new = edited
        .into_iter()
        .filter(|(pod, _)| object::annotation(pod, ANNOTATION_TEMPLATE_HASH) == Some(hash.as_str()));
    as_new
        .map(|(pod, _)| Step::Patch {
            key: ObjectKey::new(Kind::Pod, object::name(pod)),
            body: json!({"metadata": {
                "uid": object::uid(pod),
                "annotations": {ANNOTATION_TEMPLATE_HASH: OF_AN_EDITED_TEMPLATE},
            }}),
            may_be_missing: true,
        })
        .collect()
}

/// A create that was cut off before the Lease: nothing was ever initialised, so the first one may still be made. One that was
/// lost later is the agents' to make again (A4).
fn first_lease(job: &Job<'_>, live: &LiveCluster, inputs: &Inputs<'_>) -> Option<Step> {
    let identified = |claim: &&Json| object::annotation(claim, ANNOTATION_SYSTEM_IDENTIFIER).is_some();
    let initialised = job.prior.get("system_identifier").as_str().is_some()
        || live.system_identifier().is_some()
        || live.claims_by_ordinal().values().any(identified);
    let wanted = live.lease().is_missing() && live.stateful_set().is_missing() && !initialised;
    wanted.then(|| Step::Create {
        object: render::lease(inputs, &Record::initial(inputs.anchor_uid, job.spec.sync_mode)),
        taken: Taken::Keep,
    })
}

/// A single instance has no disruption budget; one that is there goes.
fn no_budget(job: &Job<'_>, live: &LiveCluster) -> Option<Step> {
    let key = ObjectKey::new(Kind::PodDisruptionBudget, job.spec.name.clone());
    let Seen::Known(budget) = live.object(&key) else { return None };
    (job.spec.replicas == 0).then(|| Step::Delete { key, uid: object::uid(budget).map(str::to_owned) })
}

/// Wanted no more: everybody may connect again.
fn no_network_policy(job: &Job<'_>, live: &LiveCluster) -> Option<Step> {
    let policy = live.network_policy().filter(|_| job.spec.network_policy.is_none())?;
    let key = ObjectKey::new(Kind::NetworkPolicy, job.spec.name.clone());
    Some(Step::Delete { key, uid: object::uid(policy).map(str::to_owned) })
}

/// After the agents acknowledged fewer members: the pods go, and where volumes are not kept, these too (P23).
fn scale_down(job: &Job<'_>, live: &LiveCluster, inputs: &Inputs<'_>, final_pods: u32) -> Vec<Step> {
    let names = job.names();
    let mut steps = Vec::new();
    if inputs.pods > final_pods {
        let inputs = Inputs { pods: final_pods, ..inputs.clone() };
        let set = wanted(job, live, &inputs)
            .into_iter()
            .find(|object| ObjectKey::of(object).is_some_and(|key| key.kind == Kind::StatefulSet));
        if let Some(set) = set {
            let (forced, uid) = (forced(job, live, &set), uid_of(live, &set));
            steps.push(apply(set, forced, uid));
        }
        steps.push(Step::SaveAnchor);
        steps.push(wait(Wish::PodsGone { from_ordinal: final_pods }));
    }
    if !job.spec.storage.retain {
        let beyond = live.claims_by_ordinal().into_iter().filter(|(ordinal, _)| *ordinal >= final_pods);
        let beyond: Vec<_> = beyond.collect();
        steps.extend(beyond.iter().map(|(ordinal, claim)| Step::Delete {
            key: ObjectKey::new(Kind::PersistentVolumeClaim, names.claim(*ordinal)),
            uid: object::uid(claim).map(str::to_owned),
        }));
        if !beyond.is_empty() {
            let names = beyond.iter().map(|(ordinal, _)| names.claim(*ordinal)).collect();
            steps.push(wait(Wish::ClaimsGone { names }));
        }
    }
    steps
}

/// The claims that no instance has before or after this change: earlier scale-downs kept them, and where volumes are not kept, this
/// change deletes them. `None`: the claims could not be listed.
pub fn kept_claims(job: &Job<'_>, live: &LiveCluster) -> Option<Vec<String>> {
    live.claims.known()?;
    let before = job.prior.get("replicas").as_i64().unwrap_or_default();
    let instances = before.max(i64::from(job.spec.replicas));
    let beyond = live.claims_by_ordinal().into_iter().filter(|(ordinal, _)| i64::from(*ordinal) > instances);
    Some(beyond.map(|(_, claim)| object::name(claim).to_owned()).collect())
}

/// A choice as the state spells it.
fn word(choice: impl serde::Serialize) -> Value {
    serde_json::to_value(choice).ok().and_then(|json| json.as_str().map(Value::from)).unwrap_or_default()
}
