//! The agent's own connection: over the socket, on a reserved slot, waiting for no standby (A18, A30).

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Config, NoTls, Statement};

/// `application_name` of every connection of an agent.
pub const AGENT_APPLICATION: &str = "pgha-agent";
/// A socket in the same container answers in a millisecond; a hung postgres does not.
const CONNECT_DEADLINE: Duration = Duration::from_millis(500);

/// How the local postgres is reached.
#[derive(Clone, Debug)]
pub struct Local {
    /// Directory of the unix socket.
    pub sockets: std::path::PathBuf,
    /// The port, which is part of the socket's name.
    pub port: u16,
    /// Name of the superuser.
    pub superuser: String,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The postmaster answers that it is starting, recovering or shutting down.
    #[error("postgres does not accept connections yet: {0}")]
    NotYet(String),
    /// No answer, or a broken connection.
    #[error("postgres does not answer: {0}")]
    Silent(String),
    /// It answered with an error.
    #[error("postgres refuses: {message}")]
    Refused {
        /// SQLSTATE.
        code: String,
        /// For people.
        message: String,
    },
}

impl From<tokio_postgres::Error> for SessionError {
    fn from(error: tokio_postgres::Error) -> Self {
        match error.as_db_error() {
            Some(db) if *db.code() == SqlState::CANNOT_CONNECT_NOW => Self::NotYet(db.message().to_owned()),
            // The backend was told to end: the session is gone, postgres perhaps not.
            Some(db) if db.code().code().starts_with("57P") => Self::Silent(db.message().to_owned()),
            Some(db) => Self::Refused { code: db.code().code().to_owned(), message: db.message().to_owned() },
            None => Self::Silent(error.to_string()),
        }
    }
}

/// One connection.
#[derive(Debug)]
pub struct Session {
    client: Client,
    task: JoinHandle<()>,
    /// What was asked before: parsed and planned once.
    statements: Mutex<BTreeMap<String, Statement>>,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Session {
    /// Connects.
    pub async fn open(local: &Local) -> Result<Self, SessionError> {
        let mut config = Config::new();
        config
            .host_path::<&Path>(&local.sockets)
            .port(local.port)
            .user(&local.superuser)
            .dbname("postgres")
            .application_name(AGENT_APPLICATION)
            .options("-c synchronous_commit=local -c statement_timeout=0 -c lock_timeout=0 -c search_path=pg_catalog");
        let connect = config.connect(NoTls);
        let (client, connection) = tokio::time::timeout(CONNECT_DEADLINE, connect)
            .await
            .map_err(|_| SessionError::Silent("no answer to a connection".to_owned()))??;
        let task = tokio::spawn(async move { drop(connection.await) });
        Ok(Self { client, task, statements: Mutex::default() })
    }

    /// Whether the connection is known to be gone.
    pub fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    /// Runs one query with a deadline. After a deadline the session must be thrown away: an answer may still come.
    pub async fn query(
        &self,
        sql: &str,
        parameters: &[&(dyn tokio_postgres::types::ToSql + Sync)],
        deadline: Duration,
    ) -> Result<Vec<tokio_postgres::Row>, SessionError> {
        let asked = async { self.client.query(&self.statement(sql).await?, parameters).await };
        match tokio::time::timeout(deadline, asked).await {
            Ok(result) => Ok(result?),
            Err(_) => Err(SessionError::Silent(format!("no answer within {deadline:?}"))),
        }
    }

    async fn statement(&self, sql: &str) -> Result<Statement, tokio_postgres::Error> {
        let known = self.statements.lock().unwrap_or_else(PoisonError::into_inner).get(sql).cloned();
        if let Some(statement) = known {
            return Ok(statement);
        }
        let statement = self.client.prepare(sql).await?;
        let mut statements = self.statements.lock().unwrap_or_else(PoisonError::into_inner);
        statements.insert(sql.to_owned(), statement.clone());
        Ok(statement)
    }

    /// Runs statements that bring nothing.
    pub async fn execute(&self, sql: &str, deadline: Duration) -> Result<(), SessionError> {
        match tokio::time::timeout(deadline, self.client.batch_execute(sql)).await {
            Ok(result) => Ok(result?),
            Err(_) => Err(SessionError::Silent(format!("no answer within {deadline:?}"))),
        }
    }
}
