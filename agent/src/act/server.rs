//! The postmaster: start, stop, fence, promote, settings, gate, checkpoint.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use pgha_agent_core::Names;
use pgha_agent_core::decision::{StartAs, StopMode};
use pgha_agent_core::observation::{Gate, LeaseSeen, Upstream, ordinal_of};
use pgha_schema::desired::TlsSpec;
use pgha_schema::names::tls_key;
use pgha_schema::record::Record;
use pgha_schema::status::Acknowledged;

use super::{ActError, file};
use crate::agent::Agent;
use crate::boottime::now_ms;
use crate::guard::message::{Command, Signal};
use crate::postgres::conf::{self, CertificateFiles, Link};
use crate::postgres::fallback::Fallback;
use crate::postgres::job::Kind;
use crate::postgres::session::Session;
use crate::postgres::sql;
use crate::volume::{remove_if_there, sync_dir};

const SQL_DEADLINE: Duration = Duration::from_secs(1);
/// After a fence nothing is left within this: SIGKILL comes after 300 ms.
const FENCE_DEADLINE: Duration = Duration::from_secs(5);
const CLEAR_DEADLINE: Duration = Duration::from_secs(2);
/// A checkpoint of a busy primary may take minutes.
const CHECKPOINT_DEADLINE: Duration = Duration::from_hours(1);

/// Nothing on a standby, whose names matter only later.
const STIR: &str =
    "select case when not pg_is_in_recovery() then pg_logical_emit_message(true, 'pgha', 'names') end";

/// The slots of the members that these names name.
fn slots_of(names: &str, record: &Record) -> Vec<String> {
    let members = Names::parse(names).members();
    let pods = members.iter().filter_map(|member| record.members.get(member).map(|entry| &entry.pod));
    pods.filter_map(|pod| ordinal_of(pod)).map(sql::slot_name).collect()
}

impl Agent {
    pub(super) async fn fence(&mut self) -> Result<(), ActError> {
        tracing::warn!("fence");
        self.guard.ask(Command::Fence).await?;
        if self.guard.await_down(FENCE_DEADLINE).await {
            return Ok(());
        }
        Err(ActError::Premise("processes are still left after the fence"))
    }

    /// Hands the guard the deadline of the last good renewal.
    pub async fn hand_deadline(&mut self, fence_at_ms: Option<u64>) {
        let Some(at_ms) = fence_at_ms else { return };
        if self.guard.state().deadline_ms == Some(at_ms) {
            return;
        }
        self.fence_at_ms = Some(at_ms);
        if self.guard.state().postmaster.is_none() {
            // Nothing to fence; a start hands it over itself.
            return;
        }
        if let Err(error) = self.guard.ask(Command::Deadline { at_ms: Some(at_ms) }).await {
            tracing::warn!(%error, "the deadline was not moved");
        }
    }

    pub(super) async fn start_postgres(&mut self, role: &StartAs, names: &str) -> Result<(), ActError> {
        if self.guard.state().postmaster.is_some() {
            return Ok(());
        }
        if self.jobs.makes_data() {
            return Err(ActError::Premise("data is being made"));
        }
        if !self.guard.await_down(CLEAR_DEADLINE).await {
            return Err(ActError::Premise("processes of the last postgres are still being killed"));
        }
        let (gate, upstream, writable) = match role {
            StartAs::Primary => (Gate::Closed, None, true),
            // A standby only reads: nothing that a client does there can be lost.
            StartAs::Standby { upstream } => (Gate::Open, upstream.as_ref(), false),
        };
        self.render(!writable, true).await?;
        self.render_gate(gate)?;
        self.render_sync(names)?;
        self.render_upstream(upstream)?;
        self.postgres.forget_in_force();
        self.prepare_pgdata(writable)?;
        if writable {
            let at_ms = self.fence_at_ms.filter(|at| *at > now_ms());
            self.guard.ask(Command::Deadline { at_ms }).await?;
        }
        let argv = vec![
            self.settings.layout.program("postgres"),
            "-D".to_owned(),
            self.volume.pgdata().to_string_lossy().into_owned(),
            "-c".to_owned(),
            format!("config_file={}", self.postgres.files.main().display()),
        ];
        self.guard.ask(Command::Start { argv, writable }).await?;
        tracing::info!(role = ?role, names, "postgres started");
        Ok(())
    }

