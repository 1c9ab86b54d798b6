//! What postgres itself counts, asked when somebody scrapes, over a connection of its own that waits for nobody.

use std::time::Duration;

use tokio_postgres::Row;

use super::text::{Kind, Page};
use crate::postgres::session::{Local, Session, SessionError};

/// A scrape is for people; it must not hold anything up.
const DEADLINE: Duration = Duration::from_millis(800);

/// One question: its columns are texts for the labels, then numbers for the families.
struct Question {
    sql: &'static str,
    labels: &'static [&'static str],
    families: &'static [(&'static str, Kind, &'static str)],
}

const fn gauge(name: &'static str, help: &'static str) -> (&'static str, Kind, &'static str) {
    (name, Kind::Gauge, help)
}

const fn counter(name: &'static str, help: &'static str) -> (&'static str, Kind, &'static str) {
    (name, Kind::Counter, help)
}

const QUESTIONS: [Question; 7] = [
    Question {
        sql: "select current_setting('server_version'), split_part(current_setting('server_version'), ' ', 1), 1::float8",
        labels: &["version", "short_version"],
        families: &[gauge("pg_static", "The server's version; always 1.")],
    },
    Question {
        sql: "select extract(epoch from pg_postmaster_start_time())::float8, \
              case when not pg_is_in_recovery() or pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn() then 0 \
              else coalesce(greatest(0, extract(epoch from now() - pg_last_xact_replay_timestamp())), 0) end::float8",
        labels: &[],
        families: &[
            gauge("pg_postmaster_start_time_seconds", "When the postmaster was started, Unix time."),
            gauge(
                "pg_replication_lag_seconds",
                "Age of the newest replayed commit while there is more to replay.",
            ),
        ],
    },
    Question {
        sql: "select datid::text, coalesce(datname, ''), numbackends::float8, xact_commit::float8, xact_rollback::float8, \
              blks_read::float8, blks_hit::float8, tup_returned::float8, tup_fetched::float8, tup_inserted::float8, \
              tup_updated::float8, tup_deleted::float8, conflicts::float8, temp_bytes::float8, deadlocks::float8 \
              from pg_stat_database where datname is not null",
        labels: &["datid", "datname"],
        families: &[
            gauge("pg_stat_database_numbackends", "Sessions in the database."),
            counter("pg_stat_database_xact_commit", "Commits."),
            counter("pg_stat_database_xact_rollback", "Rollbacks."),
            counter("pg_stat_database_blks_read", "Blocks read from disk."),
            counter("pg_stat_database_blks_hit", "Blocks found in the buffers."),
            counter("pg_stat_database_tup_returned", "Rows read."),
            counter("pg_stat_database_tup_fetched", "Rows fetched by index."),
            counter("pg_stat_database_tup_inserted", "Rows inserted."),
            counter("pg_stat_database_tup_updated", "Rows updated."),
            counter("pg_stat_database_tup_deleted", "Rows deleted."),
            counter("pg_stat_database_conflicts", "Queries ended by conflicts with recovery."),
            counter("pg_stat_database_temp_bytes", "Bytes written to temporary files."),
            counter("pg_stat_database_deadlocks", "Deadlocks."),
        ],
    },
    Question {
        sql: "select coalesce(datname, ''), coalesce(state, ''), count(*)::float8, \
              coalesce(max(extract(epoch from now() - xact_start)), 0)::float8 \
              from pg_stat_activity where backend_type = 'client backend' group by 1, 2",
        labels: &["datname", "state"],
        families: &[
            gauge("pg_stat_activity_count", "Client sessions."),
            gauge("pg_stat_activity_max_tx_duration", "Age of the oldest transaction, in seconds."),
        ],
    },
    Question {
        sql: "select datname::text, pg_database_size(oid)::float8 from pg_database where datallowconn",
        labels: &["datname"],
        families: &[gauge("pg_database_size_bytes", "Size of the database.")],
    },
    Question {
        sql: "select count(*)::float8, coalesce(sum(size), 0)::float8 from pg_ls_waldir()",
        labels: &[],
        families: &[
            gauge("pg_wal_segments", "Files of write-ahead log."),
            gauge("pg_wal_size_bytes", "Size of the write-ahead log."),
        ],
    },
    Question {
        sql: "select coalesce(mode, ''), coalesce(d.datname, ''), count(*)::float8 from pg_locks l \
              left join pg_database d on d.oid = l.database group by 1, 2",
        labels: &["mode", "datname"],
        families: &[gauge("pg_locks_count", "Locks.")],
    },
];

