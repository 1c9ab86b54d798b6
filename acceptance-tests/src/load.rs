//! A workload through the rw Service from the client's network, and what it was promised.
//!
//! Several clients append rows with ids of their own, one a transaction; every acknowledgement is kept with its time. A
//! client that hears nothing gives up after a deadline of its own and comes back on a new connection with the next id: an id
//! whose commit was not acknowledged is never tried again, so it may or may not be there (rule A19).

use std::collections::BTreeSet;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_postgres::NoTls;

use crate::poll::{Seen, until};

/// How long a connection may take.
const CONNECT_DEADLINE: Duration = Duration::from_secs(1);
/// How long a connection may take that asks a question on a whole cluster: a busy machine is no fault of the cluster's.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a statement may take before the client drops the connection.
const STATEMENT_DEADLINE: Duration = Duration::from_millis(2_000);
/// Pause between two statements of one client: the machine has two cores.
const PAUSE: Duration = Duration::from_millis(15);
/// Pause after a failure.
const RETRY_PAUSE: Duration = Duration::from_millis(30);
/// Failures that lie closer together than this belong to one outage.
pub const ONE_OUTAGE: Duration = Duration::from_secs(8);
/// Ids of one client lie within this distance.
const IDS_PER_CLIENT: i64 = 1_000_000_000;

/// A connection being made.
pub type Dialling = Pin<Box<dyn Future<Output = Result<TcpStream>> + Send>>;
/// Makes connections from the client's place in the network: address and port.
pub type Dialler = Arc<dyn Fn(String, u16) -> Dialling + Send + Sync>;

/// Whom to connect to, and as whom.
#[derive(Clone)]
pub struct Target {
    /// How connections are made.
    pub dialler: Dialler,
    /// Address of the Service.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Database.
    pub database: String,
    /// User name.
    pub user: String,
    /// Password.
    pub password: String,
}

/// Makes connections inside the sandbox's client namespace, where names of Services resolve.
///
/// One thread lives there and hands its sockets out: a socket stays in the network that it was made in.
pub fn from_client_namespace() -> Dialler {
    type Request = (String, u16, oneshot::Sender<Result<std::net::TcpStream>>);
    let (requests, mut wanted) = mpsc::unbounded_channel::<Request>();
    tokio::spawn(crate::sandbox::in_client_namespace(move || async move {
        while let Some((host, port, reply)) = wanted.recv().await {
            tokio::spawn(async move {
                // Who asked may have given up; the answer is then for nobody.
                let _ = reply.send(dial(&host, port).await);
            });
        }
    }));
    Arc::new(move |host, port| {
        let requests = requests.clone();
        Box::pin(async move {
            let (reply, answer) = oneshot::channel();
            requests
                .send((host, port, reply))
                .ok()
                .context("nobody dials in the client namespace: is the sandbox up?")?;
            let stream = answer.await.context("the client namespace's thread ended")??;
            Ok(TcpStream::from_std(stream)?)
        })
    })
}

async fn dial(host: &str, port: u16) -> Result<std::net::TcpStream> {
    let stream = tokio::time::timeout(CONNECT_DEADLINE * 3, TcpStream::connect((host, port))).await;
    let stream = stream
        .with_context(|| format!("{host}:{port} is silent"))?
        .with_context(|| format!("{host}:{port}"))?;
    Ok(stream.into_std()?)
}

impl Target {
    /// One connection, with a deadline: a client that gives up soon finds the new primary soon.
    ///
    /// # Errors
    /// When it is refused, or not there in a second.
    pub async fn connect(&self) -> Result<tokio_postgres::Client> {
        self.connect_within(CONNECT_DEADLINE).await
    }

    async fn connect_within(&self, deadline: Duration) -> Result<tokio_postgres::Client> {
        let work = async {
            let stream = (self.dialler)(self.host.clone(), self.port).await?;
            stream.set_nodelay(true)?;
            let mut config = tokio_postgres::Config::new();
            config.user(&self.user).password(&self.password).dbname(&self.database).application_name("load");
            let (client, connection) = config.connect_raw(stream, NoTls).await?;
            // Ends with the client; its error shows in the client's next call.
            tokio::spawn(connection);
            anyhow::Ok(client)
        };
        let outcome = tokio::time::timeout(deadline, work).await;
        outcome.with_context(|| format!("no connection to {} within {deadline:?}", self.host))?
    }

