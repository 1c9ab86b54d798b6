//! Does the sandbox do what tests rely on? Run by `cargo dev up --check` and before the acceptance tests:
//! a fault that does not happen would let every test pass.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod, Secret, Service};
use k8s_openapi::api::rbac::v1::PolicyRule;
use kube::Api;
use kube::api::{DeleteParams, ListParams, PostParams};
use serde_json::json;

use super::{ApiFault, Cut, Node, Sandbox, Target, Who, client_of, dial, volumes};
use crate::poll::{Seen, until};
use crate::progress::Progress;

const DEADLINE: Duration = Duration::from_mins(1);
/// How long something that must not come is waited for.
const SILENCE: Duration = Duration::from_millis(1500);
/// One major version per node.
const MAJORS: [&str; 3] = ["15", "16", "18"];

/// Runs all checks; the cluster is as before when it returns, also after a failure.
///
/// # Errors
/// The first check that fails.
pub async fn run(sandbox: &Sandbox, progress: &Progress) -> Result<()> {
    let namespace = sandbox.create_namespace("selfcheck").await?;
    let check = Check { sandbox, namespace: namespace.clone() };
    let outcome = check.all(progress).await;
    let healed = sandbox.heal_everything().await;
    let described =
        if outcome.is_err() { sandbox.describe_namespace(&namespace).await } else { String::new() };
    sandbox.delete_namespace(&namespace).await?;
    healed?;
    outcome.with_context(|| format!("the sandbox itself is at fault\n{described}"))
}

struct Check<'a> {
    sandbox: &'a Sandbox,
    namespace: String,
}

