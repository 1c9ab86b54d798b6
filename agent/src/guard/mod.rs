//! PID 1 of the container: parent of agent and postmaster, holder of the volume lock and of the REST socket (A5, A8).
//!
//! ```text
//!   kubelet ── SIGTERM ──> guard ── socket pair (message.rs) ──> agent ── decides, asks ──┐
//!                            │  <─────────────── start, signal, deadline, fence ──────────┘
//!                            └── postgres (straight to the container's stderr)
//! ```
//! It is small and has one thread, so that it can fence when the agent can't: at the deadline that the agent has
//! not moved, everything in the container but guard and agent is killed (A7). It also puts another agent in the running
//! one's place, and goes back when that does not come up healthy (`exchange.rs`).

mod exchange;
pub mod kill;
pub mod message;
mod spawn;

use std::io::{self, Read, Write};
use std::net::TcpListener;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal, kill as send_signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, getpid};

use crate::boottime::now_ms;
use crate::settings::GuardSettings;
use exchange::Trial;
use message::{Command, Exit, Lines, PROTOCOL, Request, State};

/// Between SIGQUIT and SIGKILL of a fence: a backend that is healthy leaves in less, and none gets more (A7).
const QUIT_TO_KILL_MS: u64 = 300;
/// An agent whose loop has not turned for this long is hung: it is killed and started again.
const AGENT_SILENCE_MS: u64 = 15_000;
/// A first restart of a dead agent comes at once, later ones ever more slowly.
const RESTART_FIRST_MS: u64 = 50;
const RESTART_MOST_MS: u64 = 2_000;
/// How often the processes that were killed are looked for.
const CLEAR_POLL_MS: u64 = 20;

struct Agent {
    pid: i32,
    socket: UnixStream,
    lines: Lines,
    started_ms: u64,
    beat_ms: u64,
}

struct Guard {
    settings: GuardSettings,
    /// The agents' port; closed once the guard was asked to end.
    listener: Option<TcpListener>,
    own_pid: i32,
    state: State,
    agent: Option<Agent>,
    restart_at_ms: u64,
    restart_delay_ms: u64,
    /// Another agent is being tried.
    trial: Option<Trial>,
    /// The next start of an agent belongs to an exchange: it does not wait.
    start_at_once: bool,
    /// A fence is under way: SIGKILL is due then.
    kill_at_ms: Option<u64>,
    /// Everything below the guard must go before the next start.
    clear_at_ms: Option<u64>,
}

