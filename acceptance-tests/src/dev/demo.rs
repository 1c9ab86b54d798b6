//! `cargo dev demo`: the product in two minutes, on a real cluster.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use super::cli::{Terraform, cluster_and_provider};
use super::target::{Kubernetes, Postgres};
use crate::load::{self, Load};
use crate::poll::{Seen, until};
use crate::progress::Progress;
use crate::sandbox::{Layout, Sandbox, Target};

/// What examples/quickstart makes.
const NAMESPACE: &str = "default";
const NAME: &str = "orders";
/// Clients that write while the primary is killed.
const WRITERS: u16 = 4;
const TABLE: &str = "demo";

/// Applies examples/quickstart, writes and reads, kills the primary, plans again.
///
/// # Errors
/// The first step that fails.
pub async fn run(progress: &Progress) -> Result<()> {
    let (cluster, plugin, cli) = cluster_and_provider(progress).await?;
    let dir = working_copy(&cluster)?;
    let terraform = Terraform::new(cli, plugin, &cluster, &dir);
    progress.heading("examples/quickstart: init, plan, apply");
    terraform.init()?;
    terraform.run(&["plan", "-input=false", "-out=demo.tfplan"])?;
    terraform.run(&["apply", "-input=false", "demo.tfplan"])?;
    progress.heading("outputs");
    terraform.run(&["output"])?;
    let postgres = Postgres::find(&cluster.client(), Some(NAMESPACE), Some(NAME)).await?;
    let sql = Sql::new(&cluster, &postgres, progress).await?;
    write_and_read(&sql, progress).await?;
    kill_primary(&cluster, &postgres, &sql, progress).await?;
    progress.heading("plan again, after the failover");
    let code = terraform.code(&["plan", "-input=false", "-detailed-exitcode"])?;
    ensure!(code == 0, "the plan after the failover is not empty (exit code {code})");
    say_how_to_go_on(&cluster, &terraform, progress);
    Ok(())
}

/// A copy of the example with its state: gone with the sandbox, kept for a cluster of the user's own.
fn working_copy(cluster: &Kubernetes) -> Result<PathBuf> {
    let layout = Layout::new();
    let dir = match cluster {
        Kubernetes::Sandbox(_) => layout.run().join("demo"),
        Kubernetes::Own(_) => layout.cache().join("demo"),
    };
    fs::create_dir_all(&dir)?;
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/quickstart");
    for entry in fs::read_dir(&example).with_context(|| format!("read {}", example.display()))?.flatten() {
        if entry.path().extension().is_some_and(|extension| extension == "tf") {
            fs::copy(entry.path(), dir.join(entry.file_name()))?;
        }
    }
    Ok(dir)
}

/// Runs SQL where an application would run: in the client namespace, or in a pod of the user's own cluster.
struct Sql {
    runner: Runner,
    user: String,
    password: String,
    database: String,
    rw: String,
    ro: String,
}

enum Runner {
    Client(Box<Sandbox>),
    /// `kubectl exec` in this pod.
    Pod(Vec<String>),
}

impl Sql {
    async fn new(cluster: &Kubernetes, postgres: &Postgres, progress: &Progress) -> Result<Self> {
        let client = cluster.client();
        let runner = match cluster {
            Kubernetes::Sandbox(sandbox) => Runner::Client(sandbox.clone()),
            Kubernetes::Own(_) => {
                let kubectl = cluster.kubectl(progress)?.get_program().to_string_lossy().into_owned();
                // Not the primary, which is killed: any other instance.
                let pods: kube::Api<k8s_openapi::api::core::v1::Pod> =
                    kube::Api::namespaced(client.clone(), &postgres.namespace);
                let labels = format!("role=replica,app.kubernetes.io/instance={}", postgres.name);
                let list = kube::api::ListParams::default().labels(&labels);
                let pod = pods.list(&list).await?.items.into_iter().find_map(|pod| pod.metadata.name);
                let pod = pod.unwrap_or_else(|| postgres.primary.clone());
                let words =
                    ["exec", "--namespace", &postgres.namespace, &pod, "--container", "postgres", "--"];
                Runner::Pod(std::iter::once(kubectl.as_str()).chain(words).map(str::to_owned).collect())
            }
        };
        let host = |kind: &str| format!("{}-{kind}.{}.svc", postgres.name, postgres.namespace);
        Ok(Self {
            runner,
            user: postgres.app_secret(&client, "username").await?,
            password: postgres.app_secret(&client, "password").await?,
            database: postgres.app_secret(&client, "dbname").await?,
            rw: host("rw"),
            ro: host("ro"),
        })
    }

    /// One statement through one of the Services.
    async fn ask(&self, host: &str, sql: &str) -> Result<String> {
        let parameters = format!("host={host} dbname={} user={} connect_timeout=3", self.database, self.user);
        let words = ["psql", "--no-psqlrc", "-v", "ON_ERROR_STOP=1", "-qAtc", sql, &parameters];
        let mut command = match &self.runner {
            Runner::Client(sandbox) => {
                let mut command = sandbox.client_command(sandbox.postgres_programs().join("psql"));
                command.args(&words[1..]).env("PGPASSWORD", &self.password);
                command
            }
            Runner::Pod(exec) => {
                let mut command = Command::new(&exec[0]);
                command.args(&exec[1..]).arg("env").arg(format!("PGPASSWORD={}", self.password)).args(words);
                command
            }
        };
        let output = tokio::task::spawn_blocking(move || crate::process::output(&mut command)).await??;
        ensure!(output.status.success(), "{}", crate::process::both(&output).trim());
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }
}

