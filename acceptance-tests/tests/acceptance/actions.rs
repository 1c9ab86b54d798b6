//! Actions and passwords: what is asked by desired state happens in the cluster, and leaves no drift. Actions are called by the protocol
//! client, since the CLI here does not know them.

use std::io::Read as _;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::rbac::v1::{PolicyRule, Role};
use pgha_acceptance_tests::load::Target;
use pgha_acceptance_tests::poll::{Seen, until};
use pgha_acceptance_tests::proto_client::actions::{Told, told};
use pgha_acceptance_tests::proto_client::host::Host;
use pgha_acceptance_tests::proto_client::pb::tfplugin6 as pb;
use pgha_acceptance_tests::proto_client::values;
use pgha_acceptance_tests::sandbox::Sandbox;
use pgha_acceptance_tests::terraform::Terraform;
use pgha_schema::names::secret_key;
use serde_json::{Value, json};

use crate::cases;
use crate::group::{Group, Site, WHOLE};
use crate::runner::Case;

const SWITCHOVER_PAGE: &str = include_str!("../../../docs/actions/ha_switchover.md");
const RESTART_PAGE: &str = include_str!("../../../docs/actions/ha_restart.md");
const REINIT_PAGE: &str = include_str!("../../../docs/actions/ha_reinit_replica.md");
const ROTATE_PAGE: &str = include_str!("../../../docs/actions/ha_rotate_credentials.md");

const FIRST: &str = "First-pa55word, given";
const SECOND: &str = "Second-pa55word, given";

pub fn cases() -> Vec<Case> {
    cases![
        => switchover_moves_the_primary,
        => every_instance_restarts_and_a_standby_is_cloned,
        => rotated_passwords_are_in_force,
        => a_given_password_is_kept_nowhere,
        => nothing_secret_is_traced_in_a_whole_life,
    ]
}

/// The provider block of a user with the rights that these actions' pages state, and no others.
async fn acting(sandbox: &Sandbox, site: &Site, pages: &[&str]) -> Result<Value> {
    for page in pages {
        ensure!(
            page.contains("Those of `examples/rbac/reader.yaml`")
                && page.contains("the verb `patch` on ConfigMaps"),
            "expected the page to state the rights that are tried here"
        );
    }
    let reader: Role = serde_yaml_ng::from_str(include_str!("../../../examples/rbac/reader.yaml"))?;
    let mut rules = reader.rules.context("a Role without rules")?;
    let right = |resource: &str, verbs: &[&str]| PolicyRule {
        api_groups: Some(vec![String::new()]),
        resources: Some(vec![resource.to_owned()]),
        verbs: verbs.iter().map(|verb| (*verb).to_owned()).collect(),
        ..PolicyRule::default()
    };
    rules.push(right("configmaps", &["patch"]));
    if pages.iter().any(|page| page.contains("`create` and `update` on Secrets")) {
        rules.push(right("secrets", &["create", "update"]));
    }
    let user = sandbox.restricted_kubeconfig(&site.namespace, &rules).await?;
    Ok(json!({ "config_path": user }))
}

/// The provider as a CLI has it that knows actions.
async fn host(group: &Group) -> Result<Host> {
    Host::configured(&json!({ "config_path": group.bed.sandbox.kubeconfig() })).await
}

fn of(site: &Site, more: &Value) -> Value {
    let mut config = json!({ "name": Group::CLUSTER, "namespace": site.namespace });
    for (key, value) in more.as_object().into_iter().flatten() {
        config[key] = value.clone();
    }
    config
}

/// Carries an action out that has to succeed.
async fn done(host: &Host, site: &Site, action: &str, more: &Value) -> Result<Vec<String>> {
    let Told { progress, problems } = told(host.invoke(action, &of(site, more)).await?).await?;
    ensure!(problems.is_empty(), "expected {action} to succeed, got {problems:?} after {progress:?}");
    Ok(progress)
}

