//! Too little memory or processor for one pod: limits on its containers' control groups, set from outside.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::{Sandbox, cgroups};

/// Length of the window in which a processor's time is shared out.
const PERIOD_US: u64 = 100_000;

/// A limit in force. Dropping it lifts it.
#[derive(Debug)]
pub struct Limit {
    file: PathBuf,
    before: String,
}

impl Limit {
    fn set(file: PathBuf, before: &str, value: &str) -> Result<Self> {
        fs::write(&file, value).with_context(|| format!("write {value} to {}", file.display()))?;
        Ok(Self { file, before: before.to_owned() })
    }
}

impl Drop for Limit {
    fn drop(&mut self) {
        // The container may have ended, and its group with it.
        let _ = fs::write(&self.file, &self.before);
    }
}

impl Sandbox {
    /// Leaves the container of a pod this share of one processor, in percent.
    ///
    /// # Errors
    /// When no container runs or the kernel refuses.
    pub fn starve(&self, namespace: &str, pod: &str, percent: u64) -> Result<Limit> {
        let group = self.group(namespace, pod, "cpu")?;
        let quota = PERIOD_US * percent / 100;
        let (file, all) = (group.join("cpu.cfs_quota_us"), "-1");
        if file.exists() {
            fs::write(group.join("cpu.cfs_period_us"), PERIOD_US.to_string())?;
            return Limit::set(file, all, &quota.to_string());
        }
        Limit::set(group.join("cpu.max"), "max", &format!("{quota} {PERIOD_US}"))
    }

    /// Leaves the container of a pod so many bytes of memory beyond what it has now.
    ///
    /// # Errors
    /// When no container runs or the kernel refuses.
    pub fn tighten_memory(&self, namespace: &str, pod: &str, bytes: u64) -> Result<Limit> {
        let group = self.group(namespace, pod, "memory")?;
        let (usage, limit, all) = if group.join("memory.usage_in_bytes").exists() {
            ("memory.usage_in_bytes", "memory.limit_in_bytes", "-1")
        } else {
            ("memory.current", "memory.max", "max")
        };
        let used: u64 = read(&group.join(usage))?.trim().parse()?;
        Limit::set(group.join(limit), all, &(used + bytes).to_string())
    }

    /// How many processes of a pod's container the kernel has killed for want of memory.
    ///
    /// # Errors
    /// When no container runs.
    pub fn out_of_memory_kills(&self, namespace: &str, pod: &str) -> Result<u64> {
        let group = self.group(namespace, pod, "memory")?;
        let file = ["memory.oom_control", "memory.events"].map(|name| group.join(name));
        let text = read(file.iter().find(|file| file.exists()).context("no count of kills")?)?;
        let line = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
        Ok(line.with_context(|| format!("no oom_kill in {text}"))?.trim().parse()?)
    }

    /// How often a pod's container had to wait for its share of a processor.
    ///
    /// # Errors
    /// When no container runs.
    pub fn throttled(&self, namespace: &str, pod: &str) -> Result<u64> {
        let text = read(&self.group(namespace, pod, "cpu")?.join("cpu.stat"))?;
        let line = text.lines().find_map(|line| line.strip_prefix("nr_throttled "));
        Ok(line.with_context(|| format!("no nr_throttled in {text}"))?.trim().parse()?)
    }

    fn group(&self, namespace: &str, pod: &str, controller: &str) -> Result<PathBuf> {
        let processes = self.processes_in_pod(namespace, pod)?;
        let init = processes.iter().find(|process| process.inner_pid == 1);
        let init = init.with_context(|| format!("no container of pod {namespace}/{pod} runs"))?;
        cgroups::of_process(init.id.pid, controller)
    }
}

fn read(file: &Path) -> Result<String> {
    fs::read_to_string(file).with_context(|| format!("read {}", file.display()))
}
