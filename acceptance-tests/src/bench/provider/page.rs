//! The provider's part of docs/benchmarks.md, between two marks in what the other benchmark keeps.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

use super::{Results, Row};

const PAGE: &str = "benchmarks.md";
const BEGIN: &str = "<!-- provider: written by the benchmark from here -->";
const END: &str = "<!-- provider: to here -->";

/// Writes the part, in place of the one before.
///
/// # Errors
/// When the page can't be written.
pub fn write(results: &Results, docs: &Path) -> Result<()> {
    let page = docs.join(PAGE);
    let old = fs::read_to_string(&page).unwrap_or_default();
    fs::write(&page, placed(&old, &text(results))).with_context(|| format!("write {}", page.display()))
}

/// The page with this part in it: where one was, else at the end.
fn placed(old: &str, part: &str) -> String {
    let part = format!("{BEGIN}\n\n{part}\n{END}");
    match old.split_once(BEGIN).and_then(|(before, rest)| Some((before, rest.split_once(END)?.1))) {
        Some((before, after)) => format!("{before}{part}{after}"),
        None => format!("{}\n\n{part}\n", old.trim_end()),
    }
}

fn text(results: &Results) -> String {
    let machine = &results.machine;
    let mut text = format!(
        "## Refresh and plan of many clusters\n\n\
         Written by `{}`; not by hand. {}, commit {}, {} cores ({}), load {:.2} when it began, Kubernetes {}, {}.\n\n\
         Each cluster has three instances. Its objects are real ones on a real API server; only one cluster has running pods, the \
         others are copies whose pods wait behind a scheduling gate. Times are those of `plan` with its refresh, medians. The \
         CLI alone plans as many `terraform_data`.\n\n\
         | clusters | plan | CLI alone | beyond the CLI | API requests | a cluster | peak memory |\n\
         |---|---|---|---|---|---|---|\n",
        machine.command,
        machine.date,
        machine.commit,
        machine.cores,
        machine.processor,
        machine.load_before,
        machine.kubernetes,
        results.cli,
    );
    for row in &results.rows {
        let _ = writeln!(
            text,
            "| {} | {:.2} s | {:.2} s | {:.2} s | {} | {:.1} | {:.1} MiB |",
            row.clusters,
            row.plan_s,
            row.cli_only_s,
            row.plan_s - row.cli_only_s,
            row.api_requests,
            row.api_requests as f64 / f64::from(row.clusters),
            row.peak_rss_mb,
        );
    }
    if let Some(slope) = slope(&results.rows) {
        let _ = write!(
            text,
            "\nOne more cluster costs {:.0} ms beyond the CLI (the slope of a straight line through these rows). ",
            slope * 1_000.0
        );
    } else {
        text.push('\n');
    }
    let parallel = &results.parallel;
    let _ = write!(
        text,
        "An apply of {} clusters of one instance at once takes {:.1} s until every one takes writes; its plan, with all that it tries, took \
         {:.1} s before. The same objects, \
         made by nobody (posted as fast as the API server takes them, with no plan, no dry run, no look and no wait but for ready pods), \
         have ready pods after {:.1} s: 1 : {:.2} (medians of {} rounds in turn; the rounds from 1 : {:.2} to 1 : {:.2}). As many plain \
         pods, each with a volume, an initdb that syncs nothing and no agent, take {:.1} s. ",
        parallel.clusters,
        parallel.apply.median,
        parallel.plan.median,
        parallel.same.median,
        parallel.ratio.median,
        parallel.ratio.count,
        parallel.ratio.best,
        parallel.ratio.worst,
        parallel.plain.median,
    );
    let _ = writeln!(
        text,
        "From its start to its handshake the process takes {:.0} ms (median of {}; worst {:.0} ms). The binary has {:.1} MiB, the \
         agent in it.",
        results.start.median * 1_000.0,
        results.start.count,
        results.start.worst * 1_000.0,
        results.binary_mib,
    );
    text
}

/// Seconds beyond the CLI for one more cluster, by least squares; `None` of fewer than two numbers of clusters.
fn slope(rows: &[Row]) -> Option<f64> {
    let count = rows.len() as f64;
    let mean = |of: &dyn Fn(&Row) -> f64| rows.iter().map(of).sum::<f64>() / count;
    let (x, y) = (|row: &Row| f64::from(row.clusters), |row: &Row| row.plan_s - row.cli_only_s);
    let (mean_x, mean_y) = (mean(&x), mean(&y));
    let spread: f64 = rows.iter().map(|row| (x(row) - mean_x).powi(2)).sum();
    let together: f64 = rows.iter().map(|row| (x(row) - mean_x) * (y(row) - mean_y)).sum();
    (rows.len() > 1 && spread > 0.0).then(|| together / spread)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(clusters: u32, plan_s: f64) -> Row {
        Row { clusters, plan_s, cli_only_s: 0.5, api_requests: 17 * u64::from(clusters), peak_rss_mb: 20.0 }
    }

    #[test]
    fn the_slope_is_that_of_the_line_through_the_rows() {
        let slope = slope(&[row(10, 1.0), row(20, 1.2), row(30, 1.4)]).unwrap();
        assert!((slope - 0.02).abs() < 1e-9, "{slope}");
        assert_eq!(super::slope(&[row(10, 1.0)]), None);
    }

    #[test]
    fn the_part_replaces_the_one_before_and_nothing_else() {
        let first = placed("# Benchmarks\n", "old");
        assert!(first.starts_with("# Benchmarks\n\n") && first.contains("old"), "{first}");
        let second = placed(&format!("{first}after\n"), "new");
        assert!(second.contains("new") && !second.contains("old") && second.ends_with("after\n"), "{second}");
    }
}
