//! ConfigMaps `<name>-desired`, with the document that agents carry out, and `<name>-status`, which is theirs to fill.

use pgha_schema::desired::Desired;
use pgha_schema::names::KEY_DESIRED;
use serde_json::{Value as Json, json};

use super::{Component, Inputs, object, pod};
use crate::object::Kind;

/// The desired document.
pub fn document(inputs: &Inputs<'_>) -> Desired {
    let hash = pod::template_hash(inputs);
    let agent = inputs.agent.binary();
    let spec = inputs.spec.desired(inputs.generation, inputs.anchor_uid, &hash, agent, inputs.state);
    Desired {
        requests: inputs.requests.clone(),
        credentials: inputs.credentials,
        taken_back: inputs.taken_back.clone(),
        ..spec
    }
}

pub(super) fn config_map(inputs: &Inputs<'_>) -> Json {
    let metadata = inputs.metadata(&inputs.names().desired(), Component::State);
    object(Kind::ConfigMap, metadata, json!({"data": {KEY_DESIRED: document(inputs).to_text()}}))
}

/// Without data: that is the holder's to write, and ours to read.
pub(super) fn status(inputs: &Inputs<'_>) -> Json {
    object(Kind::ConfigMap, inputs.metadata(&inputs.names().status(), Component::State), json!({}))
}