    /// Signal files, rights and leftovers in PGDATA; under the volume lock a pid file can only be stale (A5).
    fn prepare_pgdata(&self, primary: bool) -> Result<(), ActError> {
        let pgdata = self.volume.pgdata();
        // fsGroup opens directories for the group; postgres refuses such a PGDATA.
        std::fs::set_permissions(pgdata, std::fs::Permissions::from_mode(0o700))
            .map_err(file("set the rights of PGDATA"))?;
        for name in ["postmaster.pid", "recovery.signal"] {
            remove_if_there(&pgdata.join(name)).map_err(file("remove a stale file"))?;
        }
        let signal = pgdata.join("standby.signal");
        if primary {
            remove_if_there(&signal).map_err(file("remove standby.signal"))?;
        } else {
            std::fs::write(&signal, "").map_err(file("write standby.signal"))?;
        }
        sync_dir(pgdata).map_err(file("sync PGDATA"))
    }

    /// The main file, from the desired document as last read; tells whether it changed. The parameters are those that were in force
    /// before, where postgres does not start with the wished ones.
    async fn render(&mut self, standby: bool, starts: bool) -> Result<bool, ActError> {
        let mut desired =
            self.world.lock().desired.clone().ok_or(ActError::Premise("no desired document was read"))?;
        let ruled = desired.document.ruled();
        let mut document =
            Acknowledged { generation: desired.document.generation, sha256: desired.sha256.clone() };
        let fallback = self.postgres.fallback(&document, &desired.document, starts);
        let failed = fallback.map(|fallback| {
            let Fallback { failed, accepted } = fallback;
            tracing::warn!(
                wished = document.generation,
                instead = accepted.document.generation,
                "earlier parameters"
            );
            (desired.document.parameters, document) = (accepted.parameters, accepted.document.clone());
            failed
        });
        // What it ran with since, and what is prepared in it, may need more than the earlier parameters give.
        let floor = standby || failed.is_some();
        let control = if floor { Some(self.tools.control_data(self.volume.pgdata()).await?) } else { None };
        let certificate = self.certificate_files(desired.document.tls.as_ref())?;
        let (text, held_back) = conf::render(&conf::Inputs {
            desired: &desired.document,
            document: &document,
            instead_of: failed.as_ref(),
            conf_dir: self.postgres.files.dir(),
            sockets: &self.settings.layout.sockets,
            port: self.settings.postgres_port,
            pod: &self.me.pod,
            certificate,
            floor: control.as_ref().map(|control| &control.settings),
        });
        // A primary is held back by nobody: rendered again, it would be the same.
        self.postgres.held_back = held_back && standby;
        let mut changed = self.postgres.files.set_main(&text).map_err(file("write the configuration"))?;
        let left_out = conf::left_out(&desired.document);
        if changed && !left_out.is_empty() {
            tracing::warn!(names = ?left_out, "parameters that are none, or the cluster's own, are left out");
        }
        let auto_conf = self.volume.pgdata().join("postgresql.auto.conf");
        let auto_text = std::fs::read_to_string(&auto_conf).unwrap_or_default();
        if let Some(cleaned) = conf::cleaned_auto_conf(&auto_text, &ruled) {
            tracing::warn!("ALTER SYSTEM over settings of the cluster is removed");
            crate::volume::write_durably(&auto_conf, cleaned.as_bytes())
                .map_err(file("clean up ALTER SYSTEM"))?;
            changed = true;
        }
        Ok(changed)
    }

