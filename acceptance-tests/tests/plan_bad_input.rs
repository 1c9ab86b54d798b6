//! Bad input through the real CLI: one case for each validator, its message and remedy checked. No cluster is needed.
//!
//! All cases stand in one configuration; `validate -json` says which diagnostic belongs to which resource and line.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

use anyhow::{Context as _, Result};
use pgha_acceptance_tests::terraform::hcl::{VERSIONS, hcl};
use pgha_acceptance_tests::terraform::{Cli, Terraform, clis, offline};
use serde_json::{Map, Value, json};

/// A change of a valid resource that makes it wrong; what the line at fault or the message names; what the message must say.
struct Case {
    name: &'static str,
    change: Value,
    place: &'static str,
    says: &'static [&'static str],
}

fn case(name: &'static str, change: Value, place: &'static str, says: &'static [&'static str]) -> Case {
    Case { name, change, place, says }
}

fn cases() -> Vec<Case> {
    let mut all = values();
    all.extend(kubernetes_values());
    all.extend(object_values());
    all.extend(database_values());
    all.extend(between_attributes());
    all
}

/// Numbers, choices, names.
fn values() -> Vec<Case> {
    vec![
        case("range", json!({"replicas": 10}), "replicas", &["`10` is out of range", "from 0 to 9"]),
        case("sync_replicas", json!({"sync_replicas": 10}), "sync_replicas", &["from 1 to 9"]),
        case(
            "more_to_wait_for_than_there_are",
            json!({"sync_mode": "quorum", "sync_replicas": 3}),
            "sync_replicas",
            &["More synchronous standbys than replicas", "lower sync_replicas to 2"],
        ),
        case("whole_number", json!({"replicas": 1.5}), "replicas", &["1.5"]),
        case(
            "choice",
            json!({"sync_mode": "any"}),
            "sync_mode",
            &["`any` is not one", "\"sync\", \"quorum\" or \"async\""],
        ),
        case(
            "choice_durability",
            json!({"durability": "no"}),
            "durability",
            &["\"preferred\" or \"required\""],
        ),
        case(
            "cluster_name",
            json!({"name": "Orders"}),
            "name",
            &["`Orders` can't name a cluster", "at most 40 lower-case"],
        ),
        case("cluster_name_length", json!({"name": "a".repeat(41)}), "name", &["at most 40"]),
        case(
            "namespace",
            json!({"namespace": "a_b"}),
            "namespace",
            &["`a_b` is not a DNS label", "lower-case"],
        ),
        case(
            "quantity",
            json!({"storage": {"size": "big"}}),
            "storage.size",
            &["Kubernetes suffix, as 10Gi"],
        ),
        case("quantity_zero", json!({"failover": {"max_lag": "0"}}), "max_lag", &["above zero"]),
        case(
            "duration",
            json!({"failover": {"lease_duration": "soon"}}),
            "failover.lease_duration",
            &["units ms, s, m or h"],
        ),
        case(
            "duration_sign",
            json!({"timeouts": {"create": "-1s"}}),
            "timeouts.create",
            &["units ms, s, m or h"],
        ),
        case("major", json!({"postgres_version": "14"}), "postgres_version", &["from 15 to 18"]),
        case(
            "version_form",
            json!({"postgres_version": "new"}),
            "postgres_version",
            &["major version from 15 to 18"],
        ),
        case("old_minor", json!({"postgres_version": "16.2"}), "postgres_version", &["16.9 or later"]),
        case(
            "image",
            json!({"image": "Not An Image"}),
            "image",
            &["is not an image reference", "[registry/]name[:tag]"],
        ),
    ]
}

