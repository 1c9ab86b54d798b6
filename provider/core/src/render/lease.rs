//! The Lease: made once, with the initial record or a kept one; from then on the agents' alone (A4, P21).

use pgha_schema::names::{ANNOTATION_ANCHOR_UID, ANNOTATION_RECORD};
use pgha_schema::record::Record;
use serde_json::{Value as Json, json};

use super::{Component, Inputs, object};
use crate::object::{Kind, ObjectKey};
use crate::step::Step;

/// The Lease with a record.
pub fn lease(inputs: &Inputs<'_>, record: &Record) -> Json {
    let record = Record { anchor_uid: inputs.anchor_uid.to_owned(), ..record.clone() };
    let mut metadata = inputs.metadata_with_anchor(inputs.names().cluster(), Component::Agent);
    metadata["annotations"][ANNOTATION_RECORD] = json!(serde_json::to_string(&record).unwrap_or_default());
    object(Kind::Lease, metadata, json!({"spec": {}}))
}

/// Gives a Lease the uid of an anchor that was made again (P16). The record's own copy is the holder's to change.
pub fn lease_patch(inputs: &Inputs<'_>, uid: &str) -> Step {
    let key = ObjectKey::new(Kind::Lease, inputs.names().cluster());
    let body = json!({"metadata": {"uid": uid, "annotations": {ANNOTATION_ANCHOR_UID: inputs.anchor_uid}}});
    Step::Patch { key, body, may_be_missing: false }
}
