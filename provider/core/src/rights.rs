//! The rights that an operation needs, looked at before it starts: what is missing is listed at once, with a Role that holds it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde_json::Value as Json;

use crate::diagnostic::Diagnostic;
use crate::object::Kind;

/// One right in the cluster's namespace, as RBAC speaks of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Right {
    /// On objects of this kind.
    pub kind: Kind,
    /// To do this.
    pub verb: &'static str,
}

/// What is about to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Everything is made.
    Create,
    /// What is there is changed.
    Update,
    /// Everything goes.
    Destroy {
        /// The volumes too.
        volumes: bool,
    },
}

/// The rights for an operation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// It can't be done without these.
    pub used: BTreeSet<Right>,
    /// The agents' Role holds these, and Kubernetes lets nobody give a right that they lack, but for those who may `escalate`
    /// Roles.
    pub given: BTreeSet<Right>,
}

/// The kinds that apply makes one by one, with no more to them than that.
const MADE: [Kind; 6] = [
    Kind::Service,
    Kind::ServiceAccount,
    Kind::StatefulSet,
    Kind::PodDisruptionBudget,
    Kind::Role,
    Kind::RoleBinding,
];

/// What `operation` needs; of an update only what it needs in any case. With `network_policy` for the NetworkPolicy too.
pub fn needs(operation: Operation, network_policy: bool) -> Needs {
    let mut needs = Needs::default();
    let used = &mut needs.used;
    let mut made: Vec<Kind> = MADE.to_vec();
    made.extend(network_policy.then_some(Kind::NetworkPolicy));
    add(used, Kind::Pod, &["list"]);
    add(used, Kind::PersistentVolumeClaim, &["list"]);
    add(used, Kind::Lease, &["get"]);
    match operation {
        Operation::Create => {
            add_all(used, &made, &["get", "create", "patch"]);
            add(used, Kind::ConfigMap, &["get", "create", "patch"]);
            add(used, Kind::Secret, &["create"]);
            let given = &mut needs.given;
            add(given, Kind::ConfigMap, &["get", "list", "watch", "patch"]);
            add(given, Kind::Lease, &["get", "list", "watch", "create", "update"]);
            add(given, Kind::Pod, &["list", "watch", "patch", "delete"]);
            add(given, Kind::PersistentVolumeClaim, &["list", "patch"]);
            add(given, Kind::StatefulSet, &["get", "patch"]);
            add(given, Kind::Event, &["create"]);
        }
        Operation::Update => {
            add_all(used, &made, &["get", "patch"]);
            add(used, Kind::ConfigMap, &["get", "create", "patch"]);
            add(used, Kind::Secret, &["create"]);
        }
        Operation::Destroy { volumes } => {
            add_all(used, &made, &["get", "delete"]);
            add(used, Kind::ConfigMap, &["get", "patch", "delete"]);
            add(used, Kind::Secret, &["delete"]);
            add(used, Kind::Lease, &["delete"]);
            if volumes {
                add(used, Kind::PersistentVolumeClaim, &["delete"]);
            }
        }
    }
    needs
}

