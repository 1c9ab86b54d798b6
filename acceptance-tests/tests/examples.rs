//! The examples, through the real CLI and the built provider, without a cluster. Those that can be applied are applied by
//! the acceptance tests (`package`, `drift`).
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use pgha_acceptance_tests::process;
use pgha_acceptance_tests::terraform::hcl::VERSIONS;
use pgha_acceptance_tests::terraform::{Cli, Terraform, clis, names, newer, offline, pages};

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples")
}

/// Every folder below `folder` that holds a configuration, tests of modules apart; what only newer CLIs read is judged by
/// `proto_examples`.
fn configurations(folder: &Path, found: &mut Vec<PathBuf>) {
    let mut paths: Vec<PathBuf> = fs::read_dir(folder).unwrap().flatten().map(|entry| entry.path()).collect();
    paths.sort();
    let too_new = |path: &PathBuf| fs::read_to_string(path).is_ok_and(|text| newer::is_newer(&text));
    let mut files = paths.iter().filter(|path| path.extension().is_some_and(|ending| ending == "tf"));
    if files.any(|path| !too_new(path)) {
        found.push(folder.to_owned());
    }
    for path in paths.iter().filter(|path| path.is_dir() && !path.ends_with(".terraform")) {
        configurations(path, found);
    }
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)?.flatten() {
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), &target)?;
        }
    }
    Ok(())
}

/// The example in a directory of its own, with what it takes for granted.
fn prepared(cli: &Cli, example: &Path) -> Result<Terraform> {
    let tf = offline(cli)?;
    copy(example, tf.dir())?;
    for (file, _) in newer::files(tf.dir())? {
        fs::remove_file(file)?;
    }
    let says_source = fs::read_dir(tf.dir())?
        .flatten()
        .any(|entry| fs::read_to_string(entry.path()).is_ok_and(|text| text.contains("required_providers")));
    if !says_source {
        tf.write("versions.tf", VERSIONS)?;
    }
    let key = rcgen::KeyPair::generate()?;
    tf.write(
        "ca.crt",
        &rcgen::CertificateParams::new(vec!["kubernetes".to_owned()])?.self_signed(&key)?.pem(),
    )?;
    Ok(tf)
}

#[tokio::test]
async fn every_configuration_is_valid() -> Result<()> {
    let mut all = Vec::new();
    configurations(&examples(), &mut all);
    ensure!(all.len() >= 4, "only {} examples were found: {all:?}", all.len());
    for example in all {
        for cli in clis()? {
            let tf = prepared(&cli, &example)?;
            tf.init().await.with_context(|| example.display().to_string())?;
            tf.validate().await?.succeeded().with_context(|| example.display().to_string())?;
            tf.run(&["fmt", "-check", "-diff"]).await?.succeeded()?;
        }
        for file in fs::read_dir(&example)?.flatten().map(|entry| entry.path()).filter(|path| path.is_file())
        {
            let strange = names::strange(&fs::read_to_string(&file)?);
            ensure!(
                strange.is_empty(),
                "{} names what the schema does not know: {strange:?}",
                file.display()
            );
        }
    }
    Ok(())
}

/// The form alone: any CLI reads that of blocks which it does not know.
#[tokio::test]
async fn what_is_for_newer_clis_has_the_same_form() -> Result<()> {
    for cli in clis()? {
        let tf = offline(&cli)?;
        for (at, (_, text)) in newer::files(&examples())?.iter().enumerate() {
            tf.write(&format!("{at}.tf"), text)?;
        }
        tf.run(&["fmt", "-check", "-diff"]).await?.succeeded()?;
    }
    Ok(())
}

#[tokio::test]
async fn the_modules_own_tests_pass() -> Result<()> {
    for cli in clis()? {
        let tf = prepared(&cli, &examples().join("module"))?;
        tf.init().await?;
        let run = tf.run(&["test", "-no-color"]).await?.succeeded()?;
        run.says(&["production_waits_for_a_standby", "0 failed"])?;
    }
    Ok(())
}

#[tokio::test]
async fn inputs_and_outputs_of_the_module_are_described() -> Result<()> {
    for (file, least) in [("variables.tf", 8), ("outputs.tf", 5)] {
        let text = fs::read_to_string(examples().join("module").join(file))?;
        let blocks = text.matches("\nvariable \"").count() + text.matches("output \"").count();
        let described = text.matches("  description = \"").count();
        ensure!(blocks >= least && described > blocks - 2, "{file}: {described} of {blocks} are described");
    }
    Ok(())
}

