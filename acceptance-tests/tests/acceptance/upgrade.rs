//! A newer provider's agent in a running cluster: exchanged under the running postgres, or taken back.
//!
//! The other agents are made here, not built: a binary with a few bytes behind it runs as before and is another by its hash,
//! and a script is an agent that ends or hangs.

use std::collections::BTreeMap;
use std::io::Read as _;

use anyhow::{Context as _, Result, bail, ensure};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::api::rbac::v1::Role;
use kube::Api;
use kube::api::DeleteParams;
use pgha_acceptance_tests::checker;
use pgha_acceptance_tests::cluster::Cluster;
use pgha_acceptance_tests::poll::{Seen, until};
use pgha_acceptance_tests::terraform::Terraform;
use pgha_acceptance_tests::terraform::hcl::ADDRESS;
use pgha_schema::desired::{AgentBinary, Desired};
use pgha_schema::names::{AGENT_PATH, KEY_DESIRED};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::cases;
use crate::group::{Group, Site, WHOLE};
use crate::runner::Case;

pub fn cases() -> Vec<Case> {
    cases![
        => agent_is_exchanged_under_load,
        => broken_agent_is_rolled_back,
        => agents_use_every_right_that_they_have,
        => agent_comes_in_an_image_and_goes_again,
    ]
}

/// A provider that carries another agent.
struct Newer {
    tf: Terraform,
    sha256: String,
    // Kept while the CLI is used.
    _file: tempfile::TempPath,
}

impl Newer {
    fn carrying(site: &Site, version: &str, binary: &[u8]) -> Result<Self> {
        let mut file = tempfile::NamedTempFile::new().context("make a file for the agent")?;
        std::io::Write::write_all(&mut file, binary).context("write the agent")?;
        let path = file.into_temp_path();
        let tf = site
            .tf
            .clone()
            .with_env("PGHA_DEBUG_AGENT", &path.to_string_lossy())
            .with_env("PGHA_DEBUG_AGENT_VERSION", version);
        Ok(Self { tf, sha256: hex::encode(Sha256::digest(binary)), _file: path })
    }
}

/// The agent that the desired document wishes for.
pub async fn wished_agent(cluster: &Cluster) -> Result<AgentBinary> {
    let maps: Api<ConfigMap> = cluster.api();
    let map = maps.get(&cluster.names.desired()).await?;
    let text = map.data.unwrap_or_default().remove(KEY_DESIRED).context("no desired document")?;
    serde_json::from_str::<Desired>(&text)?.agent.context("the document wishes for no agent")
}

/// Its binary, from the chunks.
pub async fn binary_of(cluster: &Cluster, agent: &AgentBinary) -> Result<Vec<u8>> {
    let maps: Api<ConfigMap> = cluster.api();
    let mut gzipped = Vec::new();
    for name in &agent.chunks {
        let data = maps.get(name).await?.binary_data.unwrap_or_default();
        gzipped.extend(data.into_values().flat_map(|chunk| chunk.0));
    }
    let mut binary = Vec::new();
    flate2::read::GzDecoder::new(&gzipped[..]).read_to_end(&mut binary)?;
    Ok(binary)
}

/// What must not change while agents do.
#[derive(Debug, PartialEq)]
struct Untouched {
    primary: String,
    era: u64,
    timeline: Option<u32>,
    postmasters: BTreeMap<String, String>,
    /// Uid and restarts of each pod.
    pods: BTreeMap<String, (String, i32)>,
}

impl Untouched {
    async fn of(cluster: &Cluster) -> Result<Self> {
        let record = cluster.record().await?;
        let pods = cluster.pods().await?.into_iter().map(|(name, pod)| {
            let statuses = pod.status.and_then(|status| status.container_statuses).unwrap_or_default();
            let restarts = statuses.iter().map(|status| status.restart_count).sum();
            (name, (pod.metadata.uid.unwrap_or_default(), restarts))
        });
        Ok(Self {
            primary: cluster.primary().await?,
            era: record.era().0,
            timeline: record.current().and_then(|era| era.timeline).map(|timeline| timeline.0),
            postmasters: cluster.start_times().await?,
            pods: pods.collect(),
        })
    }

    async fn still(&self, cluster: &Cluster) -> Result<()> {
        let now = Self::of(cluster).await?;
        ensure!(now == *self, "expected nothing but agents to change: {self:?} before, {now:?} after");
        Ok(())
    }
}

