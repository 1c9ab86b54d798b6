//! What the API server told: kept current by watches, read by the loop, never trusted for safety (A1).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pgha_agent_core::observation::{DesiredSeen, LeaseRead, LeaseSeen, LeaseVersion, PodSeen, VolumeSeen};
use pgha_schema::ids::SystemIdentifier;
use pgha_schema::names::Names;
use serde_json::Value;
use tokio::sync::{Notify, mpsc};

use crate::api::objects::{self, Paths};
use crate::api::watch::{Event, follow};
use crate::api::{Api, ApiError};
use crate::boottime::now_ms;

/// Between two reads of what is not watched.
const POLL: Duration = Duration::from_secs(5);
const READ_DEADLINE: Duration = Duration::from_secs(3);

/// The state.
#[derive(Debug, Default)]
pub struct State {
    /// The Lease.
    pub lease: LeaseCache,
    /// The newest readable desired document.
    pub desired: Option<DesiredSeen>,
    /// Why the newest one can't be read.
    pub desired_problem: Option<String>,
    /// Pods by name.
    pub pods: BTreeMap<String, PodSeen>,
    /// Claims by ordinal.
    pub volumes: BTreeMap<u32, VolumeSeen>,
    /// Pods were listed once.
    pub pods_listed: bool,
    /// Claims were listed once.
    pub volumes_listed: bool,
    /// On the StatefulSet.
    pub stateful_set_identifier: Option<SystemIdentifier>,
    /// Why Kubernetes refused the last marking of volumes.
    pub marks_refused: Option<String>,
    /// The StatefulSet was read once.
    pub stateful_set_read: bool,
    /// When the API server last answered anything.
    pub api_answered_ms: Option<u64>,
}

impl State {
    /// A claim, or the StatefulSet, carries the identifier now.
    pub fn mark(&mut self, ordinal: Option<u32>, identifier: SystemIdentifier) {
        match ordinal {
            None => self.stateful_set_identifier = Some(identifier),
            Some(ordinal) => {
                if let Some(volume) = self.volumes.get_mut(&ordinal) {
                    volume.system_identifier = Some(identifier);
                    volume.never_initialised = false;
                }
            }
        }
    }
}

/// The Lease as last read.
#[derive(Debug, Default)]
pub struct LeaseCache {
    seen: Option<LeaseSeen>,
    raw: Option<Value>,
}

impl LeaseCache {
    /// As decisions see it.
    pub fn seen(&self) -> LeaseSeen {
        self.seen.clone().unwrap_or(LeaseSeen::Unread)
    }

    /// The whole object, when it has this version.
    pub fn raw_at(&self, version: &LeaseVersion) -> Option<&Value> {
        self.raw.as_ref().filter(|raw| objects::version_of(raw).as_ref() == Some(version))
    }

    /// Takes in an object; `fresh_ms`: before the uncached read or the write that brought it was sent.
    pub fn take(&mut self, raw: Value, anchor_uid: &str, fresh_ms: Option<u64>) {
        let Some(version) = objects::version_of(&raw) else { return };
        if let Some(LeaseSeen::Read(known)) = &self.seen
            && fresh_ms.is_none()
            && is_older(&version, &known.version)
        {
            // A watch lags behind an own write or read.
            return;
        }
        match objects::record_of(&raw, anchor_uid) {
            Ok(record) => {
                let known = match &self.seen {
                    Some(LeaseSeen::Read(known)) => Some(known),
                    _ => None,
                };
                // Expiry counts from when this content was first seen, whatever else of the object changed.
                let first_seen_ms = known
                    .filter(|known| known.record == record && known.version.uid == version.uid)
                    .map_or_else(now_ms, |known| known.first_seen_ms);
                let fresh_ms = fresh_ms.or_else(|| {
                    known.filter(|known| known.version == version).and_then(|known| known.fresh_ms)
                });
                self.seen = Some(LeaseSeen::Read(LeaseRead { version, record, first_seen_ms, fresh_ms }));
            }
            Err(why) => self.seen = Some(LeaseSeen::Unusable { why }),
        }
        self.raw = Some(raw);
    }

