//! What the API server refuses to write, in words for the user: field by field, and the way out.

use crate::object::{Kind, ObjectKey};

/// One of the causes that a refusal names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// The field, as `spec.selector`.
    pub field: String,
    /// What is wrong with it.
    pub message: String,
}

/// A refusal, as the API server's status tells it.
#[derive(Clone, Debug)]
pub struct Refusal<'a> {
    /// What was to be written.
    pub key: &'a ObjectKey,
    /// In which namespace; empty where that is not known.
    pub namespace: &'a str,
    /// The status' message.
    pub message: &'a str,
    /// Its causes; often there are none.
    pub causes: Vec<Cause>,
}

/// Who or what stands against a write.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Obstacle<'a> {
    /// This ResourceQuota is used up.
    Quota(&'a str),
    /// This ResourceQuota wants to be told how much.
    QuotaUntold(&'a str),
    /// A LimitRange.
    LimitRange,
    /// This level of Pod Security.
    PodSecurity(&'a str),
    /// The webhook of this name.
    Webhook(&'a str),
    /// The ValidatingAdmissionPolicy of this name.
    Policy(&'a str),
    /// A storage class whose volumes stay as they are.
    Resize,
    /// Volumes do not shrink.
    Shrink,
    /// The namespace is being deleted.
    Leaving,
    /// A field that is not changed in place.
    Immutable,
}

/// Words by which an API server tells of fields that are not changed in place.
const IMMUTABLE: [&str; 5] = [
    "is immutable",
    "updates to statefulset spec for fields other than",
    "may not change once set",
    "cannot change roleRef",
    "may not be changed",
];

impl Refusal<'_> {
    /// What follows "can't write this:" — the causes field by field, or the message where there are none, and the way out.
    pub fn text(&self) -> String {
        let mut lines: Vec<String> =
            self.causes.iter().map(|cause| format!("\n  {}: {}", cause.field, cause.message)).collect();
        lines.dedup();
        let told = if lines.is_empty() { format!(" {}", self.message) } else { lines.concat() };
        format!("{told}\n{}", self.way_out())
    }

    /// It is known what stands against the write.
    pub fn is_understood(&self) -> bool {
        self.obstacle().is_some()
    }

    fn obstacle(&self) -> Option<Obstacle<'_>> {
        let texts =
            || std::iter::once(self.message).chain(self.causes.iter().map(|cause| cause.message.as_str()));
        let says = |words: &str| texts().any(|text| text.contains(words));
        let between = |from: &str, to: &[char]| texts().find_map(|text| between(text, from, to));
        if let Some(quota) = between("exceeded quota: ", &[',', ' ']) {
            return Some(Obstacle::Quota(quota));
        }
        if let Some(quota) = between("failed quota: ", &[':', ' ']) {
            return Some(Obstacle::QuotaUntold(quota));
        }
        if let Some(level) = between("violates PodSecurity \"", &['"']) {
            return Some(Obstacle::PodSecurity(level));
        }
        if let Some(webhook) = between("admission webhook \"", &['"']) {
            return Some(Obstacle::Webhook(webhook));
        }
        if let Some(policy) = between("ValidatingAdmissionPolicy '", &['\'']) {
            return Some(Obstacle::Policy(policy));
        }
        if says("because it is being terminated") {
            return Some(Obstacle::Leaving);
        }
        if says("must support resize") {
            return Some(Obstacle::Resize);
        }
        if says("can not be less than") && self.key.kind == Kind::PersistentVolumeClaim {
            return Some(Obstacle::Shrink);
        }
        if ["imum ", " usage per "].iter().all(|words| says(words)) {
            return Some(Obstacle::LimitRange);
        }
        IMMUTABLE.iter().any(|words| says(words)).then_some(Obstacle::Immutable)
    }

    /// What to do about it.
    pub fn way_out(&self) -> String {
        let place = match self.namespace {
            "" => "the namespace".to_owned(),
            namespace => format!("namespace {namespace}"),
        };
        match self.obstacle() {
            Some(Obstacle::Quota(quota)) => format!(
                "Raise ResourceQuota {quota} of {place}, or ask for less of what it counts: lower resources, replicas or \
                 storage.size."
            ),
            Some(Obstacle::QuotaUntold(quota)) => format!(
                "ResourceQuota {quota} of {place} wants to be told how much each pod takes: set it in resources."
            ),
            Some(Obstacle::LimitRange) => format!(
                "A LimitRange of {place} says so: choose resources or storage.size within its bounds, or change these."
            ),
            Some(Obstacle::PodSecurity(level)) => format!(
                "The Pod Security level {level} of {place} forbids it. As this provider renders them the pods keep to \
                 the level restricted: take away what a webhook adds to them, or lower the namespace's label \
                 pod-security.kubernetes.io/enforce."
            ),
            Some(Obstacle::Webhook(name)) => policy(&format!("The admission webhook {name}")),
            Some(Obstacle::Policy(name)) => policy(&format!("ValidatingAdmissionPolicy {name}")),
            Some(Obstacle::Resize) => {
                "Volumes of this storage class don't grow: set `allowVolumeExpansion: true` on the StorageClass if its driver can do \
                 it, or take storage.size back."
                    .to_owned()
            }
            Some(Obstacle::Shrink) => {
                "Volumes don't shrink: set storage.size to what they have, or to no less than their claims ask for.".to_owned()
            }
            Some(Obstacle::Leaving) => format!(
                "{} is being deleted. Once it is gone, create it again, or choose another one, and apply again.",
                capitalised(&place)
            ),
            Some(Obstacle::Immutable) => self.anew(),
            None => "Change what it comes from in the configuration. If nothing there does, somebody or a webhook has changed the \
                     object: take that back."
                .to_owned(),
        }
    }

    /// How to come by an object whose fields can't be changed in place.
    fn anew(&self) -> String {
        let ObjectKey { kind, name } = self.key;
        let (namespace, word) = (self.namespace, kind.name().to_lowercase());
        match kind {
            Kind::StatefulSet => format!(
                "These fields are not changed in place. Make the object anew under its running pods: `kubectl delete statefulset {name} \
                 --namespace {namespace} --cascade=orphan`, which leaves pods and volumes as they are, and apply again."
            ),
            Kind::Service
            | Kind::ServiceAccount
            | Kind::PodDisruptionBudget
            | Kind::Role
            | Kind::RoleBinding
            | Kind::NetworkPolicy => format!(
                "These fields are not changed in place, and the object holds no data: `kubectl delete {word} {name} --namespace \
                 {namespace}`, and apply again, which makes it anew."
            ),
            Kind::ConfigMap | Kind::Secret | Kind::Lease | Kind::Pod | Kind::PersistentVolumeClaim | Kind::Event => {
                "These fields are not changed in place, and the object must not be lost: take the change back where it comes from, in \
                 the configuration or with whoever changed the object."
                    .to_owned()
            }
        }
    }
}

fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

fn policy(who: &str) -> String {
    format!(
        "{who} says so: change what its message names in the configuration (image, resources, labels, annotations), or let whoever \
         keeps the policy make an exception for this cluster."
    )
}

/// What stands between `from` and the first of `to`.
fn between<'t>(text: &'t str, from: &str, to: &[char]) -> Option<&'t str> {
    let (_, rest) = text.split_once(from)?;
    rest.split(to).next().filter(|found| !found.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(kind: Kind, message: &str, causes: &[(&str, &str)]) -> String {
        let causes = causes
            .iter()
            .map(|(field, message)| Cause { field: (*field).to_owned(), message: (*message).to_owned() });
        let key = ObjectKey::new(kind, "orders");
        Refusal { key: &key, namespace: "shop", message, causes: causes.collect() }.text()
    }

    fn says(text: &str, parts: &[&str]) {
        for part in parts {
            assert!(text.contains(part), "{part} is missing in {text}");
        }
    }

    #[test]
    fn a_quota_is_named_and_what_it_counts() {
        let used_up = "pods \"orders-0\" is forbidden: exceeded quota: small, requested: limits.cpu=2, used: limits.cpu=3";
        says(
            &told(Kind::Pod, used_up, &[]),
            &["requested: limits.cpu=2", "Raise ResourceQuota small of namespace shop", "storage.size"],
        );
        let untold = "pods \"x\" is forbidden: failed quota: small: must specify limits.cpu for: postgres";
        says(&told(Kind::Pod, untold, &[]), &["ResourceQuota small", "set it in resources"]);
    }

    #[test]
    fn limits_of_a_namespace_are_told_from_a_quota() {
        let message =
            "pods \"x\" is forbidden: maximum memory usage per Container is 256Mi, but limit is 512Mi";
        says(&told(Kind::Pod, message, &[]), &["A LimitRange of namespace shop", "resources"]);
    }

    #[test]
    fn a_policy_is_named_whatever_its_kind() {
        let level =
            "pods \"x\" is forbidden: violates PodSecurity \"restricted:latest\": runAsNonRoot != true";
        says(
            &told(Kind::Pod, level, &[]),
            &["Pod Security level restricted:latest", "pod-security.kubernetes.io"],
        );
        let webhook = "admission webhook \"labels.example.org\" denied the request: team is missing";
        says(&told(Kind::Service, webhook, &[]), &["webhook labels.example.org says so", "labels"]);
        let policy =
            "orders is forbidden: ValidatingAdmissionPolicy 'images' with binding 'b' denied request: no";
        says(&told(Kind::StatefulSet, policy, &[]), &["ValidatingAdmissionPolicy images says so", "image"]);
    }

    #[test]
    fn fields_that_stay_as_they_are_stand_line_by_line_with_a_way_out_for_each_kind() {
        let cause = [(
            "spec",
            "Forbidden: updates to statefulset spec for fields other than 'replicas' are forbidden",
        )];
        says(
            &told(Kind::StatefulSet, "it is invalid", &cause),
            &[
                "\n  spec: Forbidden: updates",
                "`kubectl delete statefulset orders --namespace shop --cascade=orphan`",
                "apply again",
            ],
        );
        let cause = [("spec.clusterIPs[0]", "Invalid value: may not change once set")];
        let service = told(Kind::Service, "it is invalid", &cause);
        says(&service, &["`kubectl delete service orders --namespace shop`"]);
        assert!(!service.contains("orphan"), "{service}");
        // Who deletes the anchor deletes the cluster.
        let map = told(Kind::ConfigMap, "", &[("data", "field is immutable when `immutable` is set")]);
        assert!(!map.contains("kubectl delete") && map.contains("must not be lost"), "{map}");
    }

    #[test]
    fn volumes_that_do_not_grow_or_shrink_are_told_apart() {
        let grow = "persistentvolumeclaims \"data-orders-0\" is forbidden: only dynamically provisioned pvc can be resized and \
                    the storageclass that provisions the pvc must support resize";
        says(&told(Kind::PersistentVolumeClaim, grow, &[]), &["allowVolumeExpansion: true", "storage.size"]);
        let shrink =
            [("spec.resources.requests.storage", "Forbidden: field can not be less than status.capacity")];
        says(&told(Kind::PersistentVolumeClaim, "", &shrink), &["Volumes don't shrink"]);
    }

    #[test]
    fn what_is_not_understood_is_told_field_by_field_each_once() {
        let causes = [("spec.a", "bad"), ("spec.a", "bad"), ("spec.b", "worse")];
        let text = told(Kind::Service, "it is invalid", &causes);
        assert!(text.starts_with("\n  spec.a: bad\n  spec.b: worse\nChange what it comes from"), "{text}");
    }
}
