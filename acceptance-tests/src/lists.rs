//! A second workload and its checker: transactions that read lists and append unique values to them, through the rw Service.
//!
//! ```text
//!   workload (clients) ──> history: what each transaction read, appended and was told ──┐
//!   primary, at the end ──> the lists as they are ──────────────────────────────────────┴──> check ──> anomalies
//! ```
//! The check is pure. It is sound for `SERIALIZABLE` transactions that append wherever they read: their commits wait behind
//! everything that they saw. A transaction that was not acknowledged may have happened or not (rule A19).

mod check;
mod cycles;
mod history;
mod workload;

pub use check::{Anomaly, check};
pub use cycles::{Dependency, Edge};
pub use history::{Key, Lists, Operation, Outcome, Transaction, Value};
pub use workload::{Appends, final_lists};