#[test]
fn the_drift_jobs_are_what_ci_reads() -> Result<()> {
    let folder = examples().join("drift-detection");
    process::run(Command::new("sh").arg("-n").arg(folder.join("drift-report.sh")))?;
    let read = |file: &str| -> Result<serde_yaml_ng::Value> {
        serde_yaml_ng::from_str(&fs::read_to_string(folder.join(file))?).with_context(|| file.to_owned())
    };
    let github = read("github-actions.yml")?;
    let steps = github["jobs"]["drift"]["steps"].as_sequence().context("no steps")?;
    let runs: Vec<&str> = steps.iter().filter_map(|step| step["run"].as_str()).collect();
    ensure!(runs.iter().any(|run| run.contains("drift-report.sh .")), "no step looks for drift: {runs:?}");
    let gitlab = read("gitlab-ci.yml")?;
    let script = gitlab["drift"]["script"].as_sequence().context("no script")?;
    ensure!(
        script.iter().any(|line| line.as_str().is_some_and(|line| line.contains("drift-report.sh ."))),
        "no line looks for drift: {script:?}"
    );
    // Each snippet is shell, whichever of them runs it.
    for snippet in runs.into_iter().chain(script.iter().filter_map(serde_yaml_ng::Value::as_str)) {
        process::run(Command::new("sh").args(["-n", "-c", snippet])).with_context(|| snippet.to_owned())?;
    }
    Ok(())
}

/// What the CLI is asked to judge, made from a block of a page. None when the CLI on this machine can't.
fn judged(block: &str) -> Option<String> {
    const BLOCKS: [&str; 8] =
        ["terraform", "resource", "provider", "output", "import", "data", "variable", "module"];
    let first = block.lines().find(|line| !line.trim_start().starts_with('#') && !line.is_empty())?;
    let word = first.split(' ').next()?;
    let orders = "resource \"postgres_ha_cluster\" \"orders\" {\n  name = \"orders\"\n  namespace = \"shop\"\n  \
                  storage = { size = \"20Gi\" }\n";
    match word {
        // The CLI's own configuration, which no command of it judges.
        "provider_installation" => None,
        // Judged by `proto_examples`.
        _ if newer::is_newer(block) => None,
        "import" => Some(format!("{block}\n{orders}}}\n")),
        word if BLOCKS.contains(&word) => Some(block.to_owned()),
        // Attributes of a cluster.
        _ => Some(format!("{orders}{block}}}\n")),
    }
}

#[tokio::test]
async fn what_the_pages_show_is_valid() -> Result<()> {
    let all = pages::shown()?;
    ensure!(all.len() >= 12, "only {} blocks were found: {all:?}", all.len());
    let clis = clis()?;
    let shown = offline(clis.first().context("no CLI")?)?;
    for (name, text) in &all {
        shown.write(name, text)?;
    }
    // It reads all of them first, so that this is the check of the fragments' syntax too.
    shown.run(&["fmt", "-check", "-diff"]).await?.succeeded()?;
    for (name, text) in all {
        let Some(text) = judged(&text) else { continue };
        let folder = tempfile::tempdir()?;
        fs::write(folder.path().join(&name), &text)?;
        // What the module's page tells to copy.
        if text.contains("\"./modules/postgres\"") {
            copy(&examples().join("module"), &folder.path().join("modules/postgres"))?;
        }
        for cli in &clis {
            let tf = prepared(cli, folder.path())?;
            tf.init().await.with_context(|| name.clone())?;
            tf.validate().await?.succeeded().with_context(|| format!("{name}:\n{text}"))?;
        }
        let strange = names::strange(&text);
        ensure!(strange.is_empty(), "{name} names what the schema does not know: {strange:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_page_with_an_attribute_that_is_not_there_is_found() -> Result<()> {
    let judged = judged("postgres_versoin = \"18\"\n").context("it is judged")?;
    let folder = tempfile::tempdir()?;
    fs::write(folder.path().join("main.tf"), &judged)?;
    for cli in clis()? {
        let tf = prepared(&cli, folder.path())?;
        tf.init().await?;
        tf.validate().await?.failed_saying(&["postgres_versoin"])?;
    }
    ensure!(names::strange(&judged) == ["postgres_versoin"], "{judged}");
    Ok(())
}