/// Every agent says that it is this binary, and where the shell finds it lies the same one.
pub async fn runs_everywhere(cluster: &Cluster, sha256: &str) -> Result<()> {
    until("every agent to be the wished one", WHOLE, || async {
        let status = cluster.status().await?;
        let all = status.instances.iter().map(|(pod, one)| (pod, one.agent_sha256.clone()));
        let others: Vec<_> = all.filter(|(_, found)| found != sha256).collect();
        Ok(Seen::when(others.is_empty() && status.instances.len() == 3, format!("others: {others:?}")))
    })
    .await?;
    for pod in cluster.pods().await?.into_keys() {
        let output = cluster.exec(&pod, &["sha256sum", AGENT_PATH]).await?;
        ensure!(output.stdout.contains(sha256), "expected {sha256} in {pod}, found {}", output.stdout);
    }
    Ok(())
}

async fn agent_is_exchanged_under_load(group: &mut Group) -> Result<()> {
    let site = group.cluster_with(2).await?;
    let cluster = site.cluster.clone();
    let before = Untouched::of(&cluster).await?;
    let mut binary = binary_of(&cluster, &wished_agent(&cluster).await?).await?;
    binary.extend_from_slice(b"another build of the same agent");
    let newer = Newer::carrying(site, "0.1.1", &binary)?;

    let planned = newer.tf.plan(&[]).await?;
    ensure!(planned.actions(ADDRESS)? == "update", "expected an update in place:\n{}", planned.text);
    let change = planned.change(ADDRESS)?;
    ensure!(change["after"]["agent_version"] == "0.1.1", "expected the new version:\n{}", planned.text);
    let story = change["after"]["last_change"].as_str().unwrap_or_default();
    ensure!(
        story.contains("agent 0.1.1 under the running PostgreSQL") && story.contains("no restart"),
        "expected the plan to say that nothing restarts, it says `{story}`"
    );

    let session = site.rw().await?.connect().await?;
    let backend: i32 = session.query_one("SELECT pg_backend_pid()", &[]).await?.get(0);
    let load = site.load("agents").await?;
    newer.tf.apply(&[]).await?;
    runs_everywhere(&cluster, &newer.sha256).await?;
    load.until_more(20).await?;
    let outcome = load.finish().await?;
    ensure!(
        outcome.failures == 0,
        "expected no failed write while agents are exchanged, got {}: {:?}",
        outcome.failures,
        outcome.first_failures
    );
    let same: i32 = session.query_one("SELECT pg_backend_pid()", &[]).await?.get(0);
    ensure!(same == backend, "expected the session to live on in backend {backend}, it is {same}");
    before.still(&cluster).await?;
    newer.tf.plan_is_empty("the exchange of agents").await?;
    site.nothing_lost(&outcome).await?;
    group.bed.record_gap("agents exchanged", outcome.gap);
    Ok(())
}

async fn broken_agent_is_rolled_back(group: &mut Group) -> Result<()> {
    let site = group.cluster_with(2).await?;
    let cluster = site.cluster.clone();
    let before = Untouched::of(&cluster).await?;
    let good = wished_agent(&cluster).await?;
    let mended = Newer::carrying(site, "0.1.9", &binary_of(&cluster, &good).await?)?;
    let session = site.rw().await?.connect().await?;
    let backend: i32 = session.query_one("SELECT pg_backend_pid()", &[]).await?.get(0);
    let load = site.load("broken_agents").await?;
    for (version, script, why) in [
        ("0.1.7", "#!/bin/sh\nexit 3\n", "it ended with exit code 3"),
        ("0.1.8", "#!/bin/sh\nexec sleep 100000\n", "it did not say in time that it is healthy"),
    ] {
        let broken = Newer::carrying(site, version, script.as_bytes())?;
        broken.tf.try_apply(&[]).await?.failed_saying(&["did not become healthy", why])?;
        let status = cluster.status().await?;
        let Some(refused) = status.agent_refused else { bail!("expected the status to tell of the refusal") };
        ensure!(refused.refusal.sha256 == broken.sha256, "expected {}, got {refused:?}", broken.sha256);
        ensure!(refused.pod != before.primary, "expected a standby to have tried it first, not {refused:?}");
        checker::told_by_event(&cluster, &refused.pod, "AgentRefused", why).await?;
        runs_everywhere(&cluster, &good.sha256).await?;
    }
    // The next provider's agent is good again, and is what runs already.
    mended.tf.apply(&[]).await?;
    mended.tf.plan_is_empty("a good agent after broken ones").await?;
    runs_everywhere(&cluster, &good.sha256).await?;
    load.until_more(20).await?;
    let outcome = load.finish().await?;
    // New connections of a busy machine may be late; one that was there lives on.
    let same: i32 = session.query_one("SELECT pg_backend_pid()", &[]).await?.get(0);
    ensure!(same == backend, "expected the session to live on in backend {backend}, it is {same}");
    before.still(&cluster).await?;
    site.nothing_lost(&outcome).await
}

