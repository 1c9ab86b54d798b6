//! The agent's end of the socket to its guard.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::OwnedWriteHalf;
use tokio::sync::{Mutex, watch};

use crate::guard::message::{Command, Lines, Request, State, to_line};

/// The guard does nothing that takes longer.
const ANSWER_DEADLINE: Duration = Duration::from_secs(2);

/// The guard did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum GuardError {
    /// No answer: the guard is gone, and with it soon this process.
    #[error("the guard does not answer")]
    Silent,
    /// It refused.
    #[error("the guard refused: {0}")]
    Refused(String),
}

/// Asks the guard, and knows its state.
#[derive(Clone, Debug)]
pub struct GuardLink {
    writer: Arc<Mutex<(OwnedWriteHalf, u64)>>,
    state: watch::Receiver<State>,
}

/// Standard input, which the guard made its socket.
pub fn socket_from_guard() -> io::Result<OwnedFd> {
    io::stdin().as_fd().try_clone_to_owned()
}

impl GuardLink {
    /// Takes up the talk; returns once the guard has told its state. `wake` is called at every change.
    pub async fn open(socket: OwnedFd, wake: impl Fn() + Send + 'static) -> io::Result<Self> {
        let stream = StdUnixStream::from(socket);
        stream.set_nonblocking(true)?;
        let (mut reader, writer) = UnixStream::from_std(stream)?.into_split();
        let (sender, state) = watch::channel(State::default());
        tokio::spawn(async move {
            let mut lines = Lines::default();
            let mut buffer = [0; 4096];
            while let Ok(length @ 1..) = reader.read(&mut buffer).await {
                if lines.feed(&buffer[..length]).is_err() {
                    break;
                }
                while let Some(line) = lines.next_line() {
                    if let Ok(state) = serde_json::from_str::<State>(&line) {
                        sender.send_replace(state);
                        wake();
                    }
                }
            }
            // Without its guard an agent can start, stop and fence nothing: it ends, and so does the container.
            tracing::error!("the guard is gone");
            std::process::exit(1);
        });
        let link = Self { writer: Arc::new(Mutex::new((writer, 0))), state };
        link.ask(Command::Beat).await.map_err(io::Error::other)?;
        Ok(link)
    }

    /// What the guard told last.
    pub fn state(&self) -> State {
        self.state.borrow().clone()
    }

    /// Says that the loop turns; no answer is awaited.
    pub async fn beat(&self) {
        let mut writer = self.writer.lock().await;
        writer.1 += 1;
        let line = to_line(&Request::new(writer.1, Command::Beat));
        let _ = writer.0.write_all(&line).await;
    }

    /// Asks and waits for the answer. The writer stays locked meanwhile, so that the answer is this request's.
    pub async fn ask(&self, command: Command) -> Result<State, GuardError> {
        let mut writer = self.writer.lock().await;
        writer.1 += 1;
        let id = writer.1;
        let line = to_line(&Request::new(id, command));
        writer.0.write_all(&line).await.map_err(|_| GuardError::Silent)?;
        let mut state = self.state.clone();
        let answered = tokio::time::timeout(ANSWER_DEADLINE, state.wait_for(|state| state.answered >= id));
        let state = answered.await.map_err(|_| GuardError::Silent)?.map_err(|_| GuardError::Silent)?.clone();
        match &state.refused {
            Some(why) => Err(GuardError::Refused(why.clone())),
            None => Ok(state),
        }
    }

    /// Waits until no postmaster runs and what it left is gone.
    pub async fn await_down(&self, deadline: Duration) -> bool {
        let mut state = self.state.clone();
        tokio::time::timeout(deadline, state.wait_for(|state| state.postmaster.is_none() && !state.clearing))
            .await
            .is_ok_and(|result| result.is_ok())
    }
}
