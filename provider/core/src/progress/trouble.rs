//! What keeps pods from running, as the kubelet, the scheduler and the StatefulSet controller tell it.

use pgha_schema::names::{ANNOTATION_AGENT_HASH, ANNOTATION_TEMPLATE_HASH};
use pgha_schema::status::FailedStarts;
use serde_json::Value as Json;

use super::refusal;
use crate::live::LiveCluster;
use crate::object::{self, Kind, ObjectKey};
use crate::refusal::Refusal;

/// One thing that is wrong with one pod, or with making it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Trouble {
    /// Its kind.
    pub(super) kind: TroubleKind,
    /// For the user: the pod, the cause, what to look at.
    pub(super) text: String,
}

/// The kinds of trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TroubleKind {
    /// The image can't be had.
    Image,
    /// No node takes the pod, or no volume is found for it.
    Unschedulable,
    /// The container can't be made: a mount, a Secret, a security context.
    Container,
    /// The container ends again and again.
    CrashLoop,
    /// The container lives, and the postgres in it ends at every start.
    Postgres,
    /// The same, and nobody serves.
    OnlyPostgres,
    /// The StatefulSet controller may not make the pod: quota, Pod Security, a webhook.
    Creation,
}

/// So many times a container must have been started again before that counts as a crash loop.
const CRASHES: u64 = 3;
/// So many starts of a postgres must have ended while nobody serves. After fewer the lead goes to another one that can.
const STARTS_ALONE: u32 = 6;
/// And so many beside a primary: after eight, agents clone data anew that no start mends.
const STARTS_BESIDE: u32 = 12;
/// Lines of PostgreSQL's own that are told.
const LINES: usize = 6;

impl TroubleKind {
    /// How long a wait goes on beside it: each may mend itself for a while, none for longer.
    pub(super) fn patience_ms(self) -> u64 {
        match self {
            Self::Image => 10_000,
            Self::Creation => 10_000,
            Self::Container => 30_000,
            Self::CrashLoop | Self::Postgres | Self::OnlyPostgres => 30_000,
            Self::Unschedulable => 45_000,
        }
    }
}

/// The controller can't make any pod, or the one that leads can't start its postgres: the others wait for it.
pub(super) fn nobody_can_lead(troubles: &[Trouble]) -> bool {
    let bars = |trouble: &Trouble| matches!(trouble.kind, TroubleKind::Creation | TroubleKind::OnlyPostgres);
    troubles.iter().any(bars)
}

/// The pods in which postgres ends at every start, so that the log of their container is worth reading.
pub fn pods_that_end(now: &LiveCluster) -> Vec<String> {
    let instances = now.status().map(|status| status.instances).unwrap_or_default();
    let ending = instances.into_iter().filter(|(_, one)| one.starts_failed.is_some());
    ending.map(|(pod, _)| pod).collect()
}

/// Everything that is wrong now.
pub(super) fn troubles(start: &LiveCluster, now: &LiveCluster) -> Vec<Trouble> {
    let pods = now.pods_by_ordinal();
    let current = pods.values().filter(|pod| is_current(now, pod));
    let mut found: Vec<Trouble> = current.filter_map(|pod| of_pod(now, pod)).collect();
    found.extend(of_postgres(now));
    let wanted = now.wanted_pods().unwrap_or(0);
    if (pods.len() as u64) < wanted {
        found.extend(of_creation(start, now));
    }
    found
}

/// A pod of an older template, or one made with another agent in which nothing runs, is to be made anew anyway: its trouble may be
/// what the new template mends.
pub(super) fn is_current(now: &LiveCluster, pod: &Json) -> bool {
    let set = now.stateful_set();
    let same = |annotation: &str| {
        let wanted =
            set.known().and_then(|set| object::annotation(set.pointer("/spec/template")?, annotation));
        match (wanted, object::annotation(pod, annotation)) {
            (Some(wanted), Some(made_from)) => wanted == made_from,
            _ => true,
        }
    };
    same(ANNOTATION_TEMPLATE_HASH) && (same(ANNOTATION_AGENT_HASH) || !object::runs_nothing(pod))
}

