//! Clients that read lists and append to them, and what they were told.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::task::JoinHandle;
use tokio_postgres::{Client, Statement};

use super::history::{Key, Lists, Operation, Outcome, Transaction, Value};
use crate::cluster::Cluster;
use crate::load::Target;
use crate::poll::{Seen, until};

/// How long a statement may take before the client drops the connection.
const STATEMENT_DEADLINE: Duration = Duration::from_secs(2);
/// Pause between two transactions of one client: the machine has two cores.
const PAUSE: Duration = Duration::from_millis(40);
/// Pause after a connection broke.
const RETRY_PAUSE: Duration = Duration::from_millis(50);
/// So many lists are in use at a time: few, so that transactions meet.
const WINDOW: i64 = 4;
/// After so many values the oldest list in use gives way to a new one, so that none grows long.
const VALUES_PER_LIST: i64 = 24;

/// The workload, running. Dropping it stops it.
pub struct Appends {
    /// The table that holds the lists.
    pub table: String,
    log: Arc<Mutex<Vec<Transaction>>>,
    stop: Arc<AtomicBool>,
    clients: Vec<JoinHandle<()>>,
}

impl Appends {
    /// Makes the table anew and starts the clients; comes back when a transaction was acknowledged.
    ///
    /// # Errors
    /// When the table can't be made, or nothing is acknowledged within 30 s.
    pub async fn start(target: &Target, table: &str, clients: u16) -> Result<Self> {
        for sql in [
            format!("DROP TABLE IF EXISTS {table}"),
            format!("CREATE TABLE IF NOT EXISTS {table} (key int PRIMARY KEY, items bigint[] NOT NULL)"),
        ] {
            until(&format!("{sql} through rw"), Duration::from_secs(30), || async {
                target.ask(&sql).await.map(Seen::Yes)
            })
            .await?;
        }
        let (log, stop) = (Arc::<Mutex<Vec<Transaction>>>::default(), Arc::<AtomicBool>::default());
        let values = Arc::new(AtomicI64::new(0));
        let started = Instant::now();
        let clients = (0..clients)
            .map(|number| {
                let client = Appender {
                    number,
                    target: target.clone(),
                    table: table.to_owned(),
                    started,
                    values: Arc::clone(&values),
                    log: Arc::clone(&log),
                    stop: Arc::clone(&stop),
                };
                tokio::spawn(client.run())
            })
            .collect();
        let appends = Self { table: table.to_owned(), log, stop, clients };
        until("a transaction on lists to be acknowledged", Duration::from_secs(30), || async {
            Ok(Seen::when(appends.acknowledged() > 0, "none yet"))
        })
        .await?;
        Ok(appends)
    }

    /// How many transactions were acknowledged so far.
    pub fn acknowledged(&self) -> usize {
        let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        log.iter().filter(|one| one.outcome == Outcome::Acknowledged).count()
    }

    /// Stops the clients; gives what they did, in the order in which it ended.
    ///
    /// # Errors
    /// When a client does not end or has panicked.
    pub async fn finish(mut self) -> Result<Vec<Transaction>> {
        self.stop.store(true, Ordering::Relaxed);
        for client in self.clients.drain(..) {
            match tokio::time::timeout(STATEMENT_DEADLINE * 8, client).await {
                Ok(Ok(())) => {}
                Ok(Err(panic)) => bail!("a client of the list workload panicked: {panic}"),
                Err(_) => bail!("a client of the list workload did not end"),
            }
        }
        Ok(std::mem::take(&mut *self.log.lock().unwrap_or_else(PoisonError::into_inner)))
    }
}

impl Drop for Appends {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for client in &self.clients {
            client.abort();
        }
    }
}

/// The lists as a pod holds them.
///
/// # Errors
/// When they can't be read.
pub async fn final_lists(cluster: &Cluster, pod: &str, database: &str, table: &str) -> Result<Lists> {
    let rows =
        cluster.sql(pod, database, &format!("SELECT key, array_to_string(items, ',') FROM {table}")).await?;
    rows.lines().map(parse_list).collect()
}

fn parse_list(row: &str) -> Result<(Key, Vec<Value>)> {
    let (key, items) = row.split_once('|').with_context(|| format!("a list, not {row:?}"))?;
    let items = items.split(',').filter(|item| !item.is_empty()).map(str::parse).collect::<Result<_, _>>()?;
    Ok((key.parse()?, items))
}

struct Appender {
    number: u16,
    target: Target,
    table: String,
    started: Instant,
    values: Arc<AtomicI64>,
    log: Arc<Mutex<Vec<Transaction>>>,
    stop: Arc<AtomicBool>,
}

struct Prepared {
    read: Statement,
    append: Statement,
}

