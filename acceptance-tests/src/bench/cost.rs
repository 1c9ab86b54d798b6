//! What running costs when nothing happens: memory and processor time of everything in a pod that is not PostgreSQL, and
//! requests to the API server.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use k8s_openapi::api::flowcontrol::v1::FlowSchema;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::subject::{CLUSTER, Subject};
use super::trial::System;
use crate::poll::{Seen, until};
use crate::process::run;
use crate::sandbox::Sandbox;

/// The API server counts requests by flow schema, so each measured service account gets one of its own. Its requests stay in the
/// priority level that they would have without it.
const LEVEL: &str = "workload-low";
/// Before the schemas that ship with Kubernetes, behind those for probes and the exempt.
const PRECEDENCE: i32 = 50;

/// What one system costs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    /// Which system.
    pub system: System,
    /// Each pod's processes.
    pub pods: Vec<PodCost>,
    /// Requests of all its pods to the API server, a minute.
    pub api_requests_per_minute: f64,
    /// Over how long it was measured, in seconds.
    pub seconds: f64,
}

/// What the processes beside PostgreSQL cost in one pod.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PodCost {
    /// The pod.
    pub pod: String,
    /// Whether it holds the primary.
    pub primary: bool,
    /// Resident memory, summed over the processes, in MiB: what they share counts for each.
    pub rss_mib: f64,
    /// Proportional memory in MiB: what they share counts once.
    pub pss_mib: f64,
    /// Processor time in thousandths of a processor.
    pub cpu_milli: f64,
}

/// Measures a system that is idle.
///
/// # Errors
/// When the API server counts nothing or a process is gone.
pub async fn measure(sandbox: &Sandbox, subject: &Subject, system: System, over: Duration) -> Result<Cost> {
    let namespace = &subject.cluster.namespace;
    let schema = format!("bench-{namespace}");
    let schemas: Api<FlowSchema> = Api::all(sandbox.client());
    let object = flow_schema(&schema, namespace);
    schemas.patch(&schema, &PatchParams::apply("bench").force(), &Patch::Apply(&object)).await?;
    until("the API server to count this cluster's requests", Duration::from_secs(60), || async {
        let counted = requests(sandbox, &schema)?;
        Ok(Seen::when(counted > 0, "none yet"))
    })
    .await?;
    let primary = subject.cluster.primary().await?;
    let pods: Vec<String> = subject.cluster.pods().await?.into_keys().collect();
    let ticks = |pod: &str| -> Result<u64> {
        Ok(agent_pids(sandbox, namespace, pod)?.into_iter().filter_map(cpu_ticks).sum())
    };
    let begun = Instant::now();
    let requests_before = requests(sandbox, &schema)?;
    let before = pods.iter().map(|pod| ticks(pod)).collect::<Result<Vec<u64>>>()?;
    tokio::time::sleep(over).await;
    let seconds = begun.elapsed().as_secs_f64();
    let requests_after = requests(sandbox, &schema)?;
    let mut costs = Vec::new();
    for (pod, before) in pods.into_iter().zip(before) {
        let spent = ticks(&pod)?.saturating_sub(before) as f64 / ticks_per_second();
        let pids = agent_pids(sandbox, namespace, &pod)?;
        ensure!(!pids.is_empty(), "nothing but PostgreSQL runs in {pod}");
        costs.push(PodCost {
            primary: pod == primary,
            rss_mib: pids.iter().filter_map(|pid| memory_kib(*pid, "Rss:")).sum::<f64>() / 1024.0,
            pss_mib: pids.iter().filter_map(|pid| memory_kib(*pid, "Pss:")).sum::<f64>() / 1024.0,
            cpu_milli: spent / seconds * 1_000.0,
            pod,
        });
    }
    schemas.delete(&schema, &DeleteParams::default()).await?;
    let api_requests_per_minute = (requests_after - requests_before) as f64 / seconds * 60.0;
    Ok(Cost { system, pods: costs, api_requests_per_minute, seconds })
}

