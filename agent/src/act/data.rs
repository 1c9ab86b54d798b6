//! The data directory: made, adopted, cloned, rewound. While a marker stands, what is there counts as no data (A23).

use std::path::{Path, PathBuf};
use std::time::Duration;

use pgha_agent_core::observation::{Marks, Unfinished, Upstream};
use pgha_schema::ids::{Era, MemberId};

use super::{ActError, file};
use crate::agent::Agent;
use crate::boottime::now_ms;
use crate::guard::message::{Command, Signal};
use crate::guard_link::GuardLink;
use crate::postgres::job::Kind;
use crate::postgres::tools::Tools;
use crate::volume::{MemberFile, Volume, new_member_id, remove_if_there, remove_tree, sync_dir};

/// A standby that is to be replaced gets this long to stop, then it is fenced.
const STOP_DEADLINE: Duration = Duration::from_secs(10);
/// Name of a job's connections: no member's, so that they are not taken for a standby.
const JOB_APPLICATION: &str = "pgha_job";

fn words(what: &'static str) -> impl FnOnce(std::io::Error) -> String {
    move |error| format!("{what}: {error}")
}

/// What a clone or a rewind needs, so that it can run beside the loop.
struct Job {
    guard: GuardLink,
    volume: Volume,
    tools: Tools,
    conninfo: String,
    era: Era,
}

impl Agent {
    pub(super) fn initdb(&mut self) -> Result<(), ActError> {
        let desired = self.world.lock().desired.clone();
        let spec = desired.ok_or(ActError::Premise("no desired document was read"))?.document.bootstrap;
        let passwords = self.secrets.passwords().map_err(file("read the Secrets"))?;
        let superuser = self.postgres.local.superuser.clone();
        let (volume, tools, major) = (self.volume.clone(), self.tools.clone(), self.me.postgres_major);
        let work = async move {
            volume.set_marker(Unfinished::Initdb).map_err(words("mark the volume"))?;
            // Under this marker whatever is there was never data (A4).
            remove_tree(&volume.making()).map_err(words("remove an unfinished directory"))?;
            remove_tree(volume.pgdata()).map_err(words("remove an unfinished directory"))?;
            tools
                .initdb(&volume.making(), &spec, &superuser, &passwords, major)
                .await
                .map_err(|error| error.to_string())?;
            let member = new_member_id().map_err(words("make a member id"))?;
            volume.set_member(&MemberFile::new(member, None)).map_err(words("write the member id"))?;
            volume.install_made().map_err(words("put the new data in place"))
        };
        self.start_job(Kind::Initdb, work);
        Ok(())
    }

    pub(super) fn adopt_data(&mut self, member: &MemberId) -> Result<(), ActError> {
        let found = self.volume.member().map_err(file("read the member id"))?;
        if found.as_ref().map(|found| &found.member) != Some(member) {
            return Err(ActError::Premise("the data is not the one that was recorded"));
        }
        self.volume.clear_marker().map_err(file("clear the marker"))?;
        self.data.touch();
        Ok(())
    }

    pub(super) fn persist_era(&mut self, era: Era) -> Result<(), ActError> {
        self.change_member(|found| found.era = Some(era))
    }

    pub(super) fn keep_marks(&mut self, marks: &Marks) -> Result<(), ActError> {
        self.change_member(|found| found.marks = Some(marks.into()))
    }

    fn change_member(&mut self, change: impl FnOnce(&mut MemberFile)) -> Result<(), ActError> {
        let mut found = self
            .volume
            .member()
            .map_err(file("read the member id"))?
            .ok_or(ActError::Premise("this data has no identity"))?;
        change(&mut found);
        self.volume.set_member(&found).map_err(file("write the data's own file"))?;
        self.data.touch();
        Ok(())
    }

    pub(super) fn clone_from(&mut self, from: &Upstream) -> Result<(), ActError> {
        let job = self.job(from)?;
        self.postgres.forget_failed_starts();
        self.start_job(Kind::Clone, async move { job.clone_data().await });
        Ok(())
    }

    pub(super) fn rewind_to(&mut self, from: &Upstream) -> Result<(), ActError> {
        let job = self.job(from)?;
        self.start_job(Kind::Rewind, async move { job.rewind_data().await });
        Ok(())
    }

