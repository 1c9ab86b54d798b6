//! What any provider is asked, by the names of the field's own acceptance suites; what other files show is not shown again
//! ([docs/testing.md] says where each is).

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use pgha_acceptance_tests::leftovers;
use pgha_acceptance_tests::poll::{Seen, until};
use pgha_acceptance_tests::process;
use pgha_acceptance_tests::sandbox::{STORAGE_CLASS, Sandbox};
use pgha_acceptance_tests::terraform::hcl::{ADDRESS, Config};
use pgha_schema::resource::schema;
use pgha_schema::tf::{Attribute, Change, Shape};
use serde_json::{Map, Value, json};

use crate::cases;
use crate::group::{Group, Site, WHOLE};
use crate::runner::Case;
use crate::tls;

pub fn cases() -> Vec<Case> {
    cases![
        => defaults_written_are_defaults_left_out,
        => force_new,
        => update_each,
        => unknown_inputs,
        => refresh_only_accepts_and_the_next_plan_repairs,
        => saved_plan_after_a_live_change,
        => moved,
        => ignore_changes_on_replicas,
        => provider_alias,
        => for_each_with_depends_on_in_parallel,
        => disappears,
        => all_attributes,
    ]
}

/// A cluster of one instance.
async fn single(group: &mut Group) -> Result<&mut Site> {
    let site = group.cluster_with(0).await?;
    site.tf.plan_is_empty("nothing was changed").await?;
    Ok(site)
}

/// Every input as the state has it, written down: nothing is to be done.
async fn defaults_written_are_defaults_left_out(group: &mut Group) -> Result<()> {
    let site = single(group).await?;
    let before = site.config.clone();
    let state = site.tf.attributes(ADDRESS).await?;
    let mut written = before.clone();
    for attribute in inputs() {
        let value = without_nulls(&state[&attribute.name]);
        if !value.is_null() {
            written = written.set(&attribute.name, value);
        }
    }
    ensure!(written.text().len() > before.text().len() + 200, "expected defaults in the state: {state:#}");
    site.write(written)?;
    site.tf.plan_is_empty("every default was written down").await?;
    site.write(before)
}

/// Not written by [`everything`]: an image with an agent is rolled to and back by a case of its own.
const ELSEWHERE: &[&str] = &["agent_image"];

/// Every attribute at once, each one's value in the state as it was written; then none but those that can't be taken back.
async fn all_attributes(group: &mut Group) -> Result<()> {
    let site = group.fresh_site().await?;
    let certificate = tls::self_signed(site)?;
    tls::put_secret(site, &certificate).await?;
    let least = ["deletion_protection", "storage", "bootstrap", "postgres_version"];
    let (mut few, mut all) = (site.config.clone(), site.config.clone());
    for (name, value) in everything() {
        if least.contains(&name.as_str()) {
            few = few.set(&name, value.clone());
        }
        all = all.set(&name, value);
    }
    let mut unwritten = Vec::new();
    find_unwritten("", &schema().attributes, &[all.attributes()], &mut unwritten);
    ensure!(unwritten == ELSEWHERE, "expected every attribute to be written, these are not: {unwritten:?}");

    let run = site.apply(all.clone()).await?;
    // What has no effect in this mode is said, and taken.
    run.says(&["failover.max_lag has no effect"])?;
    site.cluster.until_whole(2, WHOLE).await?;
    postgres_heeds(site).await?;
    site.tf.plan_is_empty("every attribute was applied").await?;
    let unrefreshed = site.tf.plan(&["-refresh=false"]).await?;
    ensure!(!unrefreshed.changes, "expected an empty plan without a refresh, got:\n{}", unrefreshed.text);
    let state = site.tf.attributes(ADDRESS).await?;
    for (name, written) in all.attributes() {
        let kept = without_nulls(&state[name]);
        ensure!(
            *written == kept || (name == "superuser_password_wo" && kept.is_null()),
            "expected {name} in the state as it was written, {written}, got {kept}"
        );
    }
    let primary = site.cluster.primary().await?;
    site.cluster.sql(&primary, "shop", "create table kept as select 42 as answer").await?;

    site.apply(few).await?;
    site.cluster.until_whole(2, WHOLE).await?;
    site.tf.plan_is_empty("all that can be was taken back").await?;
    let primary = site.cluster.primary().await?;
    let answer = site.cluster.sql(&primary, "shop", "select answer from kept").await?;
    ensure!(answer == "42", "expected the row to be there still, got `{answer}`");
    Ok(())
}

