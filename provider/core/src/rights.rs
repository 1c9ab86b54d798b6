//! The rights that an operation needs, looked at before it starts: what is missing is listed at once, with a Role that holds it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use pgha_schema::actions::Action;
use pgha_schema::names::MANAGER;
use serde_json::Value as Json;

use crate::diagnostic::Diagnostic;
use crate::live::LiveCluster;
use crate::object::{Kind, ObjectKey};
use crate::owned;
use crate::step::Step;

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
    Destroy,
    /// A running cluster is asked for something.
    Act(Action),
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

/// What `operation` needs whatever it finds: an update and a destroy only what it takes to look, since the rest depends on their
/// steps ([`of_steps`]). With `network_policy` for the NetworkPolicy too.
pub fn needs(operation: Operation, network_policy: bool) -> Needs {
    if let Operation::Act(action) = operation {
        return of_action(action);
    }
    let mut needs = Needs::default();
    let used = &mut needs.used;
    let mut made: Vec<Kind> = MADE.to_vec();
    made.extend(network_policy.then_some(Kind::NetworkPolicy));
    add_all(used, &made, &["get"]);
    add(used, Kind::ConfigMap, &["get"]);
    add(used, Kind::Pod, &["list"]);
    add(used, Kind::PersistentVolumeClaim, &["list"]);
    add(used, Kind::Lease, &["get"]);
    if operation == Operation::Create {
        add_all(used, &made, &["create", "patch"]);
        add(used, Kind::ConfigMap, &["create", "patch"]);
        add(used, Kind::Secret, &["create"]);
        add(used, Kind::Lease, &["create"]);
        needs.given = given();
    }
    needs
}

/// What an action can't do without: the anchor and the desired state, the record and the status with the answer, and the pods while it
/// waits. Of Secrets nothing is read, and one that is there is known by that it can't be made.
fn of_action(action: Action) -> Needs {
    let mut needs = Needs::default();
    let used = &mut needs.used;
    add(used, Kind::ConfigMap, &["get", "patch"]);
    add(used, Kind::Lease, &["get"]);
    add(used, Kind::Pod, &["list"]);
    match action {
        Action::RotateCredentials => add(used, Kind::Secret, &["create", "update"]),
        Action::Switchover | Action::Restart | Action::ReinitReplica => {}
    }
    needs
}

/// What the agents' Role holds.
fn given() -> BTreeSet<Right> {
    let mut given = BTreeSet::new();
    add(&mut given, Kind::ConfigMap, &["get", "list", "watch", "patch"]);
    add(&mut given, Kind::Lease, &["get", "list", "watch", "create", "update"]);
    add(&mut given, Kind::Pod, &["list", "watch", "patch", "delete"]);
    add(&mut given, Kind::PersistentVolumeClaim, &["list", "patch"]);
    add(&mut given, Kind::StatefulSet, &["get", "patch"]);
    add(&mut given, Kind::Event, &["create"]);
    given
}

/// What these steps need, made from this snapshot.
pub fn of_steps(steps: &[Step], live: &LiveCluster) -> Needs {
    let mut needs = Needs::default();
    for step in steps {
        let used = &mut needs.used;
        match step {
            Step::Create { object, .. } => {
                used.extend(ObjectKey::of(object).map(|key| Right { kind: key.kind, verb: "create" }));
            }
            // Whether it is there is not known before.
            Step::ShareAgent { .. } => add(used, Kind::ConfigMap, &["create", "patch"]),
            Step::CreateSecret(_) => add(used, Kind::Secret, &["create"]),
            Step::WriteSecret(_) => add(used, Kind::Secret, &["create", "update"]),
            Step::Apply { object, .. } => applied(&mut needs, object, live),
            Step::Patch { key, .. } => add(used, key.kind, &["patch"]),
            Step::Delete { key, .. } => add(used, key.kind, &["delete"]),
            Step::SaveAnchor => add(used, Kind::ConfigMap, &["patch"]),
            // A wait only looks, and older agents stay where they can't be given up.
            Step::Wait(_) | Step::GiveUpChunks { .. } => {}
        }
    }
    needs
}

