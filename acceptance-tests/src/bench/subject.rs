//! A cluster under measurement. Ours and Patroni's have objects of the same names, so that the same code looks at both.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use k8s_openapi::api::apps::v1::StatefulSet;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use super::patroni;
use super::trial::System;
use crate::checker;
use crate::cluster::Cluster;
use crate::load::{Dialler, Target};
use crate::poll::{Seen, until};
use crate::sandbox::Sandbox;
use crate::terraform::hcl::Config;
use crate::terraform::{Cli, Plugin, Terraform};

/// Name of every measured cluster.
pub const CLUSTER: &str = "pg";
/// The application's database and user.
pub const APP: &str = "app";
/// Standbys beside the primary.
pub const REPLICAS: u32 = 2;
/// The same PostgreSQL for all: Debian's.
pub const POSTGRES_MAJOR: &str = "15";
/// How long three instances may take to be redundant after anything.
pub const REDUNDANT: Duration = Duration::from_secs(240);

/// A cluster of one family: ours, or Patroni in any of its settings.
pub struct Subject {
    /// Its objects.
    pub cluster: Cluster,
    /// The application's way to rw.
    pub target: Target,
    runs: bool,
    /// How it is deployed and changed.
    kind: Kind,
}

enum Kind {
    Ours { terraform: Terraform, config: Config },
    Patroni,
}

impl Subject {
    /// Applies ours, as a user would, in an empty namespace.
    ///
    /// # Errors
    /// When the apply fails or the cluster does not become redundant.
    pub async fn ours(
        sandbox: &Sandbox,
        namespace: &str,
        (cli, plugin): &(Cli, Plugin),
        dialler: Dialler,
    ) -> Result<Self> {
        let cluster = Cluster::new(sandbox.client(), namespace, CLUSTER);
        let terraform = Terraform::new(cli, plugin, &sandbox.kubeconfig())?;
        let config = Config::new(namespace, CLUSTER)
            .set("replicas", REPLICAS)
            .set("postgres_version", POSTGRES_MAJOR)
            .set("scheduling.spread", "required");
        terraform.write("main.tf", &config.text())?;
        terraform.init().await?;
        terraform.apply(&[]).await?.succeeded()?;
        let password = cluster.secret_value(&cluster.names.secret_app(), "password").await?;
        let target = target(&cluster, dialler, password);
        Self::applied(cluster, target, terraform, config).complete().await
    }

    /// A cluster of ours that somebody else applied.
    pub fn applied(cluster: Cluster, target: Target, terraform: Terraform, config: Config) -> Self {
        Self { cluster, target, runs: true, kind: Kind::Ours { terraform, config } }
    }

    /// Makes Patroni's from its manifests, in an empty namespace.
    ///
    /// # Errors
    /// When it does not become redundant.
    pub async fn patroni(sandbox: &Sandbox, namespace: &str, image: &str, dialler: Dialler) -> Result<Self> {
        let cluster = Cluster::new(sandbox.client(), namespace, CLUSTER);
        let password = patroni::deploy(sandbox, &cluster, image).await?;
        let target = target(&cluster, dialler, password);
        Self { cluster, target, runs: true, kind: Kind::Patroni }.complete().await
    }

    /// Changes attributes of ours by another apply.
    ///
    /// # Errors
    /// When it is Patroni, or the apply fails.
    pub async fn apply_with(&mut self, path: &str, value: &str) -> Result<()> {
        let Kind::Ours { terraform, config } = &mut self.kind else { bail!("Patroni is not applied") };
        *config = config.clone().set(path, value);
        terraform.write("main.tf", &config.text())?;
        terraform.apply(&[]).await?.succeeded()?;
        Ok(())
    }

    /// Puts the settings of a system in force.
    ///
    /// # Errors
    /// When Patroni does not take them over.
    pub async fn become_system(&self, system: System) -> Result<()> {
        match self.kind {
            Kind::Ours { .. } => Ok(()),
            Kind::Patroni => patroni::configure(&self.cluster, system == System::PatroniFast).await,
        }
    }

    /// Asks for a planned hand-over. The answer comes when it is done, so it is not waited for.
    pub fn switchover(&self, from: &str, to: &str) {
        let command = match self.kind {
            Kind::Ours { .. } => ["pgha-agent", "switchover", "--to", to].map(str::to_owned).to_vec(),
            Kind::Patroni => patroni::switchover_command(from, to),
        };
        let (cluster, from) = (self.cluster.clone(), from.to_owned());
        tokio::spawn(async move {
            let words: Vec<&str> = command.iter().map(String::as_str).collect();
            cluster.exec(&from, &words).await
        });
    }

