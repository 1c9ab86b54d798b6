//! The control groups of nodes and daemons: made before the kubelets start, read to find every process, removed in the end.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::layout::{Node, PREFIX};

const ROOT: &str = "/sys/fs/cgroup";

/// All trees: one with version 2, one per controller with version 1.
fn hierarchies() -> Vec<PathBuf> {
    let root = PathBuf::from(ROOT);
    if root.join("cgroup.controllers").exists() {
        return vec![root];
    }
    let Ok(entries) = fs::read_dir(&root) else { return Vec::new() };
    entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.join("cgroup.procs").exists() && !path.is_symlink())
        .collect()
}

/// Makes the top-level group of each node, in every tree.
///
/// # Errors
/// When the kernel refuses.
pub fn create() -> Result<()> {
    for hierarchy in hierarchies() {
        if hierarchy.join("cgroup.subtree_control").exists() {
            enable_controllers(&hierarchy);
        }
        for node in Node::all() {
            let group = hierarchy.join(node.namespace());
            fs::create_dir_all(&group).with_context(|| format!("create {}", group.display()))?;
            // A new cpuset starts empty, and nothing may run in an empty one.
            for setting in ["cpuset.cpus", "cpuset.mems"] {
                if let Ok(value) = fs::read_to_string(hierarchy.join(setting)) {
                    fs::write(group.join(setting), value.trim())
                        .with_context(|| format!("set {setting} of {}", group.display()))?;
                }
            }
            if group.join("cgroup.subtree_control").exists() {
                enable_controllers(&group);
            }
        }
    }
    Ok(())
}

/// Version 2: passes all controllers on to the groups below. Those that refuse are not needed.
fn enable_controllers(group: &Path) {
    let Ok(controllers) = fs::read_to_string(group.join("cgroup.controllers")) else { return };
    for controller in controllers.split_whitespace() {
        let _ = fs::write(group.join("cgroup.subtree_control"), format!("+{controller}"));
    }
}

/// All groups of the sandbox that exist.
pub fn ours() -> Vec<PathBuf> {
    let mut found = Vec::new();
    for hierarchy in hierarchies() {
        let Ok(entries) = fs::read_dir(&hierarchy) else { continue };
        found.extend(
            entries
                .flatten()
                .filter(|entry| entry.file_name().to_string_lossy().starts_with(PREFIX))
                .map(|entry| entry.path()),
        );
    }
    found
}

/// Numbers of all processes in a group and those below it.
pub fn processes(group: &Path) -> Vec<i32> {
    let mut pids: Vec<i32> = fs::read_to_string(group.join("cgroup.procs"))
        .unwrap_or_default()
        .lines()
        .filter_map(|line| line.parse().ok())
        .collect();
    for below in subgroups(group) {
        pids.extend(processes(&below));
    }
    pids.sort_unstable();
    pids.dedup();
    pids
}

/// The group with this name anywhere below `group`.
pub fn find(group: &Path, name: &str) -> Option<PathBuf> {
    subgroups(group).into_iter().find_map(|below| {
        if below.file_name().is_some_and(|own| own == name) { Some(below) } else { find(&below, name) }
    })
}

/// The group of a container on a node.
pub fn of_container(node: Node, container: &str) -> Option<PathBuf> {
    hierarchies().into_iter().find_map(|hierarchy| find(&hierarchy.join(node.namespace()), container))
}

/// The group of a process in the tree that has this controller.
///
/// # Errors
/// When the process has ended.
pub fn of_process(pid: i32, controller: &str) -> Result<PathBuf> {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).with_context(|| format!("process {pid}"))?;
    group_of(&text, controller)
        .with_context(|| format!("process {pid} is in no group of {controller}: {text}"))
}

/// In lines such as `4:memory:/node/pod/container`; the one tree of version 2 has no controllers named.
fn group_of(text: &str, controller: &str) -> Option<PathBuf> {
    let lines = || text.lines().filter_map(|line| line.split_once(':')?.1.split_once(':'));
    let own = lines().find(|(controllers, _)| controllers.split(',').any(|one| one == controller));
    let (folder, path) = match own {
        Some((_, path)) => (Path::new(ROOT).join(controller), path),
        None => (PathBuf::from(ROOT), lines().find(|(controllers, _)| controllers.is_empty())?.1),
    };
    Some(folder.join(path.trim_start_matches('/')))
}

/// Removes a group with all below it. Its processes must have ended.
///
/// # Errors
/// When the kernel refuses.
pub fn remove(group: &Path) -> Result<()> {
    for below in subgroups(group) {
        remove(&below)?;
    }
    match fs::remove_dir(group) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("remove {}", group.display()))
        }
        _ => Ok(()),
    }
}

fn subgroups(group: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(group) else { return Vec::new() };
    entries
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_group_of_a_process_is_found_in_either_version() {
        let first = "9:memory:/node1/pod/a\n4:cpu,cpuacct:/node1/pod/b\n0::/\n";
        assert_eq!(group_of(first, "memory").unwrap(), Path::new("/sys/fs/cgroup/memory/node1/pod/a"));
        assert_eq!(group_of(first, "cpu").unwrap(), Path::new("/sys/fs/cgroup/cpu/node1/pod/b"));
        assert_eq!(group_of("0::/node1/pod/a\n", "cpu").unwrap(), Path::new("/sys/fs/cgroup/node1/pod/a"));
    }
}
