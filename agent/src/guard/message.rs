//! What agent and guard say to each other: one JSON document a line over a socket pair, each with the format's number.
//!
//! The guard answers every command, and tells every event, with its whole state: the agent never has to put
//! pieces together, and a restarted agent knows all from the first line.

use std::io;

use serde::{Deserialize, Serialize};

/// Number of the format; the guard of a container stays while agents come and go, so a reader refuses a higher one.
pub const PROTOCOL: u32 = 1;
/// No message is longer: a guard must not be made to hold more.
pub const MAX_LINE_BYTES: usize = 64 * 1024;

/// Agent to guard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// [`PROTOCOL`].
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
    /// SIGTERM came: hand over, stop, and send `Exit`.
    pub terminating: bool,
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
        ];
        for (id, command) in commands.into_iter().enumerate() {
            let request = Request { v: PROTOCOL, id: id as u64, command };
            let line = String::from_utf8(to_line(&request)).unwrap();
            assert!(line.ends_with('\n') && !line.trim_end().contains('\n'));
            assert_eq!(parse_request(line.trim_end()), Ok(request));
        }
    }

    #[test]
    fn a_request_of_a_newer_format_is_refused() {
        let error = parse_request(r#"{"v":2,"id":1,"do":"beat"}"#).unwrap_err();
        assert!(error.contains("newer"), "{error}");
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
