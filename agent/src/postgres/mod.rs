//! PostgreSQL: its files, its programs, its answers. Every decision about it is made elsewhere.

pub mod conf;
pub mod control_data;
pub mod fallback;
pub mod files;
pub mod hba;
pub mod job;
pub mod local;
pub mod refusals;
pub mod roles;
pub mod scram;
pub mod session;
pub mod sql;
pub mod tools;
pub mod upstream;