/// Of [`everything`], what only PostgreSQL itself can tell.
async fn postgres_heeds(site: &Site) -> Result<()> {
    let primary = site.cluster.primary().await?;
    let rules = "select string_agg(concat_ws(' ', database[1], user_name[1], address, netmask, auth_method, error), '; ' \
                 order by line_number) from pg_hba_file_rules where 'seller' = any (user_name)";
    let created = "select pg_encoding_to_char(encoding), datcollate, datctype, pg_get_userbyid(datdba) from pg_database \
                   where datname = 'shop'";
    for (what, sql, expected) in [
        ("pg_hba", rules, "shop seller 10.0.0.0 255.0.0.0 scram-sha-256"),
        ("bootstrap", created, "LATIN1|C|C|seller"),
        ("bootstrap.encoding", "show server_encoding", "LATIN1"),
        ("bootstrap.data_checksums", "show data_checksums", "off"),
    ] {
        let seen = site.cluster.sql(&primary, "shop", sql).await?;
        ensure!(seen == expected, "expected {what} to come to `{expected}`, PostgreSQL has `{seen}`");
    }
    Ok(())
}

/// A value for every attribute that the sandbox can have, none of them its default where there is another.
fn everything() -> Map<String, Value> {
    let service = json!({
        "type": "LoadBalancer",
        "annotations": { "example.com/scheme": "internal" },
        "load_balancer_source_ranges": ["10.0.0.0/8"],
    });
    let peers = json!([
        { "namespace_labels": { "team": "shop" }, "pod_labels": { "app": "web" } },
        { "cidr": "10.0.0.0/8", "except": ["10.255.0.0/16"] },
    ]);
    let all = json!({
        "replicas": 2,
        "sync_mode": "quorum",
        "sync_replicas": 2,
        "durability": "required",
        // The sandbox's builds of the newer ones know no encryption.
        "postgres_version": "15",
        "image": "docker.io/library/postgres:15",
        "storage": { "size": "1Gi", "class": STORAGE_CLASS, "retain": false },
        "resources": { "requests": { "cpu": "50m", "memory": "128Mi" }, "limits": { "memory": "512Mi" } },
        "pod": {
            "labels": { "team": "shop" },
            "annotations": { "example.com/scrape": "true" },
            "security_context": {
                "run_as_user": 999, "run_as_group": 2000, "fs_group": 2000, "supplemental_groups": [3000],
            },
            "image_pull_secrets": ["registry"],
            "image_pull_policy": "Never",
        },
        "labels": { "cost-center": "7" },
        "annotations": { "example.com/owner": "shop" },
        "parameters": { "work_mem": "6MB", "max_connections": "80" },
        "pg_hba": ["host shop seller 10.0.0.0/8 scram-sha-256", "host all all all scram-sha-256"],
        "bootstrap": {
            "database": "shop", "owner": "seller", "encoding": "LATIN1", "locale": "C", "data_checksums": false,
        },
        "services": { "rw": service, "ro": service, "r": service },
        "network_policy": { "from": peers, "metrics_from": peers },
        "tls": { "secret": tls::SECRET, "required": true, "client_certificates": true },
        "scheduling": {
            "node_selector": { "kubernetes.io/os": "linux" },
            "tolerations": [
                { "key": "db", "operator": "Equal", "value": "yes", "effect": "NoExecute", "toleration_seconds": 60 },
            ],
            "spread": "required",
            "priority_class": "system-cluster-critical",
        },
        "failover": {
            "lease_duration": "12s", "fence_after": "7s", "renew_interval": "2500ms", "degrade_after": "4s",
            "max_lag": "32Mi", "ro_max_lag": "16Mi", "on_postgres_crash": "restart",
        },
        "ignore": ["services.rw.annotations.example.com/*"],
        "timeouts": { "create": "10m", "read": "1m", "update": "20m", "delete": "5m" },
        "deletion_protection": false,
        "superuser_password_wo": "correct horse battery staple",
        "superuser_password_wo_version": 1,
    });
    all.as_object().cloned().unwrap_or_default()
}

