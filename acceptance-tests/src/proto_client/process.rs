//! A provider process, started as a host starts it.

use super::identity::Identity;
use super::{Connection, binary};
use anyhow::{Context as _, Result, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::{Child, ChildStderr, ChildStdout, Command};
use tokio::task::JoinHandle;

/// The value that Terraform and OpenTofu announce themselves with.
pub const COOKIE: &str = "d602bf8f470bc67ca7faa0386276bbdd4330efaf76d1a219cb4d6991ca9872b2";

/// A busy machine may take long to start a process; nothing here is measured.
const DEADLINE: Duration = Duration::from_mins(1);

/// The one line that a plugin prints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handshake {
    /// All fields as they were printed.
    pub fields: Vec<String>,
    /// Where it listens.
    pub socket: PathBuf,
    /// Its certificate; empty without TLS.
    pub certificate_der: Vec<u8>,
}

impl Handshake {
    fn parse(line: &str) -> Result<Self> {
        let fields: Vec<String> = line.split('|').map(str::to_owned).collect();
        ensure!(fields.len() >= 6, "the handshake line has too few fields: {line:?}");
        ensure!(fields[2] == "unix" && fields[4] == "grpc", "an unexpected handshake: {line:?}");
        let certificate_der =
            STANDARD_NO_PAD.decode(&fields[5]).context("the certificate is no unpadded base64")?;
        Ok(Self { socket: PathBuf::from(&fields[3]), certificate_der, fields })
    }
}

/// A running provider. Dropping it kills it.
#[derive(Debug)]
pub struct Plugin {
    /// What it printed.
    pub handshake: Handshake,
    /// Who the host is; `None` without TLS.
    pub identity: Option<Identity>,
    child: Child,
    stdout: BufReader<ChildStdout>,
    /// Read all the time: a provider whose log nobody takes stands still once the pipe is full.
    log: JoinHandle<String>,
}

impl Plugin {
    /// Starts one with mutual TLS.
    ///
    /// # Errors
    /// When it doesn't come up.
    pub async fn start() -> Result<Self> {
        Self::start_with(|_| {}).await
    }

    /// Starts one with mutual TLS and a changed environment.
    ///
    /// # Errors
    /// When it doesn't come up.
    pub async fn start_with(change: impl FnOnce(&mut Command)) -> Result<Self> {
        let identity = Identity::new()?;
        let mut command = host_command()?;
        command.env("PLUGIN_CLIENT_CERT", &identity.pem);
        change(&mut command);
        Self::launch(command, Some(identity)).await
    }

    /// Starts one without TLS, as a host does with `TF_DISABLE_PLUGIN_TLS`.
    ///
    /// # Errors
    /// When it doesn't come up.
    pub async fn start_plain() -> Result<Self> {
        let mut command = host_command()?;
        command.env("TF_DISABLE_PLUGIN_TLS", "1");
        Self::launch(command, None).await
    }

    /// Starts this binary without TLS.
    ///
    /// # Errors
    /// When it doesn't come up.
    pub async fn start_binary(binary: &Path) -> Result<Self> {
        let mut command = as_host_does(command_of(binary));
        command.env("TF_DISABLE_PLUGIN_TLS", "1");
        Self::launch(command, None).await
    }

    async fn launch(mut command: Command, identity: Option<Identity>) -> Result<Self> {
        let mut child = command.spawn().context("start the provider")?;
        let stdout = child.stdout.take().context("no stdout")?;
        let log = tokio::spawn(read_all(child.stderr.take().context("no stderr")?));
        let mut stdout = BufReader::new(stdout);
        let mut line = String::new();
        tokio::time::timeout(DEADLINE, stdout.read_line(&mut line)).await.context("no handshake line")??;
        if line.is_empty() {
            bail!("the provider ended without a handshake: {}", log.await?);
        }
        let handshake = Handshake::parse(line.trim_end())?;
        Ok(Self { handshake, identity, child, stdout, log })
    }

    /// Connects as the host.
    ///
    /// # Errors
    /// When the provider refuses.
    pub async fn connect(&self) -> Result<Connection> {
        match &self.identity {
            Some(identity) => {
                let config = identity.client(&self.handshake.certificate_der)?;
                Connection::tls(&self.handshake.socket, config).await
            }
            None => Connection::plain(&self.handshake.socket).await,
        }
    }

    /// The process's id.
    #[must_use]
    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// It has not ended yet.
    ///
    /// # Errors
    /// When the system can't say.
    pub fn runs(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_none())
    }

    /// Waits for its end; gives the status, what came on stdout after the handshake, and its log.
    ///
    /// # Errors
    /// When it doesn't end.
    pub async fn ended(mut self) -> Result<(ExitStatus, String, String)> {
        let mut rest = String::new();
        let end = async {
            self.stdout.read_to_string(&mut rest).await.context("read the provider's output")?;
            let log = (&mut self.log).await.context("read the provider's log")?;
            anyhow::Ok((self.child.wait().await.context("wait for the provider")?, log))
        };
        let (status, log) =
            tokio::time::timeout(DEADLINE, end).await.context("the provider doesn't end")??;
        Ok((status, rest, log))
    }
}

async fn read_all(mut stream: ChildStderr) -> String {
    let mut bytes = Vec::new();
    // What came before an error is still worth showing.
    let _ = stream.read_to_end(&mut bytes).await;
    String::from_utf8_lossy(&bytes).into_owned()
}

impl Drop for Plugin {
    fn drop(&mut self) {
        // A process that is killed can't clean up behind itself: without this each test would leave a directory.
        let _ = self.child.start_kill();
        let _ = std::fs::remove_file(&self.handshake.socket);
        if let Some(dir) = self.handshake.socket.parent() {
            let _ = std::fs::remove_dir(dir);
        }
    }
}

/// The binary with a host's environment, and none of the one that the tests run in.
///
/// # Errors
/// When the binary can't be built.
pub fn host_command() -> Result<Command> {
    Ok(as_host_does(bare_command()?))
}

fn as_host_does(mut command: Command) -> Command {
    command
        .env("TF_PLUGIN_MAGIC_COOKIE", COOKIE)
        .env("PLUGIN_PROTOCOL_VERSIONS", "6,5")
        .env("PLUGIN_MIN_PORT", "10000")
        .env("PLUGIN_MAX_PORT", "25000");
    command
}

/// The binary with nothing that a host sets.
///
/// # Errors
/// When the binary can't be built.
pub fn bare_command() -> Result<Command> {
    Ok(command_of(binary::path()?))
}

fn command_of(binary: &Path) -> Command {
    let mut command = Command::new(binary);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    for (name, _) in std::env::vars_os() {
        let name_text = name.to_string_lossy();
        let is_proxy = name_text.to_ascii_uppercase().ends_with("_PROXY");
        if is_proxy || ["TF_", "PLUGIN_", "KUBE"].iter().any(|prefix| name_text.starts_with(prefix)) {
            command.env_remove(name);
        }
    }
    command
}
