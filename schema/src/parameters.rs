//! PostgreSQL's settings: which ones the cluster owns, which need a restart, which standbys must not undercut.
//!
//! Pure facts about PostgreSQL 15 to 18, taken from `pg_settings` of those versions; provider (messages, plan) and agent
//! (what it renders) read the same ones.

mod owned;

use crate::validators::Problem;

pub use owned::{OWNED, owned_because};

/// Every setting of some version from 15 to 18, in lower case, with ` postmaster` behind those that need a restart.
const KNOWN: &str = include_str!("parameters/known.txt");
/// Settings of common extensions that need a restart.
const EXTENSIONS_POSTMASTER: [&str; 1] = ["pg_stat_statements.max"];

/// Settings that a standby must not have lower than its primary had when it wrote the WAL (P23).
pub const HOT_STANDBY_SENSITIVE: [&str; 5] = [
    "max_connections",
    "max_locks_per_transaction",
    "max_prepared_transactions",
    "max_wal_senders",
    "max_worker_processes",
];

/// Whether a change of the setting takes effect only when PostgreSQL of this major version starts. Extensions' settings
/// aren't known here, beside the commonest; the agent asks the server itself.
pub fn needs_restart(name: &str, major: u32) -> bool {
    let name = name.to_ascii_lowercase();
    // From 18 on its bound is autovacuum_worker_slots, and it can be reloaded.
    if name == "autovacuum_max_workers" && major >= 18 {
        return false;
    }
    let listed = known().any(|(known, postmaster)| postmaster && known == name);
    listed || EXTENSIONS_POSTMASTER.contains(&name.as_str())
}

/// The known settings, and whether they need a restart.
fn known() -> impl Iterator<Item = (&'static str, bool)> {
    KNOWN.lines().map(|line| line.strip_suffix(" postmaster").map_or((line, false), |name| (name, true)))
}

/// The value of a [`HOT_STANDBY_SENSITIVE`] setting when the user sets none: PostgreSQL's default, beside
/// `max_wal_senders`, which the agent raises to have room for nine standbys, their clones and backups.
pub fn sensitive_default(name: &str) -> Option<u64> {
    match name {
        "max_connections" => Some(100),
        "max_locks_per_transaction" => Some(64),
        "max_prepared_transactions" => Some(0),
        "max_wal_senders" => Some(16),
        "max_worker_processes" => Some(8),
        _ => None,
    }
}

/// Whether a change lowers a [`HOT_STANDBY_SENSITIVE`] setting, so that the primary restarts first (P23). `None`: not set.
pub fn lowers(name: &str, from: Option<&str>, to: Option<&str>) -> bool {
    let Some(default) = sensitive_default(name) else { return false };
    let value = |text: Option<&str>| text.and_then(|text| text.trim().parse().ok()).unwrap_or(default);
    value(to) < value(from)
}

/// Checks a setting's name: its form, that it may be set, and that the cluster doesn't own it.
pub fn check_name(name: &str) -> Result<(), Problem> {
    if !is_name(name) {
        return Err(Problem::new(
            format!("`{name}` is not the name of a PostgreSQL setting."),
            "Write it in lower case, as work_mem, or with the extension's name before a dot, as auto_explain.log_analyze.",
        ));
    }
    if let Some(reason) = owned_because(name) {
        return Err(Problem::new(format!("The cluster sets `{name}` itself: {reason}."), "Leave it out."));
    }
    match suggestion(name) {
        Some(close) => Err(Problem::new(
            format!("PostgreSQL has no setting `{name}`."),
            format!("Did you mean `{close}`?"),
        )),
        None => Ok(()),
    }
}

/// Whether a name, in lower case, has the form of a setting's and is not the cluster's own. One that this build does not know
/// may be set: a newer PostgreSQL or an extension may.
pub fn may_be_set(name: &str) -> bool {
    is_name(name) && owned_because(name).is_none()
}

