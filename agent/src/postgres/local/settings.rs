//! The settings of the local postgres: which are in force, which it refuses, and what it is started with meanwhile.

use std::collections::BTreeSet;

use pgha_agent_core::observation::{Complaints, DesiredSeen, SettingsSeen};
use pgha_schema::desired::Desired;
use pgha_schema::status::Acknowledged;

use super::{LOOK_DEADLINE, LocalPostgres, SETTINGS_EVERY_MS, WORDS_DEADLINE};
use crate::boottime::now_ms;
use crate::guard::message::State as GuardState;
use crate::postgres::fallback::{Accepted, Fallback};
use crate::postgres::refusals::Printed;
use crate::postgres::session::SessionError;
use crate::postgres::{roles, sql};
use crate::volume::Volume;

impl LocalPostgres {
    /// What an earlier agent knew of the postgres that runs: that it does not start with what was wished.
    pub fn recall(&mut self) {
        if let Some(failed) = self.files.instead_of() {
            self.refusals.recall(failed);
        }
    }

    /// Its data is made anew.
    pub fn forget_failed_starts(&mut self) {
        self.refusals.forget_starts();
    }

    /// What to render instead of the wish, if it `starts`, or was started with that.
    pub fn fallback(&mut self, wish: &Acknowledged, desired: &Desired, starts: bool) -> Option<Fallback> {
        let failed = self.refusals.keeps_from_starting(wish, now_ms())?;
        let fallback = Fallback::new(failed, self.accepted.as_ref()?, desired)?;
        if starts {
            self.refusals.falls_back(&fallback.accepted.document);
        }
        let stands = || self.files.instead_of().is_some_and(|before| before.document == *wish);
        (starts || stands()).then_some(fallback)
    }

    /// What postgres does not take of the wish.
    pub fn complaints(&self) -> Complaints {
        self.refusals.complaints(now_ms())
    }

    /// A postmaster that ended by itself before it ever answered; how one ended that an earlier agent knew is not judged.
    pub(super) fn note_end(&mut self, guard: &GuardState, volume: &Volume, wish: Option<&Desired>) {
        let end = guard.last_exit.as_ref().map(|exit| (exit.pid, exit.at_ms));
        let Some((before, fences)) = self.ended.replace((end, guard.fences)) else { return };
        let Some(exit) = guard.last_exit.as_ref().filter(|_| end != before && fences == guard.fences) else {
            return;
        };
        let looked_at = self.life.pid == Some(exit.pid);
        if looked_at && (self.life.answered || self.life.stopping_since_ms.is_some()) {
            return;
        }
        let Some(exit_code) = exit.code.filter(|code| *code != 0) else { return };
        let (instead, Some(rendered)) = (self.files.instead_of(), self.files.document()) else { return };
        let (document, instead) = match instead {
            Some(failed) => (failed.document, Some(rendered)),
            None => (rendered, None),
        };
        let names = names_of(wish);
        if let Some(printed) = self.refusals.start_failed(document, instead, names, exit_code, now_ms()) {
            self.ask_for_words(volume, printed);
        }
    }

    /// Beside the loop.
    fn ask_for_words(&self, volume: &Volume, printed: Printed) {
        let (tools, main, pgdata) = (self.tools.clone(), self.files.main(), volume.pgdata().to_owned());
        tokio::spawn(async move {
            let asked = tools.words_about_config(&pgdata, &main);
            let words = match tokio::time::timeout(WORDS_DEADLINE, asked).await {
                Ok(Ok(words)) => words,
                Ok(Err(error)) => {
                    tracing::warn!(%error, "postgres was not asked about its configuration");
                    String::new()
                }
                Err(_) => String::new(),
            };
            if !words.is_empty() {
                tracing::warn!(words, "postgres refuses its configuration");
            }
            // It is set here alone.
            let _ = printed.set(words);
        });
    }

    pub(super) async fn refresh_settings(
        &mut self,
        volume: &Volume,
        desired: Option<&DesiredSeen>,
        recovering: bool,
    ) -> Result<(), SessionError> {
        let wish = desired.map(|seen| &seen.document);
        let due = self.life.settings_at_ms.is_none_or(|at| at + SETTINGS_EVERY_MS <= now_ms());
        if due {
            let ruled = wish.map(Desired::ruled).unwrap_or_default();
            let superuser = self.local.superuser.clone();
            let session = self.session().await?;
            let mut facts = sql::settings(session, &ruled, LOOK_DEADLINE).await?;
            if let Some(wish) = wish.filter(|_| !recovering) {
                roles::keep(session, &superuser, wish, &mut facts, LOOK_DEADLINE).await?;
            }
            if facts.problems != self.life.settings.problems && !facts.problems.is_empty() {
                tracing::warn!(problems = ?facts.problems, "postgres refuses settings");
            }
            let document = self.files.document();
            let problems = facts.problems.clone();
            // While it runs with something else, nothing new is known of the wish.
            if self.files.instead_of().is_none() {
                let asks = self.refusals.running(document.clone(), names_of(wish), problems, now_ms());
                if let Some(printed) = asks {
                    self.ask_for_words(volume, printed);
                }
            }
            self.life.accepted = document.filter(|_| facts.problems.is_empty());
            self.life.settings = facts;
            self.life.settings_at_ms = Some(now_ms());
            self.keep_accepted(desired);
        }
        Ok(())
    }

    /// Keeps the wish's parameters once all of them are in force.
    fn keep_accepted(&mut self, desired: Option<&DesiredSeen>) {
        let settings = &self.life.settings;
        let partly = settings.pending_restart || settings.tampered || self.held_back;
        let Some((desired, document)) = desired.zip(self.life.accepted.as_ref()).filter(|_| !partly) else {
            return;
        };
        let wished = desired.document.generation == document.generation && desired.sha256 == document.sha256;
        if !wished || self.accepted.as_ref().is_some_and(|kept| kept.document == *document) {
            return;
        }
        let accepted =
            Accepted { document: document.clone(), parameters: desired.document.parameters.clone() };
        match self.files.keep_accepted(&accepted) {
            Ok(_) => self.accepted = Some(accepted),
            Err(error) => tracing::warn!(%error, "the accepted parameters were not kept"),
        }
    }

    pub(super) fn settings_seen(&self) -> SettingsSeen {
        SettingsSeen {
            rendered: self.life.accepted.clone(),
            pending_restart: self.life.settings.pending_restart,
            held_back: self.held_back,
            tampered: self.life.settings.tampered,
            altered: self.life.settings.altered.clone(),
        }
    }
}

/// The settings that the wish rules.
fn names_of(wish: Option<&Desired>) -> BTreeSet<String> {
    let parameters = wish.map(|wish| &wish.parameters).into_iter().flatten();
    parameters.map(|(name, _)| name.to_ascii_lowercase()).collect()
}