    /// The certificate that is mounted, or the one before where that can't be used. Without any, a pod that is to have one is
    /// not started: it would let everybody in unencrypted, or nobody at all.
    fn certificate_files(&self, wish: Option<&TlsSpec>) -> Result<Option<CertificateFiles>, ActError> {
        if !self.certificate.is_mounted() {
            return Ok(None);
        }
        if let Err(error) = self.certificate.take() {
            if !self.certificate.is_ready() {
                return Err(error.into());
            }
            tracing::warn!(%error, "the certificate before stays in use");
        }
        let clients = wish.is_some_and(|wish| wish.client_certificates);
        if clients && !self.certificate.has_authority() {
            return Err(ActError::Premise(
                "clients are to show certificates, and the Secret has no ca.crt to verify them with",
            ));
        }
        Ok(Some(CertificateFiles {
            certificate: self.certificate.file(tls_key::CERTIFICATE),
            key: self.certificate.file(tls_key::KEY),
            clients: clients.then(|| self.certificate.file(tls_key::AUTHORITY)),
        }))
    }

    pub(super) fn render_gate(&mut self, gate: Gate) -> Result<bool, ActError> {
        let desired = self.world.lock().desired.as_ref().map(|seen| seen.document.clone());
        let (lines, tls) = desired.map(|document| (document.pg_hba, document.tls)).unwrap_or_default();
        // A pod without a certificate, which is yet to be rolled, would let nobody in.
        let encrypted = self.certificate.is_mounted() && tls.is_some_and(|tls| tls.required);
        self.postgres.files.set_hba(gate, &lines, encrypted).map_err(file("write pg_hba.conf"))
    }

