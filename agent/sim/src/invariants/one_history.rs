//! A standby's WAL is a beginning of its source's: PostgreSQL compares only timeline numbers, so nobody else would see it.

use super::Violation;

/// Checked when a standby connects.
pub fn check(standby: &[u64], source: &[u64], pods: (&str, &str)) -> Option<Violation> {
    (!source.starts_with(standby))
        .then(|| Violation::HistoriesMixed { standby: pods.0.to_owned(), source: pods.1.to_owned() })
}
