//! What only the agent knows: record, era, V, fence, volume, its own counts.

use pgha_agent_core::Observation;
use pgha_schema::status::Role;

use super::text::{Kind, Page};
use crate::boottime::now_ms;
use crate::rest::server::Board;

fn seconds(ms: u64) -> f64 {
    ms as f64 / 1_000.0
}

/// The families.
pub(super) fn write(page: &mut Page, board: &Board) {
    let report = &board.report;
    let version = [("version", report.agent_version.as_str())];
    page.sample(Kind::Gauge, "pgha_agent_info", "The agent's version; always 1.", &version, 1.0);
    page.flag("pgha_primary", "Whether this instance runs as primary.", report.role == Role::Primary);
    for (role, is) in [("primary", Role::Primary), ("standby", Role::Standby), ("unknown", Role::Unknown)] {
        let help = "Whether this instance has this role.";
        let value = if report.role == is { 1.0 } else { 0.0 };
        page.sample(Kind::Gauge, "pgha_role", help, &[("role", role)], value);
    }
    page.flag("pgha_ready", "Whether this instance serves reads or writes.", board.ready);
    page.flag("pgha_serves_writes", "Whether clients can write here.", board.serves_writes);
    page.flag("pgha_degraded", "Whether writes go on without a confirming standby.", board.degraded);
    page.gauge("pgha_voters", "Members that may take over without loss (V).", board.voters as f64);
    let counts = &board.counts;
    let mut count = |name: &str, help: &str, value: u64| page.put(Kind::Counter, name, help, value as f64);
    count("pgha_cycles_total", "Turns of the agent's loop.", board.cycles);
    count("pgha_fences_total", "Fences in this container's life.", board.fences);
    count(
        "pgha_failovers_total",
        "Takings of the lead by this instance that were not handed over to it.",
        counts.failovers,
    );
    count("pgha_takeovers_total", "Takings of the lead by this instance.", counts.takeovers);
    count(
        "pgha_api_errors_total",
        "Requests of this agent to the API server that failed.",
        counts.api_errors,
    );
    if let Some(fence_at_ms) = board.fence_at_ms.filter(|_| report.role == Role::Primary) {
        let left = seconds(fence_at_ms) - seconds(now_ms());
        page.gauge("pgha_fence_deadline_seconds", "Time until the guard fences, unless renewed.", left);
    }
    if let Some(volume) = report.volume {
        page.gauge("pgha_volume_size_bytes", "Size of the volume.", volume.size_bytes as f64);
        page.gauge("pgha_volume_used_bytes", "Used on the volume.", volume.used_bytes as f64);
    }
    positions(page, board);
    if let Some(seen) = &board.seen {
        record(page, seen);
    }
}

fn positions(page: &mut Page, board: &Board) {
    let report = &board.report;
    if let Some(timeline) = report.timeline {
        page.gauge("pgha_timeline", "Timeline of this instance's data.", f64::from(timeline.0));
    }
    if let Some(position) = report.position {
        page.gauge("pgha_position_bytes", "Position in the write-ahead log.", position.0 as f64);
    }
    if let (Some(position), Some(replayed)) = (report.position, report.replayed) {
        page.gauge("pgha_replayed_bytes", "Replayed position in the write-ahead log.", replayed.0 as f64);
        let backlog = replayed.behind(position).0 as f64;
        page.gauge("pgha_replay_backlog_bytes", "Received here and not replayed yet.", backlog);
    }
    for (ordinal, bytes) in &report.slots {
        let name = crate::postgres::sql::slot_name(*ordinal);
        let help = "Write-ahead log that is kept here for another instance.";
        page.sample(
            Kind::Gauge,
            "pgha_slot_retained_bytes",
            help,
            &[("slot_name", name.as_str())],
            *bytes as f64,
        );
    }
}

fn record(page: &mut Page, seen: &Observation) {
    let Some(read) = seen.lease() else { return };
    let record = &read.record;
    page.gauge("pgha_era", "The record's era.", record.era().0 as f64);
    page.gauge("pgha_quorum", "How many of V a taker has to hear (q).", f64::from(record.quorum));
    page.flag("pgha_paused", "Whether people hold the cluster as it is.", record.pause.is_some());
    page.flag("pgha_leads", "Whether this instance holds the record.", {
        record.holder.as_ref().is_some_and(|holder| holder.nonce == seen.me.nonce)
    });
    let age = seconds(seen.now_ms.saturating_sub(read.first_seen_ms));
    page.gauge("pgha_seconds_since_renewal", "Age of the record, as this instance saw it.", age);
    let confirmed = record.confirmed.0 as f64;
    page.gauge(
        "pgha_confirmed_bytes",
        "Position that V had confirmed when the record was written.",
        confirmed,
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rest::metrics::text::parse;
    use crate::rest::peers::tests::board;

    #[test]
    fn the_agents_own_families_are_well_formed() {
        let mut board = board(None);
        board.report.volume = Some(pgha_schema::status::VolumeFill { size_bytes: 1_000, used_bytes: 400 });
        board.report.slots.insert(1, 77);
        board.report.position = Some(pgha_schema::lsn::Lsn(50));
        board.report.replayed = Some(pgha_schema::lsn::Lsn(20));
        board.counts.failovers = 3;
        let mut page = Page::default();
        write(&mut page, &board);
        let samples = parse::page(&page.finish()).unwrap();
        let value = |name: &str| samples.get(name).copied();
        assert_eq!(value("pgha_role{role=\"standby\"}"), Some(1.0));
        assert_eq!(value("pgha_volume_used_bytes"), Some(400.0));
        assert_eq!(value("pgha_slot_retained_bytes{slot_name=\"pgha_1\"}"), Some(77.0));
        assert_eq!(value("pgha_replay_backlog_bytes"), Some(30.0));
        assert_eq!(value("pgha_failovers_total"), Some(3.0));
        assert_eq!(value("pgha_voters"), Some(1.0));
        assert_eq!(value("pgha_fence_deadline_seconds"), None, "a standby has none");
    }
}
