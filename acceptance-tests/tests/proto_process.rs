//! The duties of a plugin process while it runs and when it ends.

use anyhow::{Context as _, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use pgha_acceptance_tests::proto_client::Connection;
use pgha_acceptance_tests::proto_client::pb::health::HealthCheckRequest;
use pgha_acceptance_tests::proto_client::pb::health::health_check_response::ServingStatus;
use pgha_acceptance_tests::proto_client::pb::plugin::{ConnInfo, Empty};
use pgha_acceptance_tests::proto_client::pb::tfplugin6::{get_metadata, stop_provider};
use pgha_acceptance_tests::proto_client::process::{Plugin, bare_command, host_command};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt as _, BufReader};

/// For what must happen; a busy machine may take its time.
const SOON: Duration = Duration::from_secs(30);

async fn serves(connection: &Connection) -> Result<()> {
    connection.provider().get_metadata(get_metadata::Request {}).await?;
    Ok(())
}

fn signal(plugin: &Plugin, signal: Signal) -> Result<()> {
    let id = plugin.id().context("it has ended")?;
    Ok(kill(Pid::from_raw(id.try_into()?), signal)?)
}

async fn gone(path: &Path) -> Result<()> {
    let wait = async {
        while path.exists() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(SOON, wait).await.with_context(|| format!("{} is still there", path.display()))
}

#[tokio::test]
async fn the_health_of_the_plugin_is_told() -> Result<()> {
    let plugin = Plugin::start().await?;
    let mut health = plugin.connect().await?.health();
    for service in ["plugin", ""] {
        let request = HealthCheckRequest { service: service.to_owned() };
        assert_eq!(health.check(request).await?.into_inner().status(), ServingStatus::Serving);
    }
    let other = health.check(HealthCheckRequest { service: "other".to_owned() }).await.unwrap_err();
    assert_eq!(other.code(), tonic::Code::NotFound);
    let request = HealthCheckRequest { service: "plugin".to_owned() };
    let mut watched = health.watch(request).await?.into_inner();
    let first = watched.message().await?.context("no status")?;
    assert_eq!(first.status(), ServingStatus::Serving);
    Ok(())
}

#[tokio::test]
async fn shutdown_is_answered_then_streams_and_process_end_and_the_socket_is_gone() -> Result<()> {
    let plugin = Plugin::start().await?;
    let socket = plugin.handshake.socket.clone();
    let connection = plugin.connect().await?;
    // What a host opens at once and keeps open.
    let mut stdio = connection.stdio().stream_stdio(()).await?.into_inner();
    let (_knocks, outgoing) = tokio::sync::mpsc::channel::<ConnInfo>(1);
    let outgoing = tokio_stream::wrappers::ReceiverStream::new(outgoing);
    let mut broker = connection.broker().start_stream(outgoing).await?.into_inner();
    let second = connection.stdio().stream_stdio(()).await;
    assert!(second.is_err(), "stdio is given once");

    connection.controller().shutdown(Empty {}).await?;
    let end = async { (stdio.message().await, broker.message().await) };
    // Either a clean end of the stream or a closed connection, but no data.
    let (stdio, broker) = tokio::time::timeout(SOON, end).await?;
    assert!(!matches!(stdio, Ok(Some(_))) && !matches!(broker, Ok(Some(_))));
    let (status, stdout, log) = plugin.ended().await?;
    assert!(status.success(), "{status}");
    assert_eq!((stdout.as_str(), log.as_str()), ("", ""));
    assert!(!socket.exists() && !socket.parent().context("no directory")?.exists());
    Ok(())
}

#[tokio::test]
async fn ctrl_c_is_the_hosts_to_handle() -> Result<()> {
    let mut plugin = Plugin::start().await?;
    signal(&plugin, Signal::SIGINT)?;
    let connection = plugin.connect().await?;
    serves(&connection).await?;
    connection.provider().stop_provider(stop_provider::Request {}).await?;
    serves(&connection).await?;
    assert!(plugin.runs()?);
    Ok(())
}

#[tokio::test]
async fn a_termination_signal_ends_it_cleanly() -> Result<()> {
    let plugin = Plugin::start().await?;
    let socket = plugin.handshake.socket.clone();
    serves(&plugin.connect().await?).await?;
    signal(&plugin, Signal::SIGTERM)?;
    let (status, _, _) = plugin.ended().await?;
    assert!(status.success(), "{status}");
    assert!(!socket.exists());
    Ok(())
}

#[tokio::test]
async fn it_does_not_outlive_a_host_that_was_killed() -> Result<()> {
    let provider = host_command()?;
    let mut host = tokio::process::Command::new("sh");
    host.args(["-c", "\"$0\" & wait"]).arg(provider.as_std().get_program());
    for (name, value) in provider.as_std().get_envs() {
        match value {
            Some(value) => host.env(name, value),
            None => host.env_remove(name),
        };
    }
    let mut host = host.env("TF_DISABLE_PLUGIN_TLS", "1").stdout(Stdio::piped()).spawn()?;
    let mut lines = BufReader::new(host.stdout.take().context("no stdout")?).lines();
    let line = tokio::time::timeout(SOON, lines.next_line()).await??.context("no handshake")?;
    let socket = PathBuf::from(line.split('|').nth(3).context("no socket")?);
    assert!(socket.exists());
    host.kill().await?;
    gone(&socket).await
}

#[tokio::test]
async fn it_logs_in_the_form_that_hosts_parse_and_is_silent_by_default() -> Result<()> {
    let log_of = async |level: Option<&'static str>| -> Result<String> {
        let plugin = Plugin::start_with(|command| {
            command.envs(level.map(|level| ("TF_LOG", level)));
        })
        .await?;
        let connection = plugin.connect().await?;
        serves(&connection).await?;
        connection.controller().shutdown(Empty {}).await?;
        Ok(plugin.ended().await?.2)
    };
    assert_eq!(log_of(None).await?, "");
    let log = log_of(Some("TRACE")).await?;
    assert!(log.contains("GetMetadata"), "{log}");
    for line in log.lines() {
        let line: serde_json::Value = serde_json::from_str(line).with_context(|| line.to_owned())?;
        for key in ["@level", "@message", "@timestamp"] {
            assert!(line[key].is_string(), "{line}");
        }
        let time = line["@timestamp"].as_str().context("no time")?;
        // 2006-01-02T15:04:05.000000Z
        assert_eq!((time.len(), time.as_bytes()[19], time.as_bytes()[26]), (27, b'.', b'Z'), "{time}");
    }
    Ok(())
}