/// The attributes that none of these objects sets.
fn find_unwritten(
    prefix: &str,
    attributes: &[Attribute],
    written: &[&Map<String, Value>],
    found: &mut Vec<String>,
) {
    for attribute in attributes.iter().filter(|attribute| !attribute.is_output()) {
        let name = format!("{prefix}{}", attribute.name);
        let values: Vec<&Value> = written.iter().filter_map(|object| object.get(&attribute.name)).collect();
        match &attribute.shape {
            _ if values.is_empty() => found.push(name),
            Shape::Leaf(_) => {}
            Shape::Nested { attributes, .. } => {
                let objects = values.iter().flat_map(|value| match value {
                    Value::Array(items) => items.iter().collect(),
                    one => vec![*one],
                });
                let objects: Vec<_> = objects.filter_map(Value::as_object).collect();
                find_unwritten(&format!("{name}."), attributes, &objects, found);
            }
        }
    }
}

fn inputs() -> impl Iterator<Item = &'static Attribute> {
    schema().attributes.iter().filter(|attribute| !attribute.is_output() && !attribute.write_only)
}

fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let fields = fields.iter().filter(|(_, value)| !value.is_null());
            Value::Object(fields.map(|(name, value)| (name.clone(), without_nulls(value))).collect())
        }
        Value::Array(items) => items.iter().map(without_nulls).collect(),
        other => other.clone(),
    }
}

/// Each attribute that makes another cluster of it, and no other: a plan says delete and create.
async fn force_new(group: &mut Group) -> Result<()> {
    let site = single(group).await?;
    let first = site.config.clone();
    // Over volumes that are kept another `bootstrap` is refused.
    let before = first.clone().set("storage.retain", false);
    site.apply(before.clone()).await?;
    let others = [
        ("name", json!("another")),
        ("namespace", json!("another")),
        ("bootstrap.database", json!("another")),
        ("bootstrap.owner", json!("another")),
        ("bootstrap.encoding", json!("SQL_ASCII")),
        ("bootstrap.locale", json!("C")),
        ("bootstrap.data_checksums", json!(false)),
    ];
    let mut all = Vec::new();
    replacing("", &schema().attributes, &mut all);
    all.sort();
    let mut known: Vec<String> = others.iter().map(|(name, _)| (*name).to_owned()).collect();
    known.sort();
    ensure!(all == known, "the schema replaces for {all:?}, this case knows {known:?}");
    for (name, value) in others {
        site.write(before.clone().set(name, value))?;
        let planned = site.tf.plan(&["-refresh=false"]).await?;
        let actions = planned.actions(ADDRESS)?;
        ensure!(actions == "delete,create", "expected {name} to replace, got {actions}:\n{}", planned.text);
    }
    site.apply(first).await.map(drop)
}

fn replacing(prefix: &str, attributes: &[Attribute], all: &mut Vec<String>) {
    for attribute in attributes {
        let name = format!("{prefix}{}", attribute.name);
        match &attribute.shape {
            Shape::Nested { attributes, .. } => replacing(&format!("{name}."), attributes, all),
            Shape::Leaf(_) if attribute.change == Change::Replace => all.push(name),
            Shape::Leaf(_) => {}
        }
    }
}