async fn write_and_read(sql: &Sql, progress: &Progress) -> Result<()> {
    progress.heading(format!("write through {}, read through {}", sql.rw, sql.ro));
    let row = format!("written {}", jiff::Timestamp::now());
    let create = format!("CREATE TABLE IF NOT EXISTS {TABLE}_rows (id serial PRIMARY KEY, note text)");
    let insert = format!("{create}; INSERT INTO {TABLE}_rows (note) VALUES ('{row}')");
    until("the rw Service to take a row", Duration::from_secs(30), || async {
        sql.ask(&sql.rw, &insert).await.map(Seen::Yes)
    })
    .await?;
    let read = format!("SELECT note, pg_is_in_recovery() FROM {TABLE}_rows ORDER BY id DESC LIMIT 1");
    let wanted = format!("{row}|t");
    let seen = until("the row to be on a standby", Duration::from_secs(30), || async {
        let seen = sql.ask(&sql.ro, &read).await?;
        Ok(if seen == wanted { Seen::Yes(seen) } else { Seen::NotYet(seen) })
    })
    .await?;
    progress.plain(format!("   the standby has: {}", seen.trim_end_matches("|t")));
    Ok(())
}

async fn kill_primary(
    cluster: &Kubernetes,
    postgres: &Postgres,
    sql: &Sql,
    progress: &Progress,
) -> Result<()> {
    progress.heading(format!("kill postgres in the primary's pod {} while clients write", postgres.primary));
    let gap = match &sql.runner {
        Runner::Client(sandbox) => gap_under_load(sandbox, postgres, sql).await?,
        Runner::Pod(_) => gap_between_rows(cluster, postgres, sql, progress).await?,
    };
    let now = until("a primary", Duration::from_mins(1), || async {
        Postgres::find(&cluster.client(), Some(&postgres.namespace), Some(&postgres.name))
            .await
            .map(Seen::Yes)
    })
    .await?;
    let moved = if now.primary == postgres.primary {
        format!("postgres was started again in {}", now.primary)
    } else {
        format!("the primary moved from {} to {}", postgres.primary, now.primary)
    };
    progress.plain(format!("   writes were away for {:.2} s: {moved}", gap.as_secs_f64()));
    Ok(())
}

/// The longest time without an acknowledged commit, seen by clients that write all the time.
async fn gap_under_load(sandbox: &Sandbox, postgres: &Postgres, sql: &Sql) -> Result<Duration> {
    let target = load::Target {
        dialler: load::from_client_namespace(),
        host: sql.rw.clone(),
        port: 5432,
        database: sql.database.clone(),
        user: sql.user.clone(),
        password: sql.password.clone(),
    };
    let load = Load::start(&target, &format!("{TABLE}_load"), WRITERS).await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let killed = Instant::now();
    sandbox.kill_in_pod(&postgres.namespace, &postgres.primary, Target::Postmaster)?;
    // The first commits may be ones that were under way: look at what comes well after.
    tokio::time::sleep(Duration::from_millis(500)).await;
    load.until_acknowledged_after(Instant::now(), Duration::from_secs(90)).await?;
    let gap = load.gap_since(killed);
    load.finish().await?;
    Ok(gap)
}

/// The same by one row after the other, for a cluster where we have no client inside: coarser by one statement.
async fn gap_between_rows(
    cluster: &Kubernetes,
    postgres: &Postgres,
    sql: &Sql,
    progress: &Progress,
) -> Result<Duration> {
    let insert = format!("INSERT INTO {TABLE}_rows (note) VALUES ('during the failover')");
    sql.ask(&sql.rw, &insert).await?;
    let mut last = Instant::now();
    super::commands::kill_postgres(cluster, postgres, progress)?;
    let mut longest = Duration::ZERO;
    let until_then = Instant::now() + Duration::from_mins(1);
    let mut in_a_row = 0;
    while in_a_row < 5 {
        ensure!(Instant::now() < until_then, "no five rows in a row within a minute of the kill");
        if sql.ask(&sql.rw, &insert).await.is_ok() {
            longest = longest.max(last.elapsed());
            last = Instant::now();
            in_a_row += 1;
        } else {
            in_a_row = 0;
        }
    }
    Ok(longest)
}

fn say_how_to_go_on(cluster: &Kubernetes, terraform: &Terraform, progress: &Progress) {
    progress.heading("that was it. To go on:");
    let mut lines = vec![
        "   cargo dev psql                    a session on the primary".to_owned(),
        "   cargo dev kill-primary            once more".to_owned(),
        "   cargo dev kubectl get pods -w     watch it".to_owned(),
        "   cargo dev logs                    what the agents do, and why".to_owned(),
        format!("   by hand, in {}:", terraform.dir().display()),
    ];
    for (name, value) in terraform.environment() {
        lines.push(format!("     export {name}={value}"));
    }
    lines.push(format!("     {} plan", terraform.program()));
    lines.push(match cluster {
        Kubernetes::Sandbox(_) => "   cargo dev down                    ends all of it".to_owned(),
        Kubernetes::Own(_) => "   to end it: set deletion_protection = false, apply, then destroy".to_owned(),
    });
    for line in lines {
        progress.plain(line);
    }
}