    /// A read said that there is none.
    pub fn missing(&mut self) {
        if !matches!(self.seen, Some(LeaseSeen::Missing { .. })) {
            self.seen = Some(LeaseSeen::Missing { since_ms: now_ms() });
        }
        self.raw = None;
    }
}

/// resourceVersions of one kind are numbers that grow; where they are not, the later news counts.
fn is_older(version: &LeaseVersion, known: &LeaseVersion) -> bool {
    version.uid == known.uid
        && match (version.resource_version.parse::<u64>(), known.resource_version.parse::<u64>()) {
            (Ok(new), Ok(old)) => new < old,
            _ => false,
        }
}

/// Shared between the watches and the loop.
#[derive(Clone, Debug)]
pub struct World {
    state: Arc<Mutex<State>>,
    wake: Arc<Notify>,
    anchor_uid: Arc<str>,
}

impl World {
    /// Nothing known yet; `wake` is told of every change.
    pub fn new(anchor_uid: &str, wake: Arc<Notify>) -> Self {
        Self { state: Arc::default(), wake, anchor_uid: anchor_uid.into() }
    }

    /// The state, for a moment.
    pub fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An uncached read of the Lease (A1).
    pub async fn read_lease(&self, api: &Api, paths: &Paths, deadline: Duration) -> Result<(), ApiError> {
        let sent_ms = now_ms();
        let result = api.get(&paths.lease(), deadline).await;
        let mut state = self.lock();
        match result {
            Ok(raw) => {
                state.api_answered_ms = Some(now_ms());
                state.lease.take(raw, &self.anchor_uid, Some(sent_ms));
                Ok(())
            }
            Err(error) if error.is_not_found() => {
                state.api_answered_ms = Some(now_ms());
                state.lease.missing();
                Ok(())
            }
            Err(error) => {
                if error.code().is_some() {
                    state.api_answered_ms = Some(now_ms());
                }
                Err(error)
            }
        }
    }

    /// Takes in what an own write of the Lease answered.
    pub fn lease_written(&self, raw: Value, sent_ms: u64) {
        let mut state = self.lock();
        state.api_answered_ms = Some(now_ms());
        state.lease.take(raw, &self.anchor_uid, Some(sent_ms));
    }

    /// Starts all watches; they end with the process.
    pub fn watch(&self, api: &Arc<Api>, paths: &Paths, names: &Names) {
        let anchor = Arc::clone(&self.anchor_uid);
        self.watch_one(api, paths.lease_only(), move |state, event| match event {
            Event::Present(raw) => state.lease.take(raw, &anchor, None),
            Event::Listed(items) => {
                // An empty list is left to an uncached read to confirm: "missing" is a grave word.
                for raw in items {
                    state.lease.take(raw, &anchor, None);
                }
            }
            Event::Gone(_) => {}
        });
        let anchor = Arc::clone(&self.anchor_uid);
        self.watch_one(api, paths.config_map_only(&names.desired()), move |state, event| {
            for raw in present(event) {
                match objects::desired_of(&raw, &anchor) {
                    Ok(desired) => {
                        state.desired = Some(desired);
                        state.desired_problem = None;
                    }
                    Err(why) => {
                        tracing::warn!(why, "the desired document can't be used");
                        state.desired_problem = Some(why);
                    }
                }
            }
        });
        let cluster = names.clone();
        self.watch_one(api, paths.pods(), move |state, event| match event {
            Event::Listed(items) => {
                state.pods = items.iter().filter_map(|pod| objects::pod_of(pod, &cluster)).collect();
                state.pods_listed = true;
            }
            Event::Present(pod) => state.pods.extend(objects::pod_of(&pod, &cluster)),
            Event::Gone(pod) => {
                let uid = pod["metadata"]["uid"].as_str();
                state.pods.retain(|_, seen| Some(seen.uid.as_str()) != uid);
            }
        });
        // The Role allows no watch of these: they change rarely, and nothing hurries when they do.
        let cluster = names.clone();
        self.poll(api, paths.claims(), move |state, raw| {
            let items = raw["items"].as_array().map(Vec::as_slice).unwrap_or_default();
            state.volumes = items.iter().filter_map(|claim| objects::volume_of(claim, &cluster)).collect();
            state.volumes_listed = true;
        });
        self.poll(api, paths.stateful_set(), |state, raw| {
            state.stateful_set_identifier = objects::system_identifier_of(&raw);
            state.stateful_set_read = true;
        });
    }