/// Each attribute that can change while the cluster lives, by itself: a plan says update, to the value that is written.
async fn update_each(group: &mut Group) -> Result<()> {
    let site = single(group).await?;
    let before = site.config.clone();
    let all = Value::Object(everything());
    let mut changes = Vec::new();
    in_place("", &schema().attributes, &all, &mut changes);
    ensure!(changes.len() > 40, "expected every attribute of the schema, found {changes:?}");
    for (name, value) in changes {
        let with = companions(&name)
            .into_iter()
            .fold(before.clone(), |config, (name, value)| config.set(name, value));
        site.write(with.set(&name, value.clone()))?;
        let planned = site.tf.plan(&["-refresh=false"]).await.with_context(|| name.clone())?;
        let actions = planned.actions(ADDRESS)?;
        ensure!(actions == "update", "expected {name} to change in place, got {actions}:\n{}", planned.text);
        let change = planned.change(ADDRESS)?;
        let at = format!("/{}", name.replace('.', "/"));
        let side = |side: &str| change[side].pointer(&at).map(without_nulls).unwrap_or_default();
        let (was, becomes) = (side("before"), side("after"));
        // What is write-only shows nowhere.
        let shown = becomes == value && was != becomes;
        ensure!(
            shown || name == "superuser_password_wo",
            "expected {name} to become {value}: {was} to {becomes}"
        );
    }
    site.write(before)
}

/// Values that another resource of the same run gives: the plan leaves them open, the apply has them.
async fn unknown_inputs(group: &mut Group) -> Result<()> {
    let site = group.fresh_site().await?;
    let known = site
        .config
        .clone()
        .set("replicas", 0)
        .set("parameters.work_mem", "wish.work_mem")
        .set("labels", json!({ "team": "wish.team" }))
        .extra(
            "resource \"terraform_data\" \"wish\" {\n  input = { work_mem = \"7MB\", team = \"shop\" }\n}\n",
        );
    let text = ["work_mem", "team"].iter().fold(known.text(), |text, wish| {
        text.replace(&format!("\"wish.{wish}\""), &format!("terraform_data.wish.output.{wish}"))
    });
    site.tf.write("main.tf", &text)?;
    let planned = site.tf.plan(&[]).await?;
    ensure!(planned.actions(ADDRESS)? == "create", "expected a create:\n{}", planned.text);
    let unknown = &planned.change(ADDRESS)?["after_unknown"];
    ensure!(
        unknown["parameters"]["work_mem"] == true && unknown["labels"]["team"] == true,
        "expected both values to be open, these are: {unknown:#}"
    );
    site.tf.apply(&[]).await?;
    site.cluster.until_whole(0, WHOLE).await?;
    site.tf.plan_is_empty("unknown inputs became known").await?;
    ensure!(site.cluster.setting("work_mem").await? == "7MB", "expected the setting in force");
    let changed = text.replace("\"7MB\"", "\"8MB\"");
    site.tf.write("main.tf", &changed)?;
    let planned = site.tf.plan(&[]).await?;
    ensure!(planned.actions(ADDRESS)? == "update", "expected a change in place:\n{}", planned.text);
    site.tf.apply(&[]).await?;
    site.tf.plan_is_empty("they changed").await?;
    ensure!(site.cluster.setting("work_mem").await? == "8MB", "expected the new setting in force");
    Ok(())
}

