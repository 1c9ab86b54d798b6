//! Drift: what somebody changed by hand shows in the plan, typed or with object, field and diff; apply repairs it in place.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Service};
use k8s_openapi::api::rbac::v1::{PolicyRule, Role};
use kube::api::DeleteParams;
use pgha_acceptance_tests::checker;
use pgha_acceptance_tests::poll::{Seen, until};
use pgha_acceptance_tests::process;
use pgha_acceptance_tests::sandbox::Sandbox;
use pgha_acceptance_tests::terraform::Planned;
use pgha_acceptance_tests::terraform::hcl::ADDRESS;
use pgha_schema::desired::Desired;
use pgha_schema::names::{KEY_DESIRED, LABEL_MANAGED_BY, agent_head, short_hash};
use serde_json::{Value, json};

use crate::cases;
use crate::group::{Group, Site, WHOLE};
use crate::runner::Case;

pub fn cases() -> Vec<Case> {
    cases![
        => read_only_kubeconfig_plans_and_sees_drift,
        => scaled_by_kubectl,
        => sync_mode_edited,
        => service_selector_edited,
        => service_deleted,
        => part_of_the_agent_deleted,
        => pod_of_an_edited_template,
        => parameter_edited,
        => setting_given_by_alter_system,
        => roles_altered_by_hand,
        => label_removed,
        => failover_is_not_drift,
    ]
}

async fn scaled_by_kubectl(group: &mut Group) -> Result<()> {
    let sandbox = group.bed.sandbox.clone();
    let site = drifting(group).await?;
    scale(&sandbox, site, 1)?;
    let planned = drift_seen(site).await?;
    let change = planned.change(ADDRESS)?;
    ensure!(
        change["before"]["replicas"] == 0 && change["after"]["replicas"] == 1,
        "expected replicas to read 0 and to be planned as 1:\n{}",
        planned.text
    );
    nothing_else(&planned)?;
    repaired(site).await
}

async fn sync_mode_edited(group: &mut Group) -> Result<()> {
    let site = drifting(group).await?;
    edit_desired(site, |desired| desired["sync_mode"] = "async".into()).await?;
    let planned = drift_seen(site).await?;
    let change = planned.change(ADDRESS)?;
    ensure!(
        change["before"]["sync_mode"] == "async" && change["after"]["sync_mode"] == "sync",
        "expected sync_mode to read async and to be planned as sync:\n{}",
        planned.text
    );
    nothing_else(&planned)?;
    repaired(site).await?;
    checker::sync_set_in_force(&site.cluster, 1).await
}

async fn service_selector_edited(group: &mut Group) -> Result<()> {
    let site = drifting(group).await?;
    let service = site.cluster.names.service_rw();
    site.cluster.patch::<Service>(&service, json!({ "spec": { "selector": { "role": "replica" } } })).await?;
    let planned = drift_seen(site).await?;
    drift_names(&planned, &[&service, "selector", "replica", "primary"])?;
    repaired(site).await
}

async fn service_deleted(group: &mut Group) -> Result<()> {
    let site = drifting(group).await?;
    let service = site.cluster.names.service_ro();
    site.cluster.api::<Service>().delete(&service, &DeleteParams::default()).await?;
    let planned = drift_seen(site).await?;
    drift_names(&planned, &["Service", &service])?;
    repaired(site).await
}

/// Running pods don't need it any more, and no other could start.
async fn part_of_the_agent_deleted(group: &mut Group) -> Result<()> {
    let site = drifting(group).await?;
    let desired = site.cluster.api::<ConfigMap>().get(&site.cluster.names.desired()).await?;
    let text = desired.data.as_ref().and_then(|data| data.get(KEY_DESIRED)).context("no desired state")?;
    let agent = serde_json::from_str::<Desired>(text)?.agent.context("no agent is wished for")?;
    let part = agent.chunks.last().context("the agent has no parts")?;
    site.cluster.api::<ConfigMap>().delete(part, &DeleteParams::default()).await?;
    let planned = drift_seen(site).await?;
    drift_names(&planned, &["ConfigMap", part])?;
    repaired(site).await?;
    // What owns the parts takes them along, unless the repair is faster.
    let head = agent_head(short_hash(&agent.sha256));
    site.cluster.api::<ConfigMap>().delete(&head, &DeleteParams::default()).await?;
    let planned = drift_seen(site).await?;
    drift_names(&planned, &["ConfigMap", &head])?;
    repaired(site).await?;
    let pod = site.cluster.names.pod(0);
    site.cluster.delete_pod(&pod, false).await?;
    site.cluster.until_whole(1, WHOLE).await.map(drop)
}

