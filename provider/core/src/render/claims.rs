//! The claim template of the data volumes, and the patches of claims that exist.

use pgha_schema::names::Names;
use serde_json::{Value as Json, json};

use super::{Component, Inputs, labels, without_nulls};
use crate::object::{Kind, ObjectKey};
use crate::step::Step;

/// Name of the volume and first part of the claims' names.
pub(super) const DATA_VOLUME: &str = "data";

/// The template. It can't be changed once the StatefulSet exists: growth patches the claims, also those made later from
/// the old template (P23).
pub(super) fn template(inputs: &Inputs<'_>) -> Json {
    let storage = &inputs.spec.storage;
    let size = inputs.claim_size.clone().unwrap_or_else(|| storage.size.to_string());
    without_nulls(json!({
        "apiVersion": Kind::PersistentVolumeClaim.api_version(),
        "kind": Kind::PersistentVolumeClaim.name(),
        "metadata": {"name": DATA_VOLUME, "labels": labels(&inputs.spec.name, Component::Database)},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": size}},
            "storageClassName": storage.class,
            "volumeMode": "Filesystem",
        },
    }))
}

/// Asks for a larger volume.
pub(crate) fn grow(names: &Names, ordinal: u32, uid: Option<&str>, size: &str) -> Step {
    let body = json!({"metadata": {"uid": uid}, "spec": {"resources": {"requests": {"storage": size}}}});
    patch(names.claim(ordinal), body)
}

/// Writes annotations onto a claim.
pub(crate) fn annotate(name: &str, uid: Option<&str>, annotations: Json) -> Step {
    patch(name.to_owned(), json!({"metadata": {"uid": uid, "annotations": annotations}}))
}

fn patch(name: String, mut body: Json) -> Step {
    if body["metadata"]["uid"].is_null()
        && let Some(metadata) = body["metadata"].as_object_mut()
    {
        metadata.remove("uid");
    }
    let key = ObjectKey::new(Kind::PersistentVolumeClaim, name);
    Step::Patch { key, body, may_be_missing: true }
}
