//! The PodDisruptionBudget: node drains take one instance at a time.

use serde_json::{Value as Json, json};

use super::{Component, Inputs, object, pod_selector};
use crate::object::Kind;

/// None for a single instance: it would block every drain (P24).
pub(super) fn budget(inputs: &Inputs<'_>) -> Option<Json> {
    if inputs.spec.replicas == 0 {
        return None;
    }
    let names = inputs.names();
    let rest = json!({"spec": {
        "maxUnavailable": 1,
        "selector": {"matchLabels": pod_selector(names.cluster())},
        "unhealthyPodEvictionPolicy": "AlwaysAllow",
    }});
    Some(object(Kind::PodDisruptionBudget, inputs.metadata(names.cluster(), Component::Database), rest))
}
