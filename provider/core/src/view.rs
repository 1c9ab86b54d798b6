//! The data source: what the record, the status and the pods say of a cluster that somebody else owns. The record is newer than
//! the status, which a holder writes now and then: where both speak, the record of a later era rules.

use std::collections::{BTreeMap, BTreeSet};

use pgha_schema::data_source::{ClusterView, InstanceView, schema};
use pgha_schema::names::{LABEL_ROLE, Names, POSTGRES_PORT, ROLE_PRIMARY, ROLE_REPLICA};
use pgha_schema::record::Record;
use pgha_schema::status::{ClusterStatus, InstanceState};
use serde_json::Value as Json;

use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::live::{LiveCluster, Seen};
use crate::object::{Kind, ObjectKey};
use crate::refresh::load_balancer_host;
use crate::value::Value;

/// The objects that it reads, one GET each; the pods come as one LIST.
pub fn keys(names: &Names) -> Vec<ObjectKey> {
    vec![
        ObjectKey::new(Kind::ConfigMap, names.desired()),
        ObjectKey::new(Kind::ConfigMap, names.status()),
        ObjectKey::new(Kind::Lease, names.cluster()),
        ObjectKey::new(Kind::Service, names.service_ro()),
        ObjectKey::new(Kind::Service, names.service_rw()),
    ]
}

/// The state of the data source: config, and what the snapshot tells. An error when there is no such cluster, or nothing may be
/// read of it.
pub fn view(config: &Value, namespace: &str, live: &LiveCluster) -> Result<(Value, Diagnostics), Diagnostic> {
    let (lease, status) = (live.lease(), live.object(&status_key(&live.names)));
    if lease.is_missing() && status.is_missing() {
        return Err(not_there(live, namespace));
    }
    if lease.known().is_none() && status.known().is_none() {
        return Err(nothing_readable(live));
    }
    let told = serde_json::to_value(tell(namespace, live)).unwrap_or_default();
    let told = Value::from_json(&told, &schema().ty());
    let mut state = Value::empty_object(&schema().ty());
    for attribute in &schema().attributes {
        let from = if attribute.is_output() { &told } else { config };
        state.set_at(&attribute.name, from.get(&attribute.name).clone());
    }
    Ok((state, unreadable(live).into_iter().collect()))
}

fn status_key(names: &Names) -> ObjectKey {
    ObjectKey::new(Kind::ConfigMap, names.status())
}

fn not_there(live: &LiveCluster, namespace: &str) -> Diagnostic {
    let name = live.names.cluster();
    Diagnostic::error(
        format!("There is no cluster {name} in namespace {namespace}"),
        format!(
            "Neither its Lease {name} nor its ConfigMap {} is there. Are name and namespace right, and are the provider's \
             settings those of the right Kubernetes cluster? If this configuration makes the cluster, let the data source depend \
             on it: depends_on = [postgres_ha_cluster.ADDRESS].",
            live.names.status()
        ),
    )
}

fn nothing_readable(live: &LiveCluster) -> Diagnostic {
    Diagnostic::error(
        format!("Cluster {} may not be read", live.names.cluster()),
        format!(
            "{}. The Role for readers in examples/ holds the rights that are needed.",
            forbidden(live).join("; ")
        ),
    )
}

fn unreadable(live: &LiveCluster) -> Option<Diagnostic> {
    let what = forbidden(live);
    (!what.is_empty()).then(|| {
        Diagnostic::warning(
            "Not everything about the cluster may be read",
            format!(
                "What these would tell is null: {}. The Role for readers in examples/ holds the rights that are needed.",
                what.join("; ")
            ),
        )
    })
}

fn forbidden(live: &LiveCluster) -> Vec<String> {
    let objects = live.objects.iter().filter_map(|(key, seen)| match seen {
        Seen::Forbidden(why) => Some(format!("{key}: {why}")),
        Seen::Known(_) | Seen::Missing => None,
    });
    let pods = match &live.pods {
        Seen::Forbidden(why) => Some(format!("pods: {why}")),
        Seen::Known(_) | Seen::Missing => None,
    };
    objects.chain(pods).collect()
}