/// The attributes that change in place, each with a value that it does not have by default.
fn in_place(prefix: &str, attributes: &[Attribute], all: &Value, found: &mut Vec<(String, Value)>) {
    for attribute in attributes.iter().filter(|attribute| !attribute.is_output()) {
        let name = format!("{prefix}{}", attribute.name);
        let value = &all[&attribute.name];
        match (&attribute.shape, attribute.change) {
            (Shape::Nested { attributes, .. }, _) if value.is_object() => {
                in_place(&format!("{name}."), attributes, value, found);
            }
            (_, Change::Replace | Change::Refused) => {}
            _ if ELSEWHERE.contains(&name.as_str()) => {}
            _ => {
                // Those of another major version are another cluster's.
                let value = match name.as_str() {
                    "postgres_version" => json!("18.1"),
                    "image" => json!("docker.io/library/postgres:18.1"),
                    "deletion_protection" => json!(true),
                    "storage.size" => json!("2Gi"),
                    "pod.security_context.run_as_user" => json!(1001),
                    _ => value.clone(),
                };
                found.push((name, value));
            }
        }
    }
}

/// What else has to be there for an attribute to be valid.
fn companions(name: &str) -> Vec<(&'static str, Value)> {
    match name {
        "sync_mode" | "durability" => vec![("replicas", json!(2))],
        "sync_replicas" => vec![("replicas", json!(2)), ("sync_mode", json!("quorum"))],
        "services.rw.load_balancer_source_ranges" => vec![("services.rw.type", json!("LoadBalancer"))],
        "services.ro.load_balancer_source_ranges" => vec![("services.ro.type", json!("LoadBalancer"))],
        "services.r.load_balancer_source_ranges" => vec![("services.r.type", json!("LoadBalancer"))],
        "tls.required" | "tls.client_certificates" => vec![("tls.secret", json!(tls::SECRET))],
        "superuser_password_wo" => vec![("superuser_password_wo_version", json!(1))],
        "superuser_password_wo_version" => {
            vec![("superuser_password_wo", json!("correct horse battery staple"))]
        }
        _ => Vec::new(),
    }
}

async fn refresh_only_accepts_and_the_next_plan_repairs(group: &mut Group) -> Result<()> {
    let sandbox = group.bed.sandbox.clone();
    let site = single(group).await?;
    crate::drift::edit_desired(site, |desired| desired["durability"] = "required".into()).await?;
    repoint(&sandbox, site)?;
    site.tf.run(&["apply", "-no-color", "-auto-approve", "-refresh-only"]).await?.succeeded()?;
    let state = site.tf.attributes(ADDRESS).await?;
    ensure!(state["durability"] == "required", "expected the state to have what is there: {state:#}");
    let drift = state["drift"].to_string();
    ensure!(drift.contains("kubectl-patch"), "expected the state to have what somebody changed: {state:#}");
    let planned = site.tf.plan(&[]).await?;
    crate::drift::drift_names(&planned, &[&site.cluster.names.service_r(), "selector"])?;
    let change = planned.change(ADDRESS)?;
    ensure!(
        change["before"]["durability"] == "required" && change["after"]["durability"] == "preferred",
        "expected the next plan to repair it:\n{}",
        planned.text
    );
    site.tf.apply(&[]).await?;
    site.tf.plan_is_empty("the repair").await
}

/// Somebody lets the Service for reads lead to nobody.
fn repoint(sandbox: &Sandbox, site: &Site) -> Result<()> {
    let patch = r#"{"spec":{"selector":{"role":"replica"}}}"#;
    let service = format!("service/{}", site.cluster.names.service_r());
    let mut edit = sandbox.kubectl();
    edit.args(["--namespace", &site.namespace, "patch", &service, "--type=merge", "-p", patch]);
    process::run(&mut edit).map(drop)
}

