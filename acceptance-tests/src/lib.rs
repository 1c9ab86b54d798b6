//! Harness of the acceptance tests.

pub mod proto_client;
