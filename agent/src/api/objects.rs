//! The objects that the agent reads, parsed once at the border, and their paths.

use std::collections::{BTreeMap, BTreeSet};

use pgha_agent_core::observation::{DesiredSeen, LeaseVersion, PodSeen, VolumeSeen};
use pgha_schema::desired::{DESIRED_FORMAT, Desired, document_sha256};
use pgha_schema::ids::{ContainerNonce, SystemIdentifier};
use pgha_schema::names::{
    ANNOTATION_ANCHOR_UID, ANNOTATION_NEVER_INITIALISED, ANNOTATION_RECORD, ANNOTATION_SYSTEM_IDENTIFIER,
    ANNOTATION_TEMPLATE_HASH, APP_NAME, CONTAINER_POSTGRES, KEY_DESIRED, KEY_STATUS, LABEL_INSTANCE,
    LABEL_NAME, Names, TLS_DIR,
};
use pgha_schema::record::{RECORD_FORMAT, Record};
use pgha_schema::status::ClusterStatus;
use serde_json::Value;

/// Exit code above which a shell-like code tells a signal.
const SIGNAL_EXIT_BASE: i64 = 128;

/// Paths of one cluster's objects.
#[derive(Clone, Debug)]
pub struct Paths {
    names: Names,
    namespace: String,
}

impl Paths {
    /// Of this cluster.
    pub fn new(names: &Names, namespace: &str) -> Self {
        Self { names: names.clone(), namespace: namespace.to_owned() }
    }

    fn core(&self, kind: &str) -> String {
        format!("/api/v1/namespaces/{}/{kind}", self.namespace)
    }

    /// All Leases.
    pub fn leases(&self) -> String {
        format!("/apis/coordination.k8s.io/v1/namespaces/{}/leases", self.namespace)
    }

    /// The one Lease.
    pub fn lease(&self) -> String {
        format!("{}/{}", self.leases(), self.names.cluster())
    }

    /// The one Lease as a collection, for a watch.
    pub fn lease_only(&self) -> String {
        format!("{}?fieldSelector=metadata.name%3D{}", self.leases(), self.names.cluster())
    }

    /// One ConfigMap as a collection, for a watch.
    pub fn config_map_only(&self, name: &str) -> String {
        format!("{}?fieldSelector=metadata.name%3D{name}", self.core("configmaps"))
    }

    /// One ConfigMap.
    pub fn config_map(&self, name: &str) -> String {
        format!("{}/{name}", self.core("configmaps"))
    }

    /// The StatefulSet.
    pub fn stateful_set(&self) -> String {
        format!("/apis/apps/v1/namespaces/{}/statefulsets/{}", self.namespace, self.names.cluster())
    }

    /// One pod.
    pub fn pod(&self, name: &str) -> String {
        format!("{}/{name}", self.core("pods"))
    }

    /// One claim.
    pub fn claim(&self, name: &str) -> String {
        format!("{}/{name}", self.core("persistentvolumeclaims"))
    }

    /// Events.
    pub fn events(&self) -> String {
        self.core("events")
    }

    fn ours(&self, kind: &str) -> String {
        let encode = |text: &str| text.replace('/', "%2F");
        format!(
            "{}?labelSelector={}%3D{},{}%3D{}",
            self.core(kind),
            encode(LABEL_NAME),
            APP_NAME,
            encode(LABEL_INSTANCE),
            self.names.cluster()
        )
    }

    /// This cluster's pods.
    pub fn pods(&self) -> String {
        self.ours("pods")
    }

    /// This cluster's claims.
    pub fn claims(&self) -> String {
        self.ours("persistentvolumeclaims")
    }
}

fn text<'a>(value: &'a Value, pointer: &str) -> Option<&'a str> {
    value.pointer(pointer).and_then(Value::as_str)
}

fn string_map(value: Option<&Value>) -> BTreeMap<String, String> {
    value
        .and_then(Value::as_object)
        .map(|map| {
            map.iter().filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect()
        })
        .unwrap_or_default()
}

fn annotation<'a>(object: &'a Value, name: &str) -> Option<&'a str> {
    object.pointer("/metadata/annotations").and_then(|map| map.get(name)).and_then(Value::as_str)
}

/// The object's name.
pub fn name_of(object: &Value) -> Option<&str> {
    text(object, "/metadata/name")
}

/// Uid and resourceVersion.
pub fn version_of(object: &Value) -> Option<LeaseVersion> {
    Some(LeaseVersion {
        uid: text(object, "/metadata/uid")?.to_owned(),
        resource_version: text(object, "/metadata/resourceVersion")?.to_owned(),
    })
}

