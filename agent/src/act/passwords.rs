//! The roles' passwords, as the mounted Secrets have them (P24): beside the loop, so that nobody waits for them at a failover.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pgha_schema::desired::Credentials;
use pgha_schema::names::{ANNOTATION_CREDENTIALS, ROLE_REPLICATION};
use postgres_protocol::password::scram_sha_256;
use serde_json::json;

use super::{ActError, file};
use crate::agent::Agent;
use crate::boottime::now_ms;
use crate::postgres::scram;
use crate::postgres::session::{Local, Session};
use crate::postgres::tools::{identifier, literal};
use crate::secrets::{Fingerprint, Mounted, Secrets};

const SQL_DEADLINE: Duration = Duration::from_secs(1);
const PATCH_DEADLINE: Duration = Duration::from_secs(2);
/// Between two tries that failed.
const PAUSE_MS: u64 = 1_000;

/// What this process has done about passwords.
#[derive(Clone, Debug, Default)]
pub struct PasswordsSet(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// Set, or compared and found right, since clients were let in.
    in_force: Option<(Credentials, Fingerprint)>,
    running: bool,
    tried_ms: Option<u64>,
    /// For these the kubelet was hurried.
    hurried: Option<Credentials>,
    /// Counts what was forgotten, so that a task from before sets nothing for after.
    life: u64,
}

impl PasswordsSet {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Everything is to be compared anew.
    pub fn forget(&self) {
        let mut state = self.lock();
        state.in_force = None;
        state.life += 1;
    }

    /// Which writings are in force; none while others lie mounted that are no older.
    pub fn seen(&self, secrets: &Secrets) -> Option<Credentials> {
        let (writings, fingerprint) = self.lock().in_force?;
        let changed = secrets
            .mounted()
            .is_ok_and(|mounted| mounted.writings.reach(writings) && mounted.fingerprint() != fingerprint);
        (!changed).then_some(writings)
    }
}

impl Agent {
    pub(super) fn set_passwords(&mut self, wanted: Credentials) -> Result<(), ActError> {
        let mounted = self.secrets.mounted().map_err(file("read the Secrets"))?;
        if !mounted.writings.reach(wanted) {
            self.hurry_the_kubelet(wanted);
            return Ok(());
        }
        let now = now_ms();
        let life = {
            let mut state = self.passwords.lock();
            if state.running || state.tried_ms.is_some_and(|at_ms| now < at_ms + PAUSE_MS) {
                return Ok(());
            }
            (state.running, state.tried_ms) = (true, Some(now));
            state.life
        };
        let owner = self.world.lock().desired.as_ref().map(|seen| seen.document.bootstrap.owner.clone());
        let (local, set, wake) =
            (self.postgres.local.clone(), self.passwords.clone(), Arc::clone(&self.wake));
        tokio::spawn(async move {
            let result = set_all(&local, &mounted, owner).await;
            let mut state = set.lock();
            state.running = false;
            match result {
                Ok(()) => {
                    state.tried_ms = None;
                    if state.life == life {
                        state.in_force = Some((mounted.writings, mounted.fingerprint()));
                    }
                }
                Err(error) => tracing::warn!(%error, "the roles' passwords are not those of the Secrets yet"),
            }
            drop(state);
            wake.notify_one();
        });
        Ok(())
    }

    /// A pod that changes has its Secrets mounted anew at once; else that takes the kubelet up to a minute and a half.
    fn hurry_the_kubelet(&mut self, wanted: Credentials) {
        if self.passwords.lock().hurried.replace(wanted) == Some(wanted) {
            return;
        }
        tracing::info!(
            superuser = wanted.superuser,
            app = wanted.app,
            "waits for newer Secrets to be mounted"
        );
        let told = format!("{}.{}", wanted.superuser, wanted.app);
        let patch =
            json!({"metadata": {"uid": self.me.pod_uid, "annotations": {ANNOTATION_CREDENTIALS: told}}});
        let (api, path) = (Arc::clone(&self.api), self.paths.pod(&self.me.pod));
        self.background.start(format!("hurry for {told}"), async move {
            api.patch(&path, &patch, PATCH_DEADLINE).await.map(drop)
        });
    }
}

/// Sets the passwords that do not fit: comparing costs no WAL. PostgreSQL gets the verifier, so that no statement, and no log of
/// statements, holds the password.
async fn set_all(local: &Local, mounted: &Mounted, owner: Option<String>) -> Result<(), ActError> {
    let passwords = &mounted.passwords;
    let mut wanted = vec![
        (local.superuser.clone(), passwords.superuser.clone()),
        (ROLE_REPLICATION.to_owned(), passwords.replication.clone()),
    ];
    wanted
        .extend(owner.filter(|owner| *owner != local.superuser).map(|owner| (owner, passwords.app.clone())));
    let session = Session::open(local).await?;
    for (role, password) in wanted {
        let rows = session
            .query("select rolpassword from pg_authid where rolname = $1", &[&role], SQL_DEADLINE)
            .await?;
        let Some(row) = rows.first() else { continue };
        let stored: Option<String> = row.get(0);
        let verifier = tokio::task::spawn_blocking(move || {
            let fits = stored.is_some_and(|stored| scram::fits(&stored, &password));
            (!fits).then(|| scram_sha_256(password.as_bytes()))
        });
        let verifier = verifier.await.map_err(|_| ActError::Premise("a verifier could not be computed"))?;
        let Some(verifier) = verifier else { continue };
        let statement = format!("ALTER ROLE {} PASSWORD {}", identifier(&role), literal(&verifier));
        session.execute(&statement, SQL_DEADLINE).await?;
        tracing::info!(role, "password set from the Secret");
    }
    Ok(())
}
