//! Watches one of our clusters during a trial: the Lease, the labels, the endpoints of rw, the agents' logs.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;
use futures::{AsyncBufReadExt as _, StreamExt as _};
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{LogParams, WatchEvent, WatchParams};
use kube::core::NamespaceResourceScope;
use kube::{Api, Resource};
use pgha_schema::names::{ANNOTATION_RECORD, CONTAINER_POSTGRES, LABEL_INSTANCE, LABEL_ROLE, ROLE_PRIMARY};
use pgha_schema::record::Record;
use serde::de::DeserializeOwned;
use tokio::task::JoinHandle;

use super::timeline::{Event, What, parse_line};
use crate::cluster::Cluster;

/// Between two tries to watch.
const AGAIN: Duration = Duration::from_millis(200);

/// A record that is being made.
pub struct Recorder {
    cluster: Cluster,
    since: Timestamp,
    events: Events,
    tasks: Vec<JoinHandle<()>>,
}

#[derive(Clone, Default)]
struct Events(Arc<Mutex<Vec<Event>>>);

impl Events {
    fn push(&self, place: &str, what: What) {
        let event = Event { at: Timestamp::now(), place: place.to_owned(), what };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(event);
    }

    fn add(&self, event: Option<Event>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend(event);
    }
}

impl Recorder {
    /// Begins.
    ///
    /// # Errors
    /// When the pods can't be listed.
    pub async fn start(cluster: &Cluster) -> Result<Self> {
        let events = Events::default();
        let instance = format!("{LABEL_INSTANCE}={}", cluster.names.cluster());
        let lease = format!("metadata.name={}", cluster.names.cluster());
        let slices = format!("kubernetes.io/service-name={}", cluster.names.service_rw());
        let by_label = |label: &str| WatchParams::default().labels(label);
        let mut labelled = Members::default();
        let mut tasks = vec![
            watch::<Lease>(cluster, WatchParams::default().fields(&lease), "lease", &events, |lease, _| {
                holder(&lease)
            }),
            watch::<Pod>(cluster, by_label(&instance), "pods", &events, move |pod, gone| {
                let is_primary =
                    pod.metadata.labels.as_ref().is_some_and(|labels| {
                        labels.get(LABEL_ROLE).is_some_and(|role| role == ROLE_PRIMARY)
                    });
                labelled.set(&pod.metadata.name.unwrap_or_default(), is_primary && !gone);
                Some(What::Primaries(labelled.0.clone()))
            }),
            watch::<EndpointSlice>(cluster, by_label(&slices), "rw", &events, |slice, _| {
                Some(What::Endpoints(ready(slice)))
            }),
        ];
        let since = Timestamp::now();
        for pod in cluster.pods().await?.into_keys() {
            tasks.push(follow(cluster.api(), pod, since, events.clone()));
        }
        Ok(Self { cluster: cluster.clone(), since, events, tasks })
    }

    /// Ends, and gives what was seen. What could not be followed, because a node was cut off, is read now.
    pub async fn finish(mut self) -> Vec<Event> {
        for task in self.tasks.drain(..) {
            task.abort();
        }
        for pod in self.cluster.pods().await.unwrap_or_default().into_keys() {
            for previous in [false, true] {
                let wanted = LogParams { previous, ..log_params(self.since, false) };
                // A container without an earlier life has no log of it.
                let log = self.cluster.api::<Pod>().logs(&pod, &wanted).await.unwrap_or_default();
                log.lines().for_each(|line| self.events.add(parse_line(&pod, line)));
            }
        }
        self.events.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

#[derive(Default)]
struct Members(BTreeSet<String>);

impl Members {
    fn set(&mut self, name: &str, member: bool) {
        if member {
            self.0.insert(name.to_owned());
        } else {
            self.0.remove(name);
        }
    }
}

/// Notes what `seen` makes of each version of an object, when it is another than before.
fn watch<K>(
    cluster: &Cluster,
    params: WatchParams,
    place: &'static str,
    events: &Events,
    mut seen: impl FnMut(K, bool) -> Option<What> + Send + 'static,
) -> JoinHandle<()>
where
    K: Resource<Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned + Send + 'static,
    K::DynamicType: Default,
{
    let (api, events) = (cluster.api::<K>(), events.clone());
    tokio::spawn(async move {
        let mut last = None;
        loop {
            if let Ok(stream) = api.watch(&params, "0").await {
                let mut stream = std::pin::pin!(stream);
                while let Some(Ok(event)) = stream.next().await {
                    let what = match event {
                        WatchEvent::Added(object) | WatchEvent::Modified(object) => seen(object, false),
                        WatchEvent::Deleted(object) => seen(object, true),
                        WatchEvent::Bookmark(_) | WatchEvent::Error(_) => None,
                    };
                    if let Some(what) = what.filter(|what| last.as_ref() != Some(what)) {
                        events.push(place, what.clone());
                        last = Some(what);
                    }
                }
            }
            tokio::time::sleep(AGAIN).await;
        }
    })
}

fn holder(lease: &Lease) -> Option<What> {
    let record: Record =
        serde_json::from_str(lease.metadata.annotations.as_ref()?.get(ANNOTATION_RECORD)?).ok()?;
    let (era, released) = (record.era().0, record.release.is_some());
    Some(What::Holder { pod: record.holder?.pod, era, released })
}

fn ready(slice: EndpointSlice) -> BTreeSet<String> {
    let endpoints = slice.endpoints.into_iter();
    endpoints
        .filter(|endpoint| endpoint.conditions.as_ref().is_none_or(|seen| seen.ready != Some(false)))
        .filter_map(|endpoint| endpoint.target_ref.and_then(|target| target.name))
        .collect()
}

fn log_params(since: Timestamp, follow: bool) -> LogParams {
    LogParams {
        container: Some(CONTAINER_POSTGRES.to_owned()),
        since_time: Some(since),
        timestamps: true,
        follow,
        ..LogParams::default()
    }
}

/// Notes the lines of a pod's log as they come: a pod that is deleted takes its log with it.
fn follow(api: Api<Pod>, pod: String, since: Timestamp, events: Events) -> JoinHandle<()> {
    tokio::spawn(async move {
        let Ok(stream) = api.log_stream(&pod, &log_params(since, true)).await else { return };
        let mut lines = stream.lines();
        while let Some(Ok(line)) = lines.next().await {
            events.add(parse_line(&pod, &line));
        }
    })
}
