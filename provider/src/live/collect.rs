//! One snapshot of everything that belongs to a cluster: a constant number of requests, all at once, with get and list
//! rights only, and never a Secret (P14).

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::future::{join_all, try_join_all};
use pgha_provider_core::live::{LiveCluster, Seen, cluster_id};
use pgha_provider_core::object::{self, Kind, ObjectKey};
use pgha_provider_core::progress::{Signs, pods_that_end};
use pgha_provider_core::render::chunk_selector;
use pgha_provider_core::view;
use pgha_schema::names::{CONTAINER_POSTGRES, Names};
use serde_json::Value as Json;

use super::api::Api;
use super::errors::LiveError;

/// The ConfigMap that Kubernetes puts into every namespace; its certificate tells clusters apart (P15).
const ROOT_CERTIFICATE: (&str, &str) = ("kube-root-ca.crt", "ca.crt");
/// Lines of a crashing container's log.
const LOG_LINES: i64 = 20;

/// How much a snapshot holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// What the data source tells of: a few objects and the pods.
    Overview,
    /// The objects, pods and claims.
    Objects,
    /// Events too, which what comes later is told from.
    Events,
}

/// Takes a snapshot. What is missing or forbidden stands in it as such; any other failure is an error, and no snapshot.
pub async fn snapshot(api: &Api, names: &Names, depth: Depth) -> Result<LiveCluster, LiveError> {
    let keys = match depth {
        Depth::Overview => view::keys(names),
        Depth::Objects | Depth::Events => LiveCluster::keys(names),
    };
    let selector = LiveCluster::selector(names);
    let listed = |key: &ObjectKey| key.kind == Kind::Service && depth != Depth::Overview;
    let (services, keys): (Vec<_>, Vec<_>) = keys.into_iter().partition(listed);
    let objects = try_join_all(keys.into_iter().map(|key| one(api, key)));
    let services = all_of(api, services, &selector);
    let pods = async { seen(api.list(Kind::Pod, Some(&selector), None).await) };
    let claims = async {
        match depth {
            Depth::Overview => Ok(Seen::Known(Vec::new())),
            Depth::Objects | Depth::Events => {
                seen(api.list(Kind::PersistentVolumeClaim, Some(&selector), None).await)
            }
        }
    };
    let events = async {
        match depth {
            Depth::Overview | Depth::Objects => Ok(Vec::new()),
            Depth::Events => {
                let listed = seen(api.list(Kind::Event, None, None).await)?;
                Ok(about(names, listed.known().map_or(&[], Vec::as_slice)))
            }
        }
    };
    let identity = async {
        match depth {
            Depth::Overview => Ok(None),
            Depth::Objects | Depth::Events => cluster_identity(api).await,
        }
    };
    let chunks = async {
        match depth {
            Depth::Objects => recent_chunks(api).await,
            Depth::Overview | Depth::Events => Ok(Arc::default()),
        }
    };
    let (objects, services, pods, claims, events, cluster_id, chunks) =
        futures::try_join!(objects, services, pods, claims, events, identity, chunks)?;
    let mut now = LiveCluster {
        names: names.clone(),
        cluster_id,
        objects: objects.into_iter().chain(services).collect(),
        pods,
        claims,
        chunks: BTreeMap::new(),
        events,
        logs: BTreeMap::new(),
    };
    if depth == Depth::Objects {
        now.chunks = wished_chunks(api, &now, &chunks).await?;
    }
    Ok(now)
}

/// The metadata of all heads and chunks of agents in the namespace, as they were a moment ago; none without the right to list.
pub(super) async fn recent_chunks(api: &Api) -> Result<Arc<Vec<Json>>, LiveError> {
    let listed = seen(api.list_recent_metadata(Kind::ConfigMap, &chunk_selector()).await)?;
    Ok(listed.known().cloned().unwrap_or_default())
}