/// Runs until the container ends; gives its exit code.
pub fn run(settings: GuardSettings) -> io::Result<i32> {
    let mask: SigSet = [Signal::SIGCHLD, Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGQUIT]
        .into_iter()
        .collect();
    mask.thread_block()?;
    let signals = SignalFd::with_flags(&mask, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
    // Outside a PID namespace (tests) orphans must still come to this process.
    nix::sys::prctl::set_child_subreaper(true)?;

    let nonce = spawn::nonce()?;
    spawn::leave_proof(&settings.termination_log, &nonce);
    let listener = TcpListener::bind(settings.listen)?;
    log(&format!("guard started, nonce {nonce}"));
    let Some(_lock) = spawn::lock_volume(&settings.volume, &signals)? else {
        log("told to stop while waiting for the volume");
        return Ok(0);
    };
    let mut guard = Guard {
        settings,
        listener: Some(listener),
        own_pid: getpid().as_raw(),
        state: State { v: PROTOCOL, nonce, ..State::default() },
        agent: None,
        restart_at_ms: 0,
        restart_delay_ms: RESTART_FIRST_MS,
        trial: None,
        start_at_once: false,
        kill_at_ms: None,
        clear_at_ms: None,
    };
    loop {
        if let Some(code) = guard.turn(&signals)? {
            return Ok(code);
        }
    }
}

/// The guard's few lines, in the form of the agent's.
pub fn log(message: &str) {
    let time = jiff::Timestamp::now();
    let line = serde_json::json!({"timestamp": format!("{time:.6}"), "level": "INFO", "message": message, "process": "guard"});
    let _ = writeln!(io::stderr(), "{line}");
}

impl Guard {
    /// One wait and what follows from it.
    fn turn(&mut self, signals: &SignalFd) -> io::Result<Option<i32>> {
        self.timers();
        if self.is_ending()
            && self.clear_at_ms.is_none()
            && self.kill_at_ms.is_none()
            && self.state.postmaster.is_none()
        {
            return Ok(Some(0));
        }
        self.wait(signals)?;
        while let Ok(Some(info)) = signals.read_signal() {
            match Signal::try_from(info.ssi_signo as i32) {
                Ok(Signal::SIGTERM | Signal::SIGINT | Signal::SIGQUIT) if !self.state.terminating => {
                    log("told to stop");
                    self.state.terminating = true;
                    self.tell();
                }
                _ => {}
            }
        }
        self.reap();
        self.listen_to_agent();
        Ok(None)
    }

    fn wait(&self, signals: &SignalFd) -> io::Result<()> {
        let now = now_ms();
        let next = [
            self.state.deadline_ms,
            self.kill_at_ms,
            self.clear_at_ms,
            self.agent.as_ref().map_or((!self.is_ending()).then_some(self.restart_at_ms), |agent| {
                Some(agent.beat_ms + AGENT_SILENCE_MS)
            }),
            self.trial.as_ref().map(Trial::until_ms),
        ]
        .into_iter()
        .flatten()
        .min()
        .unwrap_or(now + 1_000);
        let wait_ms = next.saturating_sub(now).clamp(1, 1_000) as u16;
        let mut fds = vec![PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
        if let Some(agent) = &self.agent {
            fds.push(PollFd::new(agent.socket.as_fd(), PollFlags::POLLIN));
        }
        match poll(&mut fds, PollTimeout::from(wait_ms)) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Everything that falls due by the clock.
    fn timers(&mut self) {
        let now = now_ms();
        if self.state.deadline_ms.is_some_and(|at| at <= now) {
            self.state.deadline_ms = None;
            if self.state.postmaster.is_some() {
                log("the deadline passed without a renewal: fence");
                self.state.fenced_alone_ms = Some(now);
                self.fence(now);
            }
        }
        if self.kill_at_ms.is_some_and(|at| at <= now) {
            self.kill_at_ms = None;
            kill::signal_all(&kill::fenced(self.own_pid, self.agent_pid()), Signal::SIGKILL);
            self.clear_at_ms = Some(now);
        }
        if self.clear_at_ms.is_some_and(|at| at <= now) && self.kill_at_ms.is_none() {
            self.clear(now);
        }
        if self.agent.as_ref().is_some_and(|agent| agent.beat_ms + AGENT_SILENCE_MS <= now) {
            log("the agent's loop has stood still: it is started again");
            self.kill_agent();
        }
        self.end_trial_in_time(now);
        if self.agent.is_none() && self.restart_at_ms <= now && !self.is_ending() {
            self.start_agent(now);
        }
    }

    /// It was asked to end: no agent is started any more.
    fn is_ending(&self) -> bool {
        self.listener.is_none()
    }

    fn agent_pid(&self) -> Option<i32> {
        self.agent.as_ref().map(|agent| agent.pid)
    }

    /// SIGQUIT now, SIGKILL later, to everything but guard and agent (A7).
    fn fence(&mut self, now: u64) {
        self.state.fences += 1;
        if self.kill_at_ms.is_none() {
            kill::signal_all(&kill::fenced(self.own_pid, self.agent_pid()), Signal::SIGQUIT);
            self.kill_at_ms = Some(now + QUIT_TO_KILL_MS);
            self.state.clearing = true;
        }
        self.tell();
    }

    /// Kills what a dead postmaster left, until nothing is left.
    fn clear(&mut self, now: u64) {
        let left = kill::leftovers(self.own_pid, self.agent_pid());
        if left.is_empty() {
            self.clear_at_ms = None;
            self.state.clearing = false;
            self.tell();
        } else {
            kill::signal_all(&left, Signal::SIGKILL);
            self.clear_at_ms = Some(now + CLEAR_POLL_MS);
        }
    }

    fn reap(&mut self) {
        loop {
            let (pid, code, signal) = match waitpid(Pid::from_raw(-1), Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(pid, code)) => (pid.as_raw(), Some(code), None),
                Ok(WaitStatus::Signaled(pid, signal, _)) => (pid.as_raw(), None, Some(signal as i32)),
                Ok(WaitStatus::StillAlive) | Err(_) => return,
                Ok(_) => continue,
            };
            let now = now_ms();
            if self.state.postmaster == u32::try_from(pid).ok() {
                log(&format!("postgres {pid} ended: code {code:?}, signal {signal:?}"));
                self.state.postmaster = None;
                // It guarded that process: what is down needs no fence, and a job that makes data must not be hit by one.
                self.state.deadline_ms = None;
                self.state.last_exit = Some(Exit { pid: pid as u32, code, signal, at_ms: now });
                self.state.clearing = true;
                // At once, before anything can start: orphans go on committing (A7).
                self.clear_at_ms = Some(now);
                if self.kill_at_ms.is_none() {
                    self.clear(now);
                }
                self.tell();
            } else if self.agent_pid() == Some(pid) {
                log(&format!("the agent {pid} ended: code {code:?}, signal {signal:?}"));
                self.lost_agent(now, &ended(code, signal));
            }
        }
    }

    /// The agent is dead: what it ran itself dies with it, postgres goes on.
    fn lost_agent(&mut self, now: u64, how: &str) {
        let Some(agent) = self.agent.take() else { return };
        let parents = kill::parents();
        let mut strays = kill::tree(&parents, self.own_pid);
        strays.remove(&self.own_pid);
        if let Some(postmaster) = self.state.postmaster {
            strays = &strays - &kill::tree(&parents, postmaster as i32);
        }
        kill::signal_all(&strays, Signal::SIGKILL);
        if now.saturating_sub(agent.started_ms) > 10 * RESTART_MOST_MS {
            self.restart_delay_ms = RESTART_FIRST_MS;
        }
        self.restart_at_ms = now + self.restart_delay_ms;
        self.restart_delay_ms = (self.restart_delay_ms * 2).min(RESTART_MOST_MS);
        self.exchange_after(now, how);
    }

    fn kill_agent(&mut self) {
        if let Some(agent) = &mut self.agent {
            agent.beat_ms = now_ms();
            let _ = send_signal(Pid::from_raw(agent.pid), Signal::SIGKILL);
        }
    }

    fn start_agent(&mut self, now: u64) {
        let argv = self.agent_to_start();
        let Some(listener) = &self.listener else { return };
        match spawn::agent(&argv, listener) {
            Ok((pid, socket)) => {
                self.agent =
                    Some(Agent { pid, socket, lines: Lines::default(), started_ms: now, beat_ms: now });
                self.state.answered = 0;
                self.state.refused = None;
                self.tell();
            }
            Err(error) => {
                log(&format!("the agent can't be started: {error}"));
                self.restart_at_ms = now + RESTART_MOST_MS;
                self.exchange_after(now, &format!("it can't be started: {error}"));
            }
        }
    }

    fn listen_to_agent(&mut self) {
        let Some(agent) = &mut self.agent else { return };
        let mut buffer = [0; 4096];
        let mut broken = false;
        loop {
            match agent.socket.read(&mut buffer) {
                // Its death comes by SIGCHLD; a socket closed by a live agent is no agent any more.
                Ok(0) => {
                    broken = true;
                    break;
                }
                Ok(length) => {
                    if agent.lines.feed(&buffer[..length]).is_err() {
                        broken = true;
                        break;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => {
                    broken = true;
                    break;
                }
            }
        }
        while let Some(line) = self.agent.as_mut().and_then(|agent| agent.lines.next_line()) {
            match message::parse_request(&line) {
                Ok(request) => self.carry_out(request),
                Err(error) => {
                    self.state.refused = Some(error);
                    self.tell();
                }
            }
        }
        if broken {
            self.kill_agent();
            // Reading a closed socket returns at once, for ever: wait for SIGCHLD instead of spinning.
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn carry_out(&mut self, request: Request) {
        let now = now_ms();
        if let Some(agent) = &mut self.agent {
            agent.beat_ms = now;
        }
        let beat_only = request.command == Command::Beat && self.state.answered > 0;
        let result = match request.command {
            Command::Beat => Ok(()),
            Command::Start { argv, writable } => self.start_postgres(&argv, writable, now),
            Command::Signal { signal } => self.signal_postgres(signal),
            Command::Deadline { at_ms } => self.move_deadline(at_ms, now),
            Command::Fence => {
                self.fence(now);
                Ok(())
            }
            Command::Exit => {
                // Both ports refuse for as long as the fence takes: others see by that at once that nobody is here any more. Once the
                // container has ended its address soon answers nothing, which tells nobody anything.
                self.listener = None;
                self.kill_agent();
                self.fence(now);
                Ok(())
            }
            Command::Exchange { program, sha256, generation, within_ms, tries } => {
                let until_ms = now.saturating_add(within_ms);
                self.exchange(Trial::new(program, sha256, generation, until_ms, tries))
            }
            Command::Healthy => {
                self.keep_new_agent();
                Ok(())
            }
        };
        self.state.answered = request.id;
        self.state.refused = result.err();
        if !beat_only {
            self.tell();
        }
    }

    fn start_postgres(&mut self, argv: &[String], writable: bool, now: u64) -> Result<(), String> {
        if self.state.postmaster.is_some() {
            return Err("postgres runs already".to_owned());
        }
        if self.state.clearing || self.kill_at_ms.is_some() {
            return Err("processes of the last postgres are still being killed".to_owned());
        }
        if writable && self.state.deadline_ms.is_none_or(|at| at <= now) {
            return Err("a postgres that may write needs a deadline".to_owned());
        }
        let pid = spawn::postgres(argv).map_err(|error| format!("postgres can't be started: {error}"))?;
        self.state.postmaster = Some(pid as u32);
        Ok(())
    }

    fn signal_postgres(&self, signal: message::Signal) -> Result<(), String> {
        let pid = self.state.postmaster.ok_or("no postgres runs")?;
        let signal = match signal {
            message::Signal::Fast => Signal::SIGINT,
            message::Signal::Immediate => Signal::SIGQUIT,
            message::Signal::Reload => Signal::SIGHUP,
        };
        send_signal(Pid::from_raw(pid as i32), signal).map_err(|error| error.to_string())
    }

    /// A deadline that is past is not moved: its fence falls first.
    fn move_deadline(&mut self, at_ms: Option<u64>, now: u64) -> Result<(), String> {
        if at_ms.is_some_and(|at| at <= now) || self.state.deadline_ms.is_some_and(|at| at <= now) {
            return Err("the deadline is past".to_owned());
        }
        self.state.deadline_ms = at_ms;
        Ok(())
    }

    /// Tells the agent everything. An agent that doesn't read is hung, and its silence is counted elsewhere.
    fn tell(&mut self) {
        let line = message::to_line(&self.state);
        if let Some(agent) = &mut self.agent {
            let _ = agent.socket.write_all(&line);
        }
    }
}

/// How a process ended, for people.
fn ended(code: Option<i32>, signal: Option<i32>) -> String {
    match (code, signal) {
        (Some(code), _) => format!("it ended with exit code {code}"),
        (None, Some(signal)) => format!("it ended by signal {signal}"),
        (None, None) => "it ended".to_owned(),
    }
}