async fn switchover_moves_the_primary(group: &mut Group) -> Result<()> {
    let sandbox = group.bed.sandbox.clone();
    let site = group.cluster_with(1).await?;
    let host = Host::configured(&acting(&sandbox, site, &[SWITCHOVER_PAGE]).await?).await?;
    let (primary, standby) = (site.cluster.primary().await?, site.cluster.standby().await?);
    let load = site.load("acted").await?;
    load.until_more(50).await?;
    let progress = done(&host, site, "postgres_ha_switchover", &json!({ "to": standby })).await?;
    ensure!(
        progress.iter().any(|told| told.contains(&format!("{standby} is the primary now"))),
        "expected to be told who leads, got {progress:?}"
    );
    let now = site.cluster.until_whole(1, WHOLE).await?;
    ensure!(now == standby, "expected {standby} to lead after {primary}, {now} does");
    site.tf.plan_is_empty("a switchover by an action").await?;
    let Told { problems, .. } =
        told(host.invoke("postgres_ha_switchover", &of(site, &json!({ "to": standby }))).await?).await?;
    ensure!(
        problems.len() == 1
            && problems[0].contains("was refused")
            && problems[0].contains("is the primary already"),
        "expected the agent's refusal, got {problems:?}"
    );
    site.tf.plan_is_empty("a refused action").await?;
    let outcome = load.finish().await?;
    site.nothing_lost(&outcome).await
}

async fn every_instance_restarts_and_a_standby_is_cloned(group: &mut Group) -> Result<()> {
    let sandbox = group.bed.sandbox.clone();
    let site = group.cluster_with(2).await?;
    let host = Host::configured(&acting(&sandbox, site, &[RESTART_PAGE, REINIT_PAGE]).await?).await?;
    let (primary, started) = (site.cluster.primary().await?, site.cluster.start_times().await?);
    let progress = done(&host, site, "postgres_ha_restart", &json!({})).await?;
    let last = progress.iter().rfind(|told| told.contains("was restarted"));
    ensure!(
        last.is_some_and(|told| told.contains(&primary)),
        "expected {primary} to be the last, got {progress:?}"
    );
    site.cluster.until_whole(2, WHOLE).await?;
    for (pod, time) in site.cluster.start_times().await? {
        ensure!(started.get(&pod) != Some(&time), "expected postgres in {pod} to have been restarted");
    }
    let member = |record: &pgha_schema::record::Record, pod: &str| {
        record.members.iter().find(|(_, entry)| entry.pod == pod).map(|(member, _)| member.to_string())
    };
    let confirming = site.cluster.standby().await?;
    let before = member(&site.cluster.record().await?, &confirming);
    done(&host, site, "postgres_ha_reinit_replica", &json!({ "instance": confirming })).await?;
    let after = member(&site.cluster.record().await?, &confirming);
    ensure!(
        after.is_some() && after != before,
        "expected new data in {confirming}, {before:?} became {after:?}"
    );
    site.cluster.until_whole(2, WHOLE).await?;
    site.tf.plan_is_empty("restarts and a clone by actions").await
}

async fn rotated_passwords_are_in_force(group: &mut Group) -> Result<()> {
    let (sandbox, reading) = (group.bed.sandbox.clone(), host(group).await?);
    let site = group.cluster_with(1).await?;
    let host = Host::traced(&acting(&sandbox, site, &[ROTATE_PAGE, SWITCHOVER_PAGE]).await?).await?;
    let (old_app, old_superuser) = (site.rw().await?, superuser(site, None).await?);
    let session = old_app.connect().await?;
    let progress = done(&host, site, "postgres_ha_rotate_credentials", &json!({})).await?;
    for old in [&old_app, &old_superuser] {
        is_refused(old).await?;
    }
    let (new_app, new_superuser) = (site.rw().await?, superuser(site, None).await?);
    for (old, new) in [(&old_app, &new_app), (&old_superuser, &new_superuser)] {
        ensure!(old.password != new.password, "expected the Secret to hold another password of {}", new.user);
        ensure!(new.ask("select current_user").await? == new.user, "expected {} to log in", new.user);
        ensure!(!format!("{progress:?}").contains(&new.password), "the password was told");
    }
    session.simple_query("select 1").await.context("an open session stays")?;
    ensure!(
        credentials(&reading, site).await? == new_app.password,
        "expected the ephemeral resource to give it"
    );
    site.tf.plan_is_empty("a rotation").await?;
    // Whoever leads next has the same passwords, although its Secrets may have been mounted later.
    let standby = site.cluster.standby().await?;
    done(&host, site, "postgres_ha_switchover", &json!({ "to": standby })).await?;
    site.cluster.until_whole(1, WHOLE).await?;
    ensure!(
        new_app.ask("select 'in'").await? == "in",
        "expected the new password to work with the next primary"
    );
    is_refused(&old_app).await?;
    let all = [&old_app, &new_app, &old_superuser, &new_superuser].map(|target| target.password.as_str());
    no_log_holds(site, &all).await?;
    untold(&host.end().await?, &all)
}

