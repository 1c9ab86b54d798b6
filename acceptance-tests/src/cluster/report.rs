//! Everything about a cluster in one text, for a failed test.

use std::fmt::Write as _;

use k8s_openapi::api::core::v1::{Event, Pod};
use kube::api::{ListParams, LogParams};
use pgha_schema::names::CONTAINER_POSTGRES;

use super::Cluster;

/// Lines of each container's log in a report.
const LOG_LINES: i64 = 60;

impl Cluster {
    /// Pods, record, status, events and the end of the logs. What can't be read is said in its place.
    pub async fn report(&self) -> String {
        let mut text = format!("===== cluster {} in {} =====\n", self.names.cluster(), self.namespace);
        let pods = match self.pods().await {
            Ok(pods) => pods,
            Err(error) => {
                let _ = writeln!(text, "pods: {error:#}");
                return text;
            }
        };
        for (name, pod) in &pods {
            let _ = writeln!(text, "pod {name}: {}", pod_line(pod));
        }
        match self.record().await {
            Ok(record) => {
                let _ = writeln!(text, "record: {}", serde_json::to_string(&record).unwrap_or_default());
            }
            Err(error) => {
                let _ = writeln!(text, "record: {error:#}");
            }
        }
        match self.status().await {
            Ok(status) => {
                let _ = writeln!(text, "status: {}", serde_json::to_string(&status).unwrap_or_default());
            }
            Err(error) => {
                let _ = writeln!(text, "status: {error:#}");
            }
        }
        text.push_str(&self.events().await);
        for name in pods.keys() {
            for previous in [true, false] {
                text.push_str(&self.log_end(name, previous).await);
            }
        }
        text
    }

    /// What every container of the cluster wrote, its life before too: name of a file and text.
    pub async fn logs(&self) -> Vec<(String, String)> {
        let mut logs = Vec::new();
        for pod in self.pods().await.map(|pods| pods.into_keys().collect::<Vec<_>>()).unwrap_or_default() {
            for (previous, ending) in [(true, "before.log"), (false, "log")] {
                let wanted = LogParams {
                    container: Some(CONTAINER_POSTGRES.into()),
                    previous,
                    timestamps: true,
                    ..LogParams::default()
                };
                if let Ok(log) = self.api::<Pod>().logs(&pod, &wanted).await {
                    logs.push((format!("{pod}.{ending}"), log));
                }
            }
        }
        logs
    }

    async fn events(&self) -> String {
        let events = match self.api::<Event>().list(&ListParams::default()).await {
            Ok(events) => events.items,
            Err(error) => return format!("events: {error}\n"),
        };
        let warnings = events.iter().filter(|event| event.type_.as_deref() == Some("Warning"));
        warnings
            .map(|event| {
                format!(
                    "event {} {}: {} {} (x{})\n",
                    event.involved_object.kind.as_deref().unwrap_or_default(),
                    event.involved_object.name.as_deref().unwrap_or_default(),
                    event.reason.as_deref().unwrap_or_default(),
                    event.message.as_deref().unwrap_or_default(),
                    event.count.unwrap_or(1),
                )
            })
            .collect()
    }

    async fn log_end(&self, pod: &str, previous: bool) -> String {
        let wanted = LogParams {
            container: Some(CONTAINER_POSTGRES.into()),
            tail_lines: Some(LOG_LINES),
            previous,
            ..LogParams::default()
        };
        match self.api::<Pod>().logs(pod, &wanted).await {
            Ok(log) => format!("----- log of {pod}{}\n{log}\n", if previous { ", life before" } else { "" }),
            Err(_) if previous => String::new(),
            Err(error) => format!("----- log of {pod}: {error}\n"),
        }
    }
}

fn pod_line(pod: &Pod) -> String {
    let labels = pod.metadata.labels.clone().unwrap_or_default();
    let role = labels.get("role").cloned().unwrap_or_default();
    let node = pod.spec.as_ref().and_then(|spec| spec.node_name.clone()).unwrap_or_default();
    let Some(status) = &pod.status else { return format!("role {role}, node {node}, no status") };
    let states: Vec<String> = status
        .init_container_statuses
        .iter()
        .chain(&status.container_statuses)
        .flatten()
        .map(|container| {
            let state = serde_json::to_string(&container.state).unwrap_or_default();
            format!(
                "{} ready {} restarts {} {state}",
                container.name, container.ready, container.restart_count
            )
        })
        .collect();
    format!(
        "role {role}, node {node}, {}, {}",
        status.phase.as_deref().unwrap_or_default(),
        states.join("; ")
    )
}
