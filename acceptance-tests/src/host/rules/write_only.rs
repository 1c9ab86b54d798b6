//! Write-only values are for the provider alone: no answer holds one, in whatever part of it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use prost::Message;
use serde_json::Value as Json;

use super::{Found, Rule, Violation};
use crate::host::schema::{Attribute, Nesting, Shape, is_unknown, join};

/// One that was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Secret {
    path: String,
    text: String,
}

/// The write-only texts of a configuration.
#[must_use]
pub fn secrets(attributes: &[Attribute], config: &Json) -> Vec<Secret> {
    let mut all = Vec::new();
    collect(attributes, "", config, &mut all);
    all
}

fn collect(attributes: &[Attribute], at: &str, config: &Json, all: &mut Vec<Secret>) {
    for attribute in attributes {
        let (path, value) = (join(at, &attribute.name), &config[&attribute.name]);
        match (&attribute.shape, value) {
            (Shape::Leaf(_), Json::String(text)) if attribute.write_only && !is_unknown(value) => {
                all.push(Secret { path, text: text.clone() });
            }
            (Shape::Nested(Nesting::Single, inner), _) => collect(inner, &path, value, all),
            (Shape::Nested(_, inner), Json::Array(items)) => {
                for item in items {
                    collect(inner, &path, item, all);
                }
            }
            (Shape::Nested(_, inner), Json::Object(items)) => {
                for item in items.values() {
                    collect(inner, &path, item, all);
                }
            }
            _ => {}
        }
    }
}

/// Those that an answer holds: in values, in messages, in private state, as they are or in base64.
#[must_use]
pub fn leaks(secrets: &[Secret], answer: &impl Message) -> Vec<Violation> {
    let mut found = Found::new(Rule::WriteOnly);
    let bytes = if secrets.is_empty() { Vec::new() } else { answer.encode_to_vec() };
    let holds = |part: &[u8]| !part.is_empty() && bytes.windows(part.len()).any(|window| window == part);
    for secret in secrets {
        if holds(secret.text.as_bytes()) || in_base64(&secret.text).iter().any(|text| holds(text.as_bytes()))
        {
            found.add(&secret.path, "the answer holds it");
        }
    }
    found.done()
}

/// How a text looks in base64 wherever in a longer one it stands: what its neighbours touch is left out.
fn in_base64(text: &str) -> [String; 3] {
    [0, 1, 2].map(|before: usize| {
        let bytes: Vec<u8> = std::iter::repeat_n(0, before).chain(text.bytes()).collect();
        let (first, last) = ((before * 8).div_ceil(6), bytes.len() * 8 / 6);
        STANDARD_NO_PAD.encode(&bytes).get(first..last).unwrap_or_default().to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::rules::samples::schema;
    use crate::proto_client::pb::tfplugin6::Diagnostic;
    use crate::proto_client::values::UNKNOWN;
    use base64::engine::general_purpose::STANDARD;
    use serde_json::json;

    #[test]
    fn a_secret_is_found_wherever_it_stands() {
        let secrets = secrets(&schema(), &json!({ "name": "a", "secret": "hunter2-hunter2" }));
        let told = |detail: String| leaks(&secrets, &Diagnostic { detail, ..Diagnostic::default() }).len();
        assert_eq!(told("nothing".to_owned()), 0);
        assert_eq!(told("the password hunter2-hunter2 is weak".to_owned()), 1);
        for before in ["", "a", "ab", "abc"] {
            assert_eq!(told(STANDARD.encode(format!("{before}hunter2-hunter2 and more"))), 1, "{before:?}");
        }
    }

    #[test]
    fn only_what_is_write_only_and_known_is_a_secret() {
        assert_eq!(secrets(&schema(), &json!({ "name": "a", "secret": UNKNOWN })), []);
        assert_eq!(secrets(&schema(), &json!({ "name": "a", "box": { "inner": "i" } })), []);
    }
}