    fn job(&self, from: &Upstream) -> Result<Job, ActError> {
        let link = self.link()?;
        Ok(Job {
            guard: self.guard.clone(),
            volume: self.volume.clone(),
            tools: self.tools.clone(),
            conninfo: link.conninfo(from, JOB_APPLICATION),
            era: from.era,
        })
    }

    fn start_job<F>(&mut self, kind: Kind, work: F)
    where
        F: Future<Output = Result<(), String>> + Send + 'static,
    {
        let wake = std::sync::Arc::clone(&self.wake);
        self.jobs.start(kind, work, move || wake.notify_one());
        self.data.touch();
    }
}

impl Job {
    /// No postgres may run on what is about to be changed.
    async fn stop(&self) -> Result<(), String> {
        if self.guard.state().postmaster.is_some() {
            self.guard
                .ask(Command::Signal { signal: Signal::Fast })
                .await
                .map_err(|error| error.to_string())?;
            if !self.guard.await_down(STOP_DEADLINE).await {
                self.guard.ask(Command::Fence).await.map_err(|error| error.to_string())?;
            }
        }
        if self.guard.await_down(STOP_DEADLINE).await {
            Ok(())
        } else {
            Err("postgres did not stop".to_owned())
        }
    }

    async fn clone_data(self) -> Result<(), String> {
        self.stop().await?;
        self.volume.set_marker(Unfinished::Clone).map_err(words("mark the volume"))?;
        remove_tree(&self.volume.making()).map_err(words("remove an unfinished clone"))?;
        remove_tree(&self.volume.replaced()).map_err(words("remove replaced data"))?;
        self.tools
            .basebackup(&self.volume.making(), &self.conninfo)
            .await
            .map_err(|error| error.to_string())?;
        drop_copied_files(&self.volume.making()).map_err(words("clean the clone"))?;
        self.volume.install_made().map_err(words("put the clone in place"))?;
        self.finish()?;
        remove_in_background(self.volume.replaced());
        Ok(())
    }

    async fn rewind_data(self) -> Result<(), String> {
        self.stop().await?;
        self.volume.set_marker(Unfinished::Rewind).map_err(words("mark the volume"))?;
        let pgdata = self.volume.pgdata();
        // pg_rewind ends an unclean stop with a single-user start, which a signal file makes impossible.
        for name in ["standby.signal", "recovery.signal", "postmaster.pid"] {
            remove_if_there(&pgdata.join(name)).map_err(words("remove a signal file"))?;
        }
        self.tools.rewind(pgdata, &self.conninfo).await.map_err(|error| error.to_string())?;
        drop_copied_files(pgdata).map_err(words("clean the rewound data"))?;
        let (whole, began_ms) = (pgdata.to_owned(), now_ms());
        // The file system at once: thousands of files one by one take seconds, in which nobody else may confirm.
        let synced = tokio::task::spawn_blocking(move || sync_file_system(&whole)).await;
        synced.map_err(std::io::Error::other).flatten().map_err(words("sync the rewound data"))?;
        tracing::info!(took_ms = now_ms().saturating_sub(began_ms), "synced the rewound data");
        self.finish()
    }

    /// New identity and the era of the source, then the marker: in this order, each fsynced (A2, A23).
    fn finish(&self) -> Result<(), String> {
        let member = new_member_id().map_err(words("make a member id"))?;
        let file = MemberFile::new(member, Some(self.era));
        self.volume.set_member(&file).map_err(words("write the member id"))?;
        self.volume.clear_marker().map_err(words("clear the marker"))
    }
}

/// What came from the source and must not act here.
fn drop_copied_files(pgdata: &Path) -> std::io::Result<()> {
    for name in ["standby.signal", "recovery.signal", "postmaster.pid"] {
        remove_if_there(&pgdata.join(name))?;
    }
    sync_dir(pgdata)
}

/// All that was written to the file system that holds this directory.
fn sync_file_system(dir: &Path) -> std::io::Result<()> {
    Ok(nix::unistd::syncfs(std::fs::File::open(dir)?)?)
}

fn remove_in_background(path: PathBuf) {
    tokio::task::spawn_blocking(move || {
        if let Err(error) = remove_tree(&path) {
            tracing::warn!(path = %path.display(), %error, "replaced data was not removed");
        }
    });
}