/// Those that the cluster needs, and the head that owns them. One that is not as it should be among those that were listed, which are a
/// moment old, is asked for by itself.
async fn wished_chunks(
    api: &Api,
    now: &LiveCluster,
    listed: &[Json],
) -> Result<BTreeMap<String, Seen<Json>>, LiveError> {
    let head = now.head_wished();
    let listed_head = listed.iter().find(|one| Some(object::name(one)) == head.as_deref());
    let owners = [now.anchor_uid(), listed_head.and_then(object::uid)];
    let wished = now.chunks_wished().into_iter().chain(head.clone());
    let found = try_join_all(wished.map(|name| async move {
        let is_well = |chunk: &&Json| {
            object::name(chunk) == name && owners.iter().flatten().any(|uid| object::is_owned_by(chunk, uid))
        };
        // A desired document that was edited by hand may name anything.
        if !object::is_name(&name) {
            return Ok((name, Seen::Missing));
        }
        if let Some(chunk) = listed.iter().find(is_well) {
            return Ok((name, Seen::Known(chunk.clone())));
        }
        let chunk = seen(api.get_metadata(&ObjectKey::new(Kind::ConfigMap, name.as_str())).await)?;
        Ok((name, chunk))
    }));
    Ok(found.await?.into_iter().collect())
}

/// Only what a wait asks for: a request or two, and some more when it wants to know why it takes long.
pub async fn glance(api: &Api, names: &Names, signs: &Signs) -> Result<LiveCluster, LiveError> {
    let selector = LiveCluster::selector(names);
    let mut now = LiveCluster::unseen(names);
    let objects = try_join_all(signs.keys.iter().map(|key| one(api, key.clone())));
    let listed = |kind: Kind, wanted: bool| {
        let selector = &selector;
        async move { if wanted { seen(api.list(kind, Some(selector), None).await).map(Some) } else { Ok(None) } }
    };
    let events =
        async { if signs.events { seen(api.list_recent_events().await).map(Some) } else { Ok(None) } };
    let pods = listed(Kind::Pod, signs.pods);
    let claims = listed(Kind::PersistentVolumeClaim, signs.claims);
    let (objects, pods, claims, events) = futures::try_join!(objects, pods, claims, events)?;
    now.objects = objects.into_iter().collect();
    now.pods = pods.unwrap_or(now.pods);
    now.claims = claims.unwrap_or(now.claims);
    if let Some(events) = events {
        now.events = about(names, events.known().map_or(&[], |events| events.as_slice()));
        now.logs = crash_logs(api, &now).await;
    }
    Ok(now)
}

/// The events that tell of the cluster.
fn about(names: &Names, events: &[Json]) -> Vec<Json> {
    events.iter().filter(|event| LiveCluster::is_about(names, event)).cloned().collect()
}

type One = (ObjectKey, Seen<Json>);

async fn one(api: &Api, key: ObjectKey) -> Result<One, LiveError> {
    let seen = seen(api.get(&key).await)?;
    Ok((key, seen))
}

/// The Services, of which a cluster has the most, with one request. Whoever lost its labels, or may only be read by name, is asked for by
/// itself. ConfigMaps are not listed: an API server may go through all of a namespace for that, agents of megabytes among them.
async fn all_of(api: &Api, keys: Vec<ObjectKey>, selector: &str) -> Result<Vec<One>, LiveError> {
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    let listed = seen(api.list(Kind::Service, Some(selector), None).await)?;
    let listed = listed.known().map(Vec::as_slice).unwrap_or_default();
    let found = |key: &ObjectKey| {
        let object = listed.iter().find(|object| object::name(object) == key.name)?;
        let mut object = object.clone();
        // Items of a list are of the list's kind, and do not say it.
        object["apiVersion"] = key.kind.api_version().into();
        object["kind"] = key.kind.name().into();
        Some(object)
    };
    try_join_all(keys.into_iter().map(|key| async move {
        match found(&key) {
            Some(object) => Ok((key, Seen::Known(object))),
            None => one(api, key).await,
        }
    }))
    .await
}