    fn watch_one(
        &self,
        api: &Arc<Api>,
        path: String,
        mut apply: impl FnMut(&mut State, Event) + Send + 'static,
    ) {
        let (sender, mut events) = mpsc::channel(64);
        tokio::spawn(follow(Arc::clone(api), path, sender));
        let world = self.clone();
        tokio::spawn(async move {
            while let Some(event) = events.recv().await {
                let mut state = world.lock();
                state.api_answered_ms = Some(now_ms());
                apply(&mut state, event);
                drop(state);
                world.wake.notify_one();
            }
        });
    }

    fn poll(&self, api: &Arc<Api>, path: String, mut apply: impl FnMut(&mut State, Value) + Send + 'static) {
        let (world, api) = (self.clone(), Arc::clone(api));
        tokio::spawn(async move {
            let mut known = Value::Null;
            loop {
                let mut pause = POLL;
                match api.get(&path, READ_DEADLINE).await {
                    Ok(raw) => {
                        let changed = raw != known;
                        known = raw.clone();
                        let mut state = world.lock();
                        state.api_answered_ms = Some(now_ms());
                        apply(&mut state, raw);
                        drop(state);
                        if changed {
                            world.wake.notify_one();
                        }
                    }
                    Err(error) => {
                        tracing::debug!(%error, path, "can't be read");
                        pause = Duration::from_secs(1);
                    }
                }
                tokio::time::sleep(pause).await;
            }
        });
    }
}

fn present(event: Event) -> Vec<Value> {
    match event {
        Event::Present(raw) => vec![raw],
        Event::Listed(items) => items,
        Event::Gone(_) => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pgha_schema::desired::SyncMode;
    use pgha_schema::names::ANNOTATION_RECORD;
    use pgha_schema::record::Record;
    use serde_json::json;

    fn lease(version: &str, renewals: u64) -> Value {
        let mut record = Record::initial("a", SyncMode::Sync);
        record.renewals = renewals;
        json!({"metadata": {"uid": "u", "resourceVersion": version,
               "annotations": {ANNOTATION_RECORD: serde_json::to_string(&record).unwrap()}}})
    }

    fn read(cache: &LeaseCache) -> LeaseRead {
        match cache.seen() {
            LeaseSeen::Read(read) => read,
            other => panic!("{other:?}"),
        }
    }

    fn wait_for_the_next_millisecond() {
        let now = now_ms();
        while now_ms() == now {
            std::thread::yield_now();
        }
    }

    #[test]
    fn expiry_counts_from_the_first_sight_of_a_content() {
        let mut cache = LeaseCache::default();
        cache.take(lease("5", 1), "a", None);
        let first = read(&cache).first_seen_ms;
        wait_for_the_next_millisecond();
        cache.take(lease("6", 1), "a", Some(1));
        assert_eq!((read(&cache).first_seen_ms, read(&cache).fresh_ms), (first, Some(1)));
        wait_for_the_next_millisecond();
        cache.take(lease("7", 2), "a", None);
        assert!(read(&cache).first_seen_ms > first);
        assert_eq!(read(&cache).fresh_ms, None, "only the watch has told this version");
    }

    #[test]
    fn a_watch_that_lags_does_not_take_back_what_was_read() {
        let mut cache = LeaseCache::default();
        cache.take(lease("10", 2), "a", Some(1));
        cache.take(lease("9", 1), "a", None);
        assert_eq!(read(&cache).record.renewals, 2);
    }

    #[test]
    fn the_whole_object_is_there_only_for_the_version_that_was_seen() {
        let mut cache = LeaseCache::default();
        cache.take(lease("10", 2), "a", Some(1));
        let version = read(&cache).version;
        assert!(cache.raw_at(&version).is_some());
        assert!(cache.raw_at(&LeaseVersion { resource_version: "9".into(), ..version }).is_none());
        cache.missing();
        assert!(matches!(cache.seen(), LeaseSeen::Missing { .. }));
    }
}
