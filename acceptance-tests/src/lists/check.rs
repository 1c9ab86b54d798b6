//! What a history may not show.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::cycles::{self, Edge};
use super::history::{Key, Lists, Outcome, Transaction, Value};

/// A promise that was broken. Transactions are named by their place in the history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Anomaly {
    /// An acknowledged append is not there.
    Lost {
        /// Whose.
        transaction: usize,
        /// To which list.
        key: Key,
        /// What.
        value: Value,
    },
    /// A list holds a value twice.
    Duplicated {
        /// Which list.
        key: Key,
        /// What.
        value: Value,
    },
    /// A list holds a value that nobody appended to it.
    Invented {
        /// Which list.
        key: Key,
        /// What.
        value: Value,
    },
    /// A list holds, or a transaction saw, what an aborted transaction appended.
    AbortedWrite {
        /// Whose.
        transaction: usize,
        /// To which list.
        key: Key,
        /// What.
        value: Value,
    },
    /// Of one transaction's appends some are there and others are not.
    Torn {
        /// Whose.
        transaction: usize,
    },
    /// What was read is no beginning of the list as it is now: a write vanished after it was seen, or changed its place.
    Rewritten {
        /// Who read.
        transaction: usize,
        /// Which list.
        key: Key,
        /// What it read.
        seen: Vec<Value>,
    },
    /// A transaction began after an append was acknowledged and did not see it.
    Stale {
        /// Who read.
        transaction: usize,
        /// Which list.
        key: Key,
        /// What it should have seen.
        missed: Value,
    },
    /// Transactions that come before one another in a circle: there is no order in which they could have run.
    Cycle(Vec<Edge>),
}

impl fmt::Display for Anomaly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lost { transaction, key, value } => {
                write!(f, "{value}, which transaction {transaction} appended to list {key}, is lost")
            }
            Self::Duplicated { key, value } => write!(f, "list {key} holds {value} twice"),
            Self::Invented { key, value } => {
                write!(f, "list {key} holds {value}, which nobody appended to it")
            }
            Self::AbortedWrite { transaction, key, value } => {
                write!(
                    f,
                    "{value}, appended to list {key} by the aborted transaction {transaction}, was seen"
                )
            }
            Self::Torn { transaction } => write!(f, "only a part of transaction {transaction} is there"),
            Self::Rewritten { transaction, key, seen } => {
                write!(f, "transaction {transaction} read {seen:?} in list {key}, which now begins otherwise")
            }
            Self::Stale { transaction, key, missed } => {
                write!(
                    f,
                    "transaction {transaction} did not see {missed} in list {key}, acknowledged before it began"
                )
            }
            Self::Cycle(edges) => {
                write!(f, "a circle of dependencies:")?;
                edges.iter().try_for_each(|edge| write!(f, " {edge};"))
            }
        }
    }
}

/// Judges a history by the lists as they are at its end, read when nothing runs any more.
pub fn check(history: &[Transaction], last: &Lists) -> Vec<Anomaly> {
    let happened = Happened::of(history, last);
    let mut found = content(&happened);
    found.extend(transactions(&happened));
    found.extend(reads(&happened));
    // A circle over lists that are wrong anyway would only repeat that.
    if found.is_empty() {
        found.extend(cycles::find(&happened).into_iter().map(Anomaly::Cycle));
    }
    found
}

/// A history with its end, and who appended what.
pub(super) struct Happened<'a> {
    pub(super) history: &'a [Transaction],
    pub(super) last: &'a Lists,
    writers: BTreeMap<(Key, Value), usize>,
}

impl<'a> Happened<'a> {
    fn of(history: &'a [Transaction], last: &'a Lists) -> Self {
        let writers = history
            .iter()
            .enumerate()
            .flat_map(|(at, transaction)| transaction.appends().map(move |append| (append, at)))
            .collect();
        Self { history, last, writers }
    }

    /// Who appended a value to a list.
    pub(super) fn writer(&self, key: Key, value: Value) -> Option<usize> {
        self.writers.get(&(key, value)).copied()
    }

