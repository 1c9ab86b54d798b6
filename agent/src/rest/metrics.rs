//! Prometheus text of what the last cycle saw.

use std::fmt::Write;

use super::server::Board;

/// The page.
pub fn render(board: &Board) -> String {
    let report = &board.report;
    let primary = u8::from(report.role == pgha_schema::status::Role::Primary);
    let mut text = String::new();
    let mut gauge = |name: &str, help: &str, value: String| {
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} gauge\n{name} {value}");
    };
    gauge("pgha_primary", "Whether this instance runs as primary.", primary.to_string());
    gauge(
        "pgha_ready",
        "Whether this instance's postgres accepts connections.",
        u8::from(board.ready).to_string(),
    );
    gauge("pgha_serves_writes", "Whether clients can write here.", u8::from(board.serves_writes).to_string());
    gauge("pgha_era", "Era of this instance's data.", report.era.map_or(0, |era| era.0).to_string());
    gauge(
        "pgha_timeline",
        "Timeline of this instance's data.",
        report.timeline.map_or(0, |t| t.0).to_string(),
    );
    if let Some(position) = report.position {
        gauge("pgha_position_bytes", "Position in the write-ahead log.", position.0.to_string());
    }
    if let Some(replayed) = report.replayed {
        gauge("pgha_replayed_bytes", "Replayed position in the write-ahead log.", replayed.0.to_string());
    }
    gauge(
        "pgha_degraded",
        "Whether writes go on without a confirming standby.",
        u8::from(board.degraded).to_string(),
    );
    gauge("pgha_sync_voters", "Members that may hold every acknowledged commit.", board.voters.to_string());
    gauge("pgha_cycles_total", "Cycles of the agent's loop.", board.cycles.to_string());
    gauge("pgha_fences_total", "Fences in this container's life.", board.fences.to_string());
    text
}
