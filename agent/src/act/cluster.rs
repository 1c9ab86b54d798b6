//! Kubernetes objects: labels, pods, status, identifiers on volumes, events.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use pgha_schema::ids::SystemIdentifier;
use pgha_schema::names::{
    AGENT_MANAGER, ANNOTATION_NEVER_INITIALISED, ANNOTATION_SYSTEM_IDENTIFIER, KEY_STATUS,
};
use pgha_schema::status::{ClusterStatus, VolumeFill};
use serde_json::{Value, json};

use crate::agent::Agent;
use crate::api::objects::status_of;
use crate::api::{Api, ApiError};
use crate::boottime::now_ms;

const DEADLINE: Duration = Duration::from_secs(2);
/// The status document is written at most this often, but for an acknowledgement (A32).
const STATUS_EVERY_MS: u64 = 5_000;

impl Agent {
    pub(super) fn label_pod(
        &mut self,
        pod: &str,
        uid: &str,
        resource_version: &str,
        labels: &BTreeMap<String, Option<String>>,
    ) {
        let patch = json!({"metadata": {"uid": uid, "resourceVersion": resource_version, "labels": labels}});
        let (api, path, world) = (Arc::clone(&self.api), self.paths.pod(pod), self.world.clone());
        let (names, wake) = (self.settings.names.clone(), Arc::clone(&self.wake));
        tracing::info!(pod, labels = ?labels, "labels");
        // One after the other, in the order of the decision: endpoints change with each (A27).
        let (done, next) = tokio::sync::oneshot::channel::<()>();
        let earlier = self.background.labelled.replace(next);
        self.background.start(format!("label {pod}"), async move {
            // Dropped with its task, however that ends.
            let _done = done;
            if let Some(earlier) = earlier {
                let _ = tokio::time::timeout(DEADLINE, earlier).await;
            }
            let raw = api.patch(&path, &patch, DEADLINE).await?;
            // Known at once, so that the next decision does not wait for the watch.
            if let Some((name, seen)) = crate::api::objects::pod_of(&raw, &names) {
                world.lock().pods.insert(name, seen);
                wake.notify_one();
            }
            Ok(())
        });
    }

    pub(super) fn delete_pod(&mut self, pod: &str, uid: &str) {
        let options = json!({"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": uid}});
        let (api, path) = (Arc::clone(&self.api), self.paths.pod(pod));
        tracing::info!(pod, "deletes the pod");
        self.background.start(format!("delete {pod}"), async move {
            match api.delete(&path, &options, DEADLINE).await {
                Err(error) if !error.is_not_found() => Err(error),
                _ => Ok(()),
            }
        });
    }

    pub(super) fn write_status(&mut self, status: &ClusterStatus) {
        if let Some((written, at_ms)) = &self.status_written {
            let urgent = written.acknowledged != status.acknowledged
                || written.accepts_writes != status.accepts_writes
                || written.stopped != status.stopped
                || written.primary != status.primary
                || written.answers != status.answers
                || written.paused != status.paused;
            if written == status || (!urgent && now_ms() < at_ms + STATUS_EVERY_MS) {
                return;
            }
        }
        let (api, path) = (Arc::clone(&self.api), self.paths.config_map(&self.settings.names.status()));
        let retry = Arc::clone(&self.status_failed);
        let mut ours = status.clone();
        let since = self.degraded_since.clone();
        let now = || jiff::Timestamp::now().to_string();
        since.set(status.degraded.then(|| since.get().unwrap_or_else(now)));
        ours.degraded_since = since.get();
        ours.instances
            .entry(self.me.pod.clone())
            .and_modify(|own| own.volume_used_percent = self.disk.fill().map(VolumeFill::percent));
        let begun = self.background.start("status".to_owned(), async move {
            let result = replace_status(&api, &path, ours).await;
            retry.store(result.is_err(), std::sync::atomic::Ordering::Release);
            result.map(|stored| {
                if let Some(known) = stored.filter(|_| since.get().is_some()) {
                    since.set(Some(known));
                }
            })
        });
        // Behind a slow write this one was left out: it must not count as written, or it would never be.
        if begun {
            self.status_written = Some((status.clone(), now_ms()));
        }
    }

    /// Each by itself: what is refused for one claim holds up neither the others nor the StatefulSet.
    pub(super) fn stamp_volumes(&mut self, identifier: SystemIdentifier, ordinals: &BTreeSet<u32>) {
        let claim = |ordinal: &u32| (Some(*ordinal), self.paths.claim(&self.settings.names.claim(*ordinal)));
        let mut marked: Vec<_> = ordinals.iter().map(claim).collect();
        marked.push((None, self.paths.stateful_set()));
        let patch = mark(identifier);
        let (api, world, wake) = (Arc::clone(&self.api), self.world.clone(), Arc::clone(&self.wake));
        self.background.start("the marks of the volumes".to_owned(), async move {
            let mut failed = None;
            for (ordinal, path) in marked {
                match api.patch(&path, &patch, DEADLINE).await {
                    // Known at once, so that the next decision does not wait for the next look.
                    Ok(_) => world.lock().mark(ordinal, identifier),
                    Err(error) => failed = failed.or(Some(error)),
                }
            }
            world.lock().marks_refused = failed.as_ref().and_then(refusal);
            wake.notify_one();
            failed.map_or(Ok(()), Err)
        });
    }

    pub(super) fn emit_event(&mut self, warning: bool, reason: &'static str, message: &str) {
        if reason == "TookOver" {
            self.counts.takeovers += 1;
            self.counts.failovers += u64::from(warning);
        }
        if warning {
            tracing::warn!(reason, message, "event");
        } else {
            tracing::info!(reason, message, "event");
        }
        let now = jiff::Timestamp::now();
        let seconds = format!("{now:.0}");
        let event = json!({
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"generateName": format!("{}.", self.me.pod), "namespace": self.settings.namespace},
            "involvedObject": {
                "apiVersion": "v1", "kind": "Pod", "namespace": self.settings.namespace,
                "name": self.me.pod, "uid": self.me.pod_uid,
            },
            "reason": reason,
            "message": message,
            "type": if warning { "Warning" } else { "Normal" },
            "source": {"component": AGENT_MANAGER, "host": self.me.node},
            "reportingComponent": AGENT_MANAGER,
            "reportingInstance": self.me.pod,
            "firstTimestamp": seconds,
            "lastTimestamp": seconds,
            "count": 1,
        });
        let (api, path) = (Arc::clone(&self.api), self.paths.events());
        // Two events of one reason may be under way at once: each is told once, and neither is left out for the other.
        self.background.start(format!("event {reason} {message}"), async move {
            api.post(&path, &event, DEADLINE).await.map(drop)
        });
    }
}

