//! Disks that fill up or hang, and WAL that a slot may not hold for ever. The cluster lies on small disks of its own.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;
use pgha_acceptance_tests::load::Load;
use pgha_acceptance_tests::poll::{Seen, until};
use pgha_acceptance_tests::sandbox::{SMALL_DISK_CLASS, SmallDisk, Target};

use crate::cases;
use crate::group::{Group, WHOLE, WRITES};
use crate::growth::{volumes_grow_under_load, volumes_that_their_driver_refuses_to_grow};
use crate::runner::Case;
use crate::scene::{Fault, Scene, members_of, strike, until_data_is_new};

/// Less than a segment of WAL.
const ROOM_BYTES: u64 = 4 << 20;
/// For a few segments and a table.
const ROOM_OF_STANDBY_BYTES: u64 = 80 << 20;
/// More pages than a restartpoint that takes its time writes in four minutes: one in 100 ms.
const DIRT: &str = "DROP TABLE IF EXISTS dirt; \
    CREATE TABLE dirt AS SELECT n, repeat('x', 500) FROM generate_series(1, 45000) n";
/// Much less than that.
const ROOM_IS_MADE: Duration = Duration::from_secs(60);
/// What a slot may hold, and how many segments are written past it.
const SLOT_KEEPS: &str = "64MB";
const SEGMENTS: u32 = 8;

pub fn cases() -> Vec<Case> {
    cases![
        => wal_past_the_slot_limit,
        => primary_disk_full,
        => standby_disk_full,
        => primary_disk_hangs,
        => volumes_grow_under_load,
        => volumes_that_their_driver_refuses_to_grow,
    ]
}

async fn wal_past_the_slot_limit(group: &mut Group) -> Result<()> {
    on_small_disks(group, "slot_limit", |scene, load| Box::pin(outrun_a_slot(scene, load))).await
}

async fn primary_disk_full(group: &mut Group) -> Result<()> {
    on_small_disks(group, "disk_full", |scene, load| Box::pin(fill_disk(scene, load))).await
}

async fn standby_disk_full(group: &mut Group) -> Result<()> {
    on_small_disks(group, "standby_disk_full", |scene, load| Box::pin(fill_standbys_disk(scene, load))).await
}

async fn primary_disk_hangs(group: &mut Group) -> Result<()> {
    on_small_disks(group, "disk_hangs", |scene, load| Box::pin(hang_disk(scene, load))).await
}

/// A cluster whose instances lie on file systems of half a GiB, made when there is none.
async fn on_small_disks(group: &mut Group, name: &str, fault: Fault) -> Result<()> {
    let bed = Arc::clone(&group.bed);
    let site = group.site().await?;
    if site.cluster.pods().await?.is_empty() {
        bed.sandbox.make_small_disks().await?;
        let config = site
            .config
            .clone()
            .set("replicas", 2)
            .set("storage.class", SMALL_DISK_CLASS)
            .set("storage.retain", false)
            .set("parameters.max_slot_wal_keep_size", SLOT_KEEPS)
            .set("parameters.wal_keep_size", "0")
            .set("parameters.max_wal_size", "96MB");
        site.apply(config).await?;
    }
    strike(&bed, site, name, 1, fault).await
}

async fn disk_of(scene: &Scene, pod: &str) -> Result<SmallDisk> {
    let ordinal = scene.cluster.names.ordinal(pod).with_context(|| format!("{pod} has no ordinal"))?;
    let claim = scene.cluster.names.claim(ordinal);
    scene.sandbox.small_disk_of_claim(&scene.cluster.namespace, &claim).await
}

/// A standby stands still while more WAL is written than its slot may hold: the primary drops that and lives on, and the
/// standby is cloned anew by itself.
async fn outrun_a_slot(scene: &Scene, load: &Load) -> Result<()> {
    let before = members_of(scene, &scene.other).await?;
    let reign = scene.reign().await?;
    scene.signal(&scene.other, Target::All, Signal::SIGSTOP)?;
    let outcome = async {
        scene.cluster.begin_segment(&scene.primary).await?;
        let beyond = scene.cluster.sql(&scene.primary, "postgres", "SELECT pg_current_wal_lsn()").await?;
        for _ in 0..SEGMENTS {
            scene.cluster.begin_segment(&scene.primary).await?;
        }
        let slot = format!("pgha_{}", scene.cluster.names.ordinal(&scene.other).context("no ordinal")?);
        until("the standby's slot to be given up", WRITES, || async {
            // Slots are looked at when a checkpoint wants to remove WAL; it waits for the stream that stands still.
            scene.cluster.sql(&scene.primary, "postgres", "CHECKPOINT").await?;
            // Lost, or made again: a standby that stands still moves nothing.
            let seen = format!(
                "SELECT coalesce(restart_lsn > '{beyond}', true), wal_status, restart_lsn \
                 FROM pg_replication_slots WHERE slot_name = '{slot}'"
            );
            let seen = scene.cluster.sql(&scene.primary, "postgres", &seen).await?;
            Ok(Seen::when(seen.is_empty() || seen.starts_with('t'), format!("{slot}: {seen}")))
        })
        .await
    };
    let outcome = outcome.await;
    scene.signal(&scene.other, Target::All, Signal::SIGCONT)?;
    outcome?;
    until_data_is_new(scene, &scene.other, &before).await?;
    scene.led_on(load, &reign).await
}

