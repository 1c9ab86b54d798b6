//! Requests that are signed, and their bodies where they arrive. Clocks of nodes differ, and are set: who is asked at another
//! time than its own says which time it is there, and is asked again by that.
//!
//! ```text
//!   POST, signed at 12:00 ──> 401, "here it is 13:30", signed ──> POST, signed at 13:30
//! ```

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::HeaderValue;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;

use super::auth;
use super::client::{Lines, Reply};
use super::server::{Answer, text};
use crate::secrets::Secrets;

fn wall_s() -> i64 {
    jiff::Timestamp::now().as_second()
}

/// How far others' clocks are ahead of this one, in seconds, where that was told.
#[derive(Clone, Debug, Default)]
pub struct Clocks(Arc<Mutex<BTreeMap<SocketAddr, i64>>>);

impl Clocks {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<SocketAddr, i64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn ahead_s(&self, address: SocketAddr) -> i64 {
        self.lock().get(&address).copied().unwrap_or_default()
    }

    pub(super) fn believe(&self, address: SocketAddr, ahead_s: i64) {
        self.lock().insert(address, ahead_s);
    }
}

impl Lines {
    /// A signed POST, and once more when the other's clock is another one.
    ///
    /// # Errors
    /// As [`Lines::request`]; `deadline` is for each of the two.
    pub async fn post_signed(
        &self,
        address: SocketAddr,
        key: &[u8],
        path: &str,
        headers: &[(&str, String)],
        body: &[u8],
        deadline: Duration,
    ) -> io::Result<Reply> {
        let mut once_more = true;
        loop {
            let time = wall_s().saturating_add(self.clocks.ahead_s(address));
            let code = auth::sign(key, time, "POST", path, body);
            let mut all = vec![(auth::HEADER, code.clone())];
            all.extend_from_slice(headers);
            let reply = self.request(address, Method::POST, path, &all, body.to_vec(), deadline).await?;
            let told = reply.headers.get(auth::CLOCK_HEADER).and_then(|told| told.to_str().ok());
            match told.and_then(|told| auth::told_clock(key, path, &code, told)) {
                Some(there) if once_more => {
                    self.clocks.believe(address, there.saturating_sub(wall_s()));
                    once_more = false;
                }
                _ => return Ok(reply),
            }
        }
    }
}

/// The body of a request that is signed with the cluster's key, and the key; else what it is answered.
pub(super) async fn body_of(
    request: Request<Incoming>,
    secrets: &Secrets,
    max_bytes: usize,
) -> Result<(Bytes, Vec<u8>), Answer> {
    let path = request.uri().path().to_owned();
    let header = request.headers().get(auth::HEADER).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let Ok(body) = Limited::new(request.into_body(), max_bytes).collect().await else {
        return Err(text(StatusCode::BAD_REQUEST, "the body can't be read\n"));
    };
    let body = body.to_bytes();
    let key =
        secrets.agent_key().map_err(|error| text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")))?;
    let now = wall_s();
    match auth::verify(&key, now, "POST", &path, &body, header.as_deref()) {
        Ok(()) => Ok((body, key)),
        Err(error) => {
            let mut answer = text(StatusCode::UNAUTHORIZED, format!("{error}\n"));
            let told = header
                .filter(|_| error == auth::AuthError::Stale)
                .and_then(|header| HeaderValue::from_str(&auth::tell_clock(&key, now, &path, &header)).ok());
            if let Some(told) = told {
                answer.headers_mut().insert(auth::CLOCK_HEADER, told);
            }
            Err(answer)
        }
    }
}
