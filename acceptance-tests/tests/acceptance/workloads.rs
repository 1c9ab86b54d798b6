//! Both workloads at once: ids appended by several clients, and lists read and appended to by others.

use std::time::Instant;

use anyhow::{Context as _, Error, Result};
use pgha_acceptance_tests::lists::{self, Appends, Transaction};
use pgha_acceptance_tests::load::{Load, Outcome};
use pgha_acceptance_tests::{checker, evidence};

use crate::bed::Bed;
use crate::group::{Site, WHOLE, WRITES};

/// Clients that append to lists.
const APPENDERS: u16 = 3;

/// Both, running.
pub struct Workloads {
    /// Ids: it also tells when writes are back.
    pub ids: Load,
    lists: Appends,
}

/// What both were promised.
pub struct Promised {
    /// Ids.
    pub ids: Outcome,
    lists: Vec<Transaction>,
    lists_table: String,
}

impl Workloads {
    /// Starts both through rw; comes back when commits of both were acknowledged.
    pub async fn start(site: &Site, table: &str) -> Result<Self> {
        let ids = site.load(table).await?;
        let lists = Appends::start(&site.rw().await?, &format!("{table}_lists"), APPENDERS).await?;
        ids.until_more(50).await?;
        Ok(Self { ids, lists })
    }

    /// After a fault and its end: writes come back and the cluster is whole without a hand, whichever of these fails.
    pub async fn healed(&self, site: &Site) -> Result<()> {
        let writes = self.ids.until_acknowledged_after(Instant::now(), WRITES).await;
        let whole = site.cluster.until_whole(2, WHOLE).await;
        writes.context("writes did not come back")?;
        whole.context("the cluster did not heal without a hand")?;
        Ok(())
    }

    /// Stops both.
    pub async fn finish(self) -> Result<Promised> {
        let lists_table = self.lists.table.clone();
        Ok(Promised { ids: self.ids.finish().await?, lists: self.lists.finish().await?, lists_table })
    }
}

impl Promised {
    /// How many transactions of both were acknowledged.
    pub fn acknowledged(&self) -> usize {
        let lists = self.lists.iter().filter(|one| one.outcome == lists::Outcome::Acknowledged);
        self.ids.acknowledged.len() + lists.count()
    }

    /// Asserts what must hold after everything, and takes the tables away.
    pub async fn kept(&self, site: &Site) -> Result<()> {
        site.nothing_lost(&self.ids).await?;
        checker::lists_hold(&site.cluster, "app", &self.lists_table, &self.lists).await?;
        checker::mode_in_force(&site.cluster, 2).await?;
        let drop_tables = format!("DROP TABLE {}, {}", self.ids.table, self.lists_table);
        site.cluster.sql(&site.cluster.primary().await?, "app", &drop_tables).await?;
        Ok(())
    }

    /// Keeps histories, logs and the story of the faults in a folder, which the error then names.
    pub async fn with_evidence(&self, bed: &Bed, site: &Site, story: &str, error: Error) -> Error {
        error.context(self.keep_evidence(bed, site, story).await)
    }

    /// The same, where nothing failed; says where it is.
    pub async fn keep_evidence(&self, bed: &Bed, site: &Site, story: &str) -> String {
        let name = &self.ids.table;
        let kept = evidence::keep(&bed.sandbox, &site.cluster, name, story, Some(&self.ids), &self.lists);
        match kept.await {
            Ok(folder) => format!("histories, logs and the faults are kept in {}", folder.display()),
            Err(why) => format!("histories and logs could not be kept: {why:#}"),
        }
    }
}
