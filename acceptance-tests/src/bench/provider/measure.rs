//! One number of clusters: import, look that nothing is to be done, time plans.

use std::fs;
use std::path::Path;
use std::pin::pin;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::clones::Clones;
use super::{Row, Summary};
use crate::sandbox::Sandbox;
use crate::terraform::hcl::VERSIONS;
use crate::terraform::{Cli, Plugin, Terraform};

/// How often the process's memory is looked at.
const LOOK: Duration = Duration::from_millis(20);
/// What the provider logs at `TRACE` for each request.
const REQUEST: &str = "request to Kubernetes";

/// Measures so many of the copies.
///
/// # Errors
/// When a command fails, or there is something to do.
pub async fn row(
    sandbox: &Sandbox,
    (cli, plugin): (&Cli, &Plugin),
    clones: &Clones,
    count: u32,
    repeats: usize,
) -> Result<Row> {
    let names = clones.names.get(..count as usize).context("there are so many copies")?;
    let terraform = Terraform::new(cli, plugin, &sandbox.kubeconfig())?;
    terraform.write("main.tf", &configuration(&clones.namespace, names))?;
    terraform.init().await?;
    terraform.apply(&[]).await?;
    // The imports are done: what is left to plan is what a user plans every day.
    terraform.plan_is_empty("the import of the copies").await?;
    let alone = Terraform::new(cli, plugin, &sandbox.kubeconfig())?;
    alone.write("main.tf", &without_a_provider(names))?;
    alone.init().await?;
    alone.apply(&[]).await?;
    let (mut ours, mut cli_only, mut peak_kib) = (Vec::new(), Vec::new(), 0);
    for _ in 0..repeats.max(1) {
        let (seconds, kib) = plan(&terraform).await?;
        ours.push(seconds);
        peak_kib = peak_kib.max(kib);
        cli_only.push(plan(&alone).await?.0);
    }
    ensure!(peak_kib > 0, "the provider's process was never seen");
    Ok(Row {
        clusters: count,
        plan_s: Summary::of(ours).context("plans were timed")?.median,
        cli_only_s: Summary::of(cli_only).context("plans were timed")?.median,
        api_requests: requests(&terraform).await?,
        peak_rss_mb: peak_kib as f64 / 1024.0,
    })
}

fn configuration(namespace: &str, names: &[String]) -> String {
    format!(
        "{VERSIONS}\nlocals {{\n  clusters = toset({names:?})\n}}\n\n\
         import {{\n  for_each = local.clusters\n  to       = postgres_ha_cluster.this[each.key]\n  id       = \"{namespace}/${{each.key}}\"\n}}\n\n\
         resource \"postgres_ha_cluster\" \"this\" {{\n  for_each            = local.clusters\n  name                = each.key\n  \
         namespace           = \"{namespace}\"\n  storage             = {{ size = \"1Gi\" }}\n  deletion_protection = false\n}}\n"
    )
}

fn without_a_provider(names: &[String]) -> String {
    format!(
        "resource \"terraform_data\" \"this\" {{\n  for_each = toset({names:?})\n  input    = each.key\n}}\n"
    )
}

/// Seconds of one plan, and the most memory that the provider's process held in it, KiB; 0 when there was none.
async fn plan(terraform: &Terraform) -> Result<(f64, u64)> {
    let mut ended = pin!(terraform.run(&["plan", "-no-color", "-detailed-exitcode"]));
    let mut peak_kib = 0;
    let run = loop {
        tokio::select! {
            run = &mut ended => break run?,
            () = tokio::time::sleep(LOOK) => peak_kib = peak_kib.max(provider_memory_kib()),
        }
    };
    let run = run.succeeded()?;
    Ok((run.took.as_secs_f64(), peak_kib))
}

/// The most memory that a running provider ever held; 0 when none runs.
fn provider_memory_kib() -> u64 {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten().map(|entry| entry.path());
    let is_provider = |process: &Path| {
        let binary = fs::read_link(process.join("exe")).unwrap_or_default();
        let name = binary.file_name().unwrap_or_default().to_string_lossy().into_owned();
        name.starts_with("terraform-provider-postgres")
    };
    let peaks = processes.filter(|process| is_provider(process)).filter_map(|process| {
        let status = fs::read_to_string(process.join("status")).ok()?;
        high_water_kib(&status)
    });
    peaks.max().unwrap_or(0)
}

fn high_water_kib(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// How many requests to the API server one plan sends, from the provider's own log.
async fn requests(terraform: &Terraform) -> Result<u64> {
    let log = terraform.dir().join("trace.log");
    let traced = terraform
        .clone()
        .with_env("TF_LOG_PROVIDER", "TRACE")
        .with_env("TF_LOG_PATH", &log.to_string_lossy());
    traced.run(&["plan", "-no-color", "-detailed-exitcode"]).await?.succeeded()?;
    let text = fs::read_to_string(&log).context("read the provider's log")?;
    let count = text.lines().filter(|line| line.contains(REQUEST)).count() as u64;
    ensure!(count > 0, "the provider's log tells of no request");
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_high_water_mark_is_read() {
        assert_eq!(high_water_kib("VmPeak:\t  9 kB\nVmHWM:\t  2048 kB\nVmRSS:\t 1 kB\n"), Some(2_048));
        assert_eq!(high_water_kib("Name:\tx\n"), None);
    }

    #[test]
    fn the_configuration_names_every_copy() {
        let text = configuration("ns", &["copy-000".to_owned(), "copy-001".to_owned()]);
        assert!(text.contains(r#"toset(["copy-000", "copy-001"])"#), "{text}");
        assert!(text.contains(r#"id       = "ns/${each.key}""#), "{text}");
    }
}