fn is_name(name: &str) -> bool {
    let part = |part: &str| {
        let first = |b: u8| b.is_ascii_lowercase() || b == b'_';
        part.bytes().next().is_some_and(first)
            && part.bytes().all(|b| first(b) || b.is_ascii_digit() || b == b'$')
    };
    name.len() <= 63 && name.split('.').all(part)
}

/// The known name that an unknown one without a dot was probably meant to be.
fn suggestion(name: &str) -> Option<&'static str> {
    if name.contains('.') || is_known(name) {
        return None;
    }
    let near = known().map(|(known, _)| (distance(name, known), known)).min()?;
    (near.0 <= 2).then_some(near.1)
}

fn is_known(name: &str) -> bool {
    known().any(|(known, _)| known == name)
}

/// How many letters are added, dropped or exchanged between two words.
fn distance(a: &str, b: &str) -> usize {
    let b = b.as_bytes();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let exchanged = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = exchanged.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

/// Checks a setting's value where a value would break what the cluster promises.
pub fn check_value(name: &str, value: &str) -> Result<(), Problem> {
    let value = value.trim().trim_matches('\'').to_ascii_lowercase();
    let number = value.parse::<i64>().ok();
    let refuse = |what: String, remedy: &str| Err(Problem::new(what, remedy));
    let shown = format!("`{name} = {value}`");
    match (name, value.as_str()) {
        ("wal_level", "replica" | "logical") => Ok(()),
        ("wal_level", _) => refuse(
            format!("With {shown} no standby can follow."),
            "Choose replica or logical, or leave it out.",
        ),
        ("max_wal_senders" | "max_replication_slots", _) if number.is_none_or(|number| number < 10) => {
            refuse(
                format!("With {shown} standbys, their clones and backups may find no place."),
                "Choose 10 or more, or leave it out (the cluster sets 16).",
            )
        }
        ("max_connections", _) if number.is_none_or(|number| number < 10) => refuse(
            format!("With {shown} nobody but the superuser could connect."),
            "Choose 10 or more, or leave it out (PostgreSQL's default is 100).",
        ),
        ("superuser_reserved_connections", _) if number.is_none_or(|number| number < 1) => refuse(
            format!("With {shown} the agent could be locked out by clients."),
            "Choose 1 or more, or leave it out (PostgreSQL's default is 3).",
        ),
        ("default_transaction_read_only", value) if is_on(value) => refuse(
            format!("With {shown} the primary would refuse writes."),
            "Set it for a role or a database, with ALTER ROLE or ALTER DATABASE.",
        ),
        ("data_sync_retry", value) if is_on(value) => refuse(
            format!("With {shown} PostgreSQL goes on after the disk lost writes."),
            "Leave it out: PostgreSQL then stops, and a standby takes over.",
        ),
        _ => Ok(()),
    }
}

/// PostgreSQL's spellings of true, in lower case.
fn is_on(value: &str) -> bool {
    matches!(value, "on" | "true" | "yes" | "1" | "t" | "y" | "tr" | "tru" | "ye")
}

/// What is legal, but hardly meant; told as a warning.
pub fn warning(name: &str, value: &str) -> Option<Problem> {
    let value = value.trim().trim_matches('\'').to_ascii_lowercase();
    if name == "synchronous_commit" && !matches!(value.as_str(), "on" | "true" | "yes" | "1" | "remote_apply")
    {
        return Some(Problem::new(
            format!(
                "With `synchronous_commit = {value}` commits are acknowledged before a standby has them on disk."
            ),
            "A failover may lose them. Leave it out, or set it for single transactions.",
        ));
    }
    if !name.contains('.') && !is_known(name) && owned_because(name).is_none() {
        return Some(Problem::new(
            format!("PostgreSQL 15 to 18 have no setting `{name}` that this provider knows."),
            "Check its name: PostgreSQL does not take a configuration with an unknown setting.",
        ));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked_with_the_way_out() {
        for good in ["work_mem", "auto_explain.log_analyze", "timezone", "a_setting_of_some_later_minor"] {
            assert_eq!(check_name(good), Ok(()), "{good}");
        }
        for (bad, message) in [
            ("Work_mem", "`Work_mem` is not the name of a PostgreSQL setting. Write it in lower case"),
            ("work_mem = 1", "`work_mem = 1` is not the name"),
            ("", "`` is not the name"),
            (".x", "`.x` is not the name"),
            ("work_men", "PostgreSQL has no setting `work_men`. Did you mean `work_mem`?"),
            ("port", "The cluster sets `port` itself: "),
            ("recovery_target_xid", "The cluster sets `recovery_target_xid` itself: "),
            ("include_dir", "The cluster sets `include_dir` itself: "),
            ("server_version", "The cluster sets `server_version` itself: "),
        ] {
            let problem = check_name(bad).unwrap_err().to_string();
            assert!(problem.starts_with(message), "{problem}");
        }
    }

    #[test]
    fn values_that_break_a_promise_are_refused() {
        for (name, value) in [
            ("wal_level", "minimal"),
            ("wal_level", "MINIMAL"),
            ("max_wal_senders", "4"),
            ("max_wal_senders", "many"),
            ("max_connections", "5"),
            ("superuser_reserved_connections", "0"),
            ("default_transaction_read_only", "on"),
            ("data_sync_retry", "'true'"),
        ] {
            assert!(check_value(name, value).is_err(), "{name} = {value}");
        }
        for (name, value) in [
            ("wal_level", "logical"),
            ("max_wal_senders", "10"),
            ("max_connections", "200"),
            ("default_transaction_read_only", "off"),
            ("work_mem", "64MB"),
        ] {
            assert_eq!(check_value(name, value), Ok(()), "{name} = {value}");
        }
    }

    #[test]
    fn risky_values_and_unknown_names_are_warned_about() {
        assert!(warning("synchronous_commit", "off").is_some());
        assert!(warning("synchronous_commit", "remote_write").is_some());
        assert_eq!(warning("synchronous_commit", "remote_apply"), None);
        assert_eq!(warning("work_mem", "64MB"), None);
        assert_eq!(warning("timescaledb.max_background_workers", "8"), None);
        assert!(warning("a_setting_of_some_later_minor", "1").is_some());
    }

    #[test]
    fn restarts_are_told_from_reloads_by_version() {
        assert!(
            needs_restart("shared_buffers", 15)
                && needs_restart("pg_stat_statements.max", 16)
                && needs_restart("io_method", 18)
        );
        assert!(needs_restart("autovacuum_max_workers", 17) && !needs_restart("autovacuum_max_workers", 18));
        assert!(!needs_restart("work_mem", 18) && !needs_restart("max_wal_size", 15));
    }

    #[test]
    fn the_settings_that_standbys_must_not_undercut_need_a_restart_and_have_a_default() {
        for name in HOT_STANDBY_SENSITIVE {
            assert!(needs_restart(name, 15) && sensitive_default(name).is_some(), "{name}");
            assert_eq!(owned_because(name), None, "{name}");
        }
    }

    #[test]
    fn the_list_is_sorted_and_whole() {
        let names: Vec<_> = known().map(|(name, _)| name).collect();
        assert!(names.is_sorted() && names.iter().all(|name| is_name(name)));
        assert_eq!((names.len(), known().filter(|(_, postmaster)| *postmaster).count()), (385, 71));
    }

    #[test]
    fn lowering_is_judged_with_defaults() {
        assert!(lowers("max_connections", Some("200"), None));
        assert!(lowers("max_connections", None, Some("50")));
        assert!(!lowers("max_connections", None, Some("200")));
        assert!(!lowers("max_connections", Some("100"), None));
        assert!(!lowers("work_mem", Some("2"), Some("1")));
    }
}
