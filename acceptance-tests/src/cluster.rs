//! One cluster as Kubernetes and PostgreSQL show it: pods, record, status, SQL in a pod; waits on levels.

mod exec;
mod report;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Event, PersistentVolumeClaim, Pod, Secret, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::core::NamespaceResourceScope;
use kube::{Api, Client, Resource};
use pgha_schema::desired::SyncMode;
use pgha_schema::names::{
    ANNOTATION_RECORD, CONTAINER_POSTGRES, KEY_STATUS, LABEL_INSTANCE, LABEL_ROLE, Names, ROLE_PRIMARY,
    SOCKET_DIR,
};
use pgha_schema::record::Record;
use pgha_schema::status::{ClusterStatus, InstanceState};

use crate::poll::{Seen, until};

pub use exec::Output;

/// One look at `pg_stat_replication` and `pg_stat_activity` costs a tenth of a second; nobody waits longer than this.
const EXEC_DEADLINE: Duration = Duration::from_secs(15);

/// A cluster, by namespace and name.
#[derive(Clone)]
pub struct Cluster {
    client: Client,
    /// Its namespace.
    pub namespace: String,
    /// The names of its objects.
    pub names: Names,
}

/// What a standby looks like from the primary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Walsender {
    /// The standby's member id.
    pub application_name: String,
    /// `streaming` when it has caught up.
    pub state: String,
    /// `sync`, `async`, `quorum` or `potential`.
    pub sync_state: String,
}

impl Walsender {
    /// Whether commits wait for this standby, or may.
    pub fn confirms(&self) -> bool {
        matches!(self.sync_state.as_str(), "sync" | "quorum")
    }
}

impl Cluster {
    /// The cluster `name` in `namespace`, whether it exists or not.
    pub fn new(client: Client, namespace: &str, name: &str) -> Self {
        Self { client, namespace: namespace.to_owned(), names: Names::new(name) }
    }

    /// The client that this view uses.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Objects of one kind in the cluster's namespace.
    pub fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// The cluster's pods, by name.
    pub async fn pods(&self) -> Result<BTreeMap<String, Pod>> {
        let wanted = ListParams::default().labels(&format!("{LABEL_INSTANCE}={}", self.names.cluster()));
        let pods = self.api::<Pod>().list(&wanted).await.context("list the pods")?;
        Ok(pods.items.into_iter().map(|pod| (pod.metadata.name.clone().unwrap_or_default(), pod)).collect())
    }

    /// Names of the pods with the primary's label.
    pub async fn labelled_primary(&self) -> Result<Vec<String>> {
        let labelled = |pod: &Pod| {
            pod.metadata.labels.as_ref().is_some_and(|l| l.get(LABEL_ROLE).is_some_and(|r| r == ROLE_PRIMARY))
        };
        Ok(self.pods().await?.into_iter().filter(|(_, pod)| labelled(pod)).map(|(name, _)| name).collect())
    }

    /// The one pod with the primary's label.
    pub async fn primary(&self) -> Result<String> {
        let mut labelled = self.labelled_primary().await?;
        ensure!(labelled.len() == 1, "expected one pod labelled primary, got {labelled:?}");
        Ok(labelled.remove(0))
    }

    /// A pod that is not the primary, the one that confirms commits first when there is one.
    pub async fn standby(&self) -> Result<String> {
        let primary = self.primary().await?;
        let status = self.status().await?;
        let synchronous = status.instances.iter().find(|(pod, seen)| **pod != primary && seen.synchronous);
        if let Some((pod, _)) = synchronous {
            return Ok(pod.clone());
        }
        self.pods().await?.into_keys().find(|pod| *pod != primary).context("there is no standby")
    }

    /// The record in the Lease.
    pub async fn record(&self) -> Result<Record> {
        let lease = self.api::<Lease>().get(self.names.cluster()).await.context("read the Lease")?;
        let text = lease
            .metadata
            .annotations
            .as_ref()
            .and_then(|all| all.get(ANNOTATION_RECORD))
            .context("the Lease carries no record")?;
        serde_json::from_str(text).context("read the record")
    }

    /// The status that the holder writes.
    pub async fn status(&self) -> Result<ClusterStatus> {
        let map =
            self.api::<ConfigMap>().get(&self.names.status()).await.context("read the status ConfigMap")?;
        let text = map
            .data
            .as_ref()
            .and_then(|data| data.get(KEY_STATUS))
            .context("the status ConfigMap is empty")?;
        serde_json::from_str(text).context("read the status")
    }

