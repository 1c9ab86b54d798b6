//! What Kubernetes would refuse, asked at plan time (P10). Only warnings come of it: a destroy plans too, and a refusal
//! here must not stand in its way.

use std::time::Duration;

use futures::future::{join, join_all};
use pgha_provider_core::conflict::{self, Conflict};
use pgha_provider_core::diagnostic::Diagnostic;
use pgha_provider_core::object::{Kind, ObjectKey};
use pgha_provider_core::steps::Trial;
use serde_json::{Value as Json, json};

use super::api::{Api, Mode};
use super::errors::LiveError;

/// The answers that come within this time count; a plan does not wait for a slow API server.
pub const LIMIT: Duration = Duration::from_secs(5);

/// What Kubernetes itself would make of the writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// More pods: a pod and its volume claim are tried, since quotas and Pod Security act on them.
    MorePods,
    /// As many pods as there are: what a quota says of a further one does not matter.
    SamePods,
}

/// Why one write would not go through.
enum Refusal {
    /// The API server's answer.
    Answer(LiveError),
    /// Others own fields.
    Conflict(Diagnostic),
}

/// Tries the writes on the API server without storing them; gives what would be refused, as warnings.
pub async fn tried(api: &Api, trials: Vec<Trial>, extent: Extent) -> Vec<Diagnostic> {
    let sets = trials.iter().filter_map(|trial| match trial {
        Trial::Apply { object, .. } => (object["kind"] == Kind::StatefulSet.name()).then_some(object),
        Trial::Patch { .. } => None,
    });
    let made: Vec<Json> = sets.flat_map(made_by).filter(|made| is_tried(made, extent)).collect();
    let written = trials.into_iter().map(|trial| write(api, trial));
    let created = made.into_iter().filter_map(|object| {
        let key = ObjectKey::of(&object)?;
        Some(async move { api.create(&key, &object, Mode::DryRun).await.err() })
    });
    let (written, created) = join(join_all(written), join_all(created)).await;
    let created =
        created.into_iter().flatten().filter(|error| extent == Extent::MorePods || !is_of_quota(error));
    let refusals = written.into_iter().flatten().chain(created.map(Refusal::Answer));
    let (mut answers, mut refused) = (Vec::new(), Vec::new());
    for refusal in refusals {
        match refusal {
            Refusal::Answer(error) if is_telling(&error) => answers.push(error),
            Refusal::Answer(_) => {}
            Refusal::Conflict(problem) => refused.push(Diagnostic::warning(problem.summary, problem.detail)),
        }
    }
    refused.extend(warning(&answers));
    refused
}

/// As an apply does it: with force only where the plan shows the difference (P17).
async fn write(api: &Api, trial: Trial) -> Option<Refusal> {
    let (object, forced) = match trial {
        Trial::Patch { key, body } => {
            return api.merge(&key, &body, Mode::DryRun).await.err().map(Refusal::Answer);
        }
        Trial::Apply { object, forced } => (object, forced),
    };
    let key = ObjectKey::of(&object)?;
    let error = api.apply_once(&key, &object, false, Mode::DryRun).await.err()?;
    let conflicts: Vec<Conflict> = error.conflicts();
    if conflicts.is_empty() {
        return Some(Refusal::Answer(error));
    }
    match conflict::judge(&key, &forced, &conflicts) {
        Err(problem) => Some(Refusal::Conflict(problem)),
        Ok(()) => api.apply_once(&key, &object, true, Mode::DryRun).await.err().map(Refusal::Answer),
    }
}

/// A claim more is made for a pod more only.
fn is_tried(made: &Json, extent: Extent) -> bool {
    extent == Extent::MorePods || made["kind"] == Kind::Pod.name()
}

fn is_of_quota(error: &LiveError) -> bool {
    error.status().is_some_and(|status| status.message.contains("exceeded quota"))
}

/// A pod and a claim as the controllers would make them.
fn made_by(stateful_set: &Json) -> Vec<Json> {
    let name = stateful_set.pointer("/metadata/name").and_then(Json::as_str).unwrap_or_default();
    let namespace = &stateful_set["metadata"]["namespace"];
    let mut pod = stateful_set["spec"]["template"].clone();
    pod["apiVersion"] = json!(Kind::Pod.api_version());
    pod["kind"] = json!(Kind::Pod.name());
    pod["metadata"]["name"] = json!(format!("{name}-dry-run"));
    pod["metadata"]["namespace"] = namespace.clone();
    // Made by the same apply, and admission looks for it.
    if let Some(spec) = pod["spec"].as_object_mut() {
        spec.remove("serviceAccountName");
    }
    let mut made = Vec::new();
    for template in stateful_set["spec"]["volumeClaimTemplates"].as_array().into_iter().flatten() {
        let volume = template["metadata"]["name"].clone();
        let claim_name = format!("{}-{name}-dry-run", volume.as_str().unwrap_or_default());
        let mut claim = template.clone();
        claim["metadata"]["name"] = json!(claim_name);
        claim["metadata"]["namespace"] = namespace.clone();
        made.push(claim);
        if let Some(volumes) = pod["spec"]["volumes"].as_array_mut() {
            volumes.push(json!({"name": volume, "persistentVolumeClaim": {"claimName": claim_name}}));
        } else {
            pod["spec"]["volumes"] =
                json!([{"name": volume, "persistentVolumeClaim": {"claimName": claim_name}}]);
        }
    }
    made.push(pod);
    made
}

/// A missing right, a namespace that is yet to be made and a server that is away are no one's fault at plan time.
fn is_telling(error: &LiveError) -> bool {
    let silent =
        error.is_forbidden() || error.is_not_found() || error.is_already_exists() || error.is_other_uid();
    let refused = error.status().filter(|status| status.code != 401 && (400..500).contains(&status.code));
    let telling = !silent && refused.is_some() && !error.is_passing();
    if !telling {
        tracing::info!(%error, causes = super::errors::causes(error), "the dry run at plan time tells nothing");
    }
    telling
}

fn warning(refused: &[LiveError]) -> Option<Diagnostic> {
    let lines: Vec<_> = refused
        .iter()
        .map(|error| {
            let told = error.refusal_text().unwrap_or_default();
            format!("\n  {error}:{}", told.replace('\n', "\n    "))
        })
        .collect();
    let detail = format!(
        "A dry run of this plan was refused. Unless that is mended, apply will stop there, half-way:{}",
        lines.concat()
    );
    (!lines.is_empty()).then(|| Diagnostic::warning("Kubernetes would refuse parts of this plan now", detail))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_pod_and_one_claim_are_made_as_the_controllers_would() {
        let set = json!({"kind": "StatefulSet", "metadata": {"name": "orders", "namespace": "shop"}, "spec": {
            "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [], "volumes": [{"name": "tmp"}]}},
            "volumeClaimTemplates": [{"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data"}, "spec": {}}],
        }});
        let made = made_by(&set);
        let shown: Vec<_> = made.iter().filter_map(ObjectKey::of).map(|key| key.to_string()).collect();
        assert_eq!(shown, ["PersistentVolumeClaim data-orders-dry-run", "Pod orders-dry-run"]);
        assert_eq!(
            made[1]["spec"]["volumes"][1]["persistentVolumeClaim"]["claimName"],
            "data-orders-dry-run"
        );
        assert_eq!(made[1]["metadata"]["namespace"], "shop");
    }
}
