//! What a start does not do before its handshake line. Nothing here is timed: a start is short because it does little.

use std::path::Path;

use anyhow::{Context as _, Result};
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use pgha_acceptance_tests::proto_client::process::Plugin;
use tokio::net::TcpListener;

/// Processor time of a start, at most: ten times what a build without optimisations takes, and less than it needs for the agent's
/// unpacking.
const CPU_MS: u64 = 200;
/// Memory of its own that it makes use of, at most: twice what it is. The agent is larger.
const OWN_KIB: u64 = 6 * 1_024;
/// Pages that it touches for the first time, at most: two and a half times what it does.
const FAULTS: u64 = 2_500;

fn proc_text(plugin: &Plugin, file: &str) -> Result<String> {
    let id = plugin.id().context("it has ended")?;
    std::fs::read_to_string(format!("/proc/{id}/{file}"))
        .with_context(|| format!("read {file} of the provider"))
}

/// Inodes of its sockets.
fn sockets(plugin: &Plugin) -> Result<Vec<String>> {
    let id = plugin.id().context("it has ended")?;
    let links = std::fs::read_dir(format!("/proc/{id}/fd"))?.flatten();
    let targets = links.filter_map(|entry| std::fs::read_link(entry.path()).ok());
    let inode = |target: std::path::PathBuf| {
        let text = target.to_string_lossy().into_owned();
        Some(text.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned())
    };
    Ok(targets.filter_map(inode).collect())
}

/// A file from which nobody has read comes to no end: whoever opens it waits for ever.
fn trap(path: &Path) -> Result<()> {
    Ok(mkfifo(path, Mode::S_IRUSR | Mode::S_IWUSR)?)
}

/// Whether somebody has it open or waits for it.
fn is_looked_into(path: &Path) -> Result<bool> {
    use nix::fcntl::{OFlag, open};
    match open(path, OFlag::O_WRONLY | OFlag::O_NONBLOCK, Mode::empty()) {
        Ok(_) => Ok(true),
        Err(nix::errno::Errno::ENXIO) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

#[tokio::test]
async fn before_the_handshake_nothing_is_looked_at_and_nobody_is_asked() -> Result<()> {
    let home = tempfile::tempdir()?;
    std::fs::create_dir(home.path().join(".kube"))?;
    let temporary = home.path().join("t");
    std::fs::create_dir(&temporary)?;
    let traps = [".kube/config", "kubeconfig", "exec"].map(|name| home.path().join(name));
    traps.iter().try_for_each(|path| trap(path))?;
    let server = TcpListener::bind("127.0.0.1:0").await?;
    let address = server.local_addr()?;
    let url = format!("http://{address}");
    // With a trap opened no handshake would come.
    let plugin = Plugin::start_with(|command| {
        command.env("HOME", home.path()).env("TMPDIR", &temporary);
        command.env("KUBECONFIG", &traps[1]).env("KUBE_CONFIG_PATH", &traps[1]).env("KUBE_HOST", &url);
        command.env("KUBE_PROXY_URL", &url).env("HTTPS_PROXY", &url).env("HTTP_PROXY", &url);
        command.env("KUBERNETES_SERVICE_HOST", "127.0.0.1");
        command.env("KUBERNETES_SERVICE_PORT", address.port().to_string());
    })
    .await?;
    for path in &traps {
        assert!(!is_looked_into(path)?, "{} is read at the start", path.display());
    }
    let own = sockets(&plugin)?;
    assert!(!own.is_empty(), "it listens at a socket");
    for table in ["tcp", "tcp6", "udp", "udp6"] {
        let text = proc_text(&plugin, &format!("net/{table}"))?;
        let inodes = text.lines().skip(1).filter_map(|line| line.split_whitespace().nth(9));
        let used: Vec<_> = inodes.filter(|inode| own.iter().any(|one| one == inode)).collect();
        assert!(used.is_empty(), "a start opens {table} sockets");
    }
    let asked = tokio::select! {
        biased;
        accepted = server.accept() => accepted.is_ok(),
        () = std::future::ready(()) => false,
    };
    assert!(!asked, "somebody was asked at the start");
    let left: Vec<_> = std::fs::read_dir(&temporary)?.flatten().map(|entry| entry.path()).collect();
    let socket = &plugin.handshake.socket;
    assert!(left.iter().all(|path| socket.starts_with(path)), "{left:?} beside {}", socket.display());
    Ok(())
}

#[tokio::test]
async fn a_start_costs_little() -> Result<()> {
    let plugin = Plugin::start().await?;
    let status = proc_text(&plugin, "status")?;
    let own = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).context("no RssAnon")?;
    let own: u64 = own.trim().trim_end_matches(" kB").parse()?;
    let stat = proc_text(&plugin, "stat")?;
    let fields: Vec<&str> = stat.rsplit_once(')').context("a stat line")?.1.split_whitespace().collect();
    let ticks: u64 = fields[11..13].iter().flat_map(|field| field.parse::<u64>()).sum();
    let faults: u64 = fields[7].parse()?;
    // Ticks are hundredths of a second wherever this runs; a loaded machine does not make them more.
    let cpu_ms = ticks * 10;
    println!("a start took {cpu_ms} ms of a processor, {own} KiB and {faults} pages");
    assert!(own <= OWN_KIB, "a start makes use of {own} KiB");
    assert!(faults <= FAULTS, "a start touches {faults} pages");
    assert!(cpu_ms <= CPU_MS, "a start took {cpu_ms} ms of a processor");
    Ok(())
}
