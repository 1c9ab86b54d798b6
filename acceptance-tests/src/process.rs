//! Running programs: to their end with their output kept, or as daemons that a later call finds again.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;

use crate::poll::{Seen, until_blocking};

/// Runs a command to its end and gives its standard output.
///
/// # Errors
/// When it can't be started or fails; the message holds the command line and the end of its output.
pub fn run(command: &mut Command) -> Result<String> {
    let output = output(command)?;
    if !output.status.success() {
        bail!("{}: {}\n{}", shown(command), output.status, tail_of(&both(&output), 30));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs a command to its end, whatever that end is.
///
/// # Errors
/// When it can't be started.
pub fn output(command: &mut Command) -> Result<Output> {
    command.stdin(Stdio::null()).output().with_context(|| format!("start {}", shown(command)))
}

/// Runs `program` with `args`; see [`run`].
///
/// # Errors
/// As [`run`].
pub fn run_args<S: AsRef<OsStr>>(program: &str, args: &[S]) -> Result<String> {
    run(Command::new(program).args(args))
}

/// Runs a command to its end with all its output in a log file.
///
/// # Errors
/// When it can't be started or fails; the message holds the end of the log.
pub fn run_logged(command: &mut Command, log: &Path) -> Result<()> {
    let file = fs::File::create(log).with_context(|| format!("create {}", log.display()))?;
    let status = command
        .stdin(Stdio::null())
        .stdout(file.try_clone()?)
        .stderr(file)
        .status()
        .with_context(|| format!("start {}", shown(command)))?;
    if !status.success() {
        bail!("{}: {status}\n{}\n(whole log: {})", shown(command), tail(log, 40), log.display());
    }
    Ok(())
}

/// Standard output and standard error, one after the other.
pub fn both(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// The last lines of a file; a note when there is none.
pub fn tail(file: &Path, lines: usize) -> String {
    match fs::read(file) {
        Ok(bytes) => tail_of(&String::from_utf8_lossy(&bytes), lines),
        Err(error) => format!("(no {}: {error})", file.display()),
    }
}

fn tail_of(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

fn shown(command: &Command) -> String {
    let mut words = vec![command.get_program().to_string_lossy().into_owned()];
    words.extend(command.get_args().map(|word| word.to_string_lossy().into_owned()));
    words.join(" ")
}

/// Whether a program of this name is on PATH.
pub fn on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    // Debian keeps iptables and debootstrap in sbin, which a user's PATH may lack.
    std::env::split_paths(&path)
        .chain(["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|folder| folder.join(program))
        .find(|candidate| candidate.is_file())
}

/// A process, told apart from a later one with the same number by its start time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ProcessId {
    /// The number.
    pub pid: i32,
    /// Clock ticks between boot and its start.
    pub started_ticks: u64,
}

impl ProcessId {
    /// The process that has this number now.
    pub fn of(pid: i32) -> Option<Self> {
        let (_, started_ticks) = stat(pid)?;
        Some(Self { pid, started_ticks })
    }

    /// Whether it still runs. One that has ended and waits to be collected does not.
    pub fn is_alive(&self) -> bool {
        stat(self.pid)
            .is_some_and(|(state, started)| started == self.started_ticks && state != 'Z' && state != 'X')
    }

    /// Sends a signal; one that has ended already is no error.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        if !self.is_alive() {
            return Ok(());
        }
        match kill(Pid::from_raw(self.pid), signal) {
            Ok(()) | Err(nix::errno::Errno::ESRCH) => Ok(()),
            Err(error) => bail!("signal {signal} to process {}: {error}", self.pid),
        }
    }

    /// Collects it if it is a child of ours that has ended.
    pub fn collect(&self) {
        let _ = waitpid(Pid::from_raw(self.pid), Some(WaitPidFlag::WNOHANG));
    }
}

/// State letter and start time of a process.
fn stat(pid: i32) -> Option<(char, u64)> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name is in brackets and may hold blanks and brackets itself: the fields start after the last one.
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    Some((fields.first()?.chars().next()?, fields.get(19)?.parse().ok()?))
}

/// A long-running program of the sandbox, kept by name.
pub struct Daemon<'a> {
    /// Name of its pid file and its log.
    pub name: &'a str,
    /// Network namespace to run in; none is the machine's own.
    pub namespace: Option<&'a str>,
    /// The program.
    pub program: &'a Path,
    /// Its arguments.
    pub args: Vec<String>,
    /// Variables added to the environment.
    pub env: Vec<(String, String)>,
}

/// Folders for the daemons' pid files and logs, and the control group that all of them live in.
#[derive(Debug, Clone)]
pub struct Daemons {
    /// One file per daemon: number and start time.
    pub pids: PathBuf,
    /// One file per daemon: its output.
    pub logs: PathBuf,
    /// Control group, so that children which outlive their parent are found too.
    pub cgroup: PathBuf,
}

