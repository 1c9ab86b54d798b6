//! What agent and guard say to each other: one JSON document a line over a socket pair, each with the format's number.
//!
//! The guard answers every command, and tells every event, with its whole state: the agent never has to put
//! pieces together, and a restarted agent knows all from the first line.

use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Highest number of the format that this build speaks. The guard of a container stays while agents come and go (A8), so a
/// request carries the number with which its command came: an older guard then refuses only what it can't do.
pub const PROTOCOL: u32 = 2;
/// No message is longer: a guard must not be made to hold more.
pub const MAX_LINE_BYTES: usize = 64 * 1024;

/// Agent to guard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// With which format its command came: [`Command::format`].
    pub v: u32,
    /// Counts the requests of one agent; comes back in [`State::answered`].
    pub id: u64,
    /// What is wanted.
    #[serde(flatten)]
    pub command: Command,
}

/// What the agent can ask for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum Command {
    /// The agent's loop turned; the first one of a life asks for the state.
    Beat,
    /// Start postgres with these arguments, as a child of the guard.
    Start {
        /// The program and its arguments.
        argv: Vec<String>,
        /// It may write at once: refused unless a deadline stands and is not past.
        writable: bool,
    },
    /// Send a signal to the postmaster.
    Signal {
        /// Which.
        signal: Signal,
    },
    /// Move the fence to this time by CLOCK_BOOTTIME; `None`: nothing here can write, no fence is needed.
    Deadline {
        /// Milliseconds since boot.
        at_ms: Option<u64>,
    },
    /// Fence now.
    Fence,
    /// Everything is done: kill what is left and end the container.
    Exit,
    /// Start this program in the asking agent's place, and go back unless it sends `Healthy` in time (format 2).
    Exchange {
        /// Its path, beside the running agent's.
        program: PathBuf,
        /// SHA-256 of it: what is refused is known by it.
        sha256: String,
        /// Generation of the desired document that asks: another one may ask for a refused program again.
        generation: u64,
        /// So long it has, in milliseconds.
        within_ms: u64,
        /// So often it may fail to be healthy in time until it is refused for good; a crash is for good at once.
        tries: u32,
    },
    /// The agent on trial has looked at the world, and its loop turns: it stays (format 2).
    Healthy,
}

impl Command {
    /// The format with which this command came.
    pub fn format(&self) -> u32 {
        match self {
            Self::Beat
            | Self::Start { .. }
            | Self::Signal { .. }
            | Self::Deadline { .. }
            | Self::Fence
            | Self::Exit => 1,
            Self::Exchange { .. } | Self::Healthy => 2,
        }
    }
}

impl Request {
    /// The request with this number.
    pub fn new(id: u64, command: Command) -> Self {
        Self { v: command.format(), id, command }
    }
}

/// Signals that a postmaster understands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Signal {
    /// SIGINT: fast stop.
    Fast,
    /// SIGQUIT: immediate stop.
    Immediate,
    /// SIGHUP: read the configuration again.
    Reload,
}

/// Guard to agent: everything it knows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// [`PROTOCOL`].
    pub v: u32,
    /// The last request that was carried out or refused.
    pub answered: u64,
    /// Why that request was refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
    /// This life of the container.
    pub nonce: String,
    /// The running postmaster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub postmaster: Option<u32>,
    /// Processes of a dead postmaster, or of a fence, are still being killed; a start is refused until they are gone.
    pub clearing: bool,
    /// How the last postmaster of this container ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_exit: Option<Exit>,
    /// When the fence falls.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline_ms: Option<u64>,
    /// How often it fell, or was asked for.
    pub fences: u64,
    /// When it last fell without anybody asking for that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fenced_alone_ms: Option<u64>,
    /// SIGTERM came: hand over, stop, and send `Exit`.
    pub terminating: bool,
    /// The agent that is told this is on trial.
    #[serde(default)]
    pub on_trial: bool,
    /// The last agent that was taken back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taken_back: Option<TakenBack>,
}

/// An agent that did not become healthy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TakenBack {
    /// SHA-256 of its program.
    pub sha256: String,
    /// Generation of the desired document that asked for it.
    pub generation: u64,
    /// What was wrong, for people.
    pub why: String,
    /// When, in milliseconds since boot.
    pub at_ms: u64,
    /// How often by now.
    pub tries: u32,
    /// It is not tried again for this document.
    pub for_good: bool,
}

