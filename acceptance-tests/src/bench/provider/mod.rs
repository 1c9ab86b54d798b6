//! `cargo dev bench provider`: what refresh and plan of many clusters cost, on a real API server.
//!
//! One cluster is applied for real; its objects are then copied under other names (`clones.rs`), so that hundreds can be there
//! without hundreds of PostgreSQL processes. The pods of the copies are held back by a scheduling gate. Each copy is imported, as a
//! user would, and the plan over all of them has to be empty before anything is measured (`measure.rs`). Before that, many clusters
//! are applied at once for real (`parallel.rs`).

mod clones;
mod measure;
mod nobody;
mod objects;
mod page;
mod parallel;

use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde::Serialize;

pub use self::clones::Clones;
pub use self::measure::row;
use self::parallel::Parallel;
use super::machine::{self, Machine};
use super::stats::Summary;
use crate::dev::cli::find_cli;
use crate::progress::Progress;
use crate::proto_client::process;
use crate::sandbox::{Layout, Sandbox};
use crate::terraform::hcl::Config;
use crate::terraform::{Cli, Plugin, Terraform, build_provider};

/// Starts of the process that are timed.
const STARTS: usize = 15;

/// Options of the benchmark.
#[derive(clap::Args, Debug)]
pub struct Options {
    /// How many clusters are in one configuration; several numbers, separated by commas, are measured one after the other
    #[arg(long, value_delimiter = ',', num_args = 1.., default_values_t = [1, 10, 50])]
    pub clusters: Vec<u32>,
    /// How many clusters of one instance are applied at once
    #[arg(long, default_value_t = 10)]
    pub parallel: u32,
    /// How often that is done, each time beside the same objects made by nobody and beside plain pods
    #[arg(long, default_value_t = 3)]
    pub rounds: usize,
    /// How often each plan is timed
    #[arg(long, default_value_t = 5)]
    pub repeats: usize,
    /// File for one JSON object per number of clusters, a line each
    #[arg(long)]
    pub json: Option<PathBuf>,
    /// Folder of benchmarks.md
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs"))]
    pub docs: PathBuf,
}

/// What so many clusters in one configuration cost.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// How many there are, each of three instances.
    pub clusters: u32,
    /// Refresh and plan, seconds, median.
    pub plan_s: f64,
    /// The same of so many built-in resources, which ask nobody: the CLI's own time, seconds, median.
    pub cli_only_s: f64,
    /// Requests to the API server in one plan.
    pub api_requests: u64,
    /// The most memory that the provider's process ever held, MiB.
    pub peak_rss_mb: f64,
}

/// Everything that was measured.
#[derive(Debug)]
pub struct Results {
    machine: Machine,
    cli: String,
    rows: Vec<Row>,
    parallel: Parallel,
    /// From the process's start to its handshake, seconds.
    start: Summary,
    /// Size of the binary with the agent in it, MiB.
    binary_mib: f64,
}

/// Runs the benchmark and writes its part of the page.
///
/// # Errors
/// When the clusters can't be made or imported, or a plan over them is not empty.
pub async fn run(options: &Options, progress: &Progress) -> Result<u8> {
    let most =
        options.clusters.iter().copied().max().filter(|most| *most > 0).context("no cluster to measure")?;
    let load = machine::load()?;
    let shown = progress.clone();
    let built = tokio::task::spawn_blocking(move || released(&shown));
    let sandbox = Sandbox::up(progress).await?;
    let (cli, plugin) = built.await??;
    let machine = Machine::look(&sandbox, load).await?;
    let namespace = sandbox.create_namespace("bench-provider").await?;
    let outcome = async {
        let stage = progress.stage(format!("apply {} clusters at once", options.parallel));
        let parallel = parallel::measure(&sandbox, (&cli, &plugin), options.parallel, options.rounds).await?;
        stage.done();
        progress.say(format!("{parallel:?}"));
        let mut results = Results {
            machine,
            cli: version(&sandbox, &cli, &plugin).await?,
            rows: Vec::new(),
            parallel,
            start: starts(&plugin).await?,
            binary_mib: fs::metadata(&plugin.binary)?.len() as f64 / f64::from(1 << 20),
        };
        let stage = progress.stage(format!("apply one cluster, copy it {most} times"));
        let clones = copies(&sandbox, &namespace, (&cli, &plugin), most).await?;
        stage.done();
        let mut json =
            options.json.as_ref().map(fs::File::create).transpose().context("write the JSON file")?;
        for count in &options.clusters {
            let stage = progress.stage(format!("plan {count} clusters"));
            let row = row(&sandbox, (&cli, &plugin), &clones, *count, options.repeats).await?;
            stage.done();
            progress.say(format!("{row:?}"));
            if let Some(file) = &mut json {
                writeln!(file, "{}", serde_json::to_string(&row)?)?;
            }
            results.rows.push(row);
        }
        anyhow::Ok(results)
    };
    let outcome = outcome.await;
    sandbox.delete_namespace(&namespace).await?;
    page::write(&outcome?, &options.docs)?;
    progress.say(format!("written: {}", options.docs.join("benchmarks.md").display()));
    Ok(0)
}

/// The CLI and the provider as it is released.
fn released(progress: &Progress) -> Result<(Cli, Plugin)> {
    let cli = find_cli(progress)?;
    let stage = progress.stage("build the provider as it is released");
    let binary = match std::env::var_os("PGHA_PROVIDER") {
        Some(path) => PathBuf::from(path),
        None => build_provider(&["--release"], &[])?,
    };
    let plugin = Plugin::install(&binary, &Layout::new().cache().join("plugins"))?;
    stage.done();
    Ok((cli, plugin))
}

async fn version(sandbox: &Sandbox, cli: &Cli, plugin: &Plugin) -> Result<String> {
    let run = Terraform::new(cli, plugin, &sandbox.kubeconfig())?.run(&["version"]).await?.succeeded()?;
    Ok(run.stdout.lines().next().unwrap_or_default().to_owned())
}

async fn starts(plugin: &Plugin) -> Result<Summary> {
    let mut all = Vec::new();
    for _ in 0..STARTS {
        let began = std::time::Instant::now();
        let started = process::Plugin::start_binary(&plugin.binary).await?;
        all.push(began.elapsed().as_secs_f64());
        drop(started);
    }
    Summary::of(all).context("the process was started")
}

/// One cluster for real, and its copies, in a namespace with nothing else in it.
///
/// # Errors
/// When the cluster or a copy can't be made.
pub async fn copies(
    sandbox: &Sandbox,
    namespace: &str,
    (cli, plugin): (&Cli, &Plugin),
    count: u32,
) -> Result<Clones> {
    let terraform = Terraform::new(cli, plugin, &sandbox.kubeconfig())?;
    terraform.write("main.tf", &Config::new(namespace, clones::ORIGINAL).text())?;
    terraform.init().await?;
    terraform.apply(&[]).await?;
    let cluster = crate::cluster::Cluster::new(sandbox.client(), namespace, clones::ORIGINAL);
    cluster.until_whole(2, Duration::from_secs(240)).await?;
    let clones = Clones::make(&cluster, count).await?;
    ensure!(clones.names.len() == count as usize, "some copies are missing");
    Ok(clones)
}