fn kubernetes_values() -> Vec<Case> {
    let toleration = |toleration: Value| json!({"scheduling": {"tolerations": [toleration]}});
    vec![
        case(
            "object_name",
            json!({"storage": {"class": "A!"}}),
            "class",
            &["can't name a Kubernetes object"],
        ),
        case(
            "label_key",
            json!({"pod": {"labels": {"a b": "c"}}}),
            "labels",
            &["is not a valid key", "prefix/name"],
        ),
        case(
            "own_label",
            json!({"pod": {"labels": {"pgha/x": "y"}}}),
            "labels",
            &["the cluster's own", "another key"],
        ),
        case(
            "role_label",
            json!({"pod": {"labels": {"role": "x"}}}),
            "labels",
            &["the cluster's own", "another key"],
        ),
        case("label_value", json!({"pod": {"labels": {"a": "b c"}}}), "labels", &["is not a label value"]),
        case(
            "pull_policy",
            json!({"pod": {"image_pull_policy": "Often"}}),
            "image_pull_policy",
            &["IfNotPresent"],
        ),
        case(
            "root",
            json!({"pod": {"security_context": {"run_as_user": 0}}}),
            "pod.security_context.run_as_user",
            &["out of range"],
        ),
        case("service_type", json!({"services": {"rw": {"type": "Any"}}}), "type", &["LoadBalancer"]),
        case(
            "cidr",
            json!({"services": {"rw": {"type": "LoadBalancer", "load_balancer_source_ranges": ["10.0.0.0"]}}}),
            "load_balancer_source_ranges",
            &["is not a network in CIDR form", "10.0.0.0/8"],
        ),
        case("spread", json!({"scheduling": {"spread": "wide"}}), "spread", &["preferred"]),
        case(
            "selector_key",
            json!({"scheduling": {"node_selector": {"/": "x"}}}),
            "node_selector",
            &["not a valid key"],
        ),
        case(
            "toleration_value",
            toleration(json!({"operator": "Exists", "key": "a", "value": "b"})),
            "toleration",
            &["Leave value out"],
        ),
        case("toleration_key", toleration(json!({"effect": "NoSchedule"})), "toleration", &["Set key"]),
        case(
            "toleration_seconds",
            toleration(json!({"key": "a", "effect": "NoSchedule", "toleration_seconds": 5})),
            "toleration",
            &["NoExecute"],
        ),
        case(
            "request_above_limit",
            json!({"resources": {"requests": {"cpu": "2"}, "limits": {"cpu": "1500m"}}}),
            "requests",
            &["Lower the request"],
        ),
    ]
}

/// What every object of the cluster gets, and what is left to others.
fn object_values() -> Vec<Case> {
    let own = &["the cluster's own", "another key"];
    vec![
        case("labels_own", json!({"labels": {"app.kubernetes.io/name": "x"}}), "labels", own),
        case("labels_role", json!({"labels": {"role": "x"}}), "labels", own),
        case("labels_value", json!({"labels": {"a": "b c"}}), "labels", &["is not a label value"]),
        case("annotations_own", json!({"annotations": {"pgha/x": "y"}}), "annotations", own),
        case("annotations_key", json!({"annotations": {"a b": "y"}}), "annotations", &["is not a valid key"]),
        case(
            "ignore_replicas",
            json!({"ignore": ["replicas"]}),
            "ignore",
            &["can't be left to others", "ignore_changes = [replicas]"],
        ),
        case(
            "ignore_own",
            json!({"ignore": ["labels.app.kubernetes.io/name"]}),
            "ignore",
            &["the cluster's own"],
        ),
        case(
            "ignore_unknown",
            json!({"ignore": ["storage.size"]}),
            "ignore",
            &["nothing that can be left to others", "Write labels.<key>"],
        ),
        case(
            "peer_nobody",
            json!({"network_policy": {"from": [{}]}}),
            "network_policy",
            &["It names nobody"],
        ),
        case(
            "peer_cidr",
            json!({"network_policy": {"metrics_from": [{"cidr": "10.0.0.0"}]}}),
            "network_policy",
            &["is not a network in CIDR form"],
        ),
    ]
}

fn database_values() -> Vec<Case> {
    vec![
        case(
            "owned_parameter",
            json!({"parameters": {"primary_conninfo": "x"}}),
            "parameters",
            &["primary_conninfo", "Leave it out"],
        ),
        case(
            "unknown_parameter",
            json!({"parameters": {"work_mme": "1MB"}}),
            "parameters",
            &["Did you mean `work_mem`"],
        ),
        case("unsafe_parameter", json!({"parameters": {"fsync": "off"}}), "parameters", &["fsync"]),
        case(
            "parameter_value",
            json!({"parameters": {"wal_level": "minimal"}}),
            "parameters",
            &["replica or logical"],
        ),
        case("line_break", json!({"parameters": {"search_path": "a\nb"}}), "parameters", &["on one line"]),
        case(
            "hba_short",
            json!({"pg_hba": ["host all"]}),
            "pg_hba",
            &["The line ends before", "host database user address method"],
        ),
        case(
            "hba_type",
            json!({"pg_hba": ["remote all all all trust"]}),
            "pg_hba",
            &["is not a connection type"],
        ),
        case("hba_empty", json!({"pg_hba": []}), "pg_hba", &["1"]),
        case(
            "database",
            json!({"bootstrap": {"database": "template1"}}),
            "database",
            &["PostgreSQL's template", "another name"],
        ),
        case(
            "owner",
            json!({"bootstrap": {"owner": "postgres"}}),
            "owner",
            &["cluster's own", "another name"],
        ),
        case(
            "encoding",
            json!({"bootstrap": {"encoding": "UTF9"}}),
            "encoding",
            &["not an encoding", "Choose UTF8"],
        ),
        case(
            "locale",
            json!({"bootstrap": {"locale": "C; rm"}}),
            "locale",
            &["not a locale's name", "locale -a"],
        ),
    ]
}

