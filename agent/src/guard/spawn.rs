//! What the guard makes: its nonce, the volume's lock, the agent, postgres.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read};
use std::net::TcpListener;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::signal::Signal;
use nix::sys::signalfd::SignalFd;

use super::log;

/// Name of the lock file on the volume.
pub const LOCK_FILE: &str = "lock";

/// Identity of this life of the container.
pub fn nonce() -> io::Result<String> {
    let mut bytes = [0; 16];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(hex::encode(bytes))
}

/// Leaves the nonce where the kubelet will report it once every process here is dead: proof of death (A10).
pub fn leave_proof(path: &Path, nonce: &str) {
    if let Err(error) = std::fs::write(path, nonce) {
        // Without it peers wait for the lease to expire instead: slower, and as safe.
        log(&format!("no proof of death can be left in {}: {error}", path.display()));
    }
}

/// Locks the volume with a descriptor that every child inherits, so that the lock lives as long as any process that
/// can write (A5). Waits while another container has it; `None`: told to stop meanwhile.
pub fn lock_volume(volume: &Path, signals: &SignalFd) -> io::Result<Option<File>> {
    let path = volume.join(LOCK_FILE);
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path)?;
    let mut told = false;
    loop {
        match file.try_lock() {
            Ok(()) => {
                fcntl(&file, FcntlArg::F_SETFD(FdFlag::empty()))?;
                return Ok(Some(file));
            }
            Err(TryLockError::WouldBlock) => {
                if !told {
                    log("another container still has the volume: waiting for its end");
                    told = true;
                }
            }
            Err(TryLockError::Error(error)) => return Err(error),
        }
        while let Ok(Some(info)) = signals.read_signal() {
            if matches!(Signal::try_from(info.ssi_signo as i32), Ok(Signal::SIGTERM | Signal::SIGINT)) {
                return Ok(None);
            }
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Starts the agent: its standard input is the socket to the guard, its standard output the listening REST socket,
/// so that no descriptor has to be passed by number.
pub fn agent(argv: &[String], listener: &TcpListener) -> io::Result<(i32, UnixStream)> {
    let (ours, theirs) = UnixStream::pair()?;
    ours.set_nonblocking(true)?;
    let (program, arguments) = argv.split_first().ok_or_else(|| io::Error::other("no agent named"))?;
    let child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::from(std::os::fd::OwnedFd::from(theirs)))
        .stdout(Stdio::from(listener.as_fd().try_clone_to_owned()?))
        .stderr(Stdio::inherit())
        .spawn()?;
    Ok((child.id() as i32, ours))
}

/// Starts postgres; what it logs goes straight to the container's stderr, never through the agent (A8).
pub fn postgres(argv: &[String]) -> io::Result<i32> {
    let (program, arguments) = argv.split_first().ok_or_else(|| io::Error::other("no program named"))?;
    let child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(io::stderr().as_fd().try_clone_to_owned()?)
        .stderr(Stdio::inherit())
        .spawn()?;
    Ok(child.id() as i32)
}