    /// One row of one column, as text, on a connection of its own.
    ///
    /// # Errors
    /// When the connection or the statement fails or is not done in time.
    pub async fn ask(&self, sql: &str) -> Result<String> {
        let client = self.connect_within(PATIENCE).await?;
        let rows = tokio::time::timeout(STATEMENT_DEADLINE * 4, client.simple_query(sql)).await;
        let rows = rows.with_context(|| format!("no answer to {sql}"))?.with_context(|| sql.to_owned())?;
        let first = rows.iter().find_map(|message| match message {
            tokio_postgres::SimpleQueryMessage::Row(row) => Some(row.get(0).unwrap_or_default().to_owned()),
            _ => None,
        });
        Ok(first.unwrap_or_default())
    }
}

#[derive(Default)]
struct Log {
    acknowledged: Vec<(i64, Instant)>,
    failures: Vec<(String, Instant)>,
}

/// A workload that is running. Dropping it stops it.
pub struct Load {
    /// The table that it fills.
    pub table: String,
    started: Instant,
    log: Arc<Mutex<Log>>,
    stop: Arc<AtomicBool>,
    clients: Vec<JoinHandle<()>>,
}

/// What a workload was promised.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The table that it filled.
    pub table: String,
    /// Every acknowledged id.
    pub acknowledged: BTreeSet<i64>,
    /// The longest time without an acknowledged commit.
    pub gap: Duration,
    /// When that began, from the load's start.
    pub gap_began: Duration,
    /// How many statements or connections failed.
    pub failures: usize,
    /// Into how many outages the failures fall: those more than [`ONE_OUTAGE`] apart count as two.
    pub outages: usize,
    /// The first failures, for people.
    pub first_failures: Vec<String>,
    /// All of them with their times from the load's start, those of one text in a row as one line.
    pub all_failures: Vec<String>,
}

impl Load {
    /// Makes the table and starts the clients; comes back when each has had a commit acknowledged.
    ///
    /// # Errors
    /// When the table can't be made, or no commits are acknowledged within 30 s.
    pub async fn start(target: &Target, table: &str, clients: u16) -> Result<Self> {
        let create = format!("CREATE TABLE IF NOT EXISTS {table} (id bigint NOT NULL, client int NOT NULL)");
        until(&format!("table {table} to be made through rw"), Duration::from_secs(30), || async {
            target.ask(&create).await.map(Seen::Yes)
        })
        .await?;
        let base: i64 = target.ask(&format!("SELECT coalesce(max(id), 0) FROM {table}")).await?.parse()?;
        let log = Arc::new(Mutex::new(Log::default()));
        let stop = Arc::new(AtomicBool::new(false));
        // Behind all ids of an earlier load of the same table.
        let first = (base / IDS_PER_CLIENT + 1) * IDS_PER_CLIENT;
        let clients = (0..clients)
            .map(|number| {
                let writer = Writer {
                    target: target.clone(),
                    insert: format!("INSERT INTO {table} (id, client) VALUES ($1, {number})"),
                    log: Arc::clone(&log),
                    stop: Arc::clone(&stop),
                };
                tokio::spawn(writer.run(first + i64::from(number) * IDS_PER_CLIENT))
            })
            .collect::<Vec<_>>();
        let load = Self { table: table.to_owned(), started: Instant::now(), log, stop, clients };
        load.until_acknowledged_after(Instant::now(), Duration::from_secs(30)).await?;
        Ok(load)
    }

    /// Waits for acknowledged commits that come after an instant: writes are back. Gives the time from the instant to the first.
    ///
    /// # Errors
    /// When none comes within the deadline; the message holds the last failure.
    pub async fn until_acknowledged_after(&self, instant: Instant, within: Duration) -> Result<Duration> {
        until("a commit to be acknowledged", within, || async {
            let log = lock(&self.log);
            let first = log.acknowledged.iter().map(|(_, at)| *at).find(|at| *at > instant);
            let last = log.failures.last().map_or("no failure at all", |(why, _)| why.as_str());
            Ok(match first {
                Some(at) => Seen::Yes(at.saturating_duration_since(instant)),
                None => Seen::NotYet(format!("none; the clients' last failure: {last}")),
            })
        })
        .await
    }

