//! `cargo dev compare`: the same PostgreSQL out of plain objects, made with other providers, and what their plans show and refuse.
//!
//! ```text
//!   a folder of binaries ──> subject.rs (who, in a mirror) ─┐
//!   objects.rs (the job) ──> config.rs (in its words) ──────┴─> site.rs (a namespace, a state)
//!                                       drift.rs, refusal.rs ──> judge.rs (what the CLI printed) ──> table.rs
//! ```
//!
//! docs/comparison.md is written from it, by hand.

mod config;
mod drift;
mod judge;
mod objects;
mod refusal;
mod site;
mod subject;
mod table;

use std::fs;
use std::io::Write as _;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use futures::stream::{self, StreamExt as _};

use self::site::{Bed, Site};
use self::subject::Subject;
use self::table::Row;
use crate::dev::cli::find_cli;
use crate::progress::Progress;
use crate::sandbox::Sandbox;

/// Subjects that are looked at beside each other: they wait for pods most of the time.
const AT_ONCE: usize = 3;

/// Options of the comparison.
#[derive(clap::Args, Debug)]
pub struct Options {
    /// Folder with built providers, named terraform-provider-NAME_vVERSION; NAME is kubernetes, kubectl or helm
    #[arg(long, value_name = "DIR")]
    pub providers: PathBuf,
    /// File for one JSON object per case, a line each
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Folder for all that the CLI printed, a file per provider
    #[arg(long, value_name = "DIR")]
    pub log: Option<PathBuf>,
    /// Only those whose name, version and option hold this text
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub only: String,
}

/// Goes through the job with every provider in the folder; prints what was seen.
///
/// # Errors
/// When the sandbox or the CLI can't be had, or no provider is there. What went wrong with a provider is said, and makes the exit
/// code 1.
pub async fn run(options: &Options, progress: &Progress) -> Result<u8> {
    let mut subjects = Subject::all_in(&options.providers)?;
    subjects.retain(|subject| subject.to_string().contains(&options.only));
    let cli = find_cli(progress)?;
    let sandbox = Sandbox::up(progress).await?;
    let mirrors = tempfile::Builder::new().prefix("pgha-compare-").tempdir().context("make a folder")?;
    let mut beds = Vec::new();
    for subject in subjects {
        let (plugin, log) = (subject.install(mirrors.path())?, options.log.clone());
        beds.push(Bed { sandbox: sandbox.clone(), cli: cli.clone(), plugin, subject, log });
    }
    let mut looked = stream::iter(&beds)
        .map(|bed| async move {
            let stage = progress.stage(bed.subject.to_string());
            let outcome = look(bed).await;
            stage.done();
            (&bed.subject, outcome)
        })
        .buffer_unordered(AT_ONCE);
    let mut json = options.json.as_ref().map(fs::File::create).transpose().context("write the JSON file")?;
    let mut code = 0;
    while let Some((subject, (rows, trouble))) = looked.next().await {
        progress.plain(table::text(subject, &rows));
        for row in &rows {
            if let Some(file) = &mut json {
                writeln!(file, "{}", serde_json::to_string(row)?)?;
            }
        }
        for error in trouble {
            let why = judge::shorten(&format!("{error:#}"));
            progress.say(format!("{subject}: NOT LOOKED AT: {why}"));
            code = 1;
        }
    }
    Ok(code)
}

/// All cases of a subject, and what kept some from being looked at.
async fn look(bed: &Bed) -> (Vec<Row>, Vec<anyhow::Error>) {
    let (mut rows, mut trouble) = (Vec::new(), Vec::new());
    let on_one_site = Site::applied(bed, 2, async |site| {
        drift::all(site, &mut rows).await?;
        refusal::harmless(site, &mut rows).await
    });
    trouble.extend(on_one_site.await.err());
    for outcome in refusal::harmful(bed).await {
        match outcome {
            Ok(found) => rows.extend(found),
            Err(error) => trouble.push(error),
        }
    }
    (rows, trouble)
}