/// Somebody changes a field between plan and apply: the plan did not show it, so it is not taken over unasked.
async fn saved_plan_after_a_live_change(group: &mut Group) -> Result<()> {
    let sandbox = group.bed.sandbox.clone();
    let site = single(group).await?;
    let before = site.config.clone();
    site.write(before.clone().set("parameters.work_mem", "7MB"))?;
    site.tf.plan(&["-out=saved.plan"]).await?;
    repoint(&sandbox, site)?;
    let run = site.tf.run(&["apply", "-no-color", "saved.plan"]).await?;
    ensure!(
        run.code != Some(0),
        "expected a saved plan not to take over what it did not show:\n{}",
        run.report()
    );
    run.says(&["kubectl-patch", "selector"])?;
    let planned = site.tf.plan(&[]).await?;
    crate::drift::drift_names(&planned, &[&site.cluster.names.service_r(), "selector"])?;
    site.tf.apply(&[]).await?;
    ensure!(site.cluster.setting("work_mem").await? == "7MB", "expected the change to be in force");
    site.tf.plan_is_empty("another plan and apply").await?;
    site.apply(before).await.map(drop)
}

/// Another address in the configuration is no other cluster.
async fn moved(group: &mut Group) -> Result<()> {
    let site = single(group).await?;
    let text = site.config.text();
    let renamed = text
        .replace("\"postgres_ha_cluster\" \"this\"", "\"postgres_ha_cluster\" \"renamed\"")
        .replace(ADDRESS, "postgres_ha_cluster.renamed");
    for (from, to, text) in [("this", "renamed", renamed), ("renamed", "this", text)] {
        let block =
            format!("moved {{\n  from = postgres_ha_cluster.{from}\n  to   = postgres_ha_cluster.{to}\n}}\n");
        site.tf.write("main.tf", &format!("{text}\n{block}"))?;
        let address = format!("postgres_ha_cluster.{to}");
        let planned = site.tf.plan(&[]).await?;
        let actions = planned.actions(&address)?;
        ensure!(
            actions == "no-op",
            "expected {from} to be {to} without a change, got {actions}:\n{}",
            planned.text
        );
        let run = site.tf.apply(&[]).await?;
        run.says(&["0 added, 0 changed, 0 destroyed"])?;
    }
    site.write(site.config.clone())?;
    site.tf.plan_is_empty("moved there and back").await
}

/// The attribute is left to whoever scales: what is there is planned, and made to be members.
async fn ignore_changes_on_replicas(group: &mut Group) -> Result<()> {
    let sandbox = group.bed.sandbox.clone();
    let site = single(group).await?;
    let before = site.config.clone();
    site.apply(before.clone().lifecycle("ignore_changes = [replicas]")).await?;
    crate::drift::scale(&sandbox, site, 2)?;
    site.tf.apply(&[]).await?;
    site.cluster.until_whole(1, WHOLE).await?;
    site.tf.plan_is_empty("somebody scaled").await?;
    site.apply(before).await?;
    site.cluster.until_whole(0, WHOLE).await.map(drop)
}

/// Two configurations of the provider; the second one's credentials are its own.
async fn provider_alias(group: &mut Group) -> Result<()> {
    let kubeconfig = group.bed.sandbox.kubeconfig();
    let site = single(group).await?;
    let before = site.config.clone();
    let second = format!(
        "provider \"postgres\" {{\n  alias       = \"second\"\n  config_path = {:?}\n}}\n\n\
         data \"postgres_ha_cluster\" \"seen\" {{\n  provider  = postgres.second\n  name      = {ADDRESS}.name\n  namespace = \
         {ADDRESS}.namespace\n}}\n\noutput \"seen\" {{\n  value = data.postgres_ha_cluster.seen.primary\n}}\n",
        kubeconfig.display().to_string()
    );
    site.apply(before.clone().extra(&second)).await?;
    let outputs = site.tf.outputs().await?;
    let (seen, primary) = (&outputs["seen"], site.cluster.primary().await?);
    ensure!(*seen == json!(primary), "expected the second provider to see {primary}, got {seen}");
    let broken = second.replace(&kubeconfig.display().to_string(), "/nowhere/kubeconfig");
    site.write(before.clone().extra(&broken))?;
    let run = site.tf.try_plan(&[]).await?;
    ensure!(run.code == Some(1), "expected a plan to fail, got {:?}", run.code);
    run.says(&["/nowhere/kubeconfig"])?;
    ensure!(!site.tf.attributes(ADDRESS).await?.is_null(), "expected the state to be kept");
    site.apply(before).await.map(drop)
}