    /// The longest time without an acknowledged commit between an instant and now.
    pub fn gap_since(&self, instant: Instant) -> Duration {
        self.longest_gap_since(instant).length()
    }

    /// The same with its begin and its end.
    pub fn longest_gap_since(&self, instant: Instant) -> Gap {
        longest_gap(&lock(&self.log).acknowledged, instant, Instant::now())
    }

    /// What the clients were told since an instant, when it was no acknowledgement.
    pub fn failures_since(&self, instant: Instant) -> Vec<(String, Instant)> {
        lock(&self.log).failures.iter().filter(|(_, at)| *at >= instant).cloned().collect()
    }

    /// How long ago the last commit was acknowledged.
    pub fn silence(&self) -> Duration {
        lock(&self.log).acknowledged.iter().map(|(_, at)| *at).max().unwrap_or(self.started).elapsed()
    }

    /// Waits for this many more acknowledged commits.
    ///
    /// # Errors
    /// When they don't come within 30 s.
    pub async fn until_more(&self, commits: usize) -> Result<()> {
        let wanted = self.acknowledged() + commits;
        until(&format!("{commits} more commits to be acknowledged"), Duration::from_secs(30), || async {
            let seen = self.acknowledged();
            Ok(Seen::when(seen >= wanted, format!("{seen} of {wanted}")))
        })
        .await
    }

    /// How many commits were acknowledged so far.
    pub fn acknowledged(&self) -> usize {
        lock(&self.log).acknowledged.len()
    }

    /// Stops the clients.
    ///
    /// # Errors
    /// When a client does not end or has panicked.
    pub async fn finish(mut self) -> Result<Outcome> {
        let end = Instant::now();
        self.stop.store(true, Ordering::Relaxed);
        for client in self.clients.drain(..) {
            let ended = tokio::time::timeout(CONNECT_DEADLINE + STATEMENT_DEADLINE * 2, client).await;
            match ended {
                Ok(Ok(())) => {}
                Ok(Err(panic)) => bail!("a client of the load panicked: {panic}"),
                Err(_) => bail!("a client of the load did not end"),
            }
        }
        let log = lock(&self.log);
        let gap = longest_gap(&log.acknowledged, self.started, end);
        Ok(Outcome {
            table: self.table.clone(),
            acknowledged: log.acknowledged.iter().map(|(id, _)| *id).collect(),
            gap: gap.length(),
            gap_began: gap.from.saturating_duration_since(self.started),
            failures: log.failures.len(),
            outages: outages(&log.failures),
            first_failures: log.failures.iter().take(5).map(|(why, _)| why.clone()).collect(),
            all_failures: in_rows(&log.failures, self.started),
        })
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for client in &self.clients {
            client.abort();
        }
    }
}

/// A stretch of time without an acknowledgement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    /// The last acknowledgement before it, or where the look began.
    pub from: Instant,
    /// The first one after it, or where the look ended.
    pub to: Instant,
}

impl Gap {
    /// How long it is.
    pub fn length(self) -> Duration {
        self.to.saturating_duration_since(self.from)
    }
}

/// The longest stretch of `[from, to]` without an acknowledgement; the first of several.
fn longest_gap(acknowledged: &[(i64, Instant)], from: Instant, to: Instant) -> Gap {
    let mut times: Vec<Instant> =
        acknowledged.iter().map(|(_, at)| *at).filter(|at| *at > from && *at < to).collect();
    times.sort_unstable();
    times.push(to);
    let mut longest = Gap { from, to: from };
    let mut last = from;
    for at in times {
        let gap = Gap { from: last, to: at };
        if gap.length() > longest.length() {
            longest = gap;
        }
        last = at;
    }
    longest
}

/// Into how many outages failures fall.
fn outages(failures: &[(String, Instant)]) -> usize {
    let mut times: Vec<Instant> = failures.iter().map(|(_, at)| *at).collect();
    times.sort_unstable();
    let breaks = times.windows(2).filter(|pair| pair[1] - pair[0] > ONE_OUTAGE).count();
    if times.is_empty() { 0 } else { breaks + 1 }
}

