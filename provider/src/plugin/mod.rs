//! The duties of a go-plugin process: everything between the start of the binary and the first provider call.
//! Nothing in here knows Terraform's values or our resource.
//!
//! ```text
//! environment ──> handshake ──> socket + tls ──> one line on stdout ──> serve ──> Shutdown or signal ──> exit
//! ```

pub mod handshake;
pub mod log;
pub mod panics;
pub mod reattach;
pub mod serve;
pub mod services;
pub mod socket;
pub mod stop;
pub mod tls;

use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// How often it is looked whether the host is still there.
const HOST_CHECK_INTERVAL: Duration = Duration::from_secs(2);

/// Who may end the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunMode {
    /// A host started us: it ends us by Shutdown. Ctrl-C reaches the whole process group, and is the host's to handle.
    UnderHost,
    /// A person started us to look inside (`--debug`): Ctrl-C ends it.
    Debug,
}

/// The one signal that ends the process, whoever gives it.
#[derive(Debug, Clone)]
pub struct Ending(CancellationToken);

impl Ending {
    /// Watches signals, and under a host also that the host lives.
    ///
    /// # Errors
    /// When the signal handlers can't be installed.
    pub fn watch(mode: RunMode) -> std::io::Result<Self> {
        let token = CancellationToken::new();
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let parent = std::os::unix::process::parent_id();
        let end = token.clone();
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    _ = interrupt.recv() => match mode {
                        RunMode::UnderHost => {}
                        RunMode::Debug => break,
                    },
                    _ = terminate.recv() => break,
                    // A host that was killed says nothing, and an orphan would hold its socket for ever.
                    () = tokio::time::sleep(HOST_CHECK_INTERVAL), if mode == RunMode::UnderHost => {
                        if std::os::unix::process::parent_id() != parent {
                            break;
                        }
                    }
                }
            }
            end.cancel();
        });
        Ok(Self(token))
    }

    /// Cancelled when the process must end.
    #[must_use]
    pub fn token(&self) -> &CancellationToken {
        &self.0
    }
}