impl Check<'_> {
    async fn all(&self, progress: &Progress) -> Result<()> {
        let stage = progress.stage("check the sandbox");
        stage.update("PostgreSQL of each major version on each node");
        self.start_pods().await?;
        self.postgres_answers().await?;
        stage.update("cutting a node off");
        self.cuts().await?;
        stage.update("faults of the API server");
        self.api_faults().await?;
        stage.update("killing processes");
        self.processes().await?;
        stage.update("rights");
        self.rights().await?;
        stage.update("volumes");
        self.volumes_come_back().await?;
        stage.done();
        Ok(())
    }

    fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.sandbox.client(), &self.namespace)
    }

    async fn start_pods(&self) -> Result<()> {
        let claims: Api<PersistentVolumeClaim> = Api::namespaced(self.sandbox.client(), &self.namespace);
        let services: Api<Service> = Api::namespaced(self.sandbox.client(), &self.namespace);
        for (node, major) in Node::all().zip(MAJORS) {
            let name = format!("pg{major}");
            claims.create(&PostParams::default(), &from_json(claim(&name))?).await?;
            services.create(&PostParams::default(), &from_json(service(&name))?).await?;
            self.pods().create(&PostParams::default(), &from_json(pod(&name, major, node))?).await?;
        }
        Ok(())
    }

    fn host(&self, major: &str) -> String {
        format!("pg{major}.{}.svc", self.namespace)
    }

    async fn postgres_answers(&self) -> Result<()> {
        for major in MAJORS {
            until(&format!("PostgreSQL {major} to answer behind its Service"), DEADLINE, || async {
                let output = self.psql(major, "SHOW server_version_num").await?;
                let number = String::from_utf8_lossy(&output.stdout).trim().to_owned();
                Ok(Seen::when(number.starts_with(major), crate::process::both(&output)))
            })
            .await?;
        }
        let output = self.sandbox.exec_in_pod(&self.namespace, "pg18", &["id", "-u"]).await?;
        ensure!(output.stdout == b"999\n", "a command in a pod: {}", crate::process::both(&output));
        Ok(())
    }

    async fn psql(&self, major: &str, sql: &str) -> Result<std::process::Output> {
        let url = format!("postgres://postgres@{}/postgres?connect_timeout=3", self.host(major));
        self.sandbox.client_exec("psql", &["-Atc", sql, &url]).await
    }

    /// From one pod to an address and port, as a connection that is made or not.
    async fn pod_reaches(&self, pod: &str, host: &str, port: u16) -> Result<bool> {
        let script = format!("timeout 1 bash -c 'exec 3<>/dev/tcp/{host}/{port}'");
        Ok(self.sandbox.exec_in_pod(&self.namespace, pod, &["bash", "-c", &script]).await?.status.success())
    }

    async fn client_reaches(&self, major: &str) -> bool {
        matches!(tokio::time::timeout(SILENCE, dial(&self.host(major), 5432)).await, Ok(Ok(_)))
    }

    async fn pod_address(&self, pod: &str) -> Result<String> {
        let found = self.pods().get(pod).await?;
        found.status.and_then(|status| status.pod_ip).with_context(|| format!("pod {pod} has no address"))
    }

    /// What is reached from the second node's pod under each cut: its API server, a peer's pod; and it from the client.
    async fn cuts(&self) -> Result<()> {
        let node = self.sandbox.node_of(&self.namespace, "pg16").await?;
        let peer = self.pod_address("pg15").await?;
        for (cut, api, to_peer, from_client) in [
            (None, true, true, true),
            (Some(Cut::All), false, false, false),
            (Some(Cut::ApiOnly), false, true, true),
            (Some(Cut::PeersOnly), true, false, true),
            (Some(Cut::ClientsOnly), true, true, false),
            (Some(Cut::OneWayIn), false, false, false),
            (Some(Cut::OneWayOut), false, false, false),
            (None, true, true, true),
        ] {
            match cut {
                Some(cut) => self.sandbox.cut(node, cut)?,
                None => self.sandbox.heal(node)?,
            }
            let seen = (
                self.pod_reaches("pg16", "10.96.0.1", 443).await?,
                self.pod_reaches("pg16", &peer, 5432).await?,
                self.client_reaches("16").await,
            );
            ensure!(
                seen == (api, to_peer, from_client),
                "under {cut:?} of {node}: reached (API, peer, from client) {seen:?}"
            );
        }
        Ok(())
    }

    async fn api_answers(&self) -> bool {
        let (pods, one) = (self.pods(), ListParams::default().limit(1));
        matches!(tokio::time::timeout(SILENCE, pods.list(&one)).await, Ok(Ok(_)))
    }

    async fn api_faults(&self) -> Result<()> {
        ensure!(self.api_answers().await, "the API server does not answer without any fault");
        for fault in [ApiFault::Drop, ApiFault::LoseReplies, ApiFault::Refuse] {
            self.sandbox.api_fault(Who::Host, fault).await?;
            ensure!(!self.api_answers().await, "the API server answers under {fault:?}");
            ensure!(self.pod_reaches("pg18", "10.96.0.1", 443).await?, "a fault for this machine hits a pod");
            self.sandbox.api_fault(Who::Host, ApiFault::None).await?;
            self.until_api_answers().await?;
        }
        let delay_ms = 300;
        self.sandbox.api_fault(Who::Host, ApiFault::Delay { delay_ms }).await?;
        let started = Instant::now();
        ensure!(self.api_answers().await, "the API server does not answer when it is slow");
        ensure!(started.elapsed().as_millis() >= u128::from(2 * delay_ms), "answers are not held up");
        self.sandbox.api_fault(Who::Host, ApiFault::None).await?;
        self.sandbox.pause_api_server()?;
        ensure!(!self.api_answers().await, "a suspended API server answers");
        self.sandbox.resume_api_server()?;
        self.until_api_answers().await?;
        self.sandbox.stop_api_server()?;
        ensure!(!self.api_answers().await, "a stopped API server answers");
        self.sandbox.start_api_server().await?;
        self.until_api_answers().await
    }

    async fn until_api_answers(&self) -> Result<()> {
        until("the API server to answer", DEADLINE, || async {
            Ok(Seen::when(self.api_answers().await, "no answer"))
        })
        .await
    }

    async fn processes(&self) -> Result<()> {
        let killed = self.sandbox.kill_in_pod(&self.namespace, "pg18", Target::Postmaster)?;
        ensure!(killed.len() == 1, "one process is PostgreSQL's first, found: {killed:?}");
        until("PostgreSQL to be there again after its death", DEADLINE, || async {
            let now = self.sandbox.processes_in_pod(&self.namespace, "pg18")?;
            let other = now.iter().any(|process| process.name == "postgres" && process.id != killed[0].id);
            Ok(Seen::when(other && self.client_reaches("18").await, format!("{} processes", now.len())))
        })
        .await
    }

    async fn rights(&self) -> Result<()> {
        let rules: Vec<PolicyRule> =
            from_json(json!([{ "apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"] }]))?;
        let file = self.sandbox.restricted_kubeconfig(&self.namespace, &rules).await?;
        let client = client_of(&file).await?;
        let pods: Api<Pod> = Api::namespaced(client.clone(), &self.namespace);
        until("the new rights to hold", DEADLINE, || async {
            pods.list(&ListParams::default()).await?;
            Ok(Seen::Yes(()))
        })
        .await?;
        let secrets: Api<Secret> = Api::namespaced(client, &self.namespace);
        match secrets.list(&ListParams::default()).await {
            Err(kube::Error::Api(status)) if status.code == 403 => Ok(()),
            other => bail!("a user without rights on Secrets lists them: {other:?}"),
        }
    }

    /// A released volume is emptied and offered again.
    async fn volumes_come_back(&self) -> Result<()> {
        let client = self.sandbox.client();
        let folder = volumes::folder_of_claim(&client, &self.namespace, "pg15").await?;
        ensure!(folder.join("pgdata/PG_VERSION").exists(), "{} holds no database", folder.display());
        self.sandbox.delete_pod(&self.namespace, "pg15", false).await?;
        let claims: Api<PersistentVolumeClaim> = Api::namespaced(client.clone(), &self.namespace);
        claims.delete("pg15", &DeleteParams::default()).await?;
        let all: Api<PersistentVolume> = Api::all(client);
        until("the released volume to be free and empty", DEADLINE, || async {
            let wanted = folder.display().to_string();
            let phase = all.list(&ListParams::default()).await?.items.into_iter().find_map(|volume| {
                let local = volume.spec.as_ref()?.local.as_ref()?;
                (local.path == wanted)
                    .then(|| volume.status.and_then(|status| status.phase).unwrap_or_default())
            });
            let empty = std::fs::read_dir(&folder)?.next().is_none();
            Ok(Seen::when(
                phase.as_deref() == Some("Available") && empty,
                format!("{phase:?}, empty: {empty}"),
            ))
        })
        .await
    }
}

