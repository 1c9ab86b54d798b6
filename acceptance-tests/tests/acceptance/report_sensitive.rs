//! The drift job of the examples, where the configuration has secrets: what may not be shown, and what still is.

use std::path::Path;

use anyhow::{Result, ensure};

use crate::cases;
use crate::drift::{drifting, edit_desired, repaired};
use crate::group::Group;
use crate::runner::Case;

/// What the configuration says, and what somebody else makes of it.
const OURS: &str = "ours-nobody-reads ";
const THEIRS: &str = "theirs-nobody-reads ";

pub fn cases() -> Vec<Case> {
    cases![
        => drift_job_says_who_it_was_and_shows_nothing_sensitive,
    ]
}

async fn drift_job_says_who_it_was_and_shows_nothing_sensitive(group: &mut Group) -> Result<()> {
    let site = drifting(group).await?;
    let before = site.config.clone();
    let variable = format!("variable \"prefix\" {{\n  default   = \"{OURS}\"\n  sensitive = true\n}}\n");
    let config = before.clone().set("parameters.log_line_prefix", "${var.prefix}").extra(&variable);
    site.apply(config).await?;
    edit_desired(site, |desired| {
        desired["parameters"]["log_line_prefix"] = THEIRS.into();
        desired["sync_mode"] = "async".into();
    })
    .await?;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/drift-detection/drift-report.sh");
    let run = site.tf.run_script(&script, &[]).await?;
    ensure!(run.code == Some(2), "expected exit code 2:\n{}", run.report());
    ensure!(
        !run.report().contains(OURS.trim()) && !run.report().contains(THEIRS.trim()),
        "expected nothing sensitive:\n{}",
        run.report()
    );
    let document = site.cluster.names.desired();
    run.says(&[
        "| the cluster | `sync_mode` | `kubectl-edit` | `20",
        "-sync +async",
        &format!("| `ConfigMap/{document}` | `data.desired.json` | `kubectl-edit` | `20"),
        "(sensitive)",
    ])?;
    repaired(site).await?;
    site.apply(before).await.map(drop)
}
