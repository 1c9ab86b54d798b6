//! Drift by hand: each edit with its way back, and what the next plan and the next apply make of it.

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::rbac::v1::PolicyRule;
use serde_json::{Value as Json, json};

use super::judge;
use super::objects::SETTINGS_KEY;
use super::site::Site;
use super::table::{Kind, Row};

/// An edit of an object: what kubectl is told, and the field that shows whether it lasts.
struct Edit {
    case: &'static str,
    resource: String,
    /// Arguments of kubectl.
    change: Vec<String>,
    /// Arguments of kubectl that take it back.
    undo: Vec<String>,
    /// Where in the object.
    pointer: &'static str,
}

/// Makes every kind of drift, one after the other; each is taken back before the next.
///
/// # Errors
/// When an edit can't be made or taken back.
pub async fn all(site: &Site, rows: &mut Vec<Row>) -> Result<()> {
    rows.push(plan(site, "nothing at all").await?);
    for edit in edits(site) {
        rows.push(edited(site, &edit).await.context(edit.case)?);
    }
    rows.push(service_deleted(site).await.context("the deleted Service")?);
    rows.push(inside_postgres(site).await.context("ALTER SYSTEM and ALTER ROLE")?);
    rows.push(seen_by_a_reader(site).await.context("the reader")?);
    rows.push(failover(site).await.context("the failover")?);
    Ok(())
}

fn edits(site: &Site) -> Vec<Edit> {
    let shape = &site.shape;
    let set = format!("statefulset/{}", shape.name);
    let rw = format!("service/{}", shape.rw_name());
    let settings = format!("configmap/{}", shape.settings_name());
    let setting = |case, from: &str, to: &str| {
        let patch = |text: &str| merge(&settings, &json!({ "data": { SETTINGS_KEY: text } }));
        let (change, undo) = (patch(&shape.settings.replace(from, to)), patch(&shape.settings));
        Edit { case, resource: settings.clone(), change, undo, pointer: "/data/settings.conf" }
    };
    let selector = |role: &str| merge(&rw, &json!({ "spec": { "selector": { "role": role } } }));
    vec![
        Edit {
            case: "StatefulSet scaled",
            resource: set.clone(),
            change: scale(&set, 1),
            undo: scale(&set, shape.replicas),
            pointer: "/spec/replicas",
        },
        setting("sync mode", "ANY 1 (*)", ""),
        Edit {
            case: "Service's selector",
            resource: rw.clone(),
            change: selector("standby"),
            undo: selector("primary"),
            pointer: "/spec/selector/role",
        },
        setting("PostgreSQL setting", "work_mem = '4MB'", "work_mem = '1MB'"),
        Edit {
            case: "label removed",
            resource: set.clone(),
            change: ["label", &set, "team-"].map(str::to_owned).to_vec(),
            undo: ["label", &set, "team=db"].map(str::to_owned).to_vec(),
            pointer: "/metadata/labels/team",
        },
    ]
}

fn scale(set: &str, count: u32) -> Vec<String> {
    vec!["scale".to_owned(), set.to_owned(), format!("--replicas={count}")]
}

fn merge(resource: &str, patch: &Json) -> Vec<String> {
    ["patch", resource, "--type=merge", "--patch", &patch.to_string()].map(str::to_owned).to_vec()
}

async fn plan(site: &Site, case: &'static str) -> Result<Row> {
    Ok(Row::new(&site.bed.subject, Kind::Drift, case, judge::drift(&site.plan().await?)))
}

async fn edited(site: &Site, edit: &Edit) -> Result<Row> {
    let field = || anyhow::Ok(site.object(&edit.resource)?.pointer(edit.pointer).cloned());
    let wanted = field()?;
    site.kubectl(&edit.change)?;
    ensure!(field()? != wanted, "kubectl changed nothing");
    let row = plan(site, edit.case).await?;
    let then = then(site, || Ok(field()? == wanted)).await?;
    if field()? != wanted {
        site.kubectl(&edit.undo)?;
    }
    settle(site).await?;
    Ok(row.then(then))
}

