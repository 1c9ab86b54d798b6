//! What is dangerous or impossible, asked for: is it refused at plan, at apply, or done without a word?

use std::time::Duration;

use anyhow::{Context as _, Result};
use k8s_openapi::api::core::v1::ResourceQuota;
use k8s_openapi::api::rbac::v1::PolicyRule;
use kube::Api;
use kube::api::PostParams;
use serde_json::json;

use super::config::set_address;
use super::judge::{self, Judged};
use super::objects::Shape;
use super::site::{Bed, Site};
use super::table::{Kind, Row};
use crate::poll::{Seen, until};

/// Asks for what changes nothing once it is refused; the site stays as it was.
///
/// # Errors
/// When the site can't be brought back.
pub async fn harmless(site: &mut Site, rows: &mut Vec<Row>) -> Result<()> {
    let asked = site.shape.clone();
    rows.push(second_configuration(site).await.context("the second configuration")?);
    let row = other_manager(site).await.context("the other manager")?;
    rows.push(row.then_also(way_back(site, asked.clone()).await?));
    for (case, storage) in [("smaller volumes", "512Mi"), ("larger volumes", "2Gi")] {
        let row = change(site, case, Shape { storage: storage.to_owned(), ..asked.clone() }).await;
        let back = way_back(site, asked.clone()).await.context(case)?;
        rows.push(row.context(case)?.then_also(back));
    }
    Ok(())
}

/// Asks again for what was there before; gives what went wrong on the way.
async fn way_back(site: &mut Site, asked: Shape) -> Result<String> {
    site.write(asked)?;
    // What the other manager set goes by hand: an apply may be refused.
    let patch =
        json!([{ "op": "replace", "path": "/spec/ports/0/targetPort", "value": site.shape.target_port }]);
    let service = format!("service/{}", site.shape.rw_name());
    site.kubectl(&["patch", &service, "--type=json", "--patch", &patch.to_string()])?;
    let Some(words) = judge::failure(&site.apply().await?) else { return Ok(String::new()) };
    site.apply().await?.succeeded()?;
    Ok(format!("the first apply of the way back fails: {words}"))
}

/// Asks for what breaks or removes a site; each case has its own, or takes over what the one before left.
pub async fn harmful(bed: &Bed) -> Vec<Result<Vec<Row>>> {
    let alone = |outcome: Result<Row>, case| outcome.map(|row| vec![row]).context(case);
    vec![
        alone(missing_rights(bed).await, "missing rights"),
        alone(quota(bed).await, "the quota"),
        alone(other_major(bed).await, "another major version"),
        alone(unknown_setting(bed).await, "the unknown setting"),
        Site::applied(bed, 1, async |site| {
            Ok(vec![tainted(site).await?, replaced(site).await?, destroyed(site).await?])
        })
        .await
        .context("taint, replacement and end"),
    ]
}

/// Plans and applies a configuration; gives what refused it.
async fn change(site: &mut Site, case: &'static str, asked: Shape) -> Result<Row> {
    site.write(asked)?;
    ask(site, case).await
}

async fn ask(site: &Site, case: &'static str) -> Result<Row> {
    Ok(Row::new(&site.bed.subject, Kind::Refusal, case, asked(site).await?))
}

async fn asked(site: &Site) -> Result<Judged> {
    let plan = site.plan().await?;
    // A plan that fails leaves nothing to apply.
    let apply = if plan.code == Some(1) { None } else { Some(site.apply().await?) };
    Ok(judge::refusal(&plan, apply.as_ref()))
}

/// The same objects and, for helm, the same release, asked for by a configuration with a state of its own.
async fn second_configuration(site: &Site) -> Result<Row> {
    let shape = Shape { target_port: 6432, ..site.shape.clone() };
    let second = Site::in_namespace(&site.bed, shape).await?;
    let row = ask(&second, "second configuration for the name").await?;
    second.keep_log("second-configuration")?;
    let port = target_port(site)?;
    let then =
        if port == "5432" { "the first's objects are untouched" } else { "the first's objects are changed" };
    if port != "5432" {
        site.apply().await?.succeeded()?;
    }
    Ok(row.then(then.to_owned()))
}

/// A field that another manager has taken by a server-side apply, and that the configuration now wants otherwise.
async fn other_manager(site: &mut Site) -> Result<Row> {
    let theirs = json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": { "name": site.shape.rw_name() },
        "spec": { "ports": [{ "port": 5432, "protocol": "TCP", "targetPort": 6432 }] },
    });
    let file = site.tf.dir().join("theirs.json");
    std::fs::write(&file, theirs.to_string())?;
    let manager = ["--server-side", "--field-manager=theirs", "--force-conflicts"];
    let file = file.to_string_lossy().into_owned();
    site.kubectl(&[&["apply", "--filename", &file], &manager[..]].concat())?;
    let row =
        change(site, "field of another manager", Shape { target_port: 5433, ..site.shape.clone() }).await?;
    let port = target_port(site)?;
    let then = if port == "5433" { "the field is taken over" } else { "the field is left to the other" };
    Ok(row.then(then.to_owned()))
}

fn target_port(site: &Site) -> Result<String> {
    let service = site.object(&format!("service/{}", site.shape.rw_name()))?;
    Ok(service["spec"]["ports"][0]["targetPort"].to_string())
}