/// What was told, and when.
fn in_rows(failures: &[(String, Instant)], start: Instant) -> Vec<String> {
    let since = |at: Instant| at.saturating_duration_since(start).as_secs_f64();
    let rows = failures.chunk_by(|(one, _), (other, _)| one == other);
    rows.filter_map(|row| {
        let (why, first) = row.first()?;
        let (_, last) = row.last()?;
        Some(format!("{:.2} to {:.2} s, {} times: {why}", since(*first), since(*last), row.len()))
    })
    .collect()
}

struct Writer {
    target: Target,
    insert: String,
    log: Arc<Mutex<Log>>,
    stop: Arc<AtomicBool>,
}

impl Writer {
    async fn run(self, first_id: i64) {
        let mut id = first_id;
        while !self.stopped() {
            let failure = match self.target.connect().await {
                Ok(client) => self.write(&client, &mut id).await,
                Err(error) => Some(format!("{error:#}")),
            };
            if let Some(why) = failure {
                lock(&self.log).failures.push((why, Instant::now()));
            }
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    }

    /// Appends rows on one connection until it fails; gives the failure, or nothing when told to stop.
    async fn write(&self, client: &tokio_postgres::Client, id: &mut i64) -> Option<String> {
        let insert = match tokio::time::timeout(STATEMENT_DEADLINE, client.prepare(&self.insert)).await {
            Ok(Ok(insert)) => insert,
            Ok(Err(error)) => return Some(describe(&error)),
            Err(_) => return Some("no answer to PREPARE".into()),
        };
        while !self.stopped() {
            *id += 1;
            let mine = *id;
            match tokio::time::timeout(STATEMENT_DEADLINE, client.execute(&insert, &[&mine])).await {
                Ok(Ok(1)) => lock(&self.log).acknowledged.push((mine, Instant::now())),
                Ok(Ok(rows)) => return Some(format!("INSERT wrote {rows} rows")),
                Ok(Err(error)) => return Some(describe(&error)),
                Err(_) => return Some(format!("no answer to INSERT within {STATEMENT_DEADLINE:?}")),
            }
            tokio::time::sleep(PAUSE).await;
        }
        None
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

fn describe(error: &tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(answer) => format!("{}: {}", answer.code().code(), answer.message()),
        None => format!("{:#}", anyhow::anyhow!(error.to_string())),
    }
}

// A panic in one client must not hide what the others saw.
fn lock(log: &Mutex<Log>) -> MutexGuard<'_, Log> {
    log.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gap_counts_from_the_start_to_the_end() {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let seen = [(1, at(100)), (3, at(900)), (2, at(300))];
        assert_eq!(longest_gap(&seen, start, at(1_000)), Gap { from: at(300), to: at(900) });
        assert_eq!(longest_gap(&seen, start, at(2_000)).length(), Duration::from_millis(1_100));
        assert_eq!(longest_gap(&seen, at(400), at(1_000)).length(), Duration::from_millis(500));
        assert_eq!(longest_gap(&[], start, at(50)).length(), Duration::from_millis(50));
    }

    #[test]
    fn failures_of_one_kind_in_a_row_are_one_line() {
        let start = Instant::now();
        let failed = |why: &str, ms: u64| (why.to_owned(), start + Duration::from_millis(ms));
        let told = [
            failed("refused", 1_000),
            failed("refused", 1_500),
            failed("silent", 2_000),
            failed("refused", 2_500),
        ];
        assert_eq!(
            in_rows(&told, start),
            [
                "1.00 to 1.50 s, 2 times: refused",
                "2.00 to 2.00 s, 1 times: silent",
                "2.50 to 2.50 s, 1 times: refused"
            ]
        );
    }

    #[test]
    fn failures_close_together_are_one_outage() {
        let start = Instant::now();
        let failed = |seconds: &[u64]| {
            let at = |second: &u64| (String::new(), start + Duration::from_secs(*second));
            outages(&seconds.iter().map(at).collect::<Vec<_>>())
        };
        assert_eq!(failed(&[]), 0);
        assert_eq!(failed(&[3, 1, 2, 9]), 1);
        assert_eq!(failed(&[1, 2, 30, 31, 60]), 3);
    }
}