    /// How other members are reached.
    pub(super) fn link(&self) -> Result<Link<'_>, ActError> {
        let passfile = self.secrets.passfile().map_err(file("write the passfile"))?;
        Ok(Link { port: self.settings.postgres_port, passfile })
    }

    pub(super) fn render_upstream(&mut self, upstream: Option<&Upstream>) -> Result<bool, ActError> {
        let member = self.volume.member().map_err(file("read the member id"))?;
        let member = member.ok_or(ActError::Premise("this data has no identity"))?.member;
        let text = self.link()?.render_upstream(upstream, &member, &sql::slot_name(self.me.ordinal));
        self.postgres.files.set_upstream(&text).map_err(file("write primary_conninfo"))
    }

    pub(super) async fn stop_postgres(&mut self, mode: StopMode) -> Result<(), ActError> {
        if self.guard.state().postmaster.is_none() {
            return Ok(());
        }
        let signal = match mode {
            StopMode::Fast => Signal::Fast,
            StopMode::Immediate => Signal::Immediate,
        };
        self.guard.ask(Command::Signal { signal }).await?;
        self.postgres.note_stopping();
        Ok(())
    }

    pub(super) async fn end_walsenders(&mut self, pids: &BTreeSet<i32>) -> Result<(), ActError> {
        let pids: Vec<i32> = pids.iter().copied().collect();
        let session = self.postgres.session().await?;
        session
            .query("select pg_terminate_backend(pid) from unnest($1::int[]) pid", &[&pids], SQL_DEADLINE)
            .await?;
        Ok(())
    }

    /// The gate is shut and sessions are ended first: replay conflicts would delay the promotion (A22), and nobody may
    /// write before a renewal has followed it (A9).
    pub(super) async fn promote(&mut self) -> Result<(), ActError> {
        if self.guard.state().deadline_ms.is_none() {
            let at_ms = self.fence_at_ms.filter(|at| *at > now_ms());
            let at_ms = at_ms.ok_or(ActError::Premise("no deadline stands, so nothing would fence it"))?;
            self.guard.ask(Command::Deadline { at_ms: Some(at_ms) }).await?;
        }
        if self.postgres.promotion_asked() {
            // It takes its time; asked again only when that has passed.
            return Ok(());
        }
        // Where the old primary has ended by itself the stream may not have been left; the reload is close_gate's.
        self.render_upstream(None)?;
        self.close_gate().await?;
        let session = self.postgres.session().await?;
        session.query("select pg_promote(false)", &[], SQL_DEADLINE).await?;
        self.postgres.note_promotion();
        tracing::info!("promotion asked for");
        Ok(())
    }

    pub(super) async fn close_gate(&mut self) -> Result<(), ActError> {
        self.render_gate(Gate::Closed)?;
        self.postgres.reload().await?;
        let session = self.postgres.session().await?;
        sql::end_client_sessions(session, SQL_DEADLINE).await?;
        Ok(())
    }

    pub(super) async fn open_gate(&mut self) -> Result<(), ActError> {
        self.render_gate(Gate::Open)?;
        self.postgres.reload().await?;
        tracing::info!("clients are let in");
        // Whoever led before may have given the roles others.
        self.passwords.forget();
        Ok(())
    }

    pub(super) async fn apply_settings(&mut self) -> Result<(), ActError> {
        let session = self.postgres.session().await?;
        let standby = sql::in_recovery(session, SQL_DEADLINE).await?;
        let mut changed = self.render(standby, false).await?;
        let gate = self.postgres.gate();
        changed |= self.render_gate(gate)?;
        self.postgres.touch_settings();
        if changed {
            self.postgres.reload().await?;
            tracing::info!("settings applied");
        }
        Ok(())
    }

    /// Who has to confirm, and whose slots consumers of logical ones wait for.
    fn render_sync(&self, names: &str) -> Result<bool, ActError> {
        let world = self.world.lock();
        let keeps = world.desired.as_ref().is_some_and(|seen| conf::keeps_logical_slots(&seen.document));
        let slots = keeps.then(|| match world.lease.seen() {
            LeaseSeen::Read(read) => slots_of(names, &read.record),
            LeaseSeen::Unread | LeaseSeen::Missing { .. } | LeaseSeen::Unusable { .. } => Vec::new(),
        });
        drop(world);
        let text = conf::render_sync(names, slots.as_deref());
        self.postgres.files.set_sync(&text).map_err(file("write the sync names"))
    }

    pub(super) async fn set_sync_names(&mut self, names: &str) -> Result<(), ActError> {
        if self.render_sync(names)? {
            self.postgres.forget_in_force();
        } else {
            let session = self.postgres.session().await?;
            let rows = session
                .query("select current_setting('synchronous_standby_names')", &[], SQL_DEADLINE)
                .await?;
            if rows.first().is_some_and(|row| row.get::<_, String>(0) == names) {
                return Ok(());
            }
        }
        self.postgres.reload().await?;
        tracing::info!(names, "synchronous_standby_names set");
        self.stir_standbys();
        Ok(())
    }

    /// Commits that wait are let go when a standby that is named now replies, and with all writers waiting it has nothing to
    /// reply to until its next report, a second later: a small record, flushed, goes to all of them at once.
    fn stir_standbys(&self) {
        let local = self.postgres.local.clone();
        tokio::spawn(async move {
            let stirred = match Session::open(&local).await {
                Ok(session) => session.query(STIR, &[], SQL_DEADLINE).await.map(drop),
                Err(error) => Err(error),
            };
            if let Err(error) = stirred {
                tracing::debug!(%error, "the standbys were not stirred");
            }
        });
    }

    pub(super) fn checkpoint(&mut self) {
        let local = self.postgres.local.clone();
        let wake = std::sync::Arc::clone(&self.wake);
        let work = async move {
            let session = Session::open(&local).await.map_err(|error| error.to_string())?;
            session.execute("CHECKPOINT", CHECKPOINT_DEADLINE).await.map_err(|error| error.to_string())
        };
        self.jobs.start(Kind::Checkpoint, work, move || wake.notify_one());
    }
}
