//! The Kubernetes API, as little of it as the agent needs.
//!
//! A client of our own, because of what a renewal needs: a deadline on every request, no retry that nobody asked
//! for, a connection that is not shared with watches, no look-up of names, and little memory.

pub mod client;
pub mod objects;
mod pace;
pub mod watch;

pub use client::{Api, ApiError};
