//! One run of the CLI: started in a process group of its own, its output kept.

use std::ffi::OsString;
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;

/// A finished command.
#[derive(Debug, Clone)]
pub struct Run {
    /// The command line.
    pub command: String,
    /// Its exit code; none when a signal ended it.
    pub code: Option<i32>,
    /// What it printed.
    pub stdout: String,
    /// What it printed as errors.
    pub stderr: String,
    /// How long it took.
    pub took: Duration,
}

impl Run {
    /// Whether the exit code is 0.
    pub fn success(&self) -> bool {
        self.code == Some(0)
    }

    /// Everything printed. Line breaks and the frame of diagnostics become single blanks, so that a text wrapped at the
    /// screen's width is found.
    pub fn flat(&self) -> String {
        let text = format!("{}\n{}", self.stdout, self.stderr);
        let framed = |c: char| c.is_whitespace() || "│╷╵─".contains(c);
        text.split(framed).filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
    }

    /// Command, exit code and all its output.
    pub fn report(&self) -> String {
        let code = self.code.map_or("a signal".to_owned(), |code| code.to_string());
        format!(
            "$ {} (exit {code}, {:.1} s)\n{}{}",
            self.command,
            self.took.as_secs_f64(),
            self.stdout,
            self.stderr
        )
    }

    /// Asserts success.
    ///
    /// # Errors
    /// With all the output.
    pub fn succeeded(self) -> Result<Self> {
        ensure!(self.success(), "expected success:\n{}", self.report());
        Ok(self)
    }

    /// Asserts failure with all of these texts in the output.
    ///
    /// # Errors
    /// With all the output.
    pub fn failed_saying(self, texts: &[&str]) -> Result<Self> {
        ensure!(self.code == Some(1), "expected exit code 1:\n{}", self.report());
        self.says(texts)
    }

    /// Asserts that all of these texts are in the output, letter case apart.
    ///
    /// # Errors
    /// With all the output.
    pub fn says(self, texts: &[&str]) -> Result<Self> {
        let flat = self.flat().to_lowercase();
        for text in texts {
            ensure!(flat.contains(&text.to_lowercase()), "expected `{text}` in:\n{}", self.report());
        }
        Ok(self)
    }
}

/// A running command.
pub struct Background {
    command: String,
    started: Instant,
    child: Child,
    group: Pid,
    stdout: JoinHandle<String>,
    stderr: JoinHandle<String>,
    history: Arc<Mutex<Vec<String>>>,
}

impl Background {
    pub(super) fn start(
        program: &Path,
        dir: &Path,
        env: &[(OsString, OsString)],
        args: &[&str],
        history: Arc<Mutex<Vec<String>>>,
    ) -> Result<Self> {
        let name = program.file_name().unwrap_or_default().to_string_lossy();
        let command = format!("{name} {}", args.join(" "));
        let mut child = Command::new(program)
            .args(args)
            .current_dir(dir)
            .env_remove("KUBECONFIG")
            .envs(env.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("start {command}"))?;
        let id = child.id().context("the command has ended already")?;
        Ok(Self {
            command,
            started: Instant::now(),
            group: Pid::from_raw(i32::try_from(id)?),
            stdout: collect(child.stdout.take()),
            stderr: collect(child.stderr.take()),
            child,
            history,
        })
    }

    /// Sends SIGINT to the whole process group, as Ctrl-C on a terminal does.
    ///
    /// # Errors
    /// When the group is gone.
    pub fn interrupt(&self) -> Result<()> {
        killpg(self.group, Signal::SIGINT).with_context(|| format!("interrupt {}", self.command))
    }

    /// Kills the whole process group, the provider with it: a machine that lost power.
    ///
    /// # Errors
    /// When the group is gone.
    pub fn kill(&self) -> Result<()> {
        killpg(self.group, Signal::SIGKILL).with_context(|| format!("kill {}", self.command))
    }

    /// Whether it has not ended yet.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits for its end; past the deadline the whole group is killed.
    ///
    /// # Errors
    /// When the deadline passes.
    pub async fn wait_within(mut self, deadline: Duration) -> Result<Run> {
        let status = tokio::time::timeout(deadline, self.child.wait()).await;
        let in_time = status.is_ok();
        if !in_time {
            // Gone already is as good.
            let _ = self.kill();
        }
        let run = Run {
            code: status.ok().transpose()?.and_then(|status| status.code()),
            stdout: self.stdout.await.unwrap_or_default(),
            stderr: self.stderr.await.unwrap_or_default(),
            took: self.started.elapsed(),
            command: self.command,
        };
        if let Ok(mut history) = self.history.lock() {
            history.push(run.report());
        }
        if !in_time {
            bail!("not done after {deadline:?}, killed:\n{}", run.report());
        }
        Ok(run)
    }
}

fn collect(stream: Option<impl AsyncRead + Unpin + Send + 'static>) -> JoinHandle<String> {
    tokio::spawn(async move {
        let mut bytes = Vec::new();
        if let Some(mut stream) = stream {
            // What came before an error is still worth showing.
            let _ = stream.read_to_end(&mut bytes).await;
        }
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(stderr: &str) -> Run {
        Run {
            command: "terraform plan".into(),
            code: Some(1),
            stdout: String::new(),
            stderr: stderr.into(),
            took: Duration::ZERO,
        }
    }

    #[test]
    fn a_wrapped_diagnostic_is_found() {
        let shown = run("╷\n│ Error: Too few\n│ instances, raise\n│   replicas\n╵\n");
        assert!(shown.clone().failed_saying(&["too few instances, raise replicas"]).is_ok());
        let error = shown.failed_saying(&["too many"]).unwrap_err().to_string();
        assert!(error.contains("expected `too many` in") && error.contains("Too few"), "{error}");
    }
}