/// How a postmaster ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// Its process.
    pub pid: u32,
    /// Its exit code, when it ended by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<i32>,
    /// The signal that ended it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    /// When, in milliseconds since boot.
    pub at_ms: u64,
}

/// Takes bytes as they arrive and gives whole lines.
#[derive(Debug, Default)]
pub struct Lines {
    buffer: Vec<u8>,
}

impl Lines {
    /// Adds what was read.
    pub fn feed(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() > MAX_LINE_BYTES && !self.buffer.contains(&b'\n') {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a message without an end"));
        }
        Ok(())
    }

    /// The next whole line.
    pub fn next_line(&mut self) -> Option<String> {
        let end = self.buffer.iter().position(|&byte| byte == b'\n')?;
        let line: Vec<u8> = self.buffer.drain(..=end).collect();
        Some(String::from_utf8_lossy(&line[..end]).into_owned())
    }
}

/// A request from its line.
pub fn parse_request(line: &str) -> Result<Request, String> {
    let request: Request = serde_json::from_str(line).map_err(|error| format!("not a request: {error}"))?;
    if request.v > PROTOCOL {
        return Err(format!("format {} is newer than this guard's {PROTOCOL}", request.v));
    }
    Ok(request)
}

/// The line of a message.
pub fn to_line<T: Serialize>(message: &T) -> Vec<u8> {
    let mut line = serde_json::to_vec(message).unwrap_or_default();
    line.push(b'\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_comes_back_from_its_line() {
        let commands = [
            Command::Beat,
            Command::Start { argv: vec!["postgres".into(), "-D".into(), "/x y".into()], writable: true },
            Command::Signal { signal: Signal::Fast },
            Command::Deadline { at_ms: Some(u64::MAX) },
            Command::Deadline { at_ms: None },
            Command::Fence,
            Command::Exit,
            Command::Exchange {
                program: "/x/new".into(),
                sha256: "ab".into(),
                generation: 3,
                within_ms: 1_500,
                tries: 3,
            },
            Command::Healthy,
        ];
        for (id, command) in commands.into_iter().enumerate() {
            let request = Request::new(id as u64, command);
            let line = String::from_utf8(to_line(&request)).unwrap();
            assert!(line.ends_with('\n') && !line.trim_end().contains('\n'));
            assert_eq!(parse_request(line.trim_end()), Ok(request));
        }
    }

    #[test]
    fn a_request_of_a_newer_format_is_refused() {
        let error = parse_request(r#"{"v":3,"id":1,"do":"beat"}"#).unwrap_err();
        assert!(error.contains("newer"), "{error}");
    }

    /// A guard of format 1 understands these of a newer agent, and refuses the rest by their number.
    #[test]
    fn what_older_guards_can_do_is_asked_for_in_their_format() {
        let of = |command: Command| Request::new(1, command).v;
        assert_eq!(of(Command::Beat), 1);
        assert_eq!(of(Command::Start { argv: Vec::new(), writable: true }), 1);
        assert_eq!(of(Command::Deadline { at_ms: None }), 1);
        assert_eq!(of(Command::Healthy), 2);
    }

    #[test]
    fn a_state_of_an_older_or_newer_guard_is_understood() {
        let older = r#"{"v":1,"answered":0,"nonce":"n","clearing":false,"fences":0,"terminating":false}"#;
        let state: State = serde_json::from_str(older).unwrap();
        assert_eq!((state.v, state.on_trial, state.taken_back), (1, false, None));
        assert_eq!(state.fenced_alone_ms, None);
        let newer = older.replace("\"v\":1", "\"v\":9,\"unheard_of\":[1]");
        assert_eq!(serde_json::from_str::<State>(&newer).unwrap().v, 9);
    }

    #[test]
    fn lines_are_whole_however_they_arrive() {
        let mut lines = Lines::default();
        lines.feed(b"on").unwrap();
        assert_eq!(lines.next_line(), None);
        lines.feed(b"e\ntwo\nthr").unwrap();
        assert_eq!(lines.next_line().as_deref(), Some("one"));
        assert_eq!(lines.next_line().as_deref(), Some("two"));
        assert_eq!(lines.next_line(), None);
    }

    #[test]
    fn a_message_without_an_end_is_refused() {
        assert!(Lines::default().feed(&vec![b'x'; MAX_LINE_BYTES + 1]).is_err());
    }
}