fn between_attributes() -> Vec<Case> {
    vec![
        case(
            "password_without_a_number",
            json!({"superuser_password_wo": "hunter2-hunter2"}),
            "superuser_password_wo",
            &[
                "superuser_password_wo without superuser_password_wo_version",
                "superuser_password_wo_version = 1",
            ],
        ),
        case(
            "password_of_other_letters",
            json!({"superuser_password_wo": "p\u{e4}ss", "superuser_password_wo_version": 1}),
            "superuser_password_wo",
            &["no password that every client writes the same way", "printable ASCII"],
        ),
        case(
            "timing_law",
            json!({"failover": {"fence_after": "9500ms"}}),
            "failover.fence_after",
            &["Make fence_after shorter, or lease_duration longer"],
        ),
        case(
            "renewals_before_fence",
            json!({"failover": {"renew_interval": "5s"}}),
            "renew_interval",
            &["fence_after longer"],
        ),
        case(
            "degrades_at_once",
            json!({"failover": {"degrade_after": "400ms"}}),
            "failover.degrade_after",
            &["400ms is shorter than the cluster can keep", "Choose 500ms or more"],
        ),
        case(
            "peer_of_no_kind",
            json!({"network_policy": {"from": [{}]}}),
            "network_policy.from[0]",
            &["It names nobody", "namespace_labels (an empty map: every namespace) or cidr"],
        ),
        case(
            "peer_of_both_kinds",
            json!({"network_policy": {"metrics_from": [{"cidr": "10.0.0.0/8", "pod_labels": {}}]}}),
            "network_policy.metrics_from[0].cidr",
            &["no labels", "Write two peers"],
        ),
        case(
            "except_of_no_network",
            json!({"network_policy": {"from": [{"pod_labels": {}, "except": ["10.0.0.0/8"]}]}}),
            "network_policy.from[0].except",
            &["Only a network has parts to leave out", "Set cidr, or leave except out"],
        ),
        case(
            "except_elsewhere",
            json!({"network_policy": {"from": [{"cidr": "10.0.0.0/8", "except": ["192.168.0.0/16"]}]}}),
            "network_policy.from[0].except[0]",
            &["192.168.0.0/16 is not a part of 10.0.0.0/8"],
        ),
        case(
            "required_alone",
            json!({"replicas": 0, "durability": "required"}),
            "replicas",
            &["Raise replicas to 1"],
        ),
        case(
            "image_and_version",
            json!({"image": "docker.io/library/postgres:16.9", "postgres_version": "18"}),
            "postgres_version",
            &["image and postgres_version disagree"],
        ),
        case("small_volume", json!({"storage": {"size": "10Mi"}}), "size", &["64Mi or more"]),
        case(
            "ranges_without_balancer",
            json!({"services": {"ro": {"load_balancer_source_ranges": ["10.0.0.0/8"]}}}),
            "load_balancer_source_ranges",
            &["services.ro.type = \"LoadBalancer\""],
        ),
    ]
}

#[tokio::test]
async fn every_mistake_is_named_with_its_place_and_the_way_out() -> Result<()> {
    for cli in clis()? {
        every_mistake_is_named_by(&cli).await?;
    }
    Ok(())
}

