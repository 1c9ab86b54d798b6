//! What clients did, and what they were told.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Names a list.
pub type Key = i32;
/// Appended once, by one transaction, to one list.
pub type Value = i64;
/// Every list, in its order.
pub type Lists = BTreeMap<Key, Vec<Value>>;

/// A step of a transaction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// The whole list was read, before this transaction appended to it.
    Read {
        /// Which.
        key: Key,
        /// What it held.
        seen: Vec<Value>,
    },
    /// A value was put at the end of a list.
    Append {
        /// Which.
        key: Key,
        /// What.
        value: Value,
    },
}

/// How a transaction ended, as its client knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The commit was acknowledged.
    Acknowledged,
    /// It did not happen: its end was never asked for, or PostgreSQL rolled it back.
    Aborted,
    /// The commit was asked for and not answered: it happened or not (A19).
    Unknown,
}

/// One transaction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transaction {
    /// Which client.
    pub client: u16,
    /// Before its first statement was sent, counted from the workload's start.
    pub began: Duration,
    /// After its end was known, counted likewise.
    pub ended: Duration,
    /// Its steps in their order.
    pub operations: Vec<Operation>,
    /// How it ended.
    pub outcome: Outcome,
}

impl Transaction {
    /// What it appended: list and value.
    pub fn appends(&self) -> impl Iterator<Item = (Key, Value)> + '_ {
        self.operations.iter().filter_map(|operation| match operation {
            Operation::Append { key, value } => Some((*key, *value)),
            Operation::Read { .. } => None,
        })
    }

    /// What it read: list and content.
    pub fn reads(&self) -> impl Iterator<Item = (Key, &[Value])> + '_ {
        self.operations.iter().filter_map(|operation| match operation {
            Operation::Read { key, seen } => Some((*key, seen.as_slice())),
            Operation::Append { .. } => None,
        })
    }
}
