//! Whether the volume still takes writes: a small write + fsync, again and again, beside everything else (A26).

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use nix::sys::statvfs::statvfs;
use pgha_agent_core::observation::DiskSeen;

use crate::boottime::now_ms;

const PAUSE: Duration = Duration::from_secs(1);
/// A probe that has not come back after this hangs.
const DEADLINE_MS: u64 = 3_000;

/// A segment of WAL. PostgreSQL stops itself when the next one finds no room, and what it had of it is free again then.
const LEAST_ROOM_BYTES: u64 = 16 << 20;

/// A thread that probes; a hung write blocks only itself.
#[derive(Debug)]
pub struct DiskProbe {
    /// When the running probe began; 0: none runs.
    running_since_ms: Arc<AtomicU64>,
    full: Arc<AtomicBool>,
}

impl DiskProbe {
    /// Starts probing with this file.
    pub fn start(path: PathBuf) -> io::Result<Self> {
        let probe = Self { running_since_ms: Arc::default(), full: Arc::default() };
        let (since, full) = (Arc::clone(&probe.running_since_ms), Arc::clone(&probe.full));
        std::thread::Builder::new().name("disk-probe".into()).stack_size(64 * 1024).spawn(move || {
            loop {
                since.store(now_ms(), Ordering::Release);
                let result = write_and_sync(&path);
                let refused = matches!(&result, Err(error) if error.kind() == io::ErrorKind::StorageFull);
                // A volume that doesn't say how much room it has counts as one with room.
                let small = free_bytes(&path).is_ok_and(|free| free < LEAST_ROOM_BYTES);
                full.store(refused || small, Ordering::Release);
                since.store(0, Ordering::Release);
                std::thread::sleep(PAUSE);
            }
        })?;
        Ok(probe)
    }

    /// The newest answer.
    pub fn seen(&self) -> DiskSeen {
        judge(self.running_since_ms.load(Ordering::Acquire), self.full.load(Ordering::Acquire), now_ms())
    }
}

fn judge(running_since_ms: u64, full: bool, now: u64) -> DiskSeen {
    if running_since_ms != 0 && now.saturating_sub(running_since_ms) > DEADLINE_MS {
        DiskSeen::Hung { since_ms: running_since_ms }
    } else if full {
        DiskSeen::Full
    } else {
        DiskSeen::Healthy
    }
}

fn write_and_sync(path: &PathBuf) -> io::Result<()> {
    let mut file = File::create(path)?;
    // A block of its own, so that a full disk shows.
    file.write_all(&[0; 4096])?;
    file.sync_all()
}

/// What a user that is not root may still write where this file lies.
fn free_bytes(path: &Path) -> io::Result<u64> {
    let seen = statvfs(path.parent().unwrap_or(path))?;
    Ok(seen.blocks_available() * seen.fragment_size())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probe_hangs_only_past_its_deadline() {
        assert_eq!(judge(0, false, 50_000), DiskSeen::Healthy);
        assert_eq!(judge(1_000, false, 1_000 + DEADLINE_MS), DiskSeen::Healthy);
        assert_eq!(judge(1_000, true, 1_001 + DEADLINE_MS), DiskSeen::Hung { since_ms: 1_000 });
        assert_eq!(judge(0, true, 1), DiskSeen::Full);
    }
}