async fn a_given_password_is_kept_nowhere(group: &mut Group) -> Result<()> {
    let site = group.cluster_with(1).await?;
    let untraced = site.tf.clone();
    let trace = traced(&mut site.tf);
    let config = site
        .config
        .clone()
        .extra("variable \"given\" {\n  type      = string\n  ephemeral = true\n}\n")
        .set("superuser_password_wo", "${var.given}")
        .set("superuser_password_wo_version", 1);
    let before = superuser(site, None).await?;
    give(site, FIRST)?;
    site.write(config.clone())?;
    let planned = site.tf.plan(&[]).await?;
    ensure!(planned.changes, "expected the password to be a change:\n{}", planned.text);
    kept_nowhere(site, FIRST)?;
    site.tf.apply(&[]).await?;
    kept_nowhere(site, FIRST)?;
    let first = superuser(site, Some(FIRST)).await?;
    ensure!(first.ask("select current_user").await? == "postgres", "expected the given password to log in");
    is_refused(&before).await?;
    // The number tells, not the password.
    give(site, SECOND)?;
    site.tf.plan_is_empty("another password under the same number").await?;
    site.apply(config.clone().set("superuser_password_wo_version", 2)).await?;
    kept_nowhere(site, SECOND)?;
    let second = superuser(site, Some(SECOND)).await?;
    ensure!(second.ask("select current_user").await? == "postgres", "expected the second password to log in");
    is_refused(&first).await?;
    untold(&std::fs::read_to_string(&trace)?, &[FIRST, SECOND])?;
    site.tf = untraced;
    let host = host(group).await?;
    let site = group.site().await?;
    let asked = of(site, &json!({ "roles": ["superuser"] }));
    let Told { problems, .. } = told(host.invoke("postgres_ha_rotate_credentials", &asked).await?).await?;
    ensure!(
        problems.len() == 1 && problems[0].contains("The configuration gives the superuser's password"),
        "expected the rotation to be refused, got {problems:?}"
    );
    no_log_holds(site, &[FIRST, SECOND]).await
}

/// From create to destroy, with every log that there is.
async fn nothing_secret_is_traced_in_a_whole_life(group: &mut Group) -> Result<()> {
    let site = group.fresh_site().await?;
    let trace = traced(&mut site.tf);
    let config = site.config.clone().set("replicas", 1);
    site.apply(config.clone()).await?;
    site.cluster.until_whole(1, WHOLE).await?;
    site.apply(config.set("parameters", json!({ "work_mem": "8MB" }))).await?;
    site.tf.plan_is_empty("a change").await?;
    let secrets = secret_texts(site).await?;
    ensure!(
        secrets.len() >= 4,
        "expected the passwords of three roles and a key, got {} texts",
        secrets.len()
    );
    for text in &secrets {
        kept_nowhere(site, text)?;
    }
    no_log_holds(site, &secrets.iter().map(String::as_str).collect::<Vec<_>>()).await?;
    site.tf.destroy().await?;
    untold(&std::fs::read_to_string(&trace)?, &secrets.iter().map(String::as_str).collect::<Vec<_>>())
}

/// Has everything logged from now on; gives where.
pub fn traced(tf: &mut Terraform) -> PathBuf {
    let trace = tf.dir().join("trace.log");
    *tf = tf.clone().with_env("TF_LOG", "TRACE").with_env("TF_LOG_PATH", &trace.to_string_lossy());
    trace
}

/// A log of everything holds none of these, neither as it is nor as the API server tells it.
pub fn untold(log: &str, secrets: &[&str]) -> Result<()> {
    ensure!(log.contains("request to Kubernetes"), "expected the provider's own traces in the log");
    let found = secrets.iter().filter(|text| log.contains(**text) || log.contains(&STANDARD.encode(text)));
    let found = found.count();
    ensure!(found == 0, "{found} of {} secret texts are in the trace", secrets.len());
    Ok(())
}

