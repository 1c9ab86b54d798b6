//! What Kubernetes would refuse, asked at plan time (P10). Only warnings come of it: a destroy plans too, and a refusal
//! here must not stand in its way.

use std::time::Duration;

use pgha_provider_core::diagnostic::Diagnostic;
use pgha_provider_core::object::{Kind, ObjectKey};
use serde_json::{Value as Json, json};

use super::api::{Api, Mode};
use super::errors::LiveError;

/// The answers that come within this time count; a plan does not wait for a slow API server.
const LIMIT: Duration = Duration::from_secs(5);

/// What a plan would write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// A new cluster: one of its pods and volume claims too, since quotas and Pod Security act on them.
    Create,
    /// An existing one: the objects only, since its own pods already count in the quota.
    Update,
}

/// Tries the objects on the API server without storing them; gives what it refuses, as one warning.
pub async fn refusals(api: &Api, objects: &[Json], extent: Extent) -> Option<Diagnostic> {
    let mut attempts = objects.to_vec();
    let mut made = Vec::new();
    if extent == Extent::Create {
        made = objects
            .iter()
            .filter(|object| object["kind"] == Kind::StatefulSet.name())
            .flat_map(made_by)
            .collect();
    }
    let applied = attempts.drain(..).filter_map(|object| {
        let key = ObjectKey::of(&object)?;
        Some(async move { api.apply_once(&key, &object, true, Mode::DryRun).await })
    });
    let created = made.into_iter().filter_map(|object| {
        let key = ObjectKey::of(&object)?;
        Some(async move { api.create(&key, &object, Mode::DryRun).await })
    });
    let both = futures::future::join(futures::future::join_all(applied), futures::future::join_all(created));
    let Ok((applied, created)) = tokio::time::timeout(LIMIT, both).await else {
        tracing::info!("the dry run at plan time took too long and is left out");
        return None;
    };
    let refused: Vec<_> =
        applied.into_iter().chain(created).filter_map(Result::err).filter(is_telling).collect();
    warning(&refused)
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
            let message = error.status().map(|status| status.message.as_str()).unwrap_or_default();
            format!("\n  {error}: {message}")
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