/// Postgres ends by itself at every start with what is wished now; a container that lives on shows nothing of it.
fn of_postgres(now: &LiveCluster) -> Vec<Trouble> {
    let (Some(status), Some(document)) = (now.status(), refusal::desired(now)) else { return Vec::new() };
    let pods = now.pods_by_ordinal();
    let (kind, least) = match status.primary {
        Some(_) => (TroubleKind::Postgres, STARTS_BESIDE),
        None => (TroubleKind::OnlyPostgres, STARTS_ALONE),
    };
    let current = pods.into_values().filter(|pod| is_current(now, pod)).map(object::name);
    let failed = current.filter_map(|pod| {
        let failed = status.instances.get(pod)?.starts_failed.as_ref();
        let tried = |failed: &&FailedStarts| failed.starts >= least || failed.instead.is_some();
        let failed = failed.filter(|failed| failed.document == document).filter(tried)?;
        let ends = match failed.instead {
            Some(_) => "ended at every start with these `parameters`, and goes on with those that it had",
            None => "ends at every start",
        };
        let text = format!(
            "PostgreSQL in pod {pod} {ends} ({} in a row, exit code {}). If a setting in `parameters` is the cause, correct it and \
             apply again. Last lines:\n{}",
            failed.starts,
            failed.exit_code,
            words_of_postgres(now.logs.get(pod).map_or("", String::as_str))
        );
        Some(Trouble { kind, text })
    });
    failed.collect()
}

/// Without the agent's own lines, which are JSON.
fn words_of_postgres(log: &str) -> String {
    let lines: Vec<&str> =
        log.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('{')).collect();
    lines[lines.len().saturating_sub(LINES)..].join("\n")
}

fn of_pod(now: &LiveCluster, pod: &Json) -> Option<Trouble> {
    let name = object::name(pod);
    of_scheduling(now, pod, name).or_else(|| {
        let of = |field: &str| pod.pointer(field).and_then(Json::as_array).cloned().unwrap_or_default();
        let (init, main) = (of("/status/initContainerStatuses"), of("/status/containerStatuses"));
        let failed = init.iter().find_map(|container| of_failed_init(now, name, container));
        let failed = failed
            .or_else(|| init.iter().chain(&main).find_map(|container| of_container(now, name, container)));
        failed.or_else(|| of_mount(now, pod, init.iter().chain(&main)))
    })
}

fn of_scheduling(now: &LiveCluster, pod: &Json, name: &str) -> Option<Trouble> {
    let conditions = pod.pointer("/status/conditions")?.as_array()?;
    let is = |condition: &&Json, field: &str, value: &str| condition[field].as_str() == Some(value);
    let condition = conditions.iter().find(|one| {
        is(one, "type", "PodScheduled") && is(one, "status", "False") && is(one, "reason", "Unschedulable")
    })?;
    // A cluster autoscaler is making a node for it.
    if event_about(now, "Pod", name, "TriggeredScaleUp").is_some() {
        return None;
    }
    let message = condition["message"].as_str().unwrap_or_default();
    let claim = format!("data-{name}");
    let volume = event_about(now, "PersistentVolumeClaim", &claim, "ProvisioningFailed");
    let volume = volume.map(|why| format!(" PersistentVolumeClaim {claim}: {why}")).unwrap_or_default();
    let text = format!("Pod {name} can't be scheduled: {message}{volume}");
    Some(Trouble { kind: TroubleKind::Unschedulable, text })
}

/// Containers wait for a volume whose Secret (`tls.secret`) or ConfigMap does not exist. Events are kept for an hour, and the next pod has
/// the same name.
fn of_mount<'a>(
    now: &LiveCluster,
    pod: &Json,
    mut containers: impl Iterator<Item = &'a Json>,
) -> Option<Trouble> {
    let name = object::name(pod);
    let waits = |status: &Json| {
        let reason = status.pointer("/state/waiting/reason").and_then(Json::as_str);
        matches!(reason, Some("ContainerCreating" | "PodInitializing"))
    };
    if !containers.any(waits) {
        return None;
    }
    let message = events_about(now, "Pod", name, "FailedMount")
        .filter(|event| event["involvedObject"]["uid"].as_str() == object::uid(pod))
        .map(message)
        .find(|message| message.contains("not found"))?;
    Some(Trouble { kind: TroubleKind::Container, text: format!("Pod {name} waits for a volume: {message}") })
}