/// What the next apply makes of it.
async fn then(site: &Site, is_back: impl Fn() -> Result<bool>) -> Result<String> {
    let apply = site.apply().await?;
    Ok(match (judge::failure(&apply), is_back()?) {
        (Some(words), _) => format!("apply fails: {words}"),
        (None, true) => "apply repairs it".to_owned(),
        (None, false) => "apply leaves it as it is".to_owned(),
    })
}

/// Everything is as asked for, and the next plan is empty: what is seen next comes from the next edit.
async fn settle(site: &Site) -> Result<()> {
    site.until_ready(site.shape.replicas).await?;
    if site.plan().await?.code != Some(0) {
        site.apply().await?.succeeded()?;
    }
    site.plan_is_empty("it was taken back").await
}

async fn service_deleted(site: &Site) -> Result<Row> {
    let service = format!("service/{}", site.shape.rw_name());
    let before = site.object(&service)?;
    site.kubectl(&["delete", &service])?;
    let row = plan(site, "Service deleted").await?;
    let then = then(site, || Ok(!site.object(&service)?.is_null())).await?;
    if site.object(&service)?.is_null() {
        site.create(before)?;
    }
    settle(site).await?;
    Ok(row.then(then))
}

async fn inside_postgres(site: &Site) -> Result<Row> {
    // Roles are data, and their commit would wait for the standby.
    let local = "SET synchronous_commit = local";
    site.sql(0, &format!("{local}; CREATE ROLE app LOGIN; ALTER ROLE app NOLOGIN"))?;
    site.sql(0, "ALTER SYSTEM SET work_mem = '1MB'; SELECT pg_reload_conf()")?;
    let setting = || site.sql(0, "SHOW work_mem");
    ensure!(setting()? == "1MB", "the setting is not in force");
    let row = plan(site, "ALTER SYSTEM and ALTER ROLE").await?;
    let then = then(site, || Ok(setting()? == "4MB")).await?;
    site.sql(0, "ALTER SYSTEM RESET ALL; SELECT pg_reload_conf()")?;
    settle(site).await?;
    Ok(row.then(then))
}

/// Scaled again, and planned with rights to read everything in the namespace but Secrets.
async fn seen_by_a_reader(site: &Site) -> Result<Row> {
    let set = format!("statefulset/{}", site.shape.name);
    let reader = site.restricted(&reading()).await?;
    site.kubectl(&scale(&set, 1))?;
    let look = async |reader: &Site| Ok(judge::drift_of_what_is_there(&reader.plan().await?));
    let seen = look(&reader).await?;
    let then = if judge::wants_crds(&seen) {
        judge::with_crds(&reader.listing_crds(look).await?)
    } else {
        String::new()
    };
    site.kubectl(&scale(&set, site.shape.replicas))?;
    settle(site).await?;
    let case = "scaled, read without rights on Secrets";
    Ok(Row::new(&site.bed.subject, Kind::Drift, case, seen).then(then))
}

fn reading() -> Vec<PolicyRule> {
    let rule = |group: &str, resources: &[&str]| PolicyRule {
        api_groups: Some(vec![group.to_owned()]),
        resources: Some(resources.iter().map(|resource| (*resource).to_owned()).collect()),
        verbs: ["get", "list", "watch"].map(str::to_owned).to_vec(),
        ..PolicyRule::default()
    };
    vec![
        rule("", &["configmaps", "services", "pods", "persistentvolumeclaims", "events"]),
        rule("apps", &["statefulsets", "controllerrevisions"]),
    ]
}

/// The standby is promoted and gets the label that the Service for writes selects. Nobody brings the old primary back.
async fn failover(site: &Site) -> Result<Row> {
    site.sql(1, "SELECT pg_promote()")?;
    ensure!(site.sql(1, "SELECT pg_is_in_recovery()")? == "f", "the standby was not promoted");
    site.kubectl(&["label", "pod", &site.pod(0), "role-"])?;
    site.kubectl(&["label", "pod", &site.pod(1), "role=primary"])?;
    plan(site, "failover").await
}