/// The record in a Lease; the error says why the Lease can't be used.
pub fn record_of(lease: &Value, anchor_uid: &str) -> Result<Record, String> {
    if let Some(other) = annotation(lease, ANNOTATION_ANCHOR_UID).filter(|other| *other != anchor_uid) {
        return Err(format!("it belongs to another cluster (anchor {other})"));
    }
    let text = annotation(lease, ANNOTATION_RECORD).ok_or("it has no record")?;
    // The format first: a higher one may have any shape.
    let value: Value =
        serde_json::from_str(text).map_err(|error| format!("its record is no JSON: {error}"))?;
    let format = value["format"].as_u64().ok_or("its record has no format")?;
    if format > u64::from(RECORD_FORMAT) {
        return Err(format!("its record has format {format}, newer than this agent's {RECORD_FORMAT}"));
    }
    let record: Record = serde_json::from_value(value).map_err(|error| format!("its record: {error}"))?;
    if record.anchor_uid != anchor_uid {
        return Err(format!("its record belongs to another cluster (anchor {})", record.anchor_uid));
    }
    Ok(record)
}

/// The desired document in its ConfigMap.
pub fn desired_of(config_map: &Value, anchor_uid: &str) -> Result<DesiredSeen, String> {
    let text = config_map["data"][KEY_DESIRED].as_str().ok_or("it has no document")?;
    let document: Desired = serde_json::from_str(text).map_err(|error| format!("its document: {error}"))?;
    if document.format > DESIRED_FORMAT {
        return Err(format!("its format {} is newer than this agent's {DESIRED_FORMAT}", document.format));
    }
    if document.anchor_uid != anchor_uid {
        return Err(format!("it belongs to another cluster (anchor {})", document.anchor_uid));
    }
    if let Some(why) = document.is_beyond_measure() {
        return Err(why);
    }
    Ok(DesiredSeen { sha256: document_sha256(text), document })
}

/// The status document; `None` when there is none that this agent understands.
pub fn status_of(config_map: &Value) -> Option<ClusterStatus> {
    serde_json::from_str(config_map["data"][KEY_STATUS].as_str()?).ok()
}

/// The system identifier that an object carries.
pub fn system_identifier_of(object: &Value) -> Option<SystemIdentifier> {
    annotation(object, ANNOTATION_SYSTEM_IDENTIFIER)?.parse().ok().map(SystemIdentifier)
}

/// A pod of this cluster.
pub fn pod_of(pod: &Value, names: &Names) -> Option<(String, PodSeen)> {
    let name = name_of(pod)?.to_owned();
    let ordinal = names.ordinal(&name)?;
    let container = postgres_in(pod, "/status/containerStatuses");
    let mut terminated = BTreeSet::new();
    let mut running = false;
    let mut crash_loop_by_signal = false;
    if let Some(container) = container {
        for state in ["/state/terminated/message", "/lastState/terminated/message"] {
            if let Some(nonce) = text(container, state).map(str::trim).filter(|nonce| !nonce.is_empty()) {
                terminated.insert(ContainerNonce::new(nonce));
            }
        }
        running =
            text(pod, "/status/phase") == Some("Running") && container.pointer("/state/running").is_some();
        let exit = container.pointer("/lastState/terminated/exitCode").and_then(Value::as_i64).unwrap_or(0);
        crash_loop_by_signal =
            text(container, "/state/waiting/reason") == Some("CrashLoopBackOff") && exit > SIGNAL_EXIT_BASE;
    }
    let version = version_of(pod)?;
    Some((
        name,
        PodSeen {
            ordinal,
            uid: version.uid,
            resource_version: version.resource_version,
            running,
            deleting: pod.pointer("/metadata/deletionTimestamp").is_some(),
            node: text(pod, "/spec/nodeName").map(str::to_owned),
            address: text(pod, "/status/podIP").filter(|ip| !ip.is_empty()).map(str::to_owned),
            labels: string_map(pod.pointer("/metadata/labels")),
            terminated,
            template_hash: annotation(pod, ANNOTATION_TEMPLATE_HASH).unwrap_or_default().to_owned(),
            has_certificate: postgres_in(pod, "/spec/containers").is_some_and(|one| mounts(one, TLS_DIR)),
            crash_loop_by_signal,
        },
    ))
}

/// The container that postgres runs in, out of one of the pod's lists of containers.
fn postgres_in<'a>(pod: &'a Value, list: &str) -> Option<&'a Value> {
    let containers = pod.pointer(list).and_then(Value::as_array)?;
    containers.iter().find(|container| container["name"] == CONTAINER_POSTGRES)
}

