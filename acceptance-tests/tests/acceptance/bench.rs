//! A trial of each benchmark, so that it can't rot between two of its runs: that it measures, not how long it took.

use anyhow::{Context as _, Result, ensure};
use pgha_acceptance_tests::bench::provider::{copies, row};
use pgha_acceptance_tests::bench::{Fault, Scene, Subject, System};

use crate::cases;
use crate::group::Group;
use crate::runner::Case;

pub fn cases() -> Vec<Case> {
    cases![=> benchmark_measures_a_trial, => benchmark_of_the_provider_measures_a_row]
}

async fn benchmark_measures_a_trial(group: &mut Group) -> Result<()> {
    let sandbox = group.bed.sandbox.clone();
    let site = group.cluster_with(2).await?;
    let target = site.rw().await?;
    let subject = Subject::applied(site.cluster.clone(), target, site.tf.clone(), site.config.clone());
    let scene = Scene { sandbox: &sandbox, subject: &subject, system: System::Ours };
    let trial = scene.trial(Fault::PostgresKill, 1).await;
    ensure!(trial.failed.is_none(), "the trial did not come to its end: {:?}", trial.failed);
    ensure!(trial.lost == 0 && trial.acked > 100, "{} acknowledged, {} lost", trial.acked, trial.lost);
    let timeline = trial.timeline.context("the trial has no timeline")?;
    let inside = timeline.last_commit_s >= 0.0 && timeline.last_commit_s <= timeline.first_commit_s;
    ensure!(inside && trial.gap_s > trial.noise_s, "the gap is not the fault's: {timeline:?}");
    ensure!(
        timeline.noticed_s.is_some() && timeline.ready_s.is_some() && timeline.gate_s.is_some(),
        "what a killed postmaster sets off is not in the timeline: {timeline:?}"
    );
    group.bed.record_gap("benchmark, postgres-kill", std::time::Duration::from_secs_f64(trial.gap_s));
    Ok(())
}

/// Copies of one cluster are imported, the plan over them is empty, and what it costs is told.
async fn benchmark_of_the_provider_measures_a_row(group: &mut Group) -> Result<()> {
    let (sandbox, cli) = (group.bed.sandbox.clone(), group.cli()?);
    let namespace = sandbox.create_namespace("bench-trial").await?;
    let measured = async {
        let tools = (&cli, &group.bed.plugin);
        let clones = copies(&sandbox, &namespace, tools, 2).await?;
        row(&sandbox, tools, &clones, 2, 1).await
    };
    let measured = measured.await;
    sandbox.delete_namespace(&namespace).await?;
    let row = measured?;
    ensure!(row.clusters == 2 && row.plan_s > 0.0 && row.cli_only_s > 0.0, "nothing was timed: {row:?}");
    // Some dozen for each, as reads are held to elsewhere; a plan that asks nobody measures nothing.
    ensure!(row.api_requests >= 20 && row.peak_rss_mb > 1.0, "nothing was looked at: {row:?}");
    Ok(())
}