/// Two clusters at once, and something that needs both.
async fn for_each_with_depends_on_in_parallel(group: &mut Group) -> Result<()> {
    let site = group.new_site().await?;
    let text = |count: &str| {
        Config::new(&site.namespace, "${each.key}").set("replicas", 0).text().replace(
            "resource \"postgres_ha_cluster\" \"this\" {\n",
            &format!("resource \"postgres_ha_cluster\" \"this\" {{\n  for_each = toset({count})\n"),
        )
    };
    // Outputs of the builder speak of one cluster.
    let alone = |text: String| text.split("output \"").next().unwrap_or_default().to_owned();
    let needs = "resource \"terraform_data\" \"needs\" {\n  input = { for name, one in postgres_ha_cluster.this : name => \
                 one.rw_host }\n  depends_on = [postgres_ha_cluster.this]\n}\n\noutput \"hosts\" {\n  value = \
                 terraform_data.needs.output\n}\n";
    let both = alone(text("[\"one\", \"two\"]")) + needs;
    site.tf.write("main.tf", &both)?;
    let planned = site.tf.plan(&[]).await?;
    let hosts = &planned.json["output_changes"]["hosts"];
    ensure!(
        planned.changes && hosts["after_unknown"] == true,
        "expected the output to be open, it is {hosts}:\n{}",
        planned.text
    );
    site.tf.apply(&[]).await?.says(&["3 added, 0 changed, 0 destroyed"])?;
    let outputs = site.tf.outputs().await?;
    let host = format!("one-rw.{}.svc", site.namespace);
    ensure!(outputs["hosts"]["one"] == json!(host), "expected {host}, got {}", outputs["hosts"]);
    site.tf.plan_is_empty("two clusters at once").await?;
    site.tf.write("main.tf", &(alone(text("[\"two\"]")) + needs))?;
    site.tf.apply(&[]).await?.says(&["0 added, 1 changed, 1 destroyed"])?;
    site.tf.destroy().await?;
    group.bed.sandbox.delete_namespace(&site.namespace).await
}

/// Deleted behind Terraform's back, with its volumes: the next plan makes it again.
async fn disappears(group: &mut Group) -> Result<()> {
    let sandbox = group.bed.sandbox.clone();
    let site = single(group).await?;
    let identifier = site.tf.attributes(ADDRESS).await?["system_identifier"].clone();
    let mut delete = sandbox.kubectl();
    let kinds =
        "statefulset,service,configmap,lease,role,rolebinding,serviceaccount,secret,poddisruptionbudget,pvc";
    let selector = format!("app.kubernetes.io/instance={}", Group::CLUSTER);
    delete.args(["--namespace", &site.namespace, "delete", kinds, "--selector", &selector]);
    process::run(&mut delete)?;
    until("everything to be gone", Duration::from_secs(90), || async {
        let left = leftovers::in_namespace(site.cluster.client(), &site.namespace).await?;
        Ok(Seen::when(left.is_empty(), format!("{left:?}")))
    })
    .await?;
    let planned = site.tf.plan(&[]).await?;
    let actions = planned.actions(ADDRESS)?;
    ensure!(
        actions == "create",
        "expected a cluster that is gone to be made again, got {actions}:\n{}",
        planned.text
    );
    site.tf.apply(&[]).await?;
    site.cluster.until_whole(0, WHOLE).await?;
    let anew = site.tf.attributes(ADDRESS).await?["system_identifier"].clone();
    ensure!(anew != identifier, "expected another system identifier than {identifier}");
    let text = anew.as_str().context("a system identifier")?;
    ensure!(!text.is_empty(), "expected a system identifier");
    site.tf.plan_is_empty("it was made again").await
}
