//! A new cluster (P16, P19, P21).

use pgha_schema::desired::document_sha256;
use pgha_schema::names::{ANNOTATION_BOOTSTRAP, ANNOTATION_NEVER_INITIALISED, ANNOTATION_RECORD};
use pgha_schema::record::Record;
use pgha_schema::resource::Bootstrap;
use serde_json::{Value as Json, json};

use super::volumes::{self, Found};
use super::{Job, Steps, apply, chunks, new_anchor, readable, wait};
use crate::diagnostic::Diagnostic;
use crate::live::LiveCluster;
use crate::object::{self, Kind, ObjectKey};
use crate::render::{self, Inputs};
use crate::step::{Forced, Step, Taken, Wish};

/// The first write of a create: a plain POST of the anchor. Everything that can be refused is refused before it.
pub fn create_anchor(job: &Job<'_>, live: &LiveCluster) -> Result<Step, Diagnostic> {
    readable(live, job.has_network_policy())?;
    if live.anchor_uid().is_none() {
        for seen in [live.stateful_set(), live.lease()] {
            if let Some(object) = seen.known() {
                return Err(leftover(object));
            }
        }
        if let Some(key) = foreign(job, live) {
            return Err(anothers(key, &job.spec.name));
        }
        volumes::judge(live, job.spec.replicas)?;
    }
    let Diagnostic { summary, detail, .. } = exists_already(job);
    Ok(Step::Create { object: new_anchor(job), taken: Taken::Error { summary, detail } })
}

/// A cluster of this name has its anchor.
pub(super) fn exists_already(job: &Job<'_>) -> Diagnostic {
    let id = format!("{}/{}", job.spec.namespace, job.spec.name);
    Diagnostic::error(
        format!("Cluster {id} exists already"),
        format!(
            "ConfigMap {} is there, so a cluster of this name exists, made by another configuration or by this one \
             before its state was lost. Nothing was changed. To manage that cluster here: terraform import \
             ADDRESS {id}. To make another one, choose another name.",
            job.names().anchor()
        ),
    )
}

/// An object of others that has the name of one of ours: it would be taken over, and deleted with the cluster. What a half-made cluster of
/// this name has left carries its labels, and is gone on with.
fn foreign<'a>(job: &Job<'_>, live: &'a LiveCluster) -> Option<&'a ObjectKey> {
    let may_stay = |key: &ObjectKey| key.kind == Kind::NetworkPolicy && !job.has_network_policy();
    let there = live.objects.iter().filter_map(|(key, seen)| Some((key, seen.known()?)));
    let mut others = there.filter(|(key, object)| !may_stay(key) && !object::is_of(object, &job.spec.name));
    others.next().map(|(key, _)| key)
}

fn anothers(key: &ObjectKey, cluster: &str) -> Diagnostic {
    exists(
        key,
        &format!(
            "It does not carry the labels of cluster {cluster}, so it is somebody else's; the cluster would change it"
        ),
    )
}

/// The Secrets that a create makes, without their contents. Secrets are not read (P14): whether others have the names is found out by
/// trying to make these.
pub fn secret_probes(job: &Job<'_>) -> Vec<Json> {
    let names = job.names();
    let probe = |name: String| {
        json!({
            "apiVersion": Kind::Secret.api_version(),
            "kind": Kind::Secret.name(),
            "metadata": {"name": name, "namespace": job.spec.namespace},
        })
    };
    [names.secret_superuser(), names.secret_app(), names.secret_internal()].map(probe).into()
}

/// Why nothing is made when such a Secret is there.
pub fn secret_of_others(key: &ObjectKey) -> Diagnostic {
    exists(
        key,
        "It is there without a cluster of this name, so it is somebody else's, or was left by a cluster that lost its anchor; the cluster \
         would take its password for the one of its role",
    )
}

fn exists(key: &ObjectKey, why: &str) -> Diagnostic {
    Diagnostic::error(
        format!("{key} exists already"),
        format!(
            "{why}, and a destroy would delete it. Nothing was changed. Choose another name for the cluster; or, if it may go, \
             delete it first."
        ),
    )
}

fn leftover(object: &Json) -> Diagnostic {
    let kind = object["kind"].as_str().unwrap_or("Object");
    Diagnostic::error(
        format!("{kind} {} exists already", object::name(object)),
        format!(
            "It is there without the ConfigMap {}-anchor that belongs to a cluster of ours: it is another's, or a cluster \
             lost its anchor. Nothing was changed. Choose another name; or, if it may go, delete it first.",
            object::name(object)
        ),
    )
}