/// The agents' Role is as small as can be: everything that it allows is used somewhere in the life of a cluster, and nothing else
/// is asked for.
async fn agents_use_every_right_that_they_have(group: &mut Group) -> Result<()> {
    let sandbox = group.bed.sandbox.clone();
    let site = group.cluster_with(2).await?;
    let cluster = site.cluster.clone();
    let name = cluster.names.cluster().to_owned();
    let binary = [&binary_of(&cluster, &wished_agent(&cluster).await?).await?[..], b"one more"].concat();
    let newer = Newer::carrying(site, "0.2.0", &binary)?;
    newer.tf.apply(&[]).await?;
    runs_everywhere(&cluster, &newer.sha256).await?;

    site.write(site.config.clone().set("pod.labels", json!({ "rolled": "yes" })))?;
    newer.tf.apply(&[]).await?;
    cluster.until_whole(2, WHOLE).await?;

    let leases: Api<Lease> = cluster.api();
    let lost = leases.get(&name).await?.metadata.uid;
    leases.delete(&name, &DeleteParams::default()).await?;
    until("the lost Lease to be made again", WHOLE, || async {
        let found = leases.get_opt(&name).await?.and_then(|lease| lease.metadata.uid);
        Ok(Seen::when(found.is_some() && found != lost, format!("uid {found:?}, lost {lost:?}")))
    })
    .await?;
    cluster.until_whole(2, WHOLE).await?;

    // What a person asks for in an emergency reads the desired document.
    let told = cluster.exec(&cluster.standby().await?, &["pgha-agent", "break-glass"]).await?;
    ensure!(told.stderr.contains("it is not lost"), "expected to hear that nothing is lost, got {told:?}");

    let asked = sandbox.requests_of(&site.namespace, &name)?;
    let refused: Vec<_> = asked.iter().filter(|request| !request.allowed).collect();
    ensure!(refused.is_empty(), "expected the agents to ask for nothing that they may not: {refused:?}");
    let role = cluster.api::<Role>().get(&name).await?;
    let mut idle = Vec::new();
    for rule in role.rules.unwrap_or_default() {
        let (groups, resources) = (rule.api_groups.unwrap_or_default(), rule.resources.unwrap_or_default());
        let names = rule.resource_names.unwrap_or_default();
        for verb in rule.verbs {
            let is_used = asked.iter().any(|request| {
                groups.contains(&request.group)
                    && resources.contains(&request.resource)
                    && request.verb == verb
                    && (names.is_empty() || request.name.as_ref().is_some_and(|name| names.contains(name)))
            });
            if !is_used {
                idle.push(format!("{verb} on {resources:?} {names:?}"));
            }
        }
    }
    ensure!(idle.is_empty(), "expected every right to be used, these were not: {idle:?}");
    Ok(())
}

/// `agent_image`: pods are rolled to what it holds, no ConfigMap carries an agent any more, and back.
async fn agent_comes_in_an_image_and_goes_again(group: &mut Group) -> Result<()> {
    let sandbox = group.bed.sandbox.clone();
    let site = group.cluster_with(2).await?;
    let cluster = site.cluster.clone();
    let carried = wished_agent(&cluster).await?;
    let binary = [&binary_of(&cluster, &carried).await?[..], b"that of the image"].concat();
    let image = sandbox.agent_image(&binary)?;
    let load = site.load("agent_image").await?;

    let own = site.config.clone();
    site.write(own.clone().set("agent_image", image.as_str()))?;
    let planned = site.tf.plan(&[]).await?;
    let story = planned.change(ADDRESS)?["after"]["last_change"].clone();
    let story = story.as_str().unwrap_or_default();
    ensure!(
        story.contains("rolling restart") && story.contains("agent_image"),
        "expected the plan to tell of a rolling restart, it says `{story}`"
    );
    site.tf.apply(&[]).await?;
    runs_everywhere(&cluster, &hex::encode(Sha256::digest(&binary))).await?;
    site.tf.plan_is_empty("the agent of an image").await?;
    let maps: Api<ConfigMap> = cluster.api();
    for name in &carried.chunks {
        until("a part of the agent that was given up to go with what owned it", WHOLE, || async {
            Ok(Seen::when(maps.get_opt(name).await?.is_none(), name.clone()))
        })
        .await?;
    }

    site.apply(own).await?;
    runs_everywhere(&cluster, &wished_agent(&cluster).await?.sha256).await?;
    site.tf.plan_is_empty("the provider's own agent again").await?;
    let outcome = load.finish().await?;
    site.nothing_lost(&outcome).await
}
