//! Refusals in the server's place: whom it does not know, what it is too busy for.

use hyper::StatusCode;
use serde_json::Value as Json;

use super::{FakeApi, Held, failure};

/// A request that has come in, and that nothing was done about yet.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// `GET` and its like.
    pub method: &'a str,
    /// Without the query.
    pub path: &'a str,
    /// The bearer token that came with it.
    pub token: Option<&'a str>,
}

/// The status code of a refusal; nothing lets the request through.
pub type Gate = Box<dyn FnMut(&Asked<'_>) -> Option<StatusCode> + Send>;

impl FakeApi {
    /// From now on every request comes through `gate`.
    pub fn gate(&self, gate: impl FnMut(&Asked<'_>) -> Option<StatusCode> + Send + 'static) {
        self.held().gate = Some(Box::new(gate));
    }

    /// From now on whoever is refused because the server is too busy is asked to come again after so many seconds.
    pub fn ask_to_wait(&self, seconds: u32) {
        self.held().retry_after = Some(seconds);
    }
}

impl Held {
    pub(super) fn refusal(&mut self, asked: &Asked<'_>) -> Option<(StatusCode, Json)> {
        let code = self.gate.as_mut()?(asked)?;
        let reason = code.canonical_reason().unwrap_or_default();
        Some(failure(code, &reason.replace(' ', ""), &format!("{reason}, says a test")))
    }
}