/// What is in the cluster's Secrets, as it is and as the API server tells it.
pub async fn secret_texts(site: &Site) -> Result<Vec<String>> {
    let names = &site.cluster.names;
    let mut texts = Vec::new();
    for name in [names.secret_superuser(), names.secret_app(), names.secret_internal()] {
        let secret = site.cluster.api::<Secret>().get(&name).await?;
        for (key, value) in secret.data.context("an empty Secret")? {
            let tells = [
                secret_key::PASSWORD,
                secret_key::URI,
                secret_key::REPLICATION_PASSWORD,
                secret_key::AGENT_KEY,
            ];
            if tells.contains(&key.as_str()) {
                texts.push(STANDARD.encode(&value.0));
                texts.push(String::from_utf8(value.0)?);
            }
        }
    }
    Ok(texts)
}

/// The value that the variable of the configuration gets.
fn give(site: &Site, password: &str) -> Result<()> {
    site.tf.write("given.auto.tfvars", &format!("given = {}\n", json!(password)))
}

/// Neither the plan file, unpacked, nor the state, nor anything that the CLI said.
fn kept_nowhere(site: &Site, password: &str) -> Result<()> {
    for file in ["test.plan", "terraform.tfstate", "terraform.tfstate.backup"] {
        let Ok(bytes) = std::fs::read(site.tf.dir().join(file)) else { continue };
        let text = if file == "test.plan" {
            unpacked(&bytes)?
        } else {
            String::from_utf8_lossy(&bytes).into_owned()
        };
        ensure!(text.contains(Group::CLUSTER), "expected {file} to tell of the cluster");
        ensure!(!text.contains(password), "the password is in {file}");
    }
    ensure!(!site.tf.history().contains(password), "the password was printed");
    Ok(())
}

/// Everything in a plan file, which is a zip archive.
fn unpacked(archive: &[u8]) -> Result<String> {
    let mut archive = zip::ZipArchive::new(std::io::Cursor::new(archive))?;
    let mut text = Vec::new();
    for at in 0..archive.len() {
        archive.by_index(at)?.read_to_end(&mut text)?;
    }
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// The superuser's way to the primary, with a password of its own or that of the Secret.
async fn superuser(site: &Site, password: Option<&str>) -> Result<Target> {
    let password = match password {
        Some(password) => password.to_owned(),
        None => site.cluster.secret_value(&site.cluster.names.secret_superuser(), "password").await?,
    };
    Ok(Target { user: "postgres".into(), database: "postgres".into(), password, ..site.rw().await? })
}

async fn is_refused(target: &Target) -> Result<()> {
    until(&format!("the old password of {} to be refused", target.user), Duration::from_secs(10), || async {
        match target.ask("select 1").await {
            Ok(_) => Ok(Seen::NotYet("it logs in".to_owned())),
            Err(error) => {
                let text = format!("{error:#}");
                Ok(Seen::when(text.contains("password authentication failed"), text))
            }
        }
    })
    .await
}

/// What the ephemeral resource gives.
async fn credentials(host: &Host, site: &Site) -> Result<String> {
    let name = "postgres_ha_credentials";
    let schema = host.schemas.ephemeral_resource_schemas.get(name).context("no ephemeral resource")?;
    let request = pb::open_ephemeral_resource::Request {
        type_name: name.to_owned(),
        config: Some(values::config(schema, &of(site, &json!({})))?),
        client_capabilities: None,
    };
    let answer = host.rpc().open_ephemeral_resource(request).await?.into_inner();
    let result = values::json(answer.result.as_ref())?;
    result["password"]
        .as_str()
        .map(str::to_owned)
        .with_context(|| format!("no password: {:?}", answer.diagnostics))
}

/// PostgreSQL and agents write to one log.
async fn no_log_holds(site: &Site, passwords: &[&str]) -> Result<()> {
    for pod in site.cluster.pods().await?.into_keys() {
        let api = site.cluster.api::<k8s_openapi::api::core::v1::Pod>();
        let parameters = kube::api::LogParams { container: Some("postgres".into()), ..Default::default() };
        let log = api.logs(&pod, &parameters).await?;
        ensure!(!log.is_empty(), "expected {pod} to have a log");
        ensure!(!passwords.iter().any(|one| log.contains(one)), "the log of {pod} holds a password");
    }
    Ok(())
}