fn tell(namespace: &str, live: &LiveCluster) -> ClusterView {
    let names = &live.names;
    let (record, desired) = (live.record(), live.desired());
    let status = live.status();
    let current = status.as_ref().filter(|status| is_current(status, record.as_ref()));
    let entry = record.as_ref().and_then(Record::current);
    ClusterView {
        rw_host: Some(load_balancer_host(live, "rw").unwrap_or_else(|| names.rw_host(namespace))),
        ro_host: Some(load_balancer_host(live, "ro").unwrap_or_else(|| names.ro_host(namespace))),
        port: Some(POSTGRES_PORT),
        superuser_secret: Some(names.secret_superuser()),
        app_secret: Some(names.secret_app()),
        replicas: desired.as_ref().map(|desired| desired.replicas),
        postgres_major: desired.as_ref().map(|desired| desired.postgres_major),
        system_identifier: live.system_identifier(),
        primary: primary(current, record.as_ref()),
        timeline: entry
            .and_then(|entry| entry.timeline)
            .or_else(|| current.and_then(|status| status.timeline))
            .map(|timeline| timeline.0),
        accepts_writes: current.map(|status| status.accepts_writes),
        sync_mode: record.as_ref().map(|record| record.mode).or_else(|| current.map(|status| status.mode)),
        degraded: record
            .as_ref()
            .map(|record| record.degraded)
            .or_else(|| current.map(|status| status.degraded)),
        activity: Some(current.map(|status| status.activity.clone()).unwrap_or_default()),
        agent_version: status.as_ref().map(|status| status.agent_version.clone()),
        instances: Some(instances(live, current)),
    }
}

/// It was written by the record's holder.
fn is_current(status: &ClusterStatus, record: Option<&Record>) -> bool {
    record.is_none_or(|record| status.era >= record.era())
}

/// Nobody leads after a release, and before a promotion is through.
fn primary(status: Option<&ClusterStatus>, record: Option<&Record>) -> Option<String> {
    if record.is_some_and(|record| record.release.is_some()) {
        return None;
    }
    match (status, record) {
        (Some(status), _) if status.stopped => None,
        (Some(status), _) => status.primary.clone(),
        (None, Some(record)) if record.current()?.is_complete() => {
            record.holder.as_ref().map(|holder| holder.pod.clone())
        }
        (None, _) => None,
    }
}

fn instances(live: &LiveCluster, status: Option<&ClusterStatus>) -> Vec<InstanceView> {
    let pods = live.pods_by_ordinal();
    let empty = BTreeMap::new();
    let reported = status.map_or(&empty, |status| &status.instances);
    let mut ordinals: BTreeSet<u32> = reported.keys().filter_map(|pod| live.names.ordinal(pod)).collect();
    ordinals.extend(pods.keys());
    let one = |ordinal: u32| {
        let name = live.names.pod(ordinal);
        let (pod, report) = (pods.get(&ordinal).copied(), reported.get(&name));
        let gone = pod.is_none() && live.pods.known().is_some();
        let told = report.map(|report| word(report.state));
        let node = pod.and_then(|pod| pod.pointer("/spec/nodeName")?.as_str().map(str::to_owned));
        InstanceView {
            role: Some(report.map_or_else(|| labelled(pod), |report| word(report.role))),
            state: if gone { Some(word(InstanceState::Down)) } else { told },
            synchronous: report.map(|report| report.synchronous),
            lag_bytes: report.and_then(|report| report.lag_bytes),
            node: node.or_else(|| Some(report?.node.clone())).filter(|node| !node.is_empty()),
            ready: live.pods.known().map(|_| pod.is_some_and(is_ready)),
            name: Some(name),
        }
    };
    ordinals.into_iter().map(one).collect()
}

fn word(choice: impl serde::Serialize) -> String {
    serde_json::to_value(choice).ok().and_then(|json| json.as_str().map(str::to_owned)).unwrap_or_default()
}

/// The role that the pod's label says.
fn labelled(pod: Option<&Json>) -> String {
    let label = pod.and_then(|pod| pod.pointer("/metadata/labels")?.get(LABEL_ROLE)?.as_str());
    match label {
        Some(ROLE_PRIMARY) => "primary",
        Some(ROLE_REPLICA) => "standby",
        _ => "unknown",
    }
    .to_owned()
}

fn is_ready(pod: &Json) -> bool {
    let conditions = pod.pointer("/status/conditions").and_then(Json::as_array);
    conditions.into_iter().flatten().any(|one| one["type"] == "Ready" && one["status"] == "True")
}

#[cfg(test)]
mod tests;
