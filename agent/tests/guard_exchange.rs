//! The real guard as a process, with shell scripts as agent and postgres: one agent is exchanged for another, and back when that
//! is not healthy (A8); a volume is one container's (A5); what the agents' port answers at the end. What all of them say comes
//! through the guard's stderr, in order.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::rc::Rc;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

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
    say "{\"v\":1,\"id\":2,\"do\":\"start\",\"argv\":[\"$PGHA_VOLUME/postgres\"],\"writable\":false}"
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

/// An agent that ends at once.
const ENDS: &str = "#!/bin/sh\nexit 3\n";

/// A postgres.
const SLEEPS: &str = "#!/bin/sh\nexec sleep 1000\n";

/// One that sees when nobody listens at the agents' port any more, and lets the guard go no further until it has said so.
const LOOKS_AT_THE_PORT: &str = r#"#!/bin/sh
trap "" QUIT
echo "looks out" >&2
port=$(printf ':%04X ' "$PGHA_REST_PORT")
while grep -q "$port.* 0A " /proc/net/tcp /proc/net/tcp6; do sleep 0.01; done
kill -STOP "$PPID"
echo "nobody listens" >&2
kill -CONT "$PPID"
exec sleep 1000
"#;

/// Port of the agents where a test looks at it: outside the range that others get theirs from by chance.
const PORT: &str = "18008";

/// A volume with the old agent, the one that it asks for, and this postgres.
fn volume_with(new: &str, postgres: &str) -> Rc<TempDir> {
    let volume = tempfile::tempdir().unwrap();
    fs::create_dir(volume.path().join("agents")).unwrap();
    executable(&volume.path().join("agents/agent"), &script("old", OLD));
    executable(&volume.path().join("new"), new);
    executable(&volume.path().join("postgres"), postgres);
    Rc::new(volume)
}

struct Container {
    guard: Child,
    lines: Receiver<String>,
    // Removed with the last container on it.
    volume: Rc<TempDir>,
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
        Self::on(volume_with(new, SLEEPS), within_ms, "0")
    }

    /// On a volume that may have been another container's; others reach the agent at this port.
    fn on(volume: Rc<TempDir>, within_ms: u64, port: &str) -> Self {
        let mut guard = Command::new(env!("CARGO_BIN_EXE_pgha-agent"))
            .arg("guard")
            .env("PGHA_AGENT", volume.path().join("agents/agent"))
            .env("PGHA_VOLUME", volume.path())
            .env("PGHA_TERMINATION_LOG", volume.path().join("termination"))
            .env("PGHA_REST_PORT", port)
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
        Self { guard, lines, volume }
    }

    /// The next line that contains this.
    fn next(&self, text: &str) -> String {
        self.next_of(&[text])
    }

    /// The next line that contains one of these.
    fn next_of(&self, texts: &[&str]) -> String {
        let until = Instant::now() + DEADLINE;
        let mut seen = Vec::new();
        while let Ok(line) = self.lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
            if texts.iter().any(|text| line.contains(text)) {
                return line;
            }
            seen.push(line);
        }
        panic!("{texts:?} was not said; but:\n{}", seen.join("\n"));
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
        fs::read_to_string(self.volume.path().join("agents/agent")).unwrap()
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.guard.id() as i32), signal).unwrap();
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
    assert!(!container.volume.path().join("agents/new").exists(), "it was renamed");
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
    is_taken_back_for_good(&Container::start(ENDS, 20_000), "exit code 3");
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

#[test]
fn a_container_waits_for_the_last_process_that_may_write_to_its_volume() {
    let volume = volume_with(ENDS, SLEEPS);
    let first = Container::on(volume.clone(), 20_000, "0");
    let postgres = first.heard("old", guarded)["postmaster"].as_i64().unwrap() as i32;
    first.signal(Signal::SIGKILL);
    let second = Container::on(volume.clone(), 20_000, "0");
    second.next("another container still has the volume");
    kill(Pid::from_raw(postgres), None).expect("the first one's postgres outlives its guard");
    let lock = File::open(volume.path().join("lock")).unwrap();
    assert!(lock.try_lock().is_err(), "postgres itself holds the lock");
    kill(Pid::from_raw(postgres), Signal::SIGKILL).unwrap();
    second.next("old starts");
}

/// Whether postgres saw that nobody listens while the container was ending; it may have been killed before it could.
fn port_is_closed_first() -> bool {
    let container = Container::on(volume_with(ENDS, LOOKS_AT_THE_PORT), 20_000, PORT);
    container.next("looks out");
    container.signal(Signal::SIGTERM);
    container.next_of(&["nobody listens", "postgres "]).contains("nobody listens")
}

#[test]
fn the_agents_port_is_closed_before_postgres_has_ended() {
    assert!((0..5).any(|_| port_is_closed_first()));
}
