//! A group of cases and the one cluster that they share, in a namespace of its own.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use pgha_acceptance_tests::checker;
use pgha_acceptance_tests::cluster::Cluster;
use pgha_acceptance_tests::load::{Load, Outcome, Target};
use pgha_acceptance_tests::terraform::hcl::Config;
use pgha_acceptance_tests::terraform::{Cli, Run, Terraform};

use crate::bed::Bed;

/// How long a cluster may take to be whole again after anything.
pub const WHOLE: Duration = Duration::from_secs(180);
/// How long writes may take to come back after anything.
pub const WRITES: Duration = Duration::from_secs(90);
/// Clients of a load.
const CLIENTS: u16 = 4;

/// A group of cases.
pub struct Group {
    /// What all groups share.
    pub bed: Arc<Bed>,
    name: String,
    cli: &'static str,
    site: Option<Site>,
}

/// A namespace with a working directory and, once applied, a cluster.
pub struct Site {
    /// The namespace.
    pub namespace: String,
    /// The working directory.
    pub tf: Terraform,
    /// The cluster that the configuration declares.
    pub cluster: Cluster,
    /// The configuration as it was written last.
    pub config: Config,
    bed: Arc<Bed>,
}

impl Group {
    /// A group without a cluster yet.
    pub fn new(bed: Arc<Bed>, name: &str, cli: &'static str) -> Self {
        Self { bed, name: name.to_owned(), cli, site: None }
    }

    /// The CLI that drives the group.
    pub fn cli(&self) -> Result<Cli> {
        self.bed.cli(self.cli).cloned()
    }

    /// Name of the cluster in every group.
    pub const CLUSTER: &'static str = "pg";

    /// The group's site; a new namespace with nothing in it when there is none yet.
    pub async fn site(&mut self) -> Result<&mut Site> {
        if self.site.is_none() {
            self.site = Some(self.new_site().await?);
        }
        self.site.as_mut().context("the site was just made")
    }

    /// A site of its own for one case. Whoever makes it gives it to [`Group::keep`], so that a failure shows it.
    pub async fn new_site(&self) -> Result<Site> {
        // Names of namespaces have no dots.
        let namespace =
            self.bed.sandbox.create_namespace(&format!("t-{}", self.name.replace('.', "-"))).await?;
        let tf = Terraform::new(self.bed.cli(self.cli)?, &self.bed.plugin, &self.bed.sandbox.kubeconfig())?;
        let cluster = Cluster::new(self.bed.sandbox.client(), &namespace, Self::CLUSTER);
        let config = Config::new(&namespace, Self::CLUSTER);
        tf.write("main.tf", &config.text())?;
        tf.init().await?;
        Ok(Site { namespace, tf, cluster, config, bed: Arc::clone(&self.bed) })
    }

    /// Begins anew: the old namespace goes, the next [`Group::site`] is an empty one.
    pub async fn fresh_site(&mut self) -> Result<&mut Site> {
        self.close().await;
        self.site().await
    }

    /// The group's site with a whole cluster of `replicas` standbys in sync mode; applied if that is not so yet.
    pub async fn cluster_with(&mut self, replicas: u32) -> Result<&mut Site> {
        let site = self.site().await?;
        let is_whole =
            matches!(site.cluster.whole(replicas).await, Ok(pgha_acceptance_tests::poll::Seen::Yes(_)));
        if !is_whole {
            let config = site.config.clone().set("replicas", replicas);
            site.apply(config).await?;
            site.cluster.until_whole(replicas, WHOLE).await?;
        }
        Ok(site)
    }

    /// Everything that helps to see why a case failed.
    pub async fn report(&self) -> String {
        let Some(site) = &self.site else { return String::new() };
        let mut text = site.cluster.report().await;
        text.push_str("===== commands =====\n");
        let history = site.tf.history();
        // The newest are at the end, and they tell most.
        let from = history.len().saturating_sub(12_000);
        let from = (from..=history.len()).find(|at| history.is_char_boundary(*at)).unwrap_or(0);
        text.push_str(&history[from..]);
        text
    }

    /// After a failure: whatever the case did to the machine is undone, and the next case begins in a new namespace.
    pub async fn abandon(&mut self, exclusive: bool) {
        if exclusive && let Err(error) = self.bed.sandbox.heal_everything().await {
            self.bed.say(format!("the sandbox could not be healed: {error:#}"));
        }
        if std::env::var_os("PGHA_KEEP").is_some() {
            if let Some(site) = self.site.take() {
                self.bed.say(format!("namespace {} is kept", site.namespace));
            }
            return;
        }
        self.close().await;
    }

    /// Deletes the namespace.
    pub async fn close(&mut self) {
        if let Some(site) = self.site.take()
            && let Err(error) = self.bed.sandbox.delete_namespace(&site.namespace).await
        {
            self.bed.say(format!("namespace {} could not be deleted: {error:#}", site.namespace));
        }
    }
}

impl Site {
    /// Writes the configuration without applying it.
    pub fn write(&mut self, config: Config) -> Result<()> {
        self.tf.write("main.tf", &config.text())?;
        self.config = config;
        Ok(())
    }

    /// Writes the configuration and applies it.
    pub async fn apply(&mut self, config: Config) -> Result<Run> {
        self.write(config)?;
        self.tf.apply(&[]).await
    }

    /// Changes one attribute of the configuration and applies it.
    pub async fn apply_with(&mut self, path: &str, value: impl Into<serde_json::Value>) -> Result<Run> {
        let config = self.config.clone().set(path, value);
        self.apply(config).await
    }

    /// The administrator's kubeconfig, which the CLI has too.
    pub fn kubeconfig(&self) -> std::path::PathBuf {
        self.bed.sandbox.kubeconfig()
    }

    /// The application's way to the rw Service, from the outputs and the Secret that they name.
    pub async fn rw(&self) -> Result<Target> {
        self.target("rw_host").await
    }

    /// The application's way to the ro Service.
    pub async fn ro(&self) -> Result<Target> {
        self.target("ro_host").await
    }

    async fn target(&self, host: &str) -> Result<Target> {
        let outputs = self.tf.outputs().await?;
        let text = |name: &str| {
            outputs
                .get(name)
                .and_then(|value| value.as_str())
                .with_context(|| format!("output {name} is no text"))
        };
        let secret = text("app_secret")?;
        Ok(Target {
            dialler: Arc::clone(&self.bed.dialler),
            host: text(host)?.to_owned(),
            port: outputs.get("port").and_then(|port| port.as_u64()).context("output port")?.try_into()?,
            database: self.cluster.secret_value(secret, "dbname").await?,
            user: self.cluster.secret_value(secret, "username").await?,
            password: self.cluster.secret_value(secret, "password").await?,
        })
    }

    /// Starts a load through the rw Service.
    pub async fn load(&self, table: &str) -> Result<Load> {
        Load::start(&self.rw().await?, table, CLIENTS).await
    }

    /// Asserts what must hold after everything: nothing acknowledged is lost, and all standbys hold what the primary holds.
    pub async fn nothing_lost(&self, outcome: &Outcome) -> Result<()> {
        checker::nothing_lost(&self.cluster, "app", outcome).await?;
        checker::all_equal(&self.cluster, "app", &outcome.table).await
    }
}
