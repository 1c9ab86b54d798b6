//! The pod template (A29, A30): a stock image, an init container that assembles or copies the agent, the guard as PID 1.

use std::collections::BTreeMap;

use pgha_schema::names::{
    AGENT_DIR, AGENT_IN_IMAGE, AGENT_PATH, ANNOTATION_AGENT_HASH, ANNOTATION_TEMPLATE_HASH,
    CONTAINER_AGENT_INSTALL, CONTAINER_POSTGRES, PGDATA, POSTGRES_PORT, REST_PORT, SECRETS_DIR, SOCKET_DIR,
    TLS_DIR, VOLUME_DIR, env,
};
use pgha_schema::quantity::Quantity;
use pgha_schema::resource::{Resources, Spread};
use serde_json::{Value as Json, json};
use sha2::{Digest, Sha256};

use super::agent::chunk_file;
use super::claims::DATA_VOLUME;
use super::{Component, Inputs, labels, pod_selector, without_nulls};

/// Where the chunks are mounted in the init container.
const CHUNKS_DIR: &str = "/etc/pgha/agent";
const CHUNKS_VOLUME: &str = "agent-chunks";
/// Time for a hand-over and a clean stop; past it the kubelet kills.
const GRACE_SECONDS: u32 = 60;

/// The hash of the template without the agent: other pods than those made from such a template are rolled by the holder.
/// The template itself names the newest agent, for pods to come; in those that run the agent is exchanged in place (A8).
pub fn template_hash(inputs: &Inputs<'_>) -> String {
    let any = inputs.agent.any();
    let text = canonical(&unhashed(&Inputs { agent: &any, ..inputs.clone() }, ""));
    let mut hash = hex::encode(Sha256::digest(text.as_bytes()));
    hash.truncate(16);
    hash
}

pub(super) fn template(inputs: &Inputs<'_>) -> Json {
    unhashed(inputs, &template_hash(inputs))
}

/// JSON with its keys in order, whatever map serde_json was built with.
fn canonical(json: &Json) -> String {
    match json {
        Json::Object(fields) => {
            let sorted: BTreeMap<_, _> =
                fields.iter().map(|(name, value)| (name, canonical(value))).collect();
            let fields: Vec<_> =
                sorted.into_iter().map(|(name, value)| format!("{name:?}:{value}")).collect();
            format!("{{{}}}", fields.join(","))
        }
        Json::Array(items) => format!("[{}]", items.iter().map(canonical).collect::<Vec<_>>().join(",")),
        other => other.to_string(),
    }
}

fn unhashed(inputs: &Inputs<'_>, hash: &str) -> Json {
    let pod = &inputs.spec.pod;
    let mut labels = labels(&inputs.spec.name, Component::Database);
    for (key, value) in pod.labels.iter().flatten() {
        labels[key] = json!(value);
    }
    let mut annotations = json!({
        ANNOTATION_TEMPLATE_HASH: hash,
        ANNOTATION_AGENT_HASH: inputs.agent.mark(),
        // `kubectl logs` and `exec` choose the right container.
        "kubectl.kubernetes.io/default-container": CONTAINER_POSTGRES,
    });
    for (key, value) in pod.annotations.iter().flatten() {
        annotations[key] = json!(value);
    }
    without_nulls(json!({
        "metadata": {"labels": labels, "annotations": annotations},
        "spec": pod_spec(inputs, hash),
    }))
}

fn pod_spec(inputs: &Inputs<'_>, hash: &str) -> Json {
    let spec = inputs.spec;
    let (pod, scheduling) = (&spec.pod, &spec.scheduling);
    let pull_secrets = pod.image_pull_secrets.as_ref().filter(|names| !names.is_empty());
    let pull_secrets: Option<Vec<Json>> =
        pull_secrets.map(|names| names.iter().map(|name| json!({"name": name})).collect());
    json!({
        "serviceAccountName": spec.name,
        "automountServiceAccountToken": true,
        "enableServiceLinks": false,
        "shareProcessNamespace": false,
        "terminationGracePeriodSeconds": GRACE_SECONDS,
        "securityContext": pod_security(inputs),
        "imagePullSecrets": pull_secrets,
        "priorityClassName": scheduling.priority_class,
        "nodeSelector": super::text_map(scheduling.node_selector.as_ref()),
        "tolerations": tolerations(inputs),
        "affinity": affinity(inputs),
        "initContainers": [install_agent(inputs)],
        "containers": [postgres(inputs, hash)],
        "volumes": volumes(inputs),
    })
}

