//! The record: read uncached, written by compare-and-swap, kept on the volume (A1, A4).

use std::collections::BTreeSet;
use std::time::Duration;

use pgha_agent_core::observation::{LeaseVersion, WriteOutcome, WriteSeen};
use pgha_agent_core::promise::told;
use pgha_agent_core::timing::API_DEADLINE_MS;
use pgha_schema::names::{
    ANNOTATION_ANCHOR_UID, ANNOTATION_RECORD, APP_NAME, LABEL_INSTANCE, LABEL_MANAGED_BY, LABEL_NAME, MANAGER,
};
use pgha_schema::record::Record;
use serde_json::{Value, json};

use super::{ActError, file};
use crate::agent::Agent;
use crate::api::ApiError;
use crate::boottime::now_ms;
use crate::heartbeats::addresses;

const DEADLINE: Duration = Duration::from_millis(API_DEADLINE_MS);

impl Agent {
    pub(super) async fn read_lease(&mut self) -> Result<(), ActError> {
        Ok(self.world.read_lease(&self.lease_api, &self.paths, DEADLINE).await?)
    }

    pub(super) async fn write_record(
        &mut self,
        version: &LeaseVersion,
        record: &Record,
    ) -> Result<(), ActError> {
        let Some(mut object) = self.world.lock().lease.raw_at(version).cloned() else {
            // Another version came between the decision and now: the same as a conflict at the server.
            self.note_write(WriteOutcome::Conflict);
            self.read_lease().await?;
            return Err(ActError::Premise("the Lease changed meanwhile"));
        };
        object["metadata"]["annotations"][ANNOTATION_RECORD] = record_text(record);
        object["spec"] =
            spec(record, self.timing.lease_duration_ms(), object["spec"]["leaseTransitions"].as_i64());
        if let Some(metadata) = object["metadata"].as_object_mut() {
            metadata.remove("managedFields");
        }
        let sent_ms = now_ms();
        let result = self.lease_api.put(&self.paths.lease(), &object, DEADLINE).await;
        self.conclude_write(result, sent_ms).await
    }

    pub(super) async fn create_lease(&mut self, record: &Record) -> Result<(), ActError> {
        let cluster = self.settings.names.cluster();
        let object = json!({
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {
                "name": cluster,
                "namespace": self.settings.namespace,
                "labels": {
                    LABEL_NAME: APP_NAME,
                    LABEL_INSTANCE: cluster,
                    LABEL_MANAGED_BY: MANAGER,
                },
                "annotations": {
                    ANNOTATION_ANCHOR_UID: self.me.anchor_uid,
                    ANNOTATION_RECORD: record_text(record),
                },
            },
            "spec": spec(record, self.timing.lease_duration_ms(), None),
        });
        let sent_ms = now_ms();
        let result = self.lease_api.post(&self.paths.leases(), &object, DEADLINE).await;
        self.conclude_write(result, sent_ms).await
    }

    fn note_write(&mut self, outcome: WriteOutcome) {
        self.last_write = Some(WriteSeen { at_ms: now_ms(), outcome });
    }

    async fn conclude_write(
        &mut self,
        result: Result<Value, ApiError>,
        sent_ms: u64,
    ) -> Result<(), ActError> {
        match result {
            Ok(raw) => {
                self.world.lease_written(raw, sent_ms);
                self.note_write(WriteOutcome::Written);
                Ok(())
            }
            Err(error) => {
                let outcome = match &error {
                    error if error.is_conflict() => WriteOutcome::Conflict,
                    error if error.is_refusal() => WriteOutcome::Refused,
                    _ => WriteOutcome::Unknown,
                };
                self.note_write(outcome);
                tracing::warn!(%error, ?outcome, "the record was not written");
                // What the server has now decides what may be tried next.
                let _ = self.read_lease().await;
                Err(error.into())
            }
        }
    }

    pub(super) fn keep_record(&mut self, record: &Record) -> Result<(), ActError> {
        self.volume.keep_record(record).map_err(file("keep the record"))?;
        self.data.touch_kept();
        Ok(())
    }
}

impl Agent {
    /// On the volume before anything else of the batch, and before any report tells of it.
    pub(super) fn give_promise(&mut self, version: &LeaseVersion) -> Result<(), ActError> {
        self.volume.keep_promise(&told(version)).map_err(file("keep a promise"))?;
        self.data.touch();
        tracing::info!(version = version.resource_version, "promised to confirm nothing for the holder");
        Ok(())
    }

    pub(super) fn drop_promise(&mut self) -> Result<(), ActError> {
        self.volume.drop_promise().map_err(file("drop a promise"))?;
        self.data.touch();
        Ok(())
    }

    pub(super) fn ask_promises(&self, version: &LeaseVersion, pods: &BTreeSet<String>) {
        let addresses = addresses(&self.world);
        for pod in pods {
            if let Some(address) = addresses.get(pod) {
                self.peers.ask_promise(&self.sender, pod, *address, version, &self.wake);
            }
        }
    }
}

fn record_text(record: &Record) -> Value {
    Value::String(serde_json::to_string(record).unwrap_or_default())
}

/// The Lease's own fields: for people and tools, never read here.
fn spec(record: &Record, lease_duration_ms: u64, transitions: Option<i64>) -> Value {
    json!({
        "holderIdentity": record.holder.as_ref().map_or("", |holder| holder.pod.as_str()),
        "leaseDurationSeconds": lease_duration_ms.div_ceil(1_000),
        "renewTime": format!("{:.6}", jiff::Timestamp::now()),
        "leaseTransitions": transitions.unwrap_or(0).max(record.era().0 as i64),
    })
}
