//! Finds and kills the processes that could still write: backends have sessions of their own, so groups miss them (A7).

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Parent of each live process that this one can see; zombies are left out, they hold nothing any more.
pub fn parents() -> BTreeMap<i32, i32> {
    let mut parents = BTreeMap::new();
    let Ok(entries) = fs::read_dir("/proc") else { return parents };
    for entry in entries.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        // A process may end between the listing and the reading.
        let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else { continue };
        if let Some(parent) = live_parent(&stat) {
            parents.insert(pid, parent);
        }
    }
    parents
}

/// The parent in a line of /proc/PID/stat; `None` for a zombie. The name before it may hold any character.
pub(crate) fn live_parent(stat: &str) -> Option<i32> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?;
    let parent = fields.next()?.parse().ok()?;
    (!matches!(state, "Z" | "X")).then_some(parent)
}

/// `root` and everything below it.
pub fn tree(parents: &BTreeMap<i32, i32>, root: i32) -> BTreeSet<i32> {
    let mut found = BTreeSet::from([root]);
    loop {
        let before = found.len();
        found.extend(
            parents
                .iter()
                .filter(|(_, parent)| found.contains(parent))
                .map(|(pid, _)| *pid)
                .collect::<Vec<_>>(),
        );
        if found.len() == before {
            return found;
        }
    }
}

/// What a dead postmaster left: everything below the guard but the agent and what the agent itself runs.
pub fn leftovers(guard: i32, agent: Option<i32>) -> BTreeSet<i32> {
    let parents = parents();
    let spared = agent.map(|agent| tree(&parents, agent)).unwrap_or_default();
    let mut found = tree(&parents, guard);
    found.remove(&guard);
    &found - &spared
}

/// What a fence ends: everything in the container but guard and agent. Outside a container of its own (tests) the
/// container is what lies below the guard.
pub fn fenced(guard: i32, agent: Option<i32>) -> BTreeSet<i32> {
    let parents = parents();
    let mut found = if guard == 1 { parents.keys().copied().collect() } else { tree(&parents, guard) };
    found.remove(&guard);
    if let Some(agent) = agent {
        found.remove(&agent);
    }
    found
}

/// Sends a signal to each; a process that is gone already is what was wanted.
pub fn signal_all(pids: &BTreeSet<i32>, signal: Signal) {
    for pid in pids {
        let _ = kill(Pid::from_raw(*pid), signal);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parent_is_found_behind_any_name() {
        assert_eq!(live_parent("12 (postgres: a) b) S 7 12 12 0"), Some(7));
        assert_eq!(live_parent("12 (sh) Z 7 12 12 0"), None);
        assert_eq!(live_parent("nonsense"), None);
    }

    #[test]
    fn a_tree_holds_grandchildren_and_no_strangers() {
        let parents = BTreeMap::from([(2, 1), (3, 2), (4, 3), (5, 1), (6, 5)]);
        assert_eq!(tree(&parents, 2), BTreeSet::from([2, 3, 4]));
        assert_eq!(tree(&parents, 9), BTreeSet::from([9]));
    }
}