fn pod_security(inputs: &Inputs<'_>) -> Json {
    let context = &inputs.spec.pod.security_context;
    json!({
        "runAsNonRoot": true,
        "runAsUser": context.run_as_user,
        "runAsGroup": context.run_as_group,
        "fsGroup": context.fs_group,
        // A large volume isn't walked through at each start.
        "fsGroupChangePolicy": "OnRootMismatch",
        "supplementalGroups": context.supplemental_groups.as_ref().filter(|groups| !groups.is_empty()),
        "seccompProfile": {"type": "RuntimeDefault"},
    })
}

fn container_security() -> Json {
    json!({
        "allowPrivilegeEscalation": false,
        "privileged": false,
        "readOnlyRootFilesystem": true,
        "capabilities": {"drop": ["ALL"]},
    })
}

fn resources(wanted: Option<&Resources>) -> Json {
    let texts = |map: Option<&BTreeMap<String, Quantity>>| {
        let map = map.filter(|map| !map.is_empty())?;
        Some(
            map.iter()
                .map(|(name, quantity)| (name.clone(), quantity.to_string()))
                .collect::<BTreeMap<_, _>>(),
        )
    };
    let requests = wanted.and_then(|resources| texts(resources.requests.as_ref()));
    let limits = wanted.and_then(|resources| texts(resources.limits.as_ref()));
    if requests.is_none() && limits.is_none() {
        return Json::Null;
    }
    json!({"requests": requests, "limits": limits})
}

fn install_agent(inputs: &Inputs<'_>) -> Json {
    let mut mounts = vec![json!({"name": "agent", "mountPath": AGENT_DIR})];
    let (image, command) = match &inputs.agent.image {
        Some(image) => (image.clone(), json!([AGENT_IN_IMAGE, "install", AGENT_PATH])),
        None => {
            mounts.push(json!({"name": CHUNKS_VOLUME, "mountPath": CHUNKS_DIR, "readOnly": true}));
            (inputs.spec.image(), json!(["sh", "-c", assemble(&inputs.agent.sha256)]))
        }
    };
    json!({
        "name": CONTAINER_AGENT_INSTALL,
        "image": image,
        "imagePullPolicy": inputs.spec.pod.image_pull_policy.as_str(),
        "command": command,
        // The same as PostgreSQL's, so that quotas are met and the pod needs no more than it does anyway.
        "resources": resources(inputs.spec.resources.as_ref()),
        "securityContext": container_security(),
        "volumeMounts": mounts,
    })
}

/// The shell's part: chunks to a binary, checked before it gets its name.
fn assemble(sha256: &str) -> String {
    let new = format!("{AGENT_PATH}.new");
    format!(
        "set -eu\n\
         cat {CHUNKS_DIR}/part-* | gzip -dc > {new}\n\
         echo '{sha256}  {new}' | sha256sum -c -\n\
         chmod 0755 {new}\n\
         mv {new} {AGENT_PATH}\n",
    )
}

fn environment(inputs: &Inputs<'_>, hash: &str) -> Json {
    let field = |name: &str, path: &str| json!({"name": name, "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": path}}});
    let plain = |name: &str, value: &str| json!({"name": name, "value": value});
    json!([
        plain(env::CLUSTER, &inputs.spec.name),
        plain(env::ANCHOR_UID, inputs.anchor_uid),
        plain(env::TEMPLATE_HASH, hash),
        plain("PGDATA", PGDATA),
        field(env::POD_NAME, "metadata.name"),
        field(env::POD_NAMESPACE, "metadata.namespace"),
        field(env::POD_UID, "metadata.uid"),
        field(env::POD_IP, "status.podIP"),
        field(env::NODE_NAME, "spec.nodeName"),
    ])
}