/// PostgreSQL stops itself when it can't write WAL. A standby that confirmed every commit, and has room, takes over; the old primary
/// follows once there is room again.
async fn fill_disk(scene: &Scene, load: &Load) -> Result<()> {
    let disk = disk_of(scene, &scene.primary).await?;
    disk.fill(ROOM_BYTES)?;
    let postmaster = scene.postmaster(&scene.primary)?;
    let outcome = async {
        // Segments that it made before are used up first.
        until("postgres to stop for want of room", WRITES, || async {
            let begun = scene.cluster.begin_segment(&scene.primary).await;
            Ok(Seen::when(!postmaster.is_alive(), format!("it runs; a new segment: {begun:?}")))
        })
        .await?;
        scene.taken_over(load).await?;
        let record = scene.cluster.record().await?;
        let (era, holder) = (record.era().0, record.holder.map(|holder| holder.pod));
        // Many more commits, and nobody leads in turn.
        load.until_more(500).await?;
        let record = scene.cluster.record().await?;
        ensure!(record.era().0 == era, "the lead went on from {holder:?} to {:?}", record.holder);
        ensure!(disk.free_bytes()? < 2 * ROOM_BYTES, "the disk did not stay full");
        anyhow::Ok(())
    };
    let outcome = outcome.await;
    disk.make_room()?;
    outcome
}

/// A standby whose restartpoints lag receives WAL until its disk is full. All that it needs is room that WAL takes which nobody needs:
/// it has that long before PostgreSQL's own restartpoint would be over, and keeps its data.
async fn fill_standbys_disk(scene: &Scene, load: &Load) -> Result<()> {
    let before = members_of(scene, &scene.standby).await?;
    let reign = scene.reign().await?;
    let disk = disk_of(scene, &scene.standby).await?;
    disk.fill(ROOM_OF_STANDBY_BYTES)?;
    let checkpointer = Target::CommandHolds("checkpointer");
    scene.signal(&scene.standby, checkpointer, Signal::SIGSTOP)?;
    let filled = async {
        scene.cluster.sql(&scene.primary, "postgres", DIRT).await?;
        until("the standby to receive no more WAL", WRITES, || async {
            scene.cluster.begin_segment(&scene.primary).await?;
            scene.cluster.sql(&scene.primary, "postgres", "CHECKPOINT").await?;
            let seen = "SELECT count(*) FROM pg_stat_wal_receiver WHERE status = 'streaming'";
            let streams = scene.cluster.sql(&scene.standby, "postgres", seen).await?;
            Ok(Seen::when(streams == "0", format!("{streams} streams, {} bytes free", disk.free_bytes()?)))
        })
        .await
    };
    let filled = filled.await;
    scene.signal(&scene.standby, checkpointer, Signal::SIGCONT)?;
    filled?;
    let written = scene.cluster.sql(&scene.primary, "postgres", "SELECT pg_current_wal_flush_lsn()").await?;
    until("the standby to have what was written meanwhile", ROOM_IS_MADE, || async {
        let seen = format!("SELECT pg_last_wal_replay_lsn() >= '{written}', pg_last_wal_replay_lsn()");
        let seen = scene.cluster.sql(&scene.standby, "postgres", &seen).await?;
        Ok(Seen::when(seen.starts_with('t'), format!("it has {seen} of {written}")))
    })
    .await?;
    disk.make_room()?;
    ensure!(members_of(scene, &scene.standby).await? == before, "the standby was cloned anew");
    scene.led_on(load, &reign).await
}

/// Every write of the primary hangs, and no signal ends that: another takes over all the same.
async fn hang_disk(scene: &Scene, load: &Load) -> Result<()> {
    let disk = disk_of(scene, &scene.primary).await?;
    disk.hang()?;
    let outcome = scene.taken_over(load).await;
    disk.resume()?;
    outcome?;
    until("the old primary to be a standby", WHOLE, || async {
        let recovering = scene.cluster.sql(&scene.primary, "postgres", "SELECT pg_is_in_recovery()").await?;
        Ok(Seen::when(recovering == "t", format!("pg_is_in_recovery {recovering}")))
    })
    .await
}