/// Numbers and switches of pg_settings, in bytes and seconds; names as exporters give them.
const SETTINGS: &str = "select name, setting, coalesce(unit, ''), vartype, short_desc from pg_settings \
    where vartype in ('bool', 'integer', 'real')";

/// The families; what can't be asked in time is left out, and said.
pub(super) async fn write(page: &mut Page, local: &Local) {
    let problem = match ask(page, local).await {
        Ok(()) => false,
        Err(error) => {
            tracing::debug!(%error, "postgres did not answer a scrape");
            true
        }
    };
    page.flag(
        "pg_exporter_last_scrape_error",
        "Whether postgres left a question of this page unanswered.",
        problem,
    );
}

async fn ask(page: &mut Page, local: &Local) -> Result<(), SessionError> {
    let session = Session::open(local).await?;
    for question in &QUESTIONS {
        for row in session.query(question.sql, &[], DEADLINE).await? {
            take(page, question, &row);
        }
    }
    for row in session.query(SETTINGS, &[], DEADLINE).await? {
        let text = |column: usize| row.get::<_, Option<String>>(column).unwrap_or_default();
        if let Some((name, value)) = setting(&text(0), &text(1), &text(2), &text(3)) {
            page.gauge(&name, &text(4), value);
        }
    }
    Ok(())
}

fn take(page: &mut Page, question: &Question, row: &Row) {
    let labels: Vec<String> = (0..question.labels.len())
        .map(|column| row.get::<_, Option<String>>(column).unwrap_or_default())
        .collect();
    let labels: Vec<(&str, &str)> =
        question.labels.iter().copied().zip(labels.iter().map(String::as_str)).collect();
    for (column, (name, kind, help)) in (labels.len()..).zip(question.families) {
        if let Some(value) = row.get::<_, Option<f64>>(column) {
            page.sample(*kind, name, help, &labels, value);
        }
    }
}

/// Family and value of a setting.
fn setting(name: &str, text: &str, unit: &str, kind: &str) -> Option<(String, f64)> {
    let value = match kind {
        "bool" => f64::from(u8::from(text == "on")),
        _ => text.parse().ok()?,
    };
    let (factor, suffix) = match unit {
        "" => (1.0, ""),
        "ms" => (0.001, "_seconds"),
        "s" => (1.0, "_seconds"),
        "min" => (60.0, "_seconds"),
        "B" => (1.0, "_bytes"),
        "kB" => (1_024.0, "_bytes"),
        "8kB" => (8_192.0, "_bytes"),
        "MB" => (1_048_576.0, "_bytes"),
        _ => return None,
    };
    // -1 means "not set" or "by another setting", whatever the unit.
    let value = if value < 0.0 { value } else { value * factor };
    let safe: String =
        name.chars().map(|letter| if letter.is_ascii_alphanumeric() { letter } else { '_' }).collect();
    Some((format!("pg_settings_{safe}{suffix}"), value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rest::metrics::text::parse;

    #[test]
    fn settings_are_in_bytes_and_seconds() {
        let of = |name, text, unit, kind| setting(name, text, unit, kind);
        assert_eq!(
            of("shared_buffers", "16384", "8kB", "integer"),
            Some(("pg_settings_shared_buffers_bytes".into(), 134_217_728.0))
        );
        assert_eq!(
            of("statement_timeout", "1500", "ms", "integer"),
            Some(("pg_settings_statement_timeout_seconds".into(), 1.5))
        );
        assert_eq!(of("fsync", "on", "", "bool"), Some(("pg_settings_fsync".into(), 1.0)));
        assert_eq!(of("wal_buffers", "-1", "8kB", "integer").map(|(_, value)| value), Some(-1.0));
        assert_eq!(
            of("my.own-one", "2", "", "real").map(|(name, _)| name).as_deref(),
            Some("pg_settings_my_own_one")
        );
        assert_eq!(of("x", "1", "furlong", "integer"), None);
    }

    #[test]
    fn every_question_has_well_formed_families_of_its_own() {
        let mut page = Page::default();
        let mut names = std::collections::BTreeSet::new();
        for question in &QUESTIONS {
            let labels: Vec<(&str, &str)> = question.labels.iter().map(|label| (*label, "x")).collect();
            for (name, kind, help) in question.families {
                assert!(names.insert(*name), "{name} is asked twice");
                page.sample(*kind, name, help, &labels, 1.0);
            }
        }
        assert_eq!(parse::page(&page.finish()).unwrap().len(), names.len());
    }
}
