//! Many clusters applied at once, beside their very objects made by nobody (`nobody.rs`), and beside as many plain PostgreSQL pods: how
//! fast this Kubernetes can start them.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{Namespace, PersistentVolume};
use kube::Api;
use kube::api::{ListParams, PostParams};
use serde_json::{Value as Json, json};

use super::nobody::Found;
use super::objects::Place;
use crate::bench::stats::Summary;
use crate::poll::{Seen, until};
use crate::sandbox::volumes::is_released;
use crate::sandbox::{STORAGE_CLASS, Sandbox};
use crate::terraform::hcl::VERSIONS;
use crate::terraform::{Cli, Plugin, Terraform};

/// The one set of plain pods.
const PLAIN: &str = "plain";
/// Where the plain pods' data is.
const DATA: &str = "/data";
/// How long all pods may take.
const ALL: Duration = Duration::from_secs(180);

/// What was measured, in seconds, in several rounds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Parallel {
    /// How many clusters there were, each of one instance.
    pub clusters: u32,
    /// The plan of them all, with all that it tries.
    pub plan: Summary,
    /// The apply of that plan, until each cluster takes writes and has told so.
    pub apply: Summary,
    /// Until the pods of the same objects were ready, which nobody made a plan of, tried, looked at or waited for.
    pub same: Summary,
    /// The apply by the same objects, each in one round.
    pub ratio: Summary,
    /// Until as many plain pods, each with a volume, had run initdb and listened.
    pub plain: Summary,
}

/// Measures in rounds: the clusters, the same objects, plain pods; each in a namespace of its own, once the one before is gone.
///
/// # Errors
/// When one of them does not come up.
pub async fn measure(
    sandbox: &Sandbox,
    (cli, plugin): (&Cli, &Plugin),
    clusters: u32,
    rounds: usize,
) -> Result<Parallel> {
    let mut rounds_s = Vec::new();
    for _ in 0..rounds {
        let applied = in_namespace(sandbox, "bench-parallel", |place| async {
            apply(sandbox, (cli, plugin), place, clusters).await
        });
        let (plan_s, apply_s, found) = applied.await?;
        let same = in_namespace(sandbox, "bench-nobody", |place| async move { found.make(&place).await });
        let same_s = same.await?;
        let plain =
            in_namespace(sandbox, "bench-pods", |place| async move { plain_pods(&place, clusters).await });
        rounds_s.push([plan_s, apply_s, same_s, plain.await?]);
    }
    let of = |what: fn(&[f64; 4]) -> f64| Summary::of(rounds_s.iter().map(what)).context("there was a round");
    Ok(Parallel {
        clusters,
        plan: of(|[plan, ..]| *plan)?,
        apply: of(|[_, apply, ..]| *apply)?,
        same: of(|[_, _, same, _]| *same)?,
        ratio: of(|[_, apply, same, _]| apply / same)?,
        plain: of(|[.., plain]| *plain)?,
    })
}

async fn in_namespace<T, F: Future<Output = Result<T>>>(
    sandbox: &Sandbox,
    prefix: &str,
    what: impl FnOnce(Place) -> F,
) -> Result<T> {
    let namespace = sandbox.create_namespace(prefix).await?;
    let done = what(Place { client: sandbox.client(), namespace: namespace.clone() }).await;
    sandbox.delete_namespace(&namespace).await?;
    until_gone(sandbox, &namespace).await?;
    done
}

/// Pods that end and volumes that are emptied take the processors of whatever is measured next.
async fn until_gone(sandbox: &Sandbox, namespace: &str) -> Result<()> {
    let namespaces: Api<Namespace> = Api::all(sandbox.client());
    let volumes: Api<PersistentVolume> = Api::all(sandbox.client());
    until("what was measured before to be gone", ALL, || async {
        let there = namespaces.get_opt(namespace).await?.is_some();
        let listed = volumes.list(&ListParams::default()).await?;
        let in_use = listed.iter().filter(|volume| is_released(volume)).count();
        Ok(Seen::when(
            !there && in_use == 0,
            format!("namespace there: {there}; {in_use} volumes not emptied yet"),
        ))
    })
    .await
}

async fn plain_pods(place: &Place, count: u32) -> Result<f64> {
    let sets: Api<StatefulSet> = Api::namespaced(place.client.clone(), &place.namespace);
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

/// How long plan and apply took, and what they made.
async fn apply(
    sandbox: &Sandbox,
    (cli, plugin): (&Cli, &Plugin),
    place: Place,
    count: u32,
) -> Result<(f64, f64, Found)> {
    let terraform = Terraform::new(cli, plugin, &sandbox.kubeconfig())?;
    terraform.write("main.tf", &configuration(&place.namespace, count))?;
    terraform.init().await?;
    let planned = terraform.try_plan(&[]).await?;
    ensure!(planned.code == Some(2), "expected a plan of {count} clusters:\n{}", planned.report());
    let applied = terraform.apply(&["test.plan"]).await?;
    let names: Vec<String> = (0..count).map(|number| format!("pg{number}")).collect();
    let found = Found::read(place, &names).await?;
    terraform.destroy().await?;
    Ok((planned.took.as_secs_f64(), applied.took.as_secs_f64(), found))
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