    /// Name → uid of every pod: what a restart in place keeps and a rolling restart changes.
    pub async fn pod_uids(&self) -> Result<BTreeMap<String, String>> {
        let pods = self.pods().await?;
        Ok(pods.into_iter().map(|(name, pod)| (name, pod.metadata.uid.unwrap_or_default())).collect())
    }

    /// Identifiers of a pod's running containers: what a restart of the container changes.
    pub async fn containers(&self, pod: &str) -> Result<BTreeSet<String>> {
        let pods = self.pods().await?;
        let found = pods.get(pod).and_then(|pod| pod.status.as_ref());
        let status = found.with_context(|| format!("{pod} has no status"))?;
        let running = status
            .container_statuses
            .iter()
            .flatten()
            .filter(|container| container.state.as_ref().is_some_and(|state| state.running.is_some()));
        Ok(running.filter_map(|container| container.container_id.clone()).collect())
    }

    /// Name → node of every pod.
    pub async fn pod_nodes(&self) -> Result<BTreeMap<String, String>> {
        let pods = self.pods().await?;
        let node = |pod: Pod| pod.spec.and_then(|spec| spec.node_name).unwrap_or_default();
        Ok(pods.into_iter().map(|(name, pod)| (name, node(pod))).collect())
    }

    /// Runs a command in the postgres container of a pod.
    pub async fn exec(&self, pod: &str, command: &[&str]) -> Result<Output> {
        exec::run(&self.api::<Pod>(), pod, CONTAINER_POSTGRES, command, EXEC_DEADLINE).await
    }

    /// The same for a command that may take longer.
    pub async fn exec_within(&self, pod: &str, command: &[&str], deadline: Duration) -> Result<Output> {
        exec::run(&self.api::<Pod>(), pod, CONTAINER_POSTGRES, command, deadline).await
    }

    /// Runs SQL in a pod as the superuser over the unix socket; rows as lines, columns parted by `|`.
    pub async fn sql(&self, pod: &str, database: &str, sql: &str) -> Result<String> {
        let command = [
            "psql",
            "-X",
            "-A",
            "-t",
            "-q",
            "-v",
            "ON_ERROR_STOP=1",
            "-h",
            SOCKET_DIR,
            "-U",
            "postgres",
            "-d",
            database,
            "-c",
            sql,
        ];
        let output = self.exec(pod, &command).await?;
        ensure!(output.success, "SQL in {pod} failed: {sql}\n{}{}", output.stdout, output.stderr);
        Ok(output.stdout.trim_end().to_owned())
    }

    /// Leaves the rest of the current segment of WAL empty and begins the next.
    ///
    /// # Errors
    /// As [`Cluster::sql`].
    pub async fn begin_segment(&self, primary: &str) -> Result<()> {
        // A segment that holds nothing is not switched.
        let switch = "SELECT pg_logical_emit_message(false, 'load', 'more'); SELECT pg_switch_wal()";
        self.sql(primary, "postgres", switch).await.map(drop)
    }

    /// Runs SQL on the primary, in the database `postgres`.
    pub async fn sql_on_primary(&self, sql: &str) -> Result<String> {
        self.sql(&self.primary().await?, "postgres", sql).await
    }

    /// The events about a pod: reasons and messages.
    pub async fn events_about(&self, pod: &str) -> Result<Vec<(String, String)>> {
        let of_the_pod = ListParams::default().fields(&format!("involvedObject.name={pod}"));
        let events = self.api::<Event>().list(&of_the_pod).await.context("list the events")?;
        let words = |event: Event| (event.reason.unwrap_or_default(), event.message.unwrap_or_default());
        Ok(events.items.into_iter().map(words).collect())
    }

    /// A setting as the primary has it in force.
    pub async fn setting(&self, name: &str) -> Result<String> {
        self.sql_on_primary(&format!("SHOW {name}")).await
    }

    /// When each postgres was started, by pod: what a reload keeps and a restart changes.
    pub async fn start_times(&self) -> Result<BTreeMap<String, String>> {
        let mut times = BTreeMap::new();
        for pod in self.pods().await?.into_keys() {
            let time = self.sql(&pod, "postgres", "SELECT pg_postmaster_start_time()").await?;
            times.insert(pod, time);
        }
        Ok(times)
    }

