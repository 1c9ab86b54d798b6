//! Kubernetes objects as this crate speaks of them: a kind, a name, and JSON.

use std::fmt;

use pgha_schema::names::{APP_NAME, LABEL_INSTANCE, LABEL_NAME};
use pgha_schema::quantity::Quantity;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

/// The kinds that a cluster is made of, or that are read to tell how it fares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[allow(missing_docs)] // The names of the kinds say it.
pub enum Kind {
    ConfigMap,
    Secret,
    ServiceAccount,
    Role,
    RoleBinding,
    Service,
    Lease,
    StatefulSet,
    PodDisruptionBudget,
    NetworkPolicy,
    PersistentVolumeClaim,
    Pod,
    Event,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 13] = [
        Self::ConfigMap,
        Self::Secret,
        Self::ServiceAccount,
        Self::Role,
        Self::RoleBinding,
        Self::Service,
        Self::Lease,
        Self::StatefulSet,
        Self::PodDisruptionBudget,
        Self::NetworkPolicy,
        Self::PersistentVolumeClaim,
        Self::Pod,
        Self::Event,
    ];

    /// The kind's name: `StatefulSet`.
    pub fn name(self) -> &'static str {
        match self {
            Self::ConfigMap => "ConfigMap",
            Self::Secret => "Secret",
            Self::ServiceAccount => "ServiceAccount",
            Self::Role => "Role",
            Self::RoleBinding => "RoleBinding",
            Self::Service => "Service",
            Self::Lease => "Lease",
            Self::StatefulSet => "StatefulSet",
            Self::PodDisruptionBudget => "PodDisruptionBudget",
            Self::NetworkPolicy => "NetworkPolicy",
            Self::PersistentVolumeClaim => "PersistentVolumeClaim",
            Self::Pod => "Pod",
            Self::Event => "Event",
        }
    }

    /// Its group and version: `apps/v1`.
    pub fn api_version(self) -> &'static str {
        match self {
            Self::Role | Self::RoleBinding => "rbac.authorization.k8s.io/v1",
            Self::Lease => "coordination.k8s.io/v1",
            Self::StatefulSet => "apps/v1",
            Self::PodDisruptionBudget => "policy/v1",
            Self::NetworkPolicy => "networking.k8s.io/v1",
            Self::ConfigMap
            | Self::Secret
            | Self::ServiceAccount
            | Self::Service
            | Self::PersistentVolumeClaim
            | Self::Pod
            | Self::Event => "v1",
        }
    }

    /// Its name in URLs and in RBAC: `statefulsets`.
    pub fn plural(self) -> &'static str {
        match self {
            Self::ConfigMap => "configmaps",
            Self::Secret => "secrets",
            Self::ServiceAccount => "serviceaccounts",
            Self::Role => "roles",
            Self::RoleBinding => "rolebindings",
            Self::Service => "services",
            Self::Lease => "leases",
            Self::StatefulSet => "statefulsets",
            Self::PodDisruptionBudget => "poddisruptionbudgets",
            Self::NetworkPolicy => "networkpolicies",
            Self::PersistentVolumeClaim => "persistentvolumeclaims",
            Self::Pod => "pods",
            Self::Event => "events",
        }
    }

    /// Its API group; empty for the core group.
    pub fn group(self) -> &'static str {
        self.api_version().rsplit_once('/').map_or("", |(group, _)| group)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Which object of the cluster's namespace. Prints and is stored as `Service orders-rw`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey {
    /// Its kind.
    pub kind: Kind,
    /// Its name.
    pub name: String,
}

impl ObjectKey {
    /// From its parts.
    pub fn new(kind: Kind, name: impl Into<String>) -> Self {
        Self { kind, name: name.into() }
    }

    /// The key of an object that this crate rendered; `None` for a kind that is none of ours.
    pub fn of(object: &Json) -> Option<Self> {
        let kind = object.get("kind")?.as_str()?;
        let kind = Kind::ALL.into_iter().find(|known| known.name() == kind)?;
        Some(Self::new(kind, object.pointer("/metadata/name")?.as_str()?))
    }

    /// From its printed form.
    pub fn parse(text: &str) -> Option<Self> {
        let (kind, name) = text.split_once(' ')?;
        Kind::ALL.into_iter().find(|known| known.name() == kind).map(|kind| Self::new(kind, name))
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.name)
    }
}

/// The uid of an object.
pub fn uid(object: &Json) -> Option<&str> {
    object.pointer("/metadata/uid")?.as_str()
}

/// Whether the object with this uid is one of those that own `object`.
pub fn is_owned_by(object: &Json, uid: &str) -> bool {
    let owners = object.pointer("/metadata/ownerReferences").and_then(Json::as_array);
    owners.into_iter().flatten().any(|owner| owner["uid"] == uid)
}

/// The name of an object; empty when it has none.
pub fn name(object: &Json) -> &str {
    object.pointer("/metadata/name").and_then(Json::as_str).unwrap_or_default()
}

/// An annotation of an object.
pub fn annotation<'a>(object: &'a Json, key: &str) -> Option<&'a str> {
    object.get("metadata")?.get("annotations")?.get(key)?.as_str()
}

/// Whether an object carries the labels of this cluster.
pub fn is_of(object: &Json, cluster: &str) -> bool {
    let label = |key: &str| object.get("metadata")?.get("labels")?.get(key)?.as_str();
    label(LABEL_NAME) == Some(APP_NAME) && label(LABEL_INSTANCE) == Some(cluster)
}

/// The size that a volume claim asks for; `None` when it does not say.
pub fn asked_size(claim: &Json) -> Option<Quantity> {
    claim.pointer("/spec/resources/requests/storage")?.as_str()?.parse().ok()
}

/// The size that the volume of a claim has; nothing before it is bound.
pub fn capacity(claim: &Json) -> Option<Quantity> {
    claim.pointer("/status/capacity/storage")?.as_str()?.parse().ok()
}

/// Whether an object can have this name: no other is to become a part of a request's path.
pub fn is_name(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
    !text.is_empty() && text.len() <= 253 && text.chars().all(allowed) && !text.starts_with('.')
}

/// A pod in which nothing runs: it has not come so far, or a container of it ends again and again.
pub fn runs_nothing(pod: &Json) -> bool {
    let statuses = pod.pointer("/status/containerStatuses").and_then(Json::as_array);
    let loops = |status: &Json| {
        status.pointer("/state/waiting/reason").and_then(Json::as_str) == Some("CrashLoopBackOff")
    };
    pod.pointer("/status/phase").and_then(Json::as_str) == Some("Pending")
        || statuses.is_some_and(|all| all.iter().any(loops))
}

/// A text inside a ConfigMap.
pub fn data<'a>(object: &'a Json, key: &str) -> Option<&'a str> {
    object.get("data")?.get(key)?.as_str()
}