// The error is as large as what it has to tell, and leaves at once.
#[allow(clippy::result_large_err)]
fn seen<T>(answer: Result<T, LiveError>) -> Result<Seen<T>, LiveError> {
    match answer {
        Ok(value) => Ok(Seen::Known(value)),
        Err(error) if error.is_not_found() => Ok(Seen::Missing),
        Err(error) if error.is_forbidden() => {
            Ok(Seen::Forbidden(error.status().map(|status| status.message.clone()).unwrap_or_default()))
        }
        Err(error) => Err(error),
    }
}

async fn cluster_identity(api: &Api) -> Result<Option<String>, LiveError> {
    let (name, key) = ROOT_CERTIFICATE;
    let found = seen(api.get(&ObjectKey::new(Kind::ConfigMap, name)).await)?;
    Ok(found.known().and_then(|config_map| object::data(config_map, key)).map(cluster_id))
}

/// The last lines of every container that ends again and again, or whose postgres does. That they can't be read is no reason to fail: it is said.
async fn crash_logs(api: &Api, live: &LiveCluster) -> BTreeMap<String, String> {
    let pods = live.pods.known().map(Vec::as_slice).unwrap_or_default();
    let ending = pods_that_end(live);
    let tells = |pod: &Json| {
        let ends = ending.iter().any(|name| name == object::name(pod));
        crashing_container(pod).or_else(|| ends.then(|| (CONTAINER_POSTGRES.to_owned(), false)))
    };
    let crashing = pods.iter().filter_map(|pod| Some((object::name(pod), tells(pod)?)));
    let logs = crashing.map(|(pod, (container, previous))| async move {
        let text = match api.log(pod, &container, previous, LOG_LINES).await {
            Ok(text) => text,
            Err(error) if error.is_forbidden() => {
                format!("(its log can't be read: no right to get pods/log in namespace {})", api.namespace())
            }
            Err(error) => format!("(its log can't be read: {})", super::errors::causes(&error)),
        };
        (pod.to_owned(), text)
    });
    join_all(logs).await.into_iter().collect()
}

/// Its name, and whether its last words are those of its life before.
fn crashing_container(pod: &Json) -> Option<(String, bool)> {
    let statuses = |field: &str| pod.pointer(field).and_then(Json::as_array).cloned().unwrap_or_default();
    let all = [statuses("/status/initContainerStatuses"), statuses("/status/containerStatuses")].concat();
    let crashing = all.iter().filter(|status| status["restartCount"].as_u64().unwrap_or(0) > 0);
    let mut found = crashing.filter_map(|status| {
        let waits =
            status.pointer("/state/waiting/reason").and_then(Json::as_str) == Some("CrashLoopBackOff");
        // An init container between two tries is shown as terminated.
        let code = status.pointer("/state/terminated/exitCode").and_then(Json::as_i64);
        let name = status["name"].as_str().unwrap_or(CONTAINER_POSTGRES).to_owned();
        (waits || code.is_some_and(|code| code != 0)).then_some((name, waits))
    });
    found.next()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_crashing_container_is_found_among_init_containers_too() {
        let waiting = |name: &str| json!({"name": name, "restartCount": 2, "state": {"waiting": {"reason": "CrashLoopBackOff"}}});
        let running = json!({"name": "postgres", "restartCount": 2, "state": {"running": {}}});
        let pod = json!({"status": {"initContainerStatuses": [waiting("install-agent")], "containerStatuses": [running.clone()]}});
        assert_eq!(crashing_container(&pod), Some(("install-agent".to_owned(), true)));
        let failed =
            json!({"name": "install-agent", "restartCount": 1, "state": {"terminated": {"exitCode": 1}}});
        let pod = json!({"status": {"initContainerStatuses": [failed]}});
        assert_eq!(crashing_container(&pod), Some(("install-agent".to_owned(), false)));
        assert_eq!(crashing_container(&json!({"status": {"containerStatuses": [running]}})), None);
    }
}
