//! Whether the volume still takes writes: a small write + fsync, again and again, beside everything else (A26).

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use nix::sys::statvfs::statvfs;
use pgha_agent_core::observation::DiskSeen;
use pgha_schema::status::VolumeFill;

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
    size_bytes: Arc<AtomicU64>,
    used_bytes: Arc<AtomicU64>,
}

impl DiskProbe {
    /// Starts probing with this file.
    pub fn start(path: PathBuf) -> io::Result<Self> {
        let probe = Self {
            running_since_ms: Arc::default(),
            full: Arc::default(),
            size_bytes: Arc::default(),
            used_bytes: Arc::default(),
        };
        let (since, full) = (Arc::clone(&probe.running_since_ms), Arc::clone(&probe.full));
        let (size, used) = (Arc::clone(&probe.size_bytes), Arc::clone(&probe.used_bytes));
        std::thread::Builder::new().name("disk-probe".into()).stack_size(64 * 1024).spawn(move || {
            loop {
                since.store(now_ms(), Ordering::Release);
                let result = write_and_sync(&path);
                let refused = matches!(&result, Err(error) if error.kind() == io::ErrorKind::StorageFull);
                // A volume that doesn't say how much room it has counts as one with room.
                let small = free_bytes(&path).is_ok_and(|free| free < LEAST_ROOM_BYTES);
                full.store(refused || small, Ordering::Release);
                if let Some(fill) = fill_of(&path) {
                    used.store(fill.used_bytes, Ordering::Release);
                    size.store(fill.size_bytes, Ordering::Release);
                }
                since.store(0, Ordering::Release);
                std::thread::sleep(PAUSE);
            }
        })?;
        Ok(probe)
    }

    /// How full the volume was when it last answered.
    pub fn fill(&self) -> Option<VolumeFill> {
        let size_bytes = self.size_bytes.load(Ordering::Acquire);
        let used_bytes = self.used_bytes.load(Ordering::Acquire);
        (size_bytes > 0).then_some(VolumeFill { size_bytes, used_bytes })
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

/// Of the file system that holds this file; what only root may still use counts as used.
fn fill_of(path: &PathBuf) -> Option<VolumeFill> {
    let stat = nix::sys::statvfs::statvfs(path).ok()?;
    let size_bytes = stat.blocks().saturating_mul(stat.fragment_size());
    let free_bytes = stat.blocks_available().saturating_mul(stat.fragment_size());
    Some(VolumeFill { size_bytes, used_bytes: size_bytes.saturating_sub(free_bytes) })
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