/// Made with every right on ConfigMaps, Services and Secrets, and none on StatefulSets.
async fn missing_rights(bed: &Bed) -> Result<Row> {
    let rule = PolicyRule {
        api_groups: Some(vec![String::new()]),
        resources: Some(["configmaps", "services", "secrets", "pods"].map(str::to_owned).to_vec()),
        verbs: vec!["*".to_owned()],
        ..PolicyRule::default()
    };
    let work = async |site: &mut Site| {
        let limited = site.restricted(&[rule]).await?;
        let look = async |limited: &Site| asked(limited).await;
        let seen = look(&limited).await?;
        let then = if judge::wants_crds(&seen) {
            judge::with_crds(&limited.listing_crds(look).await?) + "; "
        } else {
            String::new()
        };
        let all = site.kubectl(&["get", "configmaps,services", "--output=name"])?;
        let made: Vec<&str> = all.lines().filter(|line| line.contains("/pg")).collect();
        let row = Row::new(&bed.subject, Kind::Refusal, "credentials that lack rights", seen);
        Ok(row.then(format!("{then}made before that: {}", listed(&made))))
    };
    Site::new(bed, 1).await?.with(work).await
}

/// Made where a quota allows no pod.
async fn quota(bed: &Bed) -> Result<Row> {
    let work = async |site: &mut Site| {
        let quotas: Api<ResourceQuota> = Api::namespaced(bed.sandbox.client(), &site.shape.namespace);
        let quota = json!({ "metadata": { "name": "none" }, "spec": { "hard": { "pods": "0" } } });
        quotas.create(&PostParams::default(), &serde_json::from_value(quota)?).await?;
        until("the quota to be in force", Duration::from_secs(30), || async {
            let hard = quotas.get("none").await?.status.and_then(|status| status.hard);
            Ok(Seen::when(hard.is_some(), "not yet"))
        })
        .await?;
        ask(site, "pods that a quota forbids").await
    };
    Site::new(bed, 1).await?.with(work).await
}

async fn other_major(bed: &Bed) -> Result<Row> {
    let to = |shape: Shape| Shape { image: "16".to_owned(), ..shape };
    breaking(bed, "another major version", to).await
}

async fn unknown_setting(bed: &Bed) -> Result<Row> {
    let to = |shape: Shape| Shape { settings: format!("{}wrok_mem = '4MB'\n", shape.settings), ..shape };
    breaking(bed, "unknown PostgreSQL setting", to).await
}

/// A running database with a change that its pod does not survive.
async fn breaking(bed: &Bed, case: &'static str, to: impl FnOnce(Shape) -> Shape) -> Result<Row> {
    Site::applied(bed, 1, async |site| {
        let asked = to(site.shape.clone());
        let row = change(site, case, asked).await?;
        let log = site.kubectl(&["logs", &site.pod(0), "--tail=5"]).unwrap_or_default();
        let last = log.lines().rev().find_map(|line| line.find("FATAL").map(|at| &line[at..]));
        Ok(row.then(last.map(|line| format!("PostgreSQL's log: {line}")).unwrap_or_default()))
    })
    .await
}

async fn tainted(site: &Site) -> Result<Row> {
    let before = uid(site)?;
    site.tf.run(&["taint", "-no-color", &set_address(site.bed.subject.provider)]).await?.succeeded()?;
    let row = ask(site, "tainted, with data").await?;
    if uid(site)? == before {
        return Ok(row.then("the StatefulSet is the same".to_owned()));
    }
    let data = match site.sql(0, "SELECT count(*) FROM kept") {
        Ok(count) if count == "1" => "its data is there",
        Ok(_) => "its data is gone",
        Err(_) => "its data can't be read",
    };
    Ok(row.then(remains(site, &format!("the StatefulSet is another, {data}"))?))
}

async fn replaced(site: &mut Site) -> Result<Row> {
    let asked = Shape { name: "other".to_owned(), ..site.shape.clone() };
    let old = site.object("statefulset/pg")?;
    let row = change(site, "a change that replaces it", asked).await?;
    let gone = !old.is_null() && site.object("statefulset/pg")?.is_null();
    let what = if gone { "the old StatefulSet is gone" } else { "the old StatefulSet is still there" };
    let then = remains(site, what)?;
    Ok(row.then(then))
}

async fn destroyed(site: &Site) -> Result<Row> {
    let plan = site.tf.try_plan(&["-destroy", "-lock=false"]).await?;
    let destroy = site.tf.try_destroy().await?;
    let seen = judge::refusal(&plan, Some(&destroy));
    let then = remains(site, "destroyed")?;
    Ok(Row::new(&site.bed.subject, Kind::Refusal, "destroy, with data", seen).then(then))
}

/// Which StatefulSets and claims are left.
fn remains(site: &Site, what: &str) -> Result<String> {
    let all = site.kubectl(&["get", "statefulsets,persistentvolumeclaims", "--output=name"])?;
    let left: Vec<&str> = all.lines().collect();
    Ok(format!("{what}; left: {}", listed(&left)))
}

fn uid(site: &Site) -> Result<String> {
    let set = site.object(&format!("statefulset/{}", site.shape.name))?;
    Ok(set["metadata"]["uid"].as_str().unwrap_or_default().to_owned())
}

fn listed(names: &[&str]) -> String {
    if names.is_empty() { "nothing".to_owned() } else { names.join(", ") }
}