impl Appender {
    async fn run(self) {
        let mut random = StdRng::seed_from_u64(u64::from(self.number));
        while !self.stopped() {
            // What fails shows in the history; the id workload keeps the reasons.
            if let Ok(client) = self.target.connect().await
                && let Ok(prepared) = self.prepare(&client).await
            {
                self.transactions(&client, &prepared, &mut random).await;
            }
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    }

    async fn prepare(&self, client: &Client) -> Result<Prepared> {
        // A scan of the whole table would make every two transactions conflict.
        within(client.batch_execute("SET enable_seqscan = off")).await?;
        let table = &self.table;
        let read = within(client.prepare(&format!("SELECT items FROM {table} WHERE key = $1"))).await?;
        let append = format!(
            "INSERT INTO {table} AS list (key, items) VALUES ($1, ARRAY[$2::bigint]) \
             ON CONFLICT (key) DO UPDATE SET items = list.items || excluded.items"
        );
        Ok(Prepared { read, append: within(client.prepare(&append)).await? })
    }

    /// One after the other until the connection breaks.
    async fn transactions(&self, client: &Client, prepared: &Prepared, random: &mut StdRng) {
        while !self.stopped() {
            let steps = self.choose(random);
            let began = self.started.elapsed();
            let mut done = Vec::new();
            let (outcome, goes_on) = attempt(client, prepared, steps, &mut done).await;
            let ended = self.started.elapsed();
            let transaction = Transaction { client: self.number, began, ended, operations: done, outcome };
            self.log.lock().unwrap_or_else(PoisonError::into_inner).push(transaction);
            if !goes_on {
                return;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// One or two reads, then one or two appends, to lists that others use too.
    fn choose(&self, random: &mut StdRng) -> Vec<Operation> {
        let mut steps = Vec::new();
        let newest = self.values.load(Ordering::Relaxed) / VALUES_PER_LIST;
        let any = |random: &mut StdRng| Key::try_from(newest + random.random_range(0..WINDOW)).unwrap_or(0);
        let first_read = any(random);
        steps.push(Operation::Read { key: first_read, seen: Vec::new() });
        let second_read = any(random);
        if random.random_bool(0.5) && second_read != first_read {
            steps.push(Operation::Read { key: second_read, seen: Vec::new() });
        }
        // In ascending order, so that two never wait for each other.
        let mut keys = vec![any(random), any(random)];
        keys.sort_unstable();
        keys.dedup();
        if random.random_bool(0.5) {
            keys.truncate(1);
        }
        let next = |key| Operation::Append { key, value: self.values.fetch_add(1, Ordering::Relaxed) + 1 };
        steps.extend(keys.into_iter().map(next));
        steps
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

/// Runs the steps in one transaction; `done` gets those that were begun. Tells how it ended and whether the connection is
/// of further use.
async fn attempt(
    client: &Client,
    prepared: &Prepared,
    steps: Vec<Operation>,
    done: &mut Vec<Operation>,
) -> (Outcome, bool) {
    if carry_out(client, prepared, steps, done).await.is_err() {
        // Its commit was never asked for. A connection that still works is rolled back and goes on.
        let usable = within(client.batch_execute("ROLLBACK")).await.is_ok();
        return (Outcome::Aborted, usable);
    }
    match tokio::time::timeout(STATEMENT_DEADLINE, client.batch_execute("COMMIT")).await {
        Ok(Ok(())) => (Outcome::Acknowledged, true),
        // Class 40: PostgreSQL rolled it back. Anything else may come after the commit was written.
        Ok(Err(error)) if error.code().is_some_and(|code| code.code().starts_with("40")) => {
            (Outcome::Aborted, true)
        }
        Ok(Err(_)) | Err(_) => (Outcome::Unknown, false),
    }
}

async fn carry_out(
    client: &Client,
    prepared: &Prepared,
    steps: Vec<Operation>,
    done: &mut Vec<Operation>,
) -> Result<()> {
    within(client.batch_execute("BEGIN ISOLATION LEVEL SERIALIZABLE")).await?;
    for step in steps {
        match step {
            Operation::Read { key, .. } => {
                let row = within(client.query_opt(&prepared.read, &[&key])).await?;
                let seen = row.map_or_else(Vec::new, |row| row.get(0));
                done.push(Operation::Read { key, seen });
            }
            Operation::Append { key, value } => {
                // Before it is sent: it may arrive without an answer.
                done.push(Operation::Append { key, value });
                let rows = within(client.execute(&prepared.append, &[&key, &value])).await?;
                ensure!(rows == 1, "an append wrote {rows} rows");
            }
        }
    }
    Ok(())
}

async fn within<T>(work: impl Future<Output = Result<T, tokio_postgres::Error>>) -> Result<T> {
    Ok(tokio::time::timeout(STATEMENT_DEADLINE, work).await.context("no answer")??)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_read_from_a_row() {
        assert_eq!(parse_list("7|1,22,3").unwrap(), (7, vec![1, 22, 3]));
        assert_eq!(parse_list("7|").unwrap(), (7, vec![]));
        assert!(parse_list("7").is_err());
    }
}