async fn every_mistake_is_named_by(cli: &Cli) -> Result<()> {
    let tf = offline(cli)?;
    let text: String = cases().iter().map(resource_text).collect();
    tf.write("main.tf", &format!("{VERSIONS}{text}"))?;
    tf.init().await?;
    let diagnostics = validate(&tf).await?;
    let mut problems = Vec::new();
    for case in cases() {
        let address = format!("postgres_ha_cluster.{}", case.name);
        let mine: Vec<&Value> = diagnostics
            .iter()
            .filter(|found| found["severity"] == "error" && found["address"] == address.as_str())
            .collect();
        if let Some(problem) = problem_with(&case, &mine) {
            problems.push(format!("{}: {problem}", case.name));
        }
    }
    let (tool, wrong, all) = (cli.tool, problems.len(), cases().len());
    assert!(problems.is_empty(), "{tool:?}: {wrong} of {all} cases:\n{}", problems.join("\n"));
    Ok(())
}

#[tokio::test]
async fn provider_block_mistakes_are_named_too() -> Result<()> {
    for cli in clis()? {
        provider_block_mistakes_are_named_by(&cli).await?;
    }
    Ok(())
}

async fn provider_block_mistakes_are_named_by(cli: &Cli) -> Result<()> {
    for (body, says) in [
        ("proxy_url = \"ftp://x\"", "http, https or socks5"),
        ("client_certificate = \"x\"", "is not PEM"),
        ("config_path = \"a\"\n  config_paths = [\"b\"]", "config_path and config_paths are both set"),
        ("username = \"x\"", "username needs password"),
        ("password = \"x\"", "password needs username"),
        ("client_certificate = \"x\"", "client_certificate needs client_key"),
        ("client_key = \"x\"", "client_key needs client_certificate"),
        (
            "token = \"x\"\n  username = \"y\"\n  password = \"z\"",
            "token, username are set; the API server takes one of them",
        ),
    ] {
        let tf = offline(cli)?;
        let good = resource_text(&case("good", json!({}), "", &[]));
        tf.write("main.tf", &format!("{VERSIONS}provider \"postgres\" {{\n  {body}\n}}\n{good}"))?;
        tf.init().await?;
        tf.validate().await?.failed_saying(&[says])?;
    }
    Ok(())
}

#[tokio::test]
async fn what_is_right_passes_and_what_is_missing_is_named() -> Result<()> {
    for cli in clis()? {
        let tf = offline(&cli)?;
        tf.write("main.tf", &format!("{VERSIONS}{}", resource_text(&case("good", json!({}), "", &[]))))?;
        tf.init().await?;
        tf.validate().await?.succeeded()?;
        tf.write("main.tf", &format!("{VERSIONS}resource \"postgres_ha_cluster\" \"bare\" {{\n}}\n"))?;
        tf.validate().await?.failed_saying(&[
            "\"name\" is required",
            "\"namespace\" is required",
            "\"storage\" is required",
        ])?;
    }
    Ok(())
}

fn problem_with(case: &Case, found: &[&Value]) -> Option<String> {
    let [one] = found else {
        return Some(format!("expected one error, got {}: {}", found.len(), json!(found)));
    };
    let text = format!("{} {}", one["summary"].as_str()?, one["detail"].as_str().unwrap_or_default());
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let missing: Vec<_> = case.says.iter().filter(|part| !text.contains(**part)).collect();
    if !missing.is_empty() {
        return Some(format!("expected {missing:?} in: {text}"));
    }
    // The host can't point into a nested attribute; there the message itself names the path.
    let place = format!("{} {text}", one["snippet"]["code"].as_str().unwrap_or_default());
    (!place.contains(case.place)).then(|| format!("expected `{}` named or pointed at: {place}", case.place))
}

async fn validate(tf: &Terraform) -> Result<Vec<Value>> {
    let run = tf.run(&["validate", "-json"]).await?;
    let answer: Value = serde_json::from_str(&run.stdout).with_context(|| run.report())?;
    Ok(answer["diagnostics"].as_array().cloned().unwrap_or_default())
}

fn resource_text(case: &Case) -> String {
    let mut attributes = json!({ "name": "orders", "namespace": "apps", "storage": { "size": "1Gi" } });
    merge(&mut attributes, &case.change);
    let body: Map<String, Value> = attributes.as_object().cloned().unwrap_or_default();
    let lines: String = body.iter().map(|(name, value)| format!("  {name} = {}\n", hcl(value, 1))).collect();
    format!("resource \"postgres_ha_cluster\" \"{}\" {{\n{lines}}}\n", case.name)
}

fn merge(into: &mut Value, change: &Value) {
    match (into, change) {
        (Value::Object(into), Value::Object(change)) => {
            for (key, value) in change {
                merge(into.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (into, change) => *into = change.clone(),
    }
}