/// What it takes to make an anchor that is gone again, and to tell the Lease of it: the steps that follow are made from a snapshot that
/// holds the new one.
pub fn of_new_anchor(live: &LiveCluster) -> Needs {
    let mut needs = Needs::default();
    add(&mut needs.used, Kind::ConfigMap, &["create", "patch"]);
    if live.lease().known().is_some() {
        add(&mut needs.used, Kind::Lease, &["patch"]);
    }
    needs
}

/// A server-side apply of what is not there takes both rights. Kubernetes looks at what a Role gives whenever something in it, or in its
/// binding, changes.
fn applied(needs: &mut Needs, object: &Json, live: &LiveCluster) {
    let Some(key) = ObjectKey::of(object) else { return };
    let there = live.object(&key);
    add(&mut needs.used, key.kind, &["patch"]);
    if there.known().is_none() {
        add(&mut needs.used, key.kind, &["create"]);
    }
    let gives = matches!(key.kind, Kind::Role | Kind::RoleBinding);
    let stays = |there: &&Json| holds(there, object) && !owned::takes_out(there, object, MANAGER);
    if gives && !there.known().is_some_and(stays) {
        needs.given = given();
    }
}

/// Whether all of `wanted` is in `there`.
fn holds(there: &Json, wanted: &Json) -> bool {
    match (there, wanted) {
        (Json::Object(there), Json::Object(wanted)) => {
            wanted.iter().all(|(name, wanted)| there.get(name).is_some_and(|there| holds(there, wanted)))
        }
        _ => there == wanted,
    }
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
        Operation::Destroy => "destroy",
        Operation::Act(Action::Switchover) => "switch over",
        Operation::Act(Action::Restart) => "restart instances of",
        Operation::Act(Action::ReinitReplica) => "clone an instance of",
        Operation::Act(Action::RotateCredentials) => "rotate the passwords of",
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
        let acts = Action::ALL.map(Operation::Act);
        for operation in [Operation::Create, Operation::Update, Operation::Destroy].into_iter().chain(acts) {
            let Needs { used, given } = needs(operation, true);
            for right in used.union(&given) {
                assert!(is_covered(&writer, *right), "{operation:?} needs {right:?}");
            }
        }
    }

    #[test]
    fn an_action_needs_the_readers_role_and_the_verbs_that_its_page_names() {
        let reader = parsed(include_str!("../../../examples/rbac/reader.yaml"));
        for action in Action::ALL {
            let Needs { used, given } = needs(Operation::Act(action), true);
            let more: Vec<_> = used.into_iter().filter(|right| !is_covered(&reader, *right)).collect();
            let right = |kind, verb| Right { kind, verb };
            let mut named = vec![right(Kind::ConfigMap, "patch")];
            if action == Action::RotateCredentials {
                named.extend([right(Kind::Secret, "create"), right(Kind::Secret, "update")]);
            }
            named.sort();
            assert_eq!((more, given), (named, BTreeSet::new()), "{action:?}");
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
    fn whatever_changes_in_the_agents_role_takes_the_rights_that_it_gives() {
        let role = |labels: Json| {
            json!({"apiVersion": Kind::Role.api_version(), "kind": "Role",
                "metadata": {"name": "orders", "labels": labels}, "rules": []})
        };
        let mut there = role(json!({"ours": "1", "theirs": "1"}));
        there["metadata"]["managedFields"] = json!([{"manager": MANAGER, "operation": "Apply",
            "fieldsV1": {"f:metadata": {"f:labels": {"f:ours": {}}}, "f:rules": {}}}]);
        let mut live = LiveCluster::nothing("orders");
        live.objects.insert(ObjectKey::new(Kind::Role, "orders"), crate::live::Seen::Known(there));
        let takes = |labels: Json| {
            let mut needs = Needs::default();
            applied(&mut needs, &role(labels), &live);
            needs.given == given()
        };
        assert!(!takes(json!({"ours": "1"})));
        assert!(takes(json!({"ours": "2"})) && takes(json!({"ours": "1", "more": "1"})));
        assert!(takes(json!({})), "a label that is only taken away");
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