    /// What the primary sends WAL to.
    pub async fn walsenders(&self) -> Result<Vec<Walsender>> {
        let rows = self
            .sql_on_primary(
                "SELECT application_name, state, sync_state FROM pg_stat_replication \
                 WHERE application_name <> 'pg_basebackup' ORDER BY 1",
            )
            .await?;
        rows.lines().map(parse_walsender).collect()
    }

    /// A value in one of the cluster's Secrets, as text.
    pub async fn secret_value(&self, secret: &str, key: &str) -> Result<String> {
        let found =
            self.api::<Secret>().get(secret).await.with_context(|| format!("read Secret {secret}"))?;
        let bytes = found
            .data
            .as_ref()
            .and_then(|data| data.get(key))
            .with_context(|| format!("Secret {secret} has no key {key}"))?;
        String::from_utf8(bytes.0.clone()).with_context(|| format!("{secret}/{key} is not text"))
    }

    /// The cluster address of one of the Services.
    pub async fn service_address(&self, service: &str) -> Result<String> {
        let found =
            self.api::<Service>().get(service).await.with_context(|| format!("read Service {service}"))?;
        found
            .spec
            .and_then(|spec| spec.cluster_ip)
            .with_context(|| format!("Service {service} has no address"))
    }

    /// The pods that stand ready behind a Service.
    pub async fn endpoints(&self, service: &str) -> Result<BTreeSet<String>> {
        let wanted = ListParams::default().labels(&format!("kubernetes.io/service-name={service}"));
        let slices = self.api::<EndpointSlice>().list(&wanted).await.context("list the endpoint slices")?;
        let endpoints = slices.items.into_iter().flat_map(|slice| slice.endpoints);
        Ok(endpoints
            .filter(|endpoint| endpoint.conditions.as_ref().is_none_or(|seen| seen.ready != Some(false)))
            .filter_map(|endpoint| endpoint.target_ref.and_then(|target| target.name))
            .collect())
    }

    /// The cluster's volume claims, by name.
    pub async fn claims(&self) -> Result<BTreeMap<String, PersistentVolumeClaim>> {
        let prefix = format!("data-{}-", self.names.cluster());
        let claims = self.api::<PersistentVolumeClaim>().list(&ListParams::default()).await?;
        let named =
            claims.items.into_iter().map(|claim| (claim.metadata.name.clone().unwrap_or_default(), claim));
        Ok(named.filter(|(name, _)| name.starts_with(&prefix)).collect())
    }

    /// Deletes a pod; `force` leaves it no time.
    pub async fn delete_pod(&self, pod: &str, force: bool) -> Result<()> {
        let how = if force { DeleteParams::default().grace_period(0) } else { DeleteParams::default() };
        self.api::<Pod>().delete(pod, &how).await.with_context(|| format!("delete pod {pod}"))?;
        Ok(())
    }

    /// Patches an object of the cluster as `kubectl patch --type merge` does, under kubectl's name.
    pub async fn patch<K>(&self, name: &str, patch: serde_json::Value) -> Result<()>
    where
        K: Resource<Scope = NamespaceResourceScope> + Clone + std::fmt::Debug + serde::de::DeserializeOwned,
        K::DynamicType: Default,
    {
        let by = PatchParams { field_manager: Some("kubectl-edit".into()), ..PatchParams::default() };
        let outcome = self.api::<K>().patch(name, &by, &Patch::Merge(&patch)).await;
        outcome.with_context(|| format!("patch {name}"))?;
        Ok(())
    }

    /// Waits until one pod is labelled primary and takes writes.
    pub async fn until_writable(&self, within: Duration) -> Result<String> {
        until(&format!("{} to take writes", self.names.cluster()), within, || async {
            let primary = self.primary().await?;
            let recovering = self.sql(&primary, "postgres", "SELECT pg_is_in_recovery()").await?;
            Ok(if recovering == "f" {
                Seen::Yes(primary)
            } else {
                Seen::NotYet(format!("{primary} is labelled primary and in recovery"))
            })
        })
        .await
    }

    /// Waits until everything is as it should be with this many standbys: see [`Cluster::whole`].
    pub async fn until_whole(&self, replicas: u32, within: Duration) -> Result<String> {
        let what = format!("{} to be whole with {replicas} standbys", self.names.cluster());
        until(&what, within, || self.whole(replicas)).await
    }

