//! The real guard as a process, with shell scripts as agents and `sleep` as postgres: one agent is exchanged for another, and
//! back when that is not healthy (A8). What guard and agents say comes through the guard's stderr, in order.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

const DEADLINE: Duration = Duration::from_secs(30);

/// Says what it hears, does once what is to be done after an answer, and ends the container when that is told to stop.
const HEAR: &str = r#"
say() { printf '%s\n' "$1" >&0; }
hear() {
    after=$1
    while read -r line; do
        echo "$name heard $line" >&2
        case "$line" in *"\"answered\":$after,"*) after=never; ask;; esac
        case "$told$line" in '{'*'"terminating":true'*) told=yes; say '{"v":1,"id":99,"do":"exit"}';; esac
    done
}
echo "$name starts as $$" >&2
say '{"v":1,"id":1,"do":"beat"}'
"#;

/// Starts a postgres in its first life, and asks for the new agent in every one.
const OLD: &str = r#"
ask() {
    cp "$PGHA_VOLUME/new" "$PGHA_VOLUME/agents/new"
    say "{\"v\":2,\"id\":4,\"do\":\"exchange\",\"program\":\"$PGHA_VOLUME/agents/new\",\"sha256\":\"ab\",\"generation\":7,\"within_ms\":$WITHIN_MS,\"tries\":2}"
}
if mkdir "$PGHA_VOLUME/first" 2>/dev/null; then
    say '{"v":1,"id":2,"do":"start","argv":["sleep","1000"],"writable":false}'
    say '{"v":1,"id":3,"do":"deadline","at_ms":18446744073709551615}'
    hear 3
else
    hear 1
fi
"#;

/// Healthy once its first request is answered.
const NEW: &str = r#"
ask() { say '{"v":2,"id":2,"do":"healthy"}'; }
hear 1
"#;

struct Container {
    guard: Child,
    lines: Receiver<String>,
    agents: PathBuf,
    // Removed with this value.
    _dir: tempfile::TempDir,
}

fn executable(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

fn script(name: &str, rest: &str) -> String {
    format!("#!/bin/sh\nname={name}\n{HEAR}{rest}")
}

impl Container {
    /// Runs the old agent, which asks for this one; that has so long to be healthy.
    fn start(new: &str, within_ms: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let agents = dir.path().join("agents");
        fs::create_dir(&agents).unwrap();
        executable(&agents.join("agent"), &script("old", OLD));
        executable(&dir.path().join("new"), new);
        let mut guard = Command::new(env!("CARGO_BIN_EXE_pgha-agent"))
            .arg("guard")
            .env("PGHA_AGENT", agents.join("agent"))
            .env("PGHA_VOLUME", dir.path())
            .env("PGHA_TERMINATION_LOG", dir.path().join("termination"))
            .env("PGHA_REST_PORT", "0")
            .env("POD_IP", "127.0.0.1")
            .env("WITHIN_MS", within_ms.to_string())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr = guard.stderr.take().unwrap();
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Self { guard, lines, agents, _dir: dir }
    }

    /// The next line that contains this.
    fn next(&self, text: &str) -> String {
        let until = Instant::now() + DEADLINE;
        let mut seen = Vec::new();
        while let Ok(line) = self.lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
            if line.contains(text) {
                return line;
            }
            seen.push(line);
        }
        panic!("`{text}` was not said; but:\n{}", seen.join("\n"));
    }

    /// The next state that this agent hears and that fits.
    fn heard(&self, by: &str, fits: impl Fn(&Value) -> bool) -> Value {
        loop {
            let line = self.next(&format!("{by} heard "));
            let state: Value = serde_json::from_str(line.split_once("heard ").unwrap().1).unwrap();
            if fits(&state) {
                return state;
            }
        }
    }

    fn current_agent(&self) -> String {
        fs::read_to_string(self.agents.join("agent")).unwrap()
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let _ = kill(Pid::from_raw(self.guard.id() as i32), Signal::SIGTERM);
        let until = Instant::now() + DEADLINE;
        // The sender is gone once the last process of the container is.
        while self.lines.recv_timeout(until.saturating_duration_since(Instant::now())).is_ok() {}
        let _ = self.guard.kill();
        let _ = self.guard.wait();
    }
}

