//! Private state: what the provider keeps beside a resource in the state, unseen by configurations.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::collections::BTreeMap;
use thiserror::Error;

/// Bytes by key. Stored as a JSON object of base64 texts, the form in which other providers keep it too.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Private(BTreeMap<String, Vec<u8>>);

/// The bytes in the state were not written by this provider.
#[derive(Debug, Error)]
pub enum PrivateError {
    /// No JSON object of texts.
    #[error("it is no JSON object of texts")]
    Json(#[from] serde_json::Error),
    /// A text is no base64.
    #[error("the value of {key:?} is no base64")]
    Base64 {
        /// Whose value.
        key: String,
        /// What is wrong with it.
        #[source]
        source: base64::DecodeError,
    },
}

impl Private {
    /// Reads what the state holds; no bytes are no keys.
    ///
    /// # Errors
    /// When the bytes have another form.
    pub fn decode(bytes: &[u8]) -> Result<Self, PrivateError> {
        if bytes.is_empty() {
            return Ok(Self::default());
        }
        let texts: BTreeMap<String, String> = serde_json::from_slice(bytes)?;
        let decoded = texts.into_iter().map(|(key, text)| match STANDARD.decode(text) {
            Ok(value) => Ok((key, value)),
            Err(source) => Err(PrivateError::Base64 { key, source }),
        });
        decoded.collect::<Result<_, _>>().map(Self)
    }

    /// The bytes for the state; none for no keys.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        if self.0.is_empty() {
            return Vec::new();
        }
        let texts: serde_json::Map<_, _> =
            self.0.iter().map(|(key, value)| (key.clone(), STANDARD.encode(value).into())).collect();
        serde_json::Value::from(texts).to_string().into_bytes()
    }

    /// The value of `key`.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&[u8]> {
        self.0.get(key).map(Vec::as_slice)
    }

    /// The value of `key` as text, when it is text.
    #[must_use]
    pub fn text(&self, key: &str) -> Option<&str> {
        std::str::from_utf8(self.get(key)?).ok()
    }

    /// Sets `key`.
    pub fn set(&mut self, key: &str, value: impl Into<Vec<u8>>) {
        self.0.insert(key.to_owned(), value.into());
    }

    /// Removes `key`.
    pub fn remove(&mut self, key: &str) {
        self.0.remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_set_comes_back() {
        let mut private = Private::default();
        assert_eq!(private.encode(), b"");
        private.set("anchor", "uid");
        private.set("bytes", [0, 255]);
        assert_eq!(private.encode(), br#"{"anchor":"dWlk","bytes":"AP8="}"#);
        let read = Private::decode(&private.encode()).unwrap();
        assert_eq!(read, private);
        assert_eq!((read.text("anchor"), read.text("bytes")), (Some("uid"), None));
    }

    #[test]
    fn foreign_bytes_are_refused() {
        assert!(Private::decode(b"x").is_err());
        assert!(matches!(Private::decode(br#"{"a":"?"}"#), Err(PrivateError::Base64 { .. })));
    }
}