/// Everything after the anchor; `live` holds it.
pub fn build(job: &Job<'_>, live: &LiveCluster) -> Result<Steps, Diagnostic> {
    readable(live, job.has_network_policy())?;
    let uid = live.anchor_uid().ok_or_else(|| {
        Diagnostic::error("The anchor is gone", "It was deleted right after it was made. Run apply again.")
    })?;
    let found = volumes::judge(live, job.spec.replicas)?;
    let inputs = job.inputs(uid, 1, live);
    let mut all = Steps::default();
    all.steps.extend(chunks::share(job, uid));
    all.steps.extend(render::secrets(&inputs));
    all.steps.extend(without(live, ANNOTATION_NEVER_INITIALISED));
    all.steps.push(lease(&inputs, &found));
    all.steps.extend(without(live, ANNOTATION_RECORD));
    if let Found::Kept(record) = &found {
        all.diagnostics.push(resumed(job, live, record));
    }
    all.steps
        .extend(render::objects(&inputs).into_iter().map(|object| apply(object, Forced::default(), None)));
    all.steps.push(Step::SaveAnchor);
    all.steps.push(wait(Wish::Primary));
    if job.spec.replicas > 0 {
        all.steps.push(wait(Wish::Streaming { standbys: job.spec.replicas }));
    }
    let sha256 = document_sha256(&render::document(&inputs).to_text());
    all.steps.push(wait(Wish::Acknowledged { generation: inputs.generation, sha256 }));
    Ok(all)
}

/// The Lease is made once and never again: one that is there belongs to somebody.
fn lease(inputs: &Inputs<'_>, found: &Found) -> Step {
    let record = match found {
        Found::Empty => Record::initial(inputs.anchor_uid, inputs.spec.sync_mode),
        Found::Kept(record) => (**record).clone(),
    };
    let name = inputs.names().cluster().to_owned();
    Step::Create {
        object: render::lease(inputs, &record),
        taken: Taken::Error {
            summary: format!("Lease {name} exists already"),
            detail: "Somebody else made it in the meantime. Choose another name, or delete it if it may go."
                .to_owned(),
        },
    }
}

/// Takes an annotation off the claims that carry it. The mark that a volume never held data goes before it may hold some;
/// the kept record goes once the Lease holds it: from then on it grows old, and resuming from an old record, should
/// somebody delete Lease, StatefulSet and anchor, would forget eras and the commits in them.
fn without(live: &LiveCluster, annotation: &str) -> Vec<Step> {
    let claims = live.claims_by_ordinal().into_values();
    let carriers = claims.filter(|claim| object::annotation(claim, annotation).is_some());
    carriers
        .map(|claim| render::annotate(object::name(claim), object::uid(claim), json!({annotation: null})))
        .collect()
}

/// What a create says that would go on from the volumes that are there; for its plan too.
pub fn resumption(job: &Job<'_>, live: &LiveCluster) -> Option<Diagnostic> {
    match volumes::judge(live, job.spec.replicas) {
        Ok(Found::Kept(record)) => Some(resumed(job, live, &record)),
        Ok(Found::Empty) | Err(_) => None,
    }
}

fn resumed(job: &Job<'_>, live: &LiveCluster, record: &Record) -> Diagnostic {
    let system = record.system_identifier.map_or_else(|| "unknown".to_owned(), |system| system.to_string());
    let claims = live.claims_by_ordinal();
    let names: Vec<_> = claims.values().copied().map(object::name).collect();
    let made_with = claims.values().find_map(|claim| object::annotation(claim, ANNOTATION_BOOTSTRAP));
    let made_with = made_with.and_then(|text| serde_json::from_str::<Bootstrap>(text).ok());
    Diagnostic::warning(
        "The cluster resumes from kept volumes",
        format!(
            "Volumes of an earlier cluster of this name were found ({}), with PostgreSQL's system identifier {system} and \
             era {}. The new cluster goes on with that data; initdb is not run, and `bootstrap` has no effect{}",
            names.join(", "),
            record.era(),
            bootstrap_of(job, made_with.as_ref())
        ),
    )
}

/// What is known of the `bootstrap` that kept data was made with, beside the configured one.
fn bootstrap_of(job: &Job<'_>, made_with: Option<&Bootstrap>) -> String {
    let secret = job.names().secret_app();
    let Some(there) = made_with else {
        return format!(
            ". Nothing tells with which one the data was made: if it was another, the state and Secret {secret} name a database and \
             a role that do not exist."
        );
    };
    let fields = |bootstrap: &Bootstrap| serde_json::to_value(bootstrap).unwrap_or_default();
    let (there, wanted) = (fields(there), fields(&job.spec.bootstrap));
    let members = there.as_object().into_iter().flatten();
    let differ: Vec<String> = members
        .filter(|(name, value)| wanted.get(*name) != Some(*value))
        .map(|(name, value)| format!("{name} is {value}, not {}", wanted[name]))
        .collect();
    if differ.is_empty() {
        return ": the data was made with the same one.".to_owned();
    }
    format!(
        ". The data was made with another one: {}. The state and Secret {secret} say what is configured, and nothing makes that. \
         Configure what is there instead; once the cluster is made, that takes a destroy first, which keeps the volumes.",
        differ.join(", ")
    )
}
