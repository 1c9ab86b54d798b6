//! Many clusters applied at once, beside as many PostgreSQL pods that nobody manages: how fast this Kubernetes can start them.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use k8s_openapi::api::apps::v1::StatefulSet;
use kube::Api;
use kube::api::PostParams;
use serde_json::{Value as Json, json};

use crate::poll::{Seen, until};
use crate::sandbox::{STORAGE_CLASS, Sandbox};
use crate::terraform::hcl::VERSIONS;
use crate::terraform::{Cli, Plugin, Terraform};

/// The one set of plain pods.
const PLAIN: &str = "plain";
/// Where the plain pods' data is.
const DATA: &str = "/data";
/// How long all pods may take.
const ALL: Duration = Duration::from_secs(600);

/// What was measured, in seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Parallel {
    /// How many clusters there were, each of one instance.
    pub clusters: u32,
    /// One apply of them all.
    pub apply_s: f64,
    /// Until as many plain pods, each with a volume, had run initdb and listened.
    pub pods_s: f64,
}

/// Measures the pods, then the clusters, each in a namespace of its own.
///
/// # Errors
/// When one of them does not come up.
pub async fn measure(sandbox: &Sandbox, (cli, plugin): (&Cli, &Plugin), clusters: u32) -> Result<Parallel> {
    let namespace = sandbox.create_namespace("bench-pods").await?;
    let pods_s = plain_pods(sandbox, &namespace, clusters).await;
    sandbox.delete_namespace(&namespace).await?;
    let pods_s = pods_s?;
    let namespace = sandbox.create_namespace("bench-parallel").await?;
    let apply_s = apply(sandbox, (cli, plugin), &namespace, clusters).await;
    sandbox.delete_namespace(&namespace).await?;
    Ok(Parallel { clusters, apply_s: apply_s?, pods_s })
}

async fn plain_pods(sandbox: &Sandbox, namespace: &str, count: u32) -> Result<f64> {
    let sets: Api<StatefulSet> = Api::namespaced(sandbox.client(), namespace);
    let began = Instant::now();
    sets.create(&PostParams::default(), &serde_json::from_value(plain(count))?).await?;
    until("all plain pods to be ready", ALL, || async {
        let status = sets.get(PLAIN).await?.status.context("no status yet")?;
        let ready = status.ready_replicas.unwrap_or_default();
        Ok(Seen::when(u32::try_from(ready) == Ok(count), format!("{ready} of {count}")))
    })
    .await?;
    Ok(began.elapsed().as_secs_f64())
}

fn plain(count: u32) -> Json {
    let labels = json!({ "app": PLAIN });
    let script = format!(
        "initdb --no-sync -D {DATA}/pg >/dev/null && exec postgres -D {DATA}/pg -k /tmp -c listen_addresses='*'"
    );
    let container = json!({
        "name": "postgres",
        "image": "docker.io/library/postgres:18",
        "command": ["sh", "-c", script],
        "readinessProbe": { "tcpSocket": { "port": 5432 }, "periodSeconds": 1 },
        "volumeMounts": [{ "name": "data", "mountPath": DATA }],
    });
    json!({
        "metadata": { "name": PLAIN },
        "spec": {
            "replicas": count,
            "serviceName": PLAIN,
            "podManagementPolicy": "Parallel",
            "selector": { "matchLabels": labels },
            "template": {
                "metadata": { "labels": labels },
                "spec": {
                    "containers": [container],
                    "securityContext": { "runAsUser": 999, "runAsGroup": 999, "fsGroup": 999 },
                },
            },
            "volumeClaimTemplates": [{
                "metadata": { "name": "data" },
                "spec": {
                    "accessModes": ["ReadWriteOnce"],
                    "storageClassName": STORAGE_CLASS,
                    "resources": { "requests": { "storage": "1Gi" } },
                },
            }],
        },
    })
}

async fn apply(
    sandbox: &Sandbox,
    (cli, plugin): (&Cli, &Plugin),
    namespace: &str,
    count: u32,
) -> Result<f64> {
    let terraform = Terraform::new(cli, plugin, &sandbox.kubeconfig())?;
    terraform.write("main.tf", &configuration(namespace, count))?;
    terraform.init().await?;
    let run = terraform.apply(&[]).await?;
    terraform.destroy().await?;
    Ok(run.took.as_secs_f64())
}

fn configuration(namespace: &str, count: u32) -> String {
    format!(
        "{VERSIONS}\nresource \"postgres_ha_cluster\" \"this\" {{\n  count               = {count}\n  name                = \"pg${{count.index}}\"\n  \
         namespace           = \"{namespace}\"\n  replicas            = 0\n  storage             = {{ size = \"1Gi\", class = \
         \"{STORAGE_CLASS}\", retain = false }}\n  deletion_protection = false\n}}\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_counts_the_clusters() {
        let text = configuration("ns", 10);
        assert!(text.contains("count               = 10") && text.contains("\"pg${count.index}\""), "{text}");
    }
}