    /// Stops all instances, or starts them.
    ///
    /// # Errors
    /// When the API server refuses, or the pods don't follow.
    pub async fn scale(&mut self, instances: u32) -> Result<()> {
        self.runs = instances > 0;
        let patch = Patch::Merge(json!({ "spec": { "replicas": instances } }));
        let sets = self.cluster.api::<StatefulSet>();
        sets.patch(CLUSTER, &PatchParams::default(), &patch).await.context("scale the StatefulSet")?;
        until(&format!("{instances} pods"), Duration::from_secs(120), || async {
            let pods: Vec<String> = self.cluster.pods().await?.into_keys().collect();
            Ok(Seen::when(pods.len() == instances as usize, format!("{pods:?}")))
        })
        .await
    }

    /// Waits until it is redundant; ours also until its record and status say so.
    ///
    /// # Errors
    /// When it does not become so in time.
    pub async fn until_redundant(&self) -> Result<()> {
        let what = format!("{} to be redundant", self.cluster.namespace);
        until(&what, REDUNDANT, || redundant(&self.cluster)).await?;
        if let Kind::Ours { .. } = self.kind {
            self.cluster.until_whole(REPLICAS, REDUNDANT).await?;
            checker::sync_set_in_force(&self.cluster, 1).await?;
        }
        Ok(())
    }

    /// A new one that is complete: redundant, and each instance on a node of its own.
    async fn complete(self) -> Result<Self> {
        self.until_redundant().await?;
        let nodes: BTreeSet<String> = self.cluster.pod_nodes().await?.into_values().collect();
        ensure!(nodes.len() == REPLICAS as usize + 1, "the instances share nodes: {nodes:?}");
        Ok(self)
    }

    /// The standby that confirms commits.
    ///
    /// # Errors
    /// When nobody does.
    pub async fn confirming_standby(&self) -> Result<String> {
        let sql = "SELECT host(client_addr) FROM pg_stat_replication WHERE sync_state = 'sync' LIMIT 1";
        let address = self.cluster.sql_on_primary(sql).await?;
        let pods = self.cluster.pods().await?;
        let address_of = |pod: &k8s_openapi::api::core::v1::Pod| pod.status.as_ref()?.pod_ip.clone();
        let found = pods.into_iter().find(|(_, pod)| address_of(pod).as_deref() == Some(&address));
        found.map(|(name, _)| name).with_context(|| format!("no pod confirms commits; address {address:?}"))
    }

    /// Whether its instances run; else it is scaled to nothing.
    pub fn runs(&self) -> bool {
        self.runs
    }

    /// Whether the agents are this project's.
    pub fn is_ours(&self) -> bool {
        matches!(self.kind, Kind::Ours { .. })
    }
}

fn target(cluster: &Cluster, dialler: Dialler, password: String) -> Target {
    Target {
        dialler,
        host: cluster.names.rw_host(&cluster.namespace),
        port: 5432,
        database: APP.to_owned(),
        user: APP.to_owned(),
        password,
    }
}

/// Whether the primary alone stands behind rw, everybody else streams from it, and one of them confirms commits. Gives the primary.
pub async fn redundant(cluster: &Cluster) -> Result<Seen<String>> {
    let primary = cluster.primary().await?;
    let pods = cluster.pods().await?;
    let endpoints = cluster.endpoints(&cluster.names.service_rw()).await?;
    if pods.len() != REPLICAS as usize + 1 || endpoints != BTreeSet::from([primary.clone()]) {
        let names: Vec<&String> = pods.keys().collect();
        return Ok(Seen::NotYet(format!("primary {primary}, behind rw {endpoints:?}, pods {names:?}")));
    }
    let mut recovering = BTreeMap::new();
    for pod in pods.into_keys() {
        let answer = cluster.sql(&pod, "postgres", "SELECT pg_is_in_recovery()").await?;
        recovering.insert(pod, answer);
    }
    let writers: Vec<&String> =
        recovering.iter().filter(|(_, answer)| *answer == "f").map(|(pod, _)| pod).collect();
    let senders = cluster.walsenders().await?;
    let streaming = senders.iter().filter(|sender| sender.state == "streaming").count();
    let confirming = senders.iter().filter(|sender| sender.sync_state == "sync").count();
    let holds = writers == [&primary] && streaming == REPLICAS as usize && confirming >= 1;
    if holds {
        return Ok(Seen::Yes(primary));
    }
    Ok(Seen::NotYet(format!("primary {primary}, writable {writers:?}, walsenders {senders:?}")))
}