/// Whether a container has something mounted there.
fn mounts(container: &Value, directory: &str) -> bool {
    let mounts = container["volumeMounts"].as_array();
    mounts.is_some_and(|mounts| mounts.iter().any(|mount| mount["mountPath"] == directory))
}

/// A volume claim of this cluster.
pub fn volume_of(claim: &Value, names: &Names) -> Option<(u32, VolumeSeen)> {
    let ordinal = names.ordinal(name_of(claim)?)?;
    Some((
        ordinal,
        VolumeSeen {
            uid: text(claim, "/metadata/uid")?.to_owned(),
            bound: text(claim, "/status/phase") == Some("Bound"),
            system_identifier: system_identifier_of(claim),
            never_initialised: annotation(claim, ANNOTATION_NEVER_INITIALISED) == Some("true"),
        },
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use pgha_schema::desired::SyncMode;
    use serde_json::json;

    #[test]
    fn a_record_of_another_cluster_or_a_newer_format_is_not_used() {
        let lease =
            |record: &Value| json!({"metadata": {"annotations": {ANNOTATION_RECORD: record.to_string()}}});
        let record = Record::initial("mine", SyncMode::Sync);
        let mut value = serde_json::to_value(&record).unwrap();
        assert_eq!(record_of(&lease(&value), "mine"), Ok(record));
        assert!(record_of(&lease(&value), "yours").unwrap_err().contains("another cluster"));
        value["format"] = json!(RECORD_FORMAT + 1);
        value["eras"] = json!("something new");
        assert!(record_of(&lease(&value), "mine").unwrap_err().contains("newer"));
        assert!(record_of(&json!({}), "mine").is_err());
    }

    #[test]
    fn a_pod_tells_which_lives_have_ended() {
        let pod = json!({
            "metadata": {"name": "orders-1", "uid": "u", "resourceVersion": "5", "labels": {"role": "replica"},
                         "annotations": {ANNOTATION_TEMPLATE_HASH: "t1"}},
            "spec": {"nodeName": "node-b"},
            "status": {"phase": "Running", "podIP": "10.1.0.4", "containerStatuses": [
                {"name": "other", "state": {"terminated": {"message": "not ours"}}},
                {"name": "postgres", "state": {"running": {}},
                 "lastState": {"terminated": {"message": "abc\n", "exitCode": 137}}}]}
        });
        let (name, seen) = pod_of(&pod, &Names::new("orders")).unwrap();
        assert_eq!((name.as_str(), seen.ordinal, seen.running), ("orders-1", 1, true));
        assert_eq!(seen.terminated, BTreeSet::from([ContainerNonce::new("abc")]));
        assert_eq!((seen.template_hash.as_str(), seen.crash_loop_by_signal), ("t1", false));
        assert!(pod_of(&pod, &Names::new("other")).is_none());
    }

    #[test]
    fn a_pod_has_a_certificate_when_its_secret_is_mounted_where_postgres_runs() {
        let pod = |directory: &str| {
            json!({"metadata": {"name": "orders-1", "uid": "u", "resourceVersion": "5"}, "spec": {"containers": [
                {"name": "postgres", "volumeMounts": [{"name": "data", "mountPath": "/var/lib/pgha"},
                                                      {"name": "certificate", "mountPath": directory}]}]}})
        };
        let has = |directory| pod_of(&pod(directory), &Names::new("orders")).unwrap().1.has_certificate;
        assert_eq!((has(TLS_DIR), has("/etc/pgha/other")), (true, false));
    }

    #[test]
    fn crash_back_off_after_a_signal_is_told_from_one_after_an_error() {
        let pod = |code: i64| {
            json!({"metadata": {"name": "orders-0", "uid": "u", "resourceVersion": "5"}, "status": {
                "containerStatuses": [{"name": "postgres", "state": {"waiting": {"reason": "CrashLoopBackOff"}},
                                       "lastState": {"terminated": {"exitCode": code}}}]}})
        };
        let seen = |code| pod_of(&pod(code), &Names::new("orders")).unwrap().1.crash_loop_by_signal;
        assert!(seen(137) && !seen(1));
    }

    #[test]
    fn selectors_are_encoded() {
        let paths = Paths::new(&Names::new("orders"), "shop");
        assert_eq!(
            paths.pods(),
            "/api/v1/namespaces/shop/pods?labelSelector=app.kubernetes.io%2Fname%3Dpostgres-ha,app.kubernetes.io%2Finstance%3Dorders"
        );
    }
}
