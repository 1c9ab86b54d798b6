//! ConfigMaps `<name>-desired`, with the document that agents carry out, and `<name>-status`, which is theirs to fill.

use pgha_schema::desired::{BootstrapSpec, DESIRED_FORMAT, Desired, FailoverSpec};
use pgha_schema::names::KEY_DESIRED;
use serde_json::{Value as Json, json};

use super::{Component, Inputs, object, pod};
use crate::object::Kind;

/// The desired document.
pub fn document(inputs: &Inputs<'_>) -> Desired {
    let spec = inputs.spec;
    let (bootstrap, failover) = (&spec.bootstrap, &spec.failover);
    Desired {
        format: DESIRED_FORMAT,
        generation: inputs.generation,
        anchor_uid: inputs.anchor_uid.to_owned(),
        state: inputs.state,
        replicas: spec.replicas,
        sync_mode: spec.sync_mode,
        sync_replicas: spec.sync_replicas,
        durability: spec.durability,
        postgres_major: spec.postgres_version.major,
        template_hash: pod::template_hash(inputs),
        parameters: spec.parameters.clone(),
        pg_hba: spec.pg_hba.clone(),
        bootstrap: BootstrapSpec {
            database: bootstrap.database.clone(),
            owner: bootstrap.owner.clone(),
            encoding: bootstrap.encoding.clone(),
            locale: bootstrap.locale.clone(),
            data_checksums: bootstrap.data_checksums,
        },
        failover: FailoverSpec {
            lease_duration_ms: failover.lease_duration.as_millis(),
            renew_interval_ms: failover.renew_interval.as_millis(),
            fence_after_ms: failover.fence_after.as_millis(),
            degrade_after_ms: failover.degrade_after.as_millis(),
            max_lag_bytes: failover.max_lag.as_ref().map(pgha_schema::quantity::Quantity::value),
            on_postgres_crash: failover.on_postgres_crash,
        },
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
