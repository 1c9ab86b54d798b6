//! The StatefulSet (P23).

use pgha_schema::names::PREFIX;
use serde_json::{Value as Json, json};

use super::{Component, Inputs, claims, object, pod, pod_selector};
use crate::object::Kind;

/// Annotation with the desired generation: each apply changes it, so that the controller tries at once to make pods that a
/// quota or a webhook refused, and not after a back-off of many minutes.
fn annotation_generation() -> String {
    format!("{PREFIX}generation")
}

pub(super) fn stateful_set(inputs: &Inputs<'_>) -> Json {
    let names = inputs.names();
    let mut metadata = inputs.metadata_with_anchor(names.cluster(), Component::Database);
    metadata["annotations"][annotation_generation()] = json!(inputs.generation.to_string());
    let spec = json!({
        "replicas": inputs.pods,
        "serviceName": names.service_pods(),
        "selector": {"matchLabels": pod_selector(names.cluster())},
        // The agents order everything themselves: starts, rolls and who goes first.
        "podManagementPolicy": "Parallel",
        "updateStrategy": {"type": "OnDelete"},
        // Volumes are never the controller's to delete; with `retain = false` the provider does it, by uid.
        "persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Retain", "whenScaled": "Retain"},
        "revisionHistoryLimit": 3,
        "template": pod::template(inputs),
        "volumeClaimTemplates": [claims::template(inputs)],
    });
    object(Kind::StatefulSet, metadata, json!({"spec": spec}))
}