fn postgres(inputs: &Inputs<'_>, hash: &str) -> Json {
    let probe = |path: &str, period: u32, failures: u32| {
        json!({
            "httpGet": {"path": path, "port": REST_PORT, "scheme": "HTTP"},
            "periodSeconds": period,
            "timeoutSeconds": 3,
            "failureThreshold": failures,
        })
    };
    let secret =
        |name: &str| json!({"name": name, "mountPath": format!("{SECRETS_DIR}/{name}"), "readOnly": true});
    let mut mounts = vec![
        json!({"name": DATA_VOLUME, "mountPath": VOLUME_DIR}),
        json!({"name": "agent", "mountPath": AGENT_DIR}),
        json!({"name": "tmp", "mountPath": "/tmp"}),
        json!({"name": "socket", "mountPath": SOCKET_DIR}),
        json!({"name": "shm", "mountPath": "/dev/shm"}),
        secret("superuser"),
        secret("app"),
        secret("internal"),
    ];
    if inputs.spec.tls.is_some() {
        mounts.push(json!({"name": "tls", "mountPath": TLS_DIR, "readOnly": true}));
    }
    json!({
        "name": CONTAINER_POSTGRES,
        "image": inputs.spec.image(),
        "imagePullPolicy": inputs.spec.pod.image_pull_policy.as_str(),
        "command": [AGENT_PATH, "guard"],
        "env": environment(inputs, hash),
        "ports": [
            {"name": "postgres", "containerPort": POSTGRES_PORT, "protocol": "TCP"},
            {"name": "rest", "containerPort": REST_PORT, "protocol": "TCP"},
        ],
        "resources": resources(inputs.spec.resources.as_ref()),
        "securityContext": container_security(),
        // The guard's view of its agent, never PostgreSQL's health (A29).
        "livenessProbe": probe("/liveness", 5, 6),
        "readinessProbe": probe("/readiness", 2, 2),
        "volumeMounts": mounts,
    })
}

fn volumes(inputs: &Inputs<'_>) -> Json {
    let names = inputs.names();
    let secret = |volume: &str, name: String| {
        // Readable by the group that owns the volume, which the processes are in.
        json!({"name": volume, "secret": {"secretName": name, "defaultMode": 0o440}})
    };
    let mut volumes = vec![json!({"name": "agent", "emptyDir": {}})];
    if inputs.agent.image.is_none() {
        volumes.push(chunks_volume(inputs));
    }
    volumes.extend([
        json!({"name": "tmp", "emptyDir": {}}),
        // In memory: the replication password and the certificate's key lie here, as postgres and its tools want them.
        json!({"name": "socket", "emptyDir": {"medium": "Memory"}}),
        // PostgreSQL's parallel queries need more than a container's default of 64 MiB.
        json!({"name": "shm", "emptyDir": {"medium": "Memory"}}),
        secret("superuser", names.secret_superuser()),
        secret("app", names.secret_app()),
        secret("internal", names.secret_internal()),
    ]);
    // A pod whose Secret is missing is not started, and the kubelet says why.
    volumes.extend(inputs.spec.tls.as_ref().map(|tls| secret("tls", tls.secret.clone())));
    Json::Array(volumes)
}

fn chunks_volume(inputs: &Inputs<'_>) -> Json {
    let chunks = inputs.agent.chunk_names().into_iter().enumerate().map(|(index, name)| {
        let file = chunk_file(index);
        json!({"configMap": {"name": name, "items": [{"key": file, "path": file}]}})
    });
    json!({
        "name": CHUNKS_VOLUME,
        "projected": {"defaultMode": 0o444, "sources": chunks.collect::<Vec<_>>()},
    })
}

fn tolerations(inputs: &Inputs<'_>) -> Json {
    let Some(wanted) = inputs.spec.scheduling.tolerations.as_ref().filter(|wanted| !wanted.is_empty()) else {
        return Json::Null;
    };
    let one = |toleration: &pgha_schema::resource::Toleration| {
        json!({
            "key": toleration.key,
            "operator": toleration.operator,
            "value": toleration.value,
            "effect": toleration.effect,
            "tolerationSeconds": toleration.toleration_seconds,
        })
    };
    wanted.iter().map(one).collect()
}

fn affinity(inputs: &Inputs<'_>) -> Json {
    let term = json!({
        "labelSelector": {"matchLabels": pod_selector(&inputs.spec.name)},
        "topologyKey": "kubernetes.io/hostname",
    });
    let apart = match inputs.spec.scheduling.spread {
        Spread::Preferred => json!({
            "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 100, "podAffinityTerm": term}],
        }),
        Spread::Required => json!({"requiredDuringSchedulingIgnoredDuringExecution": [term]}),
        Spread::None => Json::Null,
    };
    // The carried agent is a binary of these architectures.
    let architectures = json!({
        "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{
            "matchExpressions": [{
                "key": "kubernetes.io/arch",
                "operator": "In",
                "values": inputs.agent.architectures,
            }],
        }]},
    });
    let is_known = !inputs.agent.architectures.is_empty();
    json!({"nodeAffinity": is_known.then_some(architectures), "podAntiAffinity": apart})
}
