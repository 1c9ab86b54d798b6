//! Who may ask for a change: HMAC-SHA256 over time, method, path and body, keyed with the agents' common key.

use hmac::{Hmac, Mac};
use sha2::Sha256;

/// The header: `<unix seconds>:<hexadecimal code>`.
pub const HEADER: &str = "x-pgha-auth";
/// The header of a refusal for its time: the time of whoever refuses, signed, so that the request can be made by it.
pub const CLOCK_HEADER: &str = "x-pgha-clock";
/// A request older or newer than this, by the clock of whoever is asked, is refused.
const WINDOW_S: u64 = 60;
/// What a told clock is signed as: no request has this method.
const CLOCK: &str = "CLOCK";

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// No header, or not of its form.
    #[error("a signed request is wanted: header `{HEADER}`")]
    Missing,
    /// Its time is too far off.
    #[error("the request's time is more than {WINDOW_S} s away from this node's")]
    Stale,
    /// Signed with another key, or for another request.
    #[error("the signature does not match")]
    Wrong,
}

fn mac(key: &[u8], time: i64, method: &str, path: &str, body: &[u8]) -> Hmac<Sha256> {
    // Hmac takes keys of every length.
    let mut mac =
        Hmac::<Sha256>::new_from_slice(key).unwrap_or_else(|_| unreachable!("HMAC takes every key"));
    for part in [time.to_string().as_bytes(), method.as_bytes(), path.as_bytes()] {
        mac.update(part);
        mac.update(b"\n");
    }
    mac.update(body);
    mac
}

/// The header's value for a request.
pub fn sign(key: &[u8], time: i64, method: &str, path: &str, body: &[u8]) -> String {
    format!("{time}:{}", hex::encode(mac(key, time, method, path, body).finalize().into_bytes()))
}

/// Checks the header of a request.
pub fn verify(
    key: &[u8],
    now: i64,
    method: &str,
    path: &str,
    body: &[u8],
    header: Option<&str>,
) -> Result<(), AuthError> {
    let (time, code) = header.and_then(|value| value.split_once(':')).ok_or(AuthError::Missing)?;
    let time: i64 = time.parse().map_err(|_| AuthError::Missing)?;
    let code = hex::decode(code).map_err(|_| AuthError::Missing)?;
    mac(key, time, method, path, body).verify_slice(&code).map_err(|_| AuthError::Wrong)?;
    if time.abs_diff(now) > WINDOW_S { Err(AuthError::Stale) } else { Ok(()) }
}

/// What a refusal for its time tells whoever sent this header.
pub fn tell_clock(key: &[u8], now: i64, path: &str, header: &str) -> String {
    sign(key, now, CLOCK, path, header.as_bytes())
}

/// The time that a refusal of this header tells; `None`: it was not told by who has the key, or not as an answer to it.
pub fn told_clock(key: &[u8], path: &str, header: &str, told: &str) -> Option<i64> {
    let time = told.split_once(':')?.0.parse().ok()?;
    verify(key, time, CLOCK, path, header.as_bytes(), Some(told)).is_ok().then_some(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &[u8] = b"0123456789abcdef";

    fn check(now: i64, path: &str, body: &[u8], key: &[u8]) -> Result<(), AuthError> {
        let header = sign(KEY, 1_000, "POST", "/switchover", b"{}");
        verify(key, now, "POST", path, body, Some(&header))
    }

    #[test]
    fn a_signed_request_is_taken_and_any_change_of_it_refused() {
        assert_eq!(check(1_000, "/switchover", b"{}", KEY), Ok(()));
        assert_eq!(check(1_059, "/switchover", b"{}", KEY), Ok(()));
        assert_eq!(check(1_000, "/switchover", b"{ }", KEY), Err(AuthError::Wrong));
        assert_eq!(check(1_000, "/other", b"{}", KEY), Err(AuthError::Wrong));
        assert_eq!(check(1_000, "/switchover", b"{}", b"another key"), Err(AuthError::Wrong));
        assert_eq!(check(1_061, "/switchover", b"{}", KEY), Err(AuthError::Stale));
    }

    #[test]
    fn a_clock_is_told_for_one_request_by_who_has_the_key() {
        let header = sign(KEY, 1_000, "POST", "/restart", b"{}");
        let told = tell_clock(KEY, 90_000, "/restart", &header);
        assert_eq!(told_clock(KEY, "/restart", &header, &told), Some(90_000));
        assert_eq!(told_clock(b"another key", "/restart", &header, &told), None);
        assert_eq!(told_clock(KEY, "/reinit", &header, &told), None);
        assert_eq!(told_clock(KEY, "/restart", "1001:00", &told), None);
        assert_eq!(told_clock(KEY, "/restart", &header, &told.replacen('9', "8", 1)), None);
        assert_eq!(
            verify(KEY, 90_000, "POST", "/restart", header.as_bytes(), Some(&told)),
            Err(AuthError::Wrong)
        );
    }

    #[test]
    fn a_request_without_a_signature_is_refused() {
        for header in [None, Some(""), Some("1000"), Some("x:00"), Some("1000:zz")] {
            assert_eq!(
                verify(KEY, 1_000, "POST", "/switchover", b"", header),
                Err(AuthError::Missing),
                "{header:?}"
            );
        }
    }
}