fn add_all(rights: &mut BTreeSet<Right>, kinds: &[Kind], verbs: &[&'static str]) {
    for kind in kinds {
        add(rights, *kind, verbs);
    }
}

fn add(rights: &mut BTreeSet<Right>, kind: Kind, verbs: &[&'static str]) {
    rights.extend(verbs.iter().map(|verb| Right { kind, verb }));
}

/// Whether one of the rules (`status.resourceRules` of a SelfSubjectRulesReview) gives this right on every object of its kind.
pub fn is_covered(rules: &[Json], right: Right) -> bool {
    let has = |rule: &Json, field: &str, wanted: &str| {
        let mut words = rule[field].as_array().into_iter().flatten().filter_map(Json::as_str);
        words.any(|word| word == "*" || word == wanted)
    };
    rules.iter().any(|rule| {
        rule["resourceNames"].as_array().is_none_or(Vec::is_empty)
            && has(rule, "apiGroups", right.kind.group())
            && has(rule, "resources", right.kind.plural())
            && has(rule, "verbs", right.verb)
    })
}

/// What the user reads when rights are missing; nothing was changed then.
pub fn refusal(
    operation: Operation,
    cluster: &str,
    namespace: &str,
    missing: &BTreeSet<Right>,
) -> Diagnostic {
    let word = match operation {
        Operation::Create => "create",
        Operation::Update => "change",
        Operation::Destroy { .. } => "destroy",
    };
    Diagnostic::error(
        format!("These credentials have not all rights to {word} cluster {cluster}"),
        format!(
            "Nothing was changed. In namespace {namespace} they lack:\n{}\nThis Role adds them; bind it to whoever the \
             credentials stand for, or take examples/rbac/writer.yaml of the provider's repository, which holds all that \
             is ever needed:\n\n{}",
            lines(missing),
            role(cluster, namespace, missing)
        ),
    )
}

fn by_kind(rights: &BTreeSet<Right>) -> BTreeMap<Kind, Vec<&'static str>> {
    let mut kinds: BTreeMap<Kind, Vec<&'static str>> = BTreeMap::new();
    for right in rights {
        kinds.entry(right.kind).or_default().push(right.verb);
    }
    kinds
}

fn lines(missing: &BTreeSet<Right>) -> String {
    let mut text = String::new();
    for (kind, verbs) in by_kind(missing) {
        let group = match kind.group() {
            "" => "the core API group",
            group => group,
        };
        let _ = writeln!(text, "  {} on {} ({group})", verbs.join(", "), kind.plural());
    }
    text
}

/// A Role in YAML with just these rights.
fn role(cluster: &str, namespace: &str, rights: &BTreeSet<Right>) -> String {
    let mut text = format!(
        "apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata:\n  name: {cluster}-terraform\n  namespace: \
         {namespace}\nrules:\n"
    );
    for (kind, verbs) in by_kind(rights) {
        let (group, resource) = (kind.group(), kind.plural());
        let _ = writeln!(
            text,
            "  - apiGroups: [\"{group}\"]\n    resources: [{resource}]\n    verbs: [{}]",
            verbs.join(", ")
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::json;

    use super::*;

    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Rule {
        api_groups: Vec<String>,
        resources: Vec<String>,
        verbs: Vec<String>,
    }

    #[derive(Deserialize)]
    struct Role {
        rules: Vec<Rule>,
    }

    fn parsed(yaml: &str) -> Vec<Json> {
        let role: Role = serde_yaml_ng::from_str(yaml).expect("a Role");
        let rule = |rule: Rule| json!({"apiGroups": rule.api_groups, "resources": rule.resources, "verbs": rule.verbs});
        role.rules.into_iter().map(rule).collect()
    }

    #[test]
    fn the_role_of_the_examples_holds_all_that_is_looked_for() {
        let writer = parsed(include_str!("../../../examples/rbac/writer.yaml"));
        for operation in [Operation::Create, Operation::Update, Operation::Destroy { volumes: true }] {
            let Needs { used, given } = needs(operation, true);
            for right in used.union(&given) {
                assert!(is_covered(&writer, *right), "{operation:?} needs {right:?}");
            }
        }
    }

    #[test]
    fn a_rule_for_named_objects_or_another_group_covers_nothing() {
        let right = Right { kind: Kind::StatefulSet, verb: "patch" };
        let rule = |group: &str, resource: &str, verb: &str, names: &[&str]| {
            [json!({"apiGroups": [group], "resources": [resource], "verbs": [verb], "resourceNames": names})]
        };
        assert!(is_covered(&rule("apps", "statefulsets", "patch", &[]), right));
        assert!(is_covered(&rule("*", "*", "*", &[]), right));
        assert!(!is_covered(&rule("apps", "statefulsets", "patch", &["orders"]), right));
        assert!(!is_covered(&rule("", "statefulsets", "patch", &[]), right));
        assert!(!is_covered(&rule("apps", "statefulsets/scale", "patch", &[]), right));
        assert!(!is_covered(&rule("apps", "statefulsets", "get", &[]), right));
    }

    #[test]
    fn the_role_in_the_message_gives_what_is_missing_and_no_more() {
        let all = needs(Operation::Create, false).used;
        let missing: BTreeSet<Right> = all.into_iter().filter(|right| right.verb == "create").collect();
        let told = refusal(Operation::Create, "orders", "shop", &missing);
        let (_, yaml) = told.detail.split_once("\n\n").expect("a Role");
        let rules = parsed(yaml);
        for right in needs(Operation::Create, true).used {
            assert_eq!(is_covered(&rules, right), missing.contains(&right), "{right:?}:\n{yaml}");
        }
        assert!(told.detail.contains("\n  create on statefulsets (apps)\n"), "{}", told.detail);
    }
}