    /// Whether no pod is deleted, one primary serves, exactly `replicas` standbys stream from it and are ready behind ro, the
    /// primary alone is behind rw, the record names it, and the status says the same and that as many confirm as should. Gives
    /// the primary's name.
    pub async fn whole(&self, replicas: u32) -> Result<Seen<String>> {
        let pods = self.pods().await?;
        // Until its turn comes, a deleted pod still serves.
        if let Some((name, _)) = pods.iter().find(|(_, pod)| pod.metadata.deletion_timestamp.is_some()) {
            return Ok(Seen::NotYet(format!("{name} is deleted")));
        }
        let pods: BTreeSet<String> = pods.into_keys().collect();
        let wanted: BTreeSet<String> = (0..=replicas).map(|ordinal| self.names.pod(ordinal)).collect();
        if pods != wanted {
            return Ok(Seen::NotYet(format!("pods {pods:?}, wanted {wanted:?}")));
        }
        let primary = self.primary().await?;
        let record = self.record().await?;
        if record.holder.as_ref().is_none_or(|holder| holder.pod != primary) {
            return Ok(Seen::NotYet(format!(
                "{primary} is labelled primary, the record's holder is {:?}",
                record.holder
            )));
        }
        if let Some(problem) = self.routing_problem(&primary, &wanted).await? {
            return Ok(Seen::NotYet(problem));
        }
        if let Some(problem) = status_problem(&self.status().await?, &primary, &wanted) {
            return Ok(Seen::NotYet(problem));
        }
        // PostgreSQL itself last: asking it costs most.
        for pod in &pods {
            let recovering = self.sql(pod, "postgres", "SELECT pg_is_in_recovery()").await?;
            if (recovering == "f") != (*pod == primary) {
                return Ok(Seen::NotYet(format!(
                    "{pod}: pg_is_in_recovery is {recovering}, the primary is {primary}"
                )));
            }
        }
        let senders = self.walsenders().await?;
        let streaming = senders.iter().filter(|sender| sender.state == "streaming").count();
        if streaming != replicas as usize || senders.len() != streaming {
            return Ok(Seen::NotYet(format!("primary {primary}, walsenders {senders:?}")));
        }
        Ok(Seen::Yes(primary))
    }

    async fn routing_problem(&self, primary: &str, pods: &BTreeSet<String>) -> Result<Option<String>> {
        let writers = self.endpoints(&self.names.service_rw()).await?;
        let readers = self.endpoints(&self.names.service_ro()).await?;
        let standbys: BTreeSet<String> = pods.iter().filter(|pod| *pod != primary).cloned().collect();
        if writers != BTreeSet::from([primary.to_owned()]) {
            return Ok(Some(format!("behind rw stand {writers:?}, the primary is {primary}")));
        }
        // Without standbys nobody prescribes who answers reads.
        if !standbys.is_empty() && readers != standbys {
            return Ok(Some(format!("behind ro stand {readers:?}, the standbys are {standbys:?}")));
        }
        Ok(None)
    }
}

fn parse_walsender(row: &str) -> Result<Walsender> {
    let columns: Vec<&str> = row.split('|').collect();
    let [application_name, state, sync_state] = columns[..] else {
        bail!("expected three columns from pg_stat_replication, got {row:?}");
    };
    Ok(Walsender {
        application_name: application_name.to_owned(),
        state: state.to_owned(),
        sync_state: sync_state.to_owned(),
    })
}

fn status_problem(status: &ClusterStatus, primary: &str, pods: &BTreeSet<String>) -> Option<String> {
    if status.primary.as_deref() != Some(primary) || !status.accepts_writes {
        return Some(format!(
            "the status says primary {:?}, accepts_writes {}",
            status.primary, status.accepts_writes
        ));
    }
    for pod in pods {
        let wanted = if pod == primary { InstanceState::Serving } else { InstanceState::Streaming };
        let state = status.instances.get(pod).map(|instance| instance.state);
        if state != Some(wanted) {
            return Some(format!("the status says {pod} is {state:?}, wanted {wanted:?}"));
        }
    }
    let confirmed = pods.len() == 1 || status.mode == SyncMode::Async || !status.voters.is_empty();
    if status.degraded && pods.len() > 1 || !confirmed {
        return Some(format!(
            "the status says degraded {}, mode {:?}, voters {:?}",
            status.degraded, status.mode, status.voters
        ));
    }
    None
}
