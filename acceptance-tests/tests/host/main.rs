//! The provider's real binary behind a host of our own: random configurations from the schema that it serves, laws that must
//! hold of every answer, and mutants that break a rule each and must be caught.
//!
//! `PGHA_SEED=N` runs other cases, `PGHA_CASES=N` so many of each kind; a failure names its seed and shows the smallest case
//! that shows it.
#![allow(clippy::print_stdout, missing_docs)]

mod cases;
mod edit;
mod generate;
mod inputs;
mod kept;
mod laws;
mod learn;
mod live;
mod mutants;
mod mutation;
mod properties;
mod provider;
mod unseen;
mod words;