    /// The list as it is.
    pub(super) fn list(&self, key: Key) -> &[Value] {
        self.last.get(&key).map_or(&[], Vec::as_slice)
    }

    fn is_there(&self, key: Key, value: Value) -> bool {
        self.list(key).contains(&value)
    }

    /// The transactions that took place: those acknowledged, and those left in the dark whose appends are there. Only what
    /// these read counts: who does not commit may have seen what was never confirmed.
    pub(super) fn committed(&self) -> impl Iterator<Item = (usize, &'a Transaction)> + '_ {
        self.history.iter().enumerate().filter(|(_, transaction)| match transaction.outcome {
            Outcome::Acknowledged => true,
            Outcome::Aborted => false,
            Outcome::Unknown => transaction.appends().any(|(key, value)| self.is_there(key, value)),
        })
    }
}

/// What the lists hold that they may not.
fn content(happened: &Happened<'_>) -> Vec<Anomaly> {
    let mut found = Vec::new();
    for (key, list) in happened.last {
        let (key, mut met) = (*key, BTreeSet::new());
        for value in list.iter().copied() {
            if !met.insert(value) {
                found.push(Anomaly::Duplicated { key, value });
                continue;
            }
            match happened.writer(key, value) {
                None => found.push(Anomaly::Invented { key, value }),
                Some(transaction) if happened.history[transaction].outcome == Outcome::Aborted => {
                    found.push(Anomaly::AbortedWrite { transaction, key, value });
                }
                Some(_) => {}
            }
        }
    }
    found
}

/// What of each transaction is there.
fn transactions(happened: &Happened<'_>) -> Vec<Anomaly> {
    let mut found = Vec::new();
    for (at, transaction) in happened.history.iter().enumerate() {
        let missing: Vec<_> =
            transaction.appends().filter(|(key, value)| !happened.is_there(*key, *value)).collect();
        match transaction.outcome {
            Outcome::Acknowledged => {
                found.extend(missing.into_iter().map(|(key, value)| Anomaly::Lost {
                    transaction: at,
                    key,
                    value,
                }));
            }
            Outcome::Unknown if !missing.is_empty() && missing.len() < transaction.appends().count() => {
                found.push(Anomaly::Torn { transaction: at });
            }
            Outcome::Unknown | Outcome::Aborted => {}
        }
    }
    found
}

/// What transactions saw that they should not have, and did not see that they should have.
fn reads(happened: &Happened<'_>) -> Vec<Anomaly> {
    let mut acknowledged: BTreeMap<Key, Vec<(std::time::Duration, Value)>> = BTreeMap::new();
    for transaction in happened.history.iter().filter(|one| one.outcome == Outcome::Acknowledged) {
        for (key, value) in transaction.appends() {
            acknowledged.entry(key).or_default().push((transaction.ended, value));
        }
    }
    let mut found = Vec::new();
    for (at, transaction) in happened.committed() {
        for (key, seen) in transaction.reads() {
            if !happened.list(key).starts_with(seen) {
                found.push(rewritten(happened, at, key, seen));
                continue;
            }
            let before = acknowledged.get(&key).into_iter().flatten();
            let missed = before.filter(|(ended, value)| *ended < transaction.began && !seen.contains(value));
            found.extend(missed.map(|(_, value)| Anomaly::Stale { transaction: at, key, missed: *value }));
        }
    }
    found
}

/// Why a read is no beginning of its list: it saw what was rolled back, or what is gone or elsewhere now.
fn rewritten(happened: &Happened<'_>, at: usize, key: Key, seen: &[Value]) -> Anomaly {
    for value in seen.iter().copied() {
        if let Some(transaction) = happened.writer(key, value)
            && happened.history[transaction].outcome == Outcome::Aborted
        {
            return Anomaly::AbortedWrite { transaction, key, value };
        }
    }
    Anomaly::Rewritten { transaction: at, key, seen: seen.to_vec() }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::cycles::Dependency;
    use super::super::history::Operation;
    use super::*;

    /// A transaction that ran from one millisecond to another.
    fn transaction(from: u64, to: u64, outcome: Outcome, operations: Vec<Operation>) -> Transaction {
        Transaction {
            client: 0,
            began: Duration::from_millis(from),
            ended: Duration::from_millis(to),
            operations,
            outcome,
        }
    }

    fn acknowledged(from: u64, to: u64, operations: Vec<Operation>) -> Transaction {
        transaction(from, to, Outcome::Acknowledged, operations)
    }

    fn read(key: Key, seen: &[Value]) -> Operation {
        Operation::Read { key, seen: seen.to_vec() }
    }

    fn append(key: Key, value: Value) -> Operation {
        Operation::Append { key, value }
    }

    fn lists<const N: usize>(lists: [(Key, &[Value]); N]) -> Lists {
        lists.into_iter().map(|(key, list)| (key, list.to_vec())).collect()
    }

    #[test]
    fn a_good_history_has_no_anomaly() {
        let history = [
            acknowledged(0, 2, vec![read(1, &[]), append(1, 10)]),
            acknowledged(3, 5, vec![read(1, &[10]), append(2, 20)]),
            // Concurrent with the next, which is before it.
            acknowledged(6, 9, vec![read(2, &[20]), append(1, 12)]),
            acknowledged(6, 9, vec![read(2, &[20]), append(1, 11)]),
            acknowledged(10, 11, vec![read(1, &[10, 11, 12]), append(1, 13)]),
        ];
        assert_eq!(check(&history, &lists([(1, &[10, 11, 12, 13]), (2, &[20])])), []);
    }

    #[test]
    fn an_acknowledged_append_that_is_not_there_is_lost() {
        let history = [acknowledged(0, 1, vec![append(1, 10)]), acknowledged(2, 3, vec![append(1, 11)])];
        let found = check(&history, &lists([(1, &[11])]));
        assert_eq!(found, [Anomaly::Lost { transaction: 0, key: 1, value: 10 }]);
    }

    #[test]
    fn a_commit_without_an_answer_may_be_there_or_not_but_not_half() {
        let unknown = [transaction(0, 1, Outcome::Unknown, vec![append(1, 10), append(2, 20)])];
        assert_eq!(check(&unknown, &lists([])), []);
        assert_eq!(check(&unknown, &lists([(1, &[10]), (2, &[20])])), []);
        assert_eq!(check(&unknown, &lists([(1, &[10])])), [Anomaly::Torn { transaction: 0 }]);
    }

    #[test]
    fn a_value_that_is_there_twice_is_duplicated() {
        let history = [acknowledged(0, 1, vec![append(1, 10)])];
        let found = check(&history, &lists([(1, &[10, 10])]));
        assert_eq!(found, [Anomaly::Duplicated { key: 1, value: 10 }]);
    }

    #[test]
    fn a_value_in_a_list_that_it_was_not_appended_to_is_invented() {
        let history = [acknowledged(0, 1, vec![append(1, 10)])];
        let found = check(&history, &lists([(1, &[10]), (2, &[10])]));
        assert_eq!(found, [Anomaly::Invented { key: 2, value: 10 }]);
    }

    #[test]
    fn what_was_rolled_back_may_be_neither_there_nor_seen() {
        let aborted = transaction(0, 1, Outcome::Aborted, vec![append(1, 10)]);
        let found = check(std::slice::from_ref(&aborted), &lists([(1, &[10])]));
        assert_eq!(found, [Anomaly::AbortedWrite { transaction: 0, key: 1, value: 10 }]);

        let history = [aborted, acknowledged(2, 3, vec![read(1, &[10]), append(2, 20)])];
        let found = check(&history, &lists([(2, &[20])]));
        assert_eq!(found, [Anomaly::AbortedWrite { transaction: 0, key: 1, value: 10 }]);
    }

    #[test]
    fn writes_that_changed_places_after_they_were_seen_are_reordered() {
        let history = [
            acknowledged(0, 1, vec![append(1, 10)]),
            acknowledged(0, 1, vec![append(1, 11)]),
            acknowledged(2, 3, vec![read(1, &[10, 11]), append(2, 20)]),
        ];
        let found = check(&history, &lists([(1, &[11, 10]), (2, &[20])]));
        assert_eq!(found, [Anomaly::Rewritten { transaction: 2, key: 1, seen: vec![10, 11] }]);
    }

    #[test]
    fn a_write_that_was_seen_and_is_gone_is_found_though_nobody_acknowledged_it() {
        let history = [
            transaction(0, 1, Outcome::Unknown, vec![append(1, 10)]),
            acknowledged(2, 3, vec![read(1, &[10]), append(2, 20)]),
        ];
        let found = check(&history, &lists([(2, &[20])]));
        assert_eq!(found, [Anomaly::Rewritten { transaction: 1, key: 1, seen: vec![10] }]);
    }

    #[test]
    fn who_did_not_commit_may_have_seen_anything() {
        let history = [
            transaction(0, 1, Outcome::Unknown, vec![append(1, 10)]),
            transaction(2, 3, Outcome::Aborted, vec![read(1, &[10]), append(2, 20)]),
            transaction(2, 3, Outcome::Unknown, vec![read(1, &[10]), append(2, 21)]),
        ];
        assert_eq!(check(&history, &lists([])), []);
    }

    #[test]
    fn a_read_that_misses_what_was_acknowledged_before_it_began_is_stale() {
        let history =
            [acknowledged(0, 1, vec![append(1, 10)]), acknowledged(2, 3, vec![read(1, &[]), append(2, 20)])];
        let found = check(&history, &lists([(1, &[10]), (2, &[20])]));
        assert_eq!(found, [Anomaly::Stale { transaction: 1, key: 1, missed: 10 }]);
        // Begun before the answer came: both orders are possible.
        let concurrent = [history[0].clone(), Transaction { began: Duration::ZERO, ..history[1].clone() }];
        assert_eq!(check(&concurrent, &lists([(1, &[10]), (2, &[20])])), []);
    }

    #[test]
    fn two_that_did_not_see_each_other_have_no_order() {
        let history = [
            acknowledged(0, 9, vec![read(1, &[]), append(2, 20)]),
            acknowledged(0, 9, vec![read(2, &[]), append(1, 10)]),
        ];
        let found = check(&history, &lists([(1, &[10]), (2, &[20])]));
        let edge = |from, to| Edge { from, to, why: Dependency::Overlooked };
        assert_eq!(found, [Anomaly::Cycle(vec![edge(0, 1), edge(1, 0)])]);
    }

    #[test]
    fn two_that_saw_each_other_have_no_order() {
        let history = [
            acknowledged(0, 9, vec![read(1, &[10]), append(2, 20)]),
            acknowledged(0, 9, vec![read(2, &[20]), append(1, 10)]),
        ];
        let found = check(&history, &lists([(1, &[10]), (2, &[20])]));
        let edge = |from, to| Edge { from, to, why: Dependency::Read };
        assert_eq!(found, [Anomaly::Cycle(vec![edge(0, 1), edge(1, 0)])]);
    }

    #[test]
    fn appends_that_follow_each_other_both_ways_have_no_order() {
        let history = [
            acknowledged(0, 9, vec![append(1, 10), append(2, 20)]),
            acknowledged(0, 9, vec![append(1, 11), append(2, 21)]),
        ];
        let found = check(&history, &lists([(1, &[10, 11]), (2, &[21, 20])]));
        let edge = |from, to| Edge { from, to, why: Dependency::Followed };
        assert_eq!(found, [Anomaly::Cycle(vec![edge(0, 1), edge(1, 0)])]);
    }

    #[test]
    fn a_longer_circle_is_named_edge_by_edge() {
        let history = [
            acknowledged(0, 9, vec![read(1, &[]), append(3, 30)]),
            acknowledged(0, 9, vec![append(1, 10), append(2, 20)]),
            acknowledged(0, 9, vec![read(2, &[20]), read(3, &[]), append(4, 40)]),
        ];
        let last = lists([(1, &[10]), (2, &[20]), (3, &[30]), (4, &[40])]);
        let found = check(&history, &last);
        let [anomaly] = &found[..] else { panic!("one circle, not {found:?}") };
        let text = anomaly.to_string();
        assert!(
            text.contains("0 did not see what 1 appended") && text.contains("2 read what 1 appended"),
            "{text}"
        );
    }
}