#[tokio::test]
async fn the_agent_that_it_carries_can_be_written_for_an_image() -> Result<()> {
    if std::env::var_os("PGHA_AGENT_SKIP").is_some() && std::env::var_os("PGHA_PROVIDER").is_none() {
        eprintln!("skipped: built with PGHA_AGENT_SKIP, no agent is inside");
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    let (agent, copy) = (folder.path().join("pgha-agent"), folder.path().join("copy"));
    let written = bare_command()?.arg("--write-agent").arg(&agent).output().await?;
    assert!(written.status.success() && written.stdout.is_empty(), "{written:?}");
    // It runs, is of the provider's version, and copies itself as the init container has it do.
    let version = async |program: &Path| -> Result<String> {
        let told = tokio::process::Command::new(program).arg("--version").output().await?;
        let told = String::from_utf8(told.stdout)?;
        Ok(told.trim().rsplit(' ').next().context("no version")?.to_owned())
    };
    let provider = bare_command()?;
    assert_eq!(version(&agent).await?, version(Path::new(provider.as_std().get_program())).await?);
    let installed = tokio::process::Command::new(&agent).arg("install").arg(&copy).output().await?;
    assert!(installed.status.success(), "{installed:?}");
    assert!(std::fs::read(&agent)? == std::fs::read(&copy)?, "the copy is another one");

    let nowhere = folder.path().join("missing/pgha-agent");
    let refused = bare_command()?.arg("--write-agent").arg(&nowhere).output().await?;
    let told = String::from_utf8(refused.stderr)?;
    assert!(refused.status.code() == Some(1) && told.contains("missing/pgha-agent"), "{told}");
    Ok(())
}

#[tokio::test]
async fn a_person_can_start_it_and_attach_a_cli() -> Result<()> {
    let mut process = bare_command()?.arg("--debug").spawn()?;
    let mut lines = BufReader::new(process.stdout.take().context("no stdout")?).lines();
    let assignment = loop {
        let line = tokio::time::timeout(SOON, lines.next_line()).await??.context("no line to export")?;
        if let Some(rest) = line.strip_prefix("TF_REATTACH_PROVIDERS=") {
            break rest.to_owned();
        }
    };
    let json = assignment.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\'')).context("no quotes")?;
    let providers: serde_json::Value = serde_json::from_str(json)?;
    let socket = PathBuf::from(
        providers["registry.terraform.io/pgha/postgres"]["Addr"]["String"].as_str().context("no socket")?,
    );
    assert_eq!(
        providers["registry.opentofu.org/pgha/postgres"],
        providers["registry.terraform.io/pgha/postgres"]
    );
    serves(&Connection::plain(&socket).await?).await?;
    // Here a person is at the keyboard: Ctrl-C ends it.
    let id = process.id().context("it has ended")?;
    kill(Pid::from_raw(id.try_into()?), Signal::SIGINT)?;
    let status = tokio::time::timeout(SOON, process.wait()).await??;
    assert!(status.success(), "{status}");
    assert!(!socket.exists());
    Ok(())
}
