//! Replication as the loop saw it last, under the names that dashboards know.

use pgha_agent_core::Observation;
use pgha_agent_core::observation::{SlotSeen, Walsender};

use super::text::{Kind, Page};
use crate::postgres::sql::slot_name;

/// The families.
pub(super) fn write(page: &mut Page, seen: &Observation) {
    let (primary, standby) = (seen.primary(), seen.standby());
    page.flag("pg_up", "Whether postgres answers.", primary.is_some() || standby.is_some());
    if primary.is_some() || standby.is_some() {
        page.flag("pg_replication_is_replica", "Whether this server is a replica.", standby.is_some());
    }
    if let Some(primary) = primary {
        let end = primary.current_lsn;
        for sender in &primary.walsenders {
            walsender(page, sender, end.0 as f64, sender.flushed_lsn.behind(end).0 as f64);
        }
    }
    let slots = primary.map(|primary| &primary.slots).or(standby.map(|standby| &standby.slots));
    for (ordinal, seen) in slots.into_iter().flatten() {
        slot(page, &slot_name(*ordinal), *seen);
    }
}

fn walsender(page: &mut Page, sender: &Walsender, current: f64, behind: f64) {
    let state = if sender.streaming { "streaming" } else { "catchup" };
    let labels = [("application_name", sender.application_name.as_str()), ("state", state)];
    let mut put = |name: &str, help: &str, value: f64| page.sample(Kind::Gauge, name, help, &labels, value);
    put("pg_stat_replication_pg_current_wal_lsn_bytes", "Position of the primary in bytes.", current);
    put("pg_stat_replication_pg_wal_lsn_diff", "Bytes that the standby has yet to flush.", behind);
    put("pg_stat_replication_sent_lsn_bytes", "Position sent to the standby.", sender.sent_lsn.0 as f64);
    put(
        "pg_stat_replication_flush_lsn_bytes",
        "Position that the standby has flushed.",
        sender.flushed_lsn.0 as f64,
    );
    put(
        "pg_stat_replication_reply_age_seconds",
        "Age of the standby's last reply.",
        sender.reply_age_ms as f64 / 1_000.0,
    );
}

fn slot(page: &mut Page, name: &str, seen: SlotSeen) {
    let labels = [("slot_name", name), ("slot_type", "physical")];
    let mut put = |name: &str, help: &str, value: f64| page.sample(Kind::Gauge, name, help, &labels, value);
    let active = if seen.active { 1.0 } else { 0.0 };
    put("pg_replication_slot_slot_is_active", "Whether a walsender uses the slot.", active);
    if let Some(from) = seen.restart_lsn {
        put("pg_replication_slot_slot_current_wal_lsn", "From where the slot keeps WAL.", from.0 as f64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rest::metrics::text::parse;
    use pgha_schema::lsn::Lsn;

    #[test]
    fn a_standbys_lag_is_a_sample_of_its_own() {
        let mut page = Page::default();
        for (name, flushed) in [("m1", 40), ("m2", 100)] {
            let sender = Walsender {
                pid: 1,
                application_name: name.into(),
                ours: true,
                streaming: true,
                sent_lsn: Lsn(100),
                flushed_lsn: Lsn(flushed),
                reply_age_ms: 250,
            };
            walsender(&mut page, &sender, 100.0, sender.flushed_lsn.behind(Lsn(100)).0 as f64);
        }
        slot(&mut page, "pgha_1", SlotSeen { restart_lsn: Some(Lsn(7)), active: true, lost: false });
        let samples = parse::page(&page.finish()).unwrap();
        let lag = |name: &str| {
            let labels = format!("{{application_name=\"{name}\",state=\"streaming\"}}");
            samples.get(&format!("pg_stat_replication_pg_wal_lsn_diff{labels}")).copied()
        };
        assert_eq!((lag("m1"), lag("m2")), (Some(60.0), Some(0.0)));
        let active = "pg_replication_slot_slot_is_active{slot_name=\"pgha_1\",slot_type=\"physical\"}";
        assert_eq!(samples.get(active), Some(&1.0));
    }
}