/// The template is mended by the next apply of anybody; the pod that was made in between is found by what it is.
async fn pod_of_an_edited_template(group: &mut Group) -> Result<()> {
    let site = drifting(group).await?;
    let (pod, set) = (site.cluster.standby().await?, site.cluster.names.cluster().to_owned());
    let template =
        |containers: &Value| json!({ "spec": { "template": { "spec": { "containers": containers } } } });
    let sets = site.cluster.api::<StatefulSet>();
    let before =
        serde_json::to_value(sets.get(&set).await?)?["spec"]["template"]["spec"]["containers"].clone();
    let mut edited = before.clone();
    edited[0]["livenessProbe"]["periodSeconds"] = json!(9);
    site.cluster.patch::<StatefulSet>(&set, template(&edited)).await?;
    let uids = site.cluster.pod_uids().await?;
    site.cluster.delete_pod(&pod, false).await?;
    until("the pod to be made from the edited template", WHOLE, || async {
        let now = site.cluster.pod_uids().await?;
        Ok(Seen::when(now.contains_key(&pod) && now[&pod] != uids[&pod], format!("{now:?}")))
    })
    .await?;
    site.cluster.until_whole(1, WHOLE).await?;
    // Somebody takes the edit back, and the StatefulSet is as it should be.
    site.cluster.patch::<StatefulSet>(&set, template(&before)).await?;
    let planned = drift_seen(site).await?;
    drift_names(&planned, &[&format!("Pod/{pod}"), "livenessProbe.periodSeconds"])?;
    repaired(site).await?;
    let seen = site.cluster.api::<Pod>().get(&pod).await?;
    let period = &serde_json::to_value(seen)?["spec"]["containers"][0]["livenessProbe"]["periodSeconds"];
    ensure!(
        *period == 5,
        "expected the pod to be made anew from the mended template, its period is {period}"
    );
    Ok(())
}

async fn parameter_edited(group: &mut Group) -> Result<()> {
    let site = drifting(group).await?;
    edit_desired(site, |desired| desired["parameters"]["work_mem"] = "3MB".into()).await?;
    let planned = drift_seen(site).await?;
    drift_names(&planned, &[&site.cluster.names.desired(), "work_mem", "3MB"])?;
    repaired(site).await?;
    until("the edited parameter to be gone", WHOLE, || async {
        let seen = site.cluster.setting("work_mem").await?;
        Ok(Seen::when(seen != "3MB", seen))
    })
    .await
}

/// Inside PostgreSQL: what is the cluster's own is taken back at once; anything else stays, shows, and goes with an apply.
async fn setting_given_by_alter_system(group: &mut Group) -> Result<()> {
    let site = drifting(group).await?;
    let (primary, standby) = (site.cluster.primary().await?, site.cluster.standby().await?);
    let load = site.load("altered").await?;
    load.until_more(10).await?;
    for (pod, sql) in [
        (&primary, "alter system set vacuum_cost_limit = 333"),
        (&primary, "alter system set synchronous_standby_names = ''"),
        (&primary, "alter system set wal_receiver_timeout = 0"),
        (&standby, "alter system set log_line_prefix = 'hush-hush '"),
        (&primary, "select pg_reload_conf()"),
        (&standby, "select pg_reload_conf()"),
    ] {
        site.cluster.sql(pod, "postgres", sql).await?;
    }
    let shown = until("the agents to tell what ALTER SYSTEM gave", WHOLE, || async {
        let planned = site.tf.plan(&[]).await?;
        let told = planned.json.to_string();
        let all = told.contains("vacuum_cost_limit") && told.contains("log_line_prefix");
        Ok(if all { Seen::Yes(planned) } else { Seen::NotYet(planned.text) })
    });
    let planned = shown.await?;
    let (on_primary, on_standby) = (format!("PostgreSQL/{primary}"), format!("PostgreSQL/{standby}"));
    drift_names(&planned, &[&on_primary, "+333", &on_standby, "(a text of 10 bytes)", "ALTER SYSTEM"])?;
    let told = planned.json.to_string();
    ensure!(!told.contains("hush-hush"), "expected a text, which may be secret, not to be told");
    ensure!(
        !told.contains("wal_receiver_timeout") && !told.contains("synchronous_standby_names"),
        "expected what the cluster owns to be taken back at once"
    );
    checker::sync_set_in_force(&site.cluster, 1).await?;
    load.until_more(10).await?;
    let outcome = load.finish().await?;
    let timeout = site.cluster.setting("wal_receiver_timeout").await?;
    ensure!(timeout != "0", "expected wal_receiver_timeout to be the cluster's again");
    ensure!(
        site.cluster.setting("vacuum_cost_limit").await? == "333",
        "expected what a person gave to stand"
    );
    repaired(site).await?;
    let limit = site.cluster.setting("vacuum_cost_limit").await?;
    ensure!(limit != "333", "expected vacuum_cost_limit to be taken back");
    let lines = "select count(*) from pg_file_settings where sourcefile like '%postgresql.auto.conf'";
    for pod in [&primary, &standby] {
        let left = site.cluster.sql(pod, "postgres", lines).await?;
        ensure!(
            left == "0",
            "expected nothing to be left in postgresql.auto.conf of {pod}, got {left} lines"
        );
    }
    site.nothing_lost(&outcome).await
}