fn flow_schema(name: &str, namespace: &str) -> serde_json::Value {
    json!({
        "apiVersion": "flowcontrol.apiserver.k8s.io/v1",
        "kind": "FlowSchema",
        "metadata": { "name": name },
        "spec": {
            "matchingPrecedence": PRECEDENCE,
            "priorityLevelConfiguration": { "name": LEVEL },
            "distinguisherMethod": { "type": "ByUser" },
            "rules": [{
                "subjects": [{
                    "kind": "ServiceAccount",
                    "serviceAccount": { "namespace": namespace, "name": CLUSTER },
                }],
                "resourceRules": [{
                    "apiGroups": ["*"], "resources": ["*"], "verbs": ["*"], "namespaces": ["*"], "clusterScope": true,
                }],
                "nonResourceRules": [{ "nonResourceURLs": ["*"], "verbs": ["*"] }],
            }],
        },
    })
}

/// How many requests a flow schema has let through.
fn requests(sandbox: &Sandbox, schema: &str) -> Result<u64> {
    let metrics = run(sandbox.kubectl().args(["get", "--raw", "/metrics"]))?;
    Ok(dispatched(&metrics, schema))
}

fn dispatched(metrics: &str, schema: &str) -> u64 {
    let label = format!("flow_schema=\"{schema}\"");
    metrics
        .lines()
        .filter(|line| line.starts_with("apiserver_flowcontrol_dispatched_requests_total{"))
        .filter(|line| line.contains(&label))
        .filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok())
        .sum::<f64>() as u64
}

/// The processes of a pod that are not PostgreSQL's: those of another name, and with no ancestor of that name.
pub fn agent_pids(sandbox: &Sandbox, namespace: &str, pod: &str) -> Result<Vec<i32>> {
    let all = sandbox.processes_in_pod(namespace, pod)?;
    let beside = |name: &str| name != "postgres";
    Ok(all
        .into_iter()
        .filter(|process| beside(&process.name) && beside(&process.parent_name))
        .map(|process| process.id.pid)
        .collect())
}

fn memory_kib(pid: i32, field: &str) -> Option<f64> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    rollup_kib(&text, field)
}

fn rollup_kib(text: &str, field: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix(field)?.trim().strip_suffix(" kB")?.trim().parse().ok())
}

fn cpu_ticks(pid: i32) -> Option<u64> {
    stat_ticks(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// User and system time of a line of /proc/PID/stat, and of children that were waited for.
fn stat_ticks(text: &str) -> Option<u64> {
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    fields.get(11..15)?.iter().map(|field| field.parse::<u64>().ok()).sum()
}

fn ticks_per_second() -> f64 {
    let known = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK).ok().flatten();
    known.map_or(100.0, |ticks| ticks as f64)
}

impl Cost {
    /// One line for people.
    pub fn words(&self) -> String {
        let pods: Vec<String> = self
            .pods
            .iter()
            .map(|pod| {
                format!(
                    "{}{} {:.1} MiB ({:.1} shared fairly), {:.1} milli-CPU",
                    pod.pod,
                    if pod.primary { " (primary)" } else { "" },
                    pod.rss_mib,
                    pod.pss_mib,
                    pod.cpu_milli
                )
            })
            .collect();
        format!(
            "{}: {}; {:.0} API requests a minute",
            self.system,
            pods.join("; "),
            self.api_requests_per_minute
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_summed_over_priority_levels_of_one_schema() {
        let metrics = "# HELP x\n\
            apiserver_flowcontrol_dispatched_requests_total{flow_schema=\"bench-a\",priority_level=\"workload-low\"} 41\n\
            apiserver_flowcontrol_dispatched_requests_total{flow_schema=\"bench-a\",priority_level=\"catch-all\"} 1\n\
            apiserver_flowcontrol_dispatched_requests_total{flow_schema=\"bench-ab\",priority_level=\"workload-low\"} 9\n";
        assert_eq!(dispatched(metrics, "bench-a"), 42);
        assert_eq!(dispatched(metrics, "bench"), 0);
    }

    #[test]
    fn memory_and_processor_time_are_read_from_the_kernels_texts() {
        let rollup = "5581-7ffc ---p 00000000 00:00 0 [rollup]\nRss:                8420 kB\nPss:                4210 kB\n";
        assert_eq!((rollup_kib(rollup, "Rss:"), rollup_kib(rollup, "Pss:")), (Some(8420.0), Some(4210.0)));
        let stat = "42 (a (b) c) S 1 42 42 0 -1 4194560 1 2 3 4 150 50 7 3 20 0 5 0 1234 1 1";
        assert_eq!(stat_ticks(stat), Some(210));
    }
}
