//! Carries out what was decided, dumbly: one file for each side that is acted on.

mod cluster;
mod data;
mod passwords;
mod record;
mod server;
mod stream;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use pgha_agent_core::Action;

pub use passwords::PasswordsSet;

use crate::agent::Agent;
use crate::api::ApiError;
use crate::guard_link::GuardError;
use crate::postgres::session::SessionError;
use crate::postgres::tools::ToolError;

/// Why an action was not carried out. It is decided anew; nothing is repeated here.
#[derive(Debug, thiserror::Error)]
pub enum ActError {
    /// The guard.
    #[error(transparent)]
    Guard(#[from] GuardError),
    /// The API server.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// Postgres.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// One of PostgreSQL's programs.
    #[error(transparent)]
    Tool(#[from] ToolError),
    /// A file.
    #[error("{what}: {source}")]
    File {
        /// What was being done.
        what: &'static str,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The server's certificate.
    #[error(transparent)]
    Certificate(#[from] crate::tls::CertificateError),
    /// The world is not what the decision took it for.
    #[error("{0}")]
    Premise(&'static str),
}

/// Names an I/O error by what was being done.
fn file(what: &'static str) -> impl FnOnce(std::io::Error) -> ActError {
    move |source| ActError::File { what, source }
}

/// Since when writes go on without a confirming standby, by the wall clock: the stored status knows it longer than an agent
/// lives.
#[derive(Clone, Debug, Default)]
pub struct DegradedSince(Arc<Mutex<Option<String>>>);

impl DegradedSince {
    /// Since when, if so.
    pub fn get(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, since: Option<String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = since;
    }
}

/// Best-effort writes under way, by what they are, so that none is started twice.
#[derive(Debug, Default)]
pub struct Background {
    running: Arc<Mutex<BTreeSet<String>>>,
    /// Ends when the last patch of a label that was ordered is done.
    labelled: Option<tokio::sync::oneshot::Receiver<()>>,
}

impl Background {
    /// Runs `work` beside the loop unless the same is under way; tells whether it was begun.
    fn start<F>(&self, key: String, work: F) -> bool
    where
        F: Future<Output = Result<(), ApiError>> + Send + 'static,
    {
        if !self.running.lock().unwrap_or_else(PoisonError::into_inner).insert(key.clone()) {
            return false;
        }
        let running = Arc::clone(&self.running);
        tokio::spawn(async move {
            if let Err(error) = work.await {
                tracing::info!(what = key, %error, "not written, will be decided anew");
            }
            running.lock().unwrap_or_else(PoisonError::into_inner).remove(&key);
        });
        true
    }
}

impl Agent {
    /// Carries out one action.
    pub async fn act(&mut self, action: &Action) -> Result<(), ActError> {
        match action {
            Action::ReadLease => self.read_lease().await,
            Action::WriteRecord { if_version, record } => self.write_record(if_version, record).await,
            Action::CreateLease { record } => self.create_lease(record).await,
            Action::KeepRecord { record } => self.keep_record(record),
            Action::GivePromise { version } => self.give_promise(version),
            Action::DropPromise => self.drop_promise(),
            Action::AskPromises { version, pods } => {
                self.ask_promises(version, pods);
                Ok(())
            }
            Action::Fence => self.fence().await,
            Action::StartPostgres { role, names } => self.start_postgres(role, names).await,
            Action::StopPostgres { mode } => self.stop_postgres(*mode).await,
            Action::EndWalsenders { pids } => self.end_walsenders(pids).await,
            Action::Promote => self.promote().await,
            Action::LeaveStream => self.leave_stream().await,
            Action::Follow { upstream } => self.follow(upstream).await,
            Action::ResumeReplay => self.resume_replay().await,
            Action::Initdb { permit: _ } => self.initdb(),
            Action::AdoptData { member } => self.adopt_data(member),
            Action::Clone { from, permit: _ } => self.clone_from(from),
            Action::Rewind { from, permit: _ } => self.rewind_to(from),
            Action::PersistEra { era } => self.persist_era(*era),
            Action::KeepMarks { marks } => self.keep_marks(marks),
            Action::ApplySettings => self.apply_settings().await,
            Action::SetSyncNames { names } => self.set_sync_names(names).await,
            Action::ConfirmInForce { names, checkpoint } => {
                self.confirm_in_force(names, *checkpoint);
                Ok(())
            }
            Action::SetPasswords { wanted } => self.set_passwords(*wanted),
            Action::OpenGate => self.open_gate().await,
            Action::CloseGate => self.close_gate().await,
            Action::Checkpoint => {
                self.checkpoint();
                Ok(())
            }
            Action::SetSlots { slots } => self.set_slots(slots).await,
            Action::LabelPod { pod, uid, resource_version, labels } => {
                self.label_pod(pod, uid, resource_version, labels);
                Ok(())
            }
            Action::DeletePod { pod, uid } => {
                self.delete_pod(pod, uid);
                Ok(())
            }
            Action::WriteStatus { status } => {
                self.write_status(status);
                Ok(())
            }
            Action::StampVolumes { system_identifier, ordinals } => {
                self.stamp_volumes(*system_identifier, ordinals);
                Ok(())
            }
            Action::EmitEvent { warning, reason, message } => {
                self.emit_event(*warning, reason, message);
                Ok(())
            }
            Action::FetchAgent { binary } => {
                self.fetch_agent(binary);
                Ok(())
            }
            Action::ExchangeAgent { sha256, generation, within_ms, tries } => {
                self.exchange_agent(sha256, *generation, *within_ms, *tries).await
            }
            Action::StayAgent => {
                self.guard.ask(crate::guard::message::Command::Healthy).await?;
                Ok(())
            }
            Action::Exit => {
                self.guard.ask(crate::guard::message::Command::Exit).await?;
                Ok(())
            }
        }
    }
}