fn of_container(now: &LiveCluster, pod: &str, status: &Json) -> Option<Trouble> {
    let waiting = status.pointer("/state/waiting")?;
    let reason = waiting["reason"].as_str()?;
    let message = waiting["message"].as_str().unwrap_or_default();
    let image = status["image"].as_str().unwrap_or_default();
    let container = status["name"].as_str().unwrap_or_default();
    let (kind, text) = match reason {
        "ImagePullBackOff" | "InvalidImageName" | "ErrImageNeverPull" => (
            TroubleKind::Image,
            format!("Pod {pod}: the image {image} can't be pulled ({reason}): {message}"),
        ),
        "CreateContainerConfigError" | "CreateContainerError" | "RunContainerError" => {
            (TroubleKind::Container, format!("Pod {pod}, container {container}: {reason}: {message}"))
        }
        "CrashLoopBackOff" if status["restartCount"].as_u64().unwrap_or(0) >= CRASHES => {
            let ended = status.pointer("/lastState/terminated");
            let text = crash_text(now, pod, container, ended);
            (TroubleKind::CrashLoop, text)
        }
        _ => return None,
    };
    Some(Trouble { kind, text })
}

/// Between two tries an init container is shown as terminated, not as waiting.
fn of_failed_init(now: &LiveCluster, pod: &str, status: &Json) -> Option<Trouble> {
    let ended = status.pointer("/state/terminated")?;
    let failed = ended["exitCode"].as_i64().unwrap_or(0) != 0;
    if !failed || status["restartCount"].as_u64().unwrap_or(0) < CRASHES {
        return None;
    }
    let container = status["name"].as_str().unwrap_or_default();
    let text = crash_text(now, pod, container, Some(ended));
    Some(Trouble { kind: TroubleKind::CrashLoop, text })
}

fn crash_text(now: &LiveCluster, pod: &str, container: &str, ended: Option<&Json>) -> String {
    let code = ended.and_then(|ended| ended["exitCode"].as_i64()).unwrap_or(-1);
    // A log that was emptied or never written says less than what Kubernetes kept.
    let log = now.logs.get(pod).map(|log| log.trim()).filter(|log| !log.is_empty());
    let last = log.or_else(|| ended?["message"].as_str()).unwrap_or("").trim();
    format!("Pod {pod}, container {container}, ends again and again (exit code {code}). Last lines:\n{last}")
}

/// An event of this attempt that says why the StatefulSet controller could not make a pod.
fn of_creation(start: &LiveCluster, now: &LiveCluster) -> Option<Trouble> {
    let cluster = now.names.cluster();
    let message = news_about(start, now, "StatefulSet", cluster, "FailedCreate")?;
    let namespace =
        now.stateful_set().known().copied().and_then(|set| set.pointer("/metadata/namespace")?.as_str());
    let key = ObjectKey::new(Kind::Pod, cluster);
    let refusal =
        Refusal { key: &key, namespace: namespace.unwrap_or_default(), message, causes: Vec::new() };
    let way_out = if refusal.is_understood() { format!("\n{}", refusal.way_out()) } else { String::new() };
    let text = format!("StatefulSet {cluster} can't make its pods: {message}{way_out}");
    Some(Trouble { kind: TroubleKind::Creation, text })
}

/// The message of an event with this reason about an object.
fn event_about<'a>(now: &'a LiveCluster, kind: &str, name: &str, reason: &str) -> Option<&'a str> {
    events_about(now, kind, name, reason).next().map(message)
}

/// The same of one that was not there at the start, or not as often: what an earlier apply came to says nothing of this one.
pub(super) fn news_about<'a>(
    start: &LiveCluster,
    now: &'a LiveCluster,
    kind: &str,
    name: &str,
    reason: &str,
) -> Option<&'a str> {
    let version = |event: &Json| event.pointer("/metadata/resourceVersion").cloned();
    let same =
        |old: &Json, event: &Json| object::uid(old) == object::uid(event) && version(old) == version(event);
    events_about(now, kind, name, reason)
        .find(|event| !start.events.iter().any(|old| same(old, event)))
        .map(message)
}

fn message(event: &Json) -> &str {
    event["message"].as_str().unwrap_or_default()
}

fn events_about<'a>(
    now: &'a LiveCluster,
    kind: &str,
    name: &str,
    reason: &str,
) -> impl Iterator<Item = &'a Json> {
    let is = |event: &Json, field: &str, value: &str| event["involvedObject"][field].as_str() == Some(value);
    now.events.iter().filter(move |event| {
        event["reason"].as_str() == Some(reason) && is(event, "kind", kind) && is(event, "name", name)
    })
}