/// It holds data now, whatever an earlier destroy found.
fn mark(identifier: SystemIdentifier) -> Value {
    json!({"metadata": {"annotations": {
        ANNOTATION_SYSTEM_IDENTIFIER: identifier.to_string(),
        ANNOTATION_NEVER_INITIALISED: null,
    }}})
}

/// What people can do something about: an answer, and not one that says "later".
fn refusal(error: &ApiError) -> Option<String> {
    let code = error.code().filter(|code| !matches!(code, 409 | 429 | 503 | 504))?;
    tracing::warn!(code, %error, "the volumes are not marked");
    Some(error.to_string())
}

/// Onto what is there, and only onto that: a conflict fails, and the next decision writes anew. Gives back since when it
/// is degraded, as it stands there now.
async fn replace_status(api: &Api, path: &str, ours: ClusterStatus) -> Result<Option<String>, ApiError> {
    let raw = api.get(path, DEADLINE).await?;
    let status = match status_of(&raw) {
        Some(stored) => ours.over(&stored),
        None => Some(ours),
    };
    let Some(status) = status else { return Ok(None) };
    let text = serde_json::to_string_pretty(&status).unwrap_or_default();
    let version = &raw["metadata"]["resourceVersion"];
    let patch = json!({"metadata": {"resourceVersion": version}, "data": {KEY_STATUS: text}});
    api.patch(path, &patch, DEADLINE).await?;
    Ok(status.degraded_since)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_takes_back_that_a_volume_never_held_data() {
        let patch = mark(SystemIdentifier(7));
        let annotations = &patch["metadata"]["annotations"];
        assert_eq!(annotations[ANNOTATION_SYSTEM_IDENTIFIER], "7");
        assert!(annotations.get(ANNOTATION_NEVER_INITIALISED).is_some_and(Value::is_null));
    }

    #[test]
    fn a_refusal_is_what_an_answer_says_that_time_alone_does_not_mend() {
        let answer = |code| ApiError::Status { code, reason: "R".to_owned(), message: "m".to_owned() };
        assert_eq!(refusal(&answer(403)).as_deref(), Some("the API server answered 403 R: m"));
        // A webhook that can't be asked.
        assert!(refusal(&answer(500)).is_some());
        for later in [409, 429, 503, 504] {
            assert_eq!(refusal(&answer(later)), None, "{later}");
        }
        assert_eq!(refusal(&ApiError::Timeout(DEADLINE)), None);
    }
}