impl Daemons {
    /// Starts a daemon that outlives this process.
    ///
    /// # Errors
    /// When it can't be started.
    pub fn start(&self, daemon: &Daemon<'_>) -> Result<ProcessId> {
        for folder in [&self.pids, &self.logs, &self.cgroup] {
            fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
        }
        let log = fs::OpenOptions::new().create(true).append(true).open(self.log(daemon.name))?;
        let mut command = Command::new("sh");
        // `exec` all the way: the number that we write down is the daemon's own. Files that whoever called us left open, such as a
        // lock that it runs us under, are not the daemon's to keep.
        let shut = "exec 3>&- 4>&- 5>&- 6>&- 7>&- 8>&- 9>&-";
        let script = format!("echo $$ > \"$0/cgroup.procs\"; {shut}; exec \"$@\"");
        command.args(["-c", &script]).arg(&self.cgroup);
        if let Some(namespace) = daemon.namespace {
            command.arg("nsenter").arg(format!("--net=/run/netns/{namespace}"));
        }
        let child = command
            .arg(daemon.program)
            .args(&daemon.args)
            .envs(daemon.env.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .current_dir("/")
            .process_group(0)
            .spawn()
            .with_context(|| format!("start {}", daemon.name))?;
        let pid = i32::try_from(child.id())?;
        let id = ProcessId::of(pid).with_context(|| format!("{} ended at once", daemon.name))?;
        fs::write(self.pids.join(daemon.name), format!("{} {}", id.pid, id.started_ticks))?;
        Ok(id)
    }

    /// The log of a daemon.
    pub fn log(&self, name: &str) -> PathBuf {
        self.logs.join(format!("{name}.log"))
    }

    /// The running daemon of this name.
    pub fn find(&self, name: &str) -> Option<ProcessId> {
        let text = fs::read_to_string(self.pids.join(name)).ok()?;
        let (pid, started) = text.trim().split_once(' ')?;
        let id = ProcessId { pid: pid.parse().ok()?, started_ticks: started.parse().ok()? };
        id.is_alive().then_some(id)
    }

    /// Names of all daemons that were ever started, running or not.
    pub fn names(&self) -> Vec<String> {
        let Ok(entries) = fs::read_dir(&self.pids) else { return Vec::new() };
        let mut names: Vec<String> =
            entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    /// Ends a daemon: asks first when `grace` is not zero, then kills.
    ///
    /// # Errors
    /// When it is still there ten seconds after being killed.
    pub fn stop(&self, name: &str, grace: Duration) -> Result<()> {
        let Some(id) = self.find(name) else { return Ok(()) };
        if !grace.is_zero() {
            id.signal(Signal::SIGTERM)?;
            // A suspended process can't heed the request.
            id.signal(Signal::SIGCONT)?;
            let _ = until_blocking("its end", grace, || gone(id));
        }
        id.signal(Signal::SIGKILL)?;
        until_blocking(&format!("the end of {name}"), Duration::from_secs(10), || gone(id))?;
        fs::remove_file(self.pids.join(name)).with_context(|| format!("remove the pid file of {name}"))
    }

    /// Waits until `ready` holds; gives up at once when the daemon has ended.
    ///
    /// # Errors
    /// When the daemon ends or the deadline passes; the message holds the end of its log.
    pub fn await_ready(
        &self,
        name: &str,
        deadline: Duration,
        mut ready: impl FnMut() -> Result<Seen<()>>,
    ) -> Result<()> {
        let mut ended = false;
        let outcome = until_blocking(&format!("{name} to be ready"), deadline, || {
            ended = self.find(name).is_none();
            if ended { Ok(Seen::Yes(())) } else { ready() }
        });
        if ended {
            bail!("{name} ended. The end of its log:\n{}", tail(&self.log(name), 30));
        }
        outcome.with_context(|| format!("the end of its log:\n{}", tail(&self.log(name), 30)))
    }
}

fn gone(id: ProcessId) -> Result<Seen<()>> {
    id.collect();
    Ok(Seen::when(!id.is_alive(), format!("process {} is there", id.pid)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_told_apart_from_a_later_one_with_its_number() {
        let me = ProcessId::of(i32::try_from(std::process::id()).unwrap()).unwrap();
        assert!(me.is_alive());
        let earlier = ProcessId { started_ticks: me.started_ticks.wrapping_sub(1), ..me };
        assert!(!earlier.is_alive());
    }

    #[test]
    fn a_failing_command_is_named_with_its_output() {
        let error = run_args("sh", &["-c", "echo why; exit 3"]).unwrap_err().to_string();
        assert!(error.contains("sh -c") && error.contains("why") && error.contains('3'), "{error}");
    }
}
