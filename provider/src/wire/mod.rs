//! Values, schemas and messages as tfplugin6 carries them, and as the core knows them. Only this folder and `rpc` know
//! the protocol's types.

pub mod diagnostics;
pub mod json;
pub mod msgpack;
pub mod number;
pub mod schema;
pub mod types;

use crate::proto::tfplugin6::DynamicValue;
use pgha_provider_core::path::Path;
use pgha_provider_core::value::Value;
use pgha_schema::tf::Type;
use thiserror::Error;

/// Deeper nesting than this is refused: it can only be an attack on the stack.
const DEPTH_MAX: usize = 64;

/// A value that doesn't fit its type. Means that host and provider don't have the same schema, or a bug in either.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum WireError {
    /// The bytes are no msgpack or JSON, or nest too deep.
    #[error("the value can't be read: {0}")]
    Malformed(String),
    /// Something else than the type says.
    #[error("{place}: expected {expected}, found {found}", place = place(.path))]
    Mismatch {
        /// Where.
        path: Path,
        /// The type's word for it.
        expected: String,
        /// What is there. Never the value itself: it may be secret.
        found: &'static str,
    },
    /// An object lacks an attribute of its type.
    #[error("{place}: the attribute {name:?} is missing", place = place(.path))]
    MissingAttribute {
        /// Where.
        path: Path,
        /// Which.
        name: String,
    },
    /// An object has an attribute that its type lacks.
    #[error("{place}: there is no attribute {name:?}", place = place(.path))]
    ExtraAttribute {
        /// Where.
        path: Path,
        /// Which.
        name: String,
    },
}

fn place(path: &Path) -> String {
    let text = path.to_string();
    if text.is_empty() { "the whole value".to_owned() } else { text }
}

fn mismatch(path: &Path, expected: impl Into<String>, found: &'static str) -> WireError {
    WireError::Mismatch { path: path.clone(), expected: expected.into(), found }
}

/// Reads what the host sent. An absent value is null.
///
/// # Errors
/// When it doesn't fit `ty`.
pub fn decode(value: Option<&DynamicValue>, ty: &Type) -> Result<Value, WireError> {
    match value {
        Some(value) if !value.msgpack.is_empty() => msgpack::decode(&value.msgpack, ty),
        Some(value) if !value.json.is_empty() => json::decode(&value.json, ty),
        Some(_) | None => Ok(Value::Null),
    }
}

/// Writes an answer.
///
/// # Errors
/// When `value` doesn't fit `ty`, which is a bug in the provider.
pub fn encode(value: &Value, ty: &Type) -> Result<DynamicValue, WireError> {
    Ok(DynamicValue { msgpack: msgpack::encode(value, ty)?, json: Vec::new() })
}