/// What keeps the cluster's own roles from their work is mended at once, before a session of the agent is lost; what was done to
/// the application's stands, is drift, and an apply repairs it.
async fn roles_altered_by_hand(group: &mut Group) -> Result<()> {
    let site = drifting(group).await?;
    let primary = site.cluster.primary().await?;
    let started = site.cluster.start_times().await?;
    let by_hand = "alter role app nologin connection limit 0; alter database app owner to postgres; \
                   alter role pgha_replication noreplication nologin valid until '2020-01-01'; alter role postgres nologin";
    site.cluster.sql(&primary, "postgres", by_hand).await?;
    let own = "select count(*) from pg_roles where rolname in ('postgres', 'pgha_replication') \
               and rolcanlogin and rolreplication and coalesce(rolvaliduntil, 'infinity') = 'infinity'";
    let mended = until("the cluster's own roles to be mended", WHOLE, || async {
        Ok(match site.cluster.sql(&primary, "postgres", own).await {
            Ok(number) if number == "2" => Seen::Yes(()),
            Ok(number) => Seen::NotYet(format!("{number} of 2 roles are whole")),
            Err(error) => Seen::NotYet(format!("{error:#}")),
        })
    });
    mended.await?;
    let shown = until("the agents to tell what was done to the application's role", WHOLE, || async {
        let planned = site.tf.plan(&[]).await?;
        let all = planned.json.to_string().contains("role app");
        Ok(if all { Seen::Yes(planned) } else { Seen::NotYet(planned.text) })
    });
    let planned = shown.await?;
    let told = ["role app", "NOLOGIN, CONNECTION LIMIT 0", "ALTER ROLE", "database app", "OWNER TO postgres"];
    drift_names(&planned, &told)?;
    let app = "select rolcanlogin, pg_get_userbyid(datdba) from pg_roles, pg_database \
               where rolname = 'app' and datname = 'app'";
    let there = site.cluster.sql(&primary, "postgres", app).await?;
    ensure!(
        there == "f|postgres",
        "expected what a person did to the application's role to stand, got {there}"
    );
    repaired(site).await?;
    let there = site.cluster.sql(&primary, "postgres", app).await?;
    ensure!(there == "t|app", "expected the application's role and database to be as they were, got {there}");
    ensure!(site.cluster.start_times().await? == started, "expected no restart for that");
    Ok(())
}

async fn label_removed(group: &mut Group) -> Result<()> {
    let site = drifting(group).await?;
    let set = site.cluster.names.cluster().to_owned();
    let pods = site.cluster.pod_uids().await?;
    site.cluster
        .patch::<StatefulSet>(&set, json!({ "metadata": { "labels": { LABEL_MANAGED_BY: null } } }))
        .await?;
    let planned = drift_seen(site).await?;
    drift_names(&planned, &["StatefulSet", &set, LABEL_MANAGED_BY])?;
    repaired(site).await?;
    let labels = site.cluster.api::<StatefulSet>().get(&set).await?.metadata.labels.unwrap_or_default();
    ensure!(
        labels.contains_key(LABEL_MANAGED_BY),
        "expected the label {LABEL_MANAGED_BY} to be back, got {labels:?}"
    );
    ensure!(site.cluster.pod_uids().await? == pods, "expected the repair of a label to make no pod anew");
    Ok(())
}

async fn read_only_kubeconfig_plans_and_sees_drift(group: &mut Group) -> Result<()> {
    let sandbox = group.bed.sandbox.clone();
    let site = drifting(group).await?;
    let kubeconfig = sandbox.restricted_kubeconfig(&site.namespace, &reader_rules()?).await?;
    let reader = site.tf.with_kubeconfig(&kubeconfig);
    reader.plan_is_empty("nothing was changed, seen by a reader").await?;
    let service = site.cluster.names.service_r();
    site.cluster.patch::<Service>(&service, json!({ "spec": { "selector": { "role": "primary" } } })).await?;
    let planned = reader.plan(&[]).await?;
    ensure!(planned.changes, "expected the reader to see drift:\n{}", planned.text);
    drift_names(&planned, &[&service, "selector"])?;
    repaired(site).await
}