fn from_json<T: serde::de::DeserializeOwned>(value: serde_json::Value) -> Result<T> {
    Ok(serde_json::from_value(value)?)
}

fn claim(name: &str) -> serde_json::Value {
    json!({
        "metadata": { "name": name },
        "spec": { "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": "1Gi" } } },
    })
}

fn service(name: &str) -> serde_json::Value {
    json!({ "metadata": { "name": name }, "spec": { "selector": { "app": name }, "ports": [{ "port": 5432 }] } })
}

fn pod(name: &str, major: &str, node: Node) -> serde_json::Value {
    let script = "set -e; if [ ! -e /data/pgdata/PG_VERSION ]; then \
        initdb -D /data/pgdata -k --locale=C.UTF-8 -E UTF8 -A trust; \
        echo 'host all all all trust' >> /data/pgdata/pg_hba.conf; fi; \
        rm -f /data/pgdata/postmaster.pid; \
        exec postgres -D /data/pgdata -c 'listen_addresses=*' -c unix_socket_directories=/tmp";
    json!({
        "metadata": { "name": name, "labels": { "app": name } },
        "spec": {
            "nodeSelector": { "kubernetes.io/hostname": node.name() },
            "terminationGracePeriodSeconds": 1,
            "securityContext": { "runAsUser": 999, "runAsGroup": 999, "fsGroup": 999, "runAsNonRoot": true },
            "containers": [{
                "name": "postgres",
                "image": format!("docker.io/library/postgres:{major}"),
                "command": ["bash", "-c", script],
                "volumeMounts": [{ "name": "data", "mountPath": "/data" }],
            }],
            "volumes": [{ "name": "data", "persistentVolumeClaim": { "claimName": name } }],
        },
    })
}