/// The answer to `Deadline`: postgres runs and is guarded.
fn guarded(state: &Value) -> bool {
    state["answered"] == 3
}

#[test]
fn a_healthy_agent_takes_the_old_ones_place_under_the_same_postgres() {
    let container = Container::start(&script("new", NEW), 20_000);
    let before = container.heard("old", guarded);
    assert!(before["postmaster"].is_u64() && before["refused"].is_null(), "{before}");
    container.next("new starts");
    let first = container.heard("new", |_| true);
    assert_eq!(first["on_trial"], true);
    for what in ["postmaster", "deadline_ms", "nonce", "fences", "clearing"] {
        assert_eq!(first[what], before[what], "{what}");
    }
    let stays = container.heard("new", |state| state["answered"] == 2);
    assert_eq!((&stays["on_trial"], &stays["taken_back"]), (&Value::Bool(false), &Value::Null));
    assert_eq!(container.current_agent(), script("new", NEW));
    assert!(!container.agents.join("new").exists(), "it was renamed");
}

#[test]
fn once_it_stays_the_new_agent_is_what_is_started_again() {
    let container = Container::start(&script("new", NEW), 20_000);
    let before = container.heard("old", guarded);
    let line = container.next("new starts as ");
    container.heard("new", |state| state["answered"] == 2);
    let pid = line.rsplit_once(' ').unwrap().1.parse().unwrap();
    kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    container.next("new starts as ");
    let again = container.heard("new", |_| true);
    assert_eq!((&again["on_trial"], &again["postmaster"]), (&Value::Bool(false), &before["postmaster"]));
}

/// The old one runs again under the same postgres, and what it asks for once more is refused.
fn is_taken_back_for_good(container: &Container, why: &str) {
    let before = container.heard("old", guarded);
    let back = container.heard("old", |state| state["taken_back"]["for_good"] == true);
    assert!(back["taken_back"]["why"].as_str().unwrap().contains(why), "{back}");
    assert_eq!((&back["taken_back"]["sha256"], &back["taken_back"]["generation"]), (&"ab".into(), &7.into()));
    for what in ["postmaster", "deadline_ms", "nonce", "fences"] {
        assert_eq!(back[what], before[what], "{what}");
    }
    let refused = container.heard("old", |state| state["answered"] == 4);
    assert!(refused["refused"].as_str().unwrap().contains("taken back already"), "{refused}");
    assert_eq!(container.current_agent(), script("old", OLD));
}

#[test]
fn an_agent_that_ends_before_it_is_healthy_gives_way_to_the_old_one_and_is_not_tried_again() {
    is_taken_back_for_good(&Container::start("#!/bin/sh\nexit 3\n", 20_000), "exit code 3");
}

#[test]
fn a_binary_that_can_not_run_gives_way_to_the_old_one() {
    is_taken_back_for_good(&Container::start("\u{7f}ELF of nothing", 20_000), "can't be started");
}

#[test]
fn an_agent_that_is_not_healthy_in_time_may_try_as_often_as_was_said() {
    let container = Container::start("#!/bin/sh\nexec sleep 1000\n", 200);
    let before = container.heard("old", guarded);
    let first = container.heard("old", |state| state["taken_back"]["tries"] == 1);
    assert_eq!(first["taken_back"]["for_good"], false);
    assert_eq!(first["postmaster"], before["postmaster"]);
    let second = container.heard("old", |state| state["taken_back"]["tries"] == 2);
    assert_eq!(second["taken_back"]["for_good"], true);
    let refused = container.heard("old", |state| state["answered"] == 4);
    assert!(refused["refused"].as_str().unwrap().contains("taken back already"), "{refused}");
}