async fn failover_is_not_drift(group: &mut Group) -> Result<()> {
    let site = drifting(group).await?;
    let before = site.cluster.primary().await?;
    let era = site.cluster.record().await?.era();
    let other = site.cluster.standby().await?;
    crate::replicas::move_primary(site, &other).await?;
    let now = site.cluster.record().await?.era();
    ensure!(
        now > era,
        "expected a new era after the primary moved from {before} to {other}, got {now} after {era}"
    );
    site.tf.plan_is_empty("a failover").await?;
    let outcome = site.tf.plan(&["-refresh-only"]).await?;
    ensure!(!outcome.changes, "expected -refresh-only to end with 0 after a failover:\n{}", outcome.text);
    let moved = &outcome.json["resource_drift"];
    ensure!(
        moved.as_array().is_none_or(Vec::is_empty),
        "expected -refresh-only to find nothing after a failover, got {moved}:\n{}",
        outcome.text
    );
    Ok(())
}

/// The Role that the examples give to a job which only looks for drift.
pub fn reader_rules() -> Result<Vec<PolicyRule>> {
    let role: Role = serde_yaml_ng::from_str(include_str!("../../../examples/rbac/reader.yaml"))?;
    role.rules.context("the reader's Role has rules")
}

/// A whole cluster of two instances without drift.
pub async fn drifting(group: &mut Group) -> Result<&mut Site> {
    let site = group.cluster_with(1).await?;
    site.tf.plan_is_empty("nothing was changed yet").await?;
    Ok(site)
}

/// Scales the StatefulSet to so many pods as a person would.
pub fn scale(sandbox: &Sandbox, site: &Site, pods: u32) -> Result<()> {
    let set = format!("statefulset/{}", site.cluster.names.cluster());
    let mut scale = sandbox.kubectl();
    scale.args(["--namespace", &site.namespace, "scale", &set, &format!("--replicas={pods}")]);
    process::run(&mut scale).map(drop)
}

/// Edits the desired state as a person with an editor would.
pub async fn edit_desired(site: &Site, edit: impl Fn(&mut Value)) -> Result<()> {
    let name = site.cluster.names.desired();
    let map = site.cluster.api::<ConfigMap>().get(&name).await?;
    let text = map.data.as_ref().and_then(|data| data.get(KEY_DESIRED)).context("no desired state")?;
    let mut desired: Value = serde_json::from_str(text).context("read the desired state")?;
    edit(&mut desired);
    let edited = serde_json::to_string_pretty(&desired)?;
    site.cluster.patch::<ConfigMap>(&name, json!({ "data": { KEY_DESIRED: edited } })).await
}

/// A plan that is not empty and updates in place.
pub async fn drift_seen(site: &Site) -> Result<Planned> {
    let planned = site.tf.plan(&[]).await?;
    ensure!(planned.changes, "expected exit code 2 and a plan that shows the drift:\n{}", planned.text);
    let actions = planned.actions(ADDRESS)?;
    ensure!(actions == "update", "expected an update in place, got {actions}:\n{}", planned.text);
    Ok(planned)
}

/// Asserts that the `drift` entries name all of these texts.
pub fn drift_names(planned: &Planned, texts: &[&str]) -> Result<()> {
    let change = planned.change(ADDRESS)?;
    let drift = change["before"]["drift"].to_string();
    for text in texts {
        ensure!(drift.contains(text), "expected `{text}` in drift {drift}:\n{}", planned.text);
    }
    ensure!(
        change["after"]["drift"] == json!([]),
        "expected drift to be planned as empty:\n{}",
        planned.text
    );
    Ok(())
}

/// Asserts that there is no `drift` entry: what shows in its own attribute does not show twice.
fn nothing_else(planned: &Planned) -> Result<()> {
    let drift = &planned.change(ADDRESS)?["before"]["drift"];
    ensure!(*drift == json!([]), "expected no drift entry beside the attribute, got {drift}");
    Ok(())
}

/// Apply repairs; the next plan is empty; the cluster is whole.
pub async fn repaired(site: &Site) -> Result<()> {
    let run = site.tf.apply(&[]).await?;
    run.says(&["0 added, 1 changed, 0 destroyed"])?;
    site.tf.plan_is_empty("the repair").await?;
    site.cluster.until_whole(1, WHOLE).await?;
    // Agents acknowledge what they have in force: the repair holds.
    until("the plan to stay empty", Duration::from_secs(60), || async {
        let planned = site.tf.plan(&[]).await?;
        Ok(Seen::when(!planned.changes, planned.text))
    })
    .await
}
