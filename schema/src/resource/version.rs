//! PostgreSQL versions as users write them: `18` or `18.1`.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::extension::{TYPE_KEYWORD, Tf};
use crate::validators::Rule;

/// The major versions that this build knows.
pub const SUPPORTED_MAJORS: std::ops::RangeInclusive<u32> = 15..=18;

/// Lowest minors that never skip a synchronous wait at start (A17).
const SAFE_MINORS: [(u32, u32); 3] = [(15, 13), (16, 9), (17, 5)];

/// A major version, with a minor one or without.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PostgresVersion {
    /// The major version.
    pub major: u32,
    /// The minor version; `None`: the newest one that the image's tag stands for.
    pub minor: Option<u32>,
}

/// A text that is not a supported version.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PostgresVersionError {
    /// It has another form.
    #[error("`{0}` is not a PostgreSQL version")]
    Form(String),
    /// It is not among [`SUPPORTED_MAJORS`].
    #[error("PostgreSQL {0} is not supported")]
    Unsupported(u32),
    /// It lets commits through unconfirmed while it starts (A17).
    #[error("PostgreSQL {major}.{minor} can skip synchronous waits while it starts")]
    Unsafe {
        /// Its major version.
        major: u32,
        /// Its minor version.
        minor: u32,
    },
}

impl Default for PostgresVersion {
    fn default() -> Self {
        Self { major: *SUPPORTED_MAJORS.end(), minor: None }
    }
}

impl PostgresVersion {
    /// The lowest minor of this major that is accepted.
    pub fn lowest_minor(major: u32) -> u32 {
        SAFE_MINORS.iter().find(|(safe, _)| *safe == major).map_or(0, |(_, minor)| *minor)
    }

    /// The image that is used when the user names none.
    pub fn default_image(self) -> String {
        format!("docker.io/library/postgres:{self}")
    }
}

impl FromStr for PostgresVersion {
    type Err = PostgresVersionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = |part: &str| {
            let plain = part.len() <= 4 && part.bytes().all(|b| b.is_ascii_digit()) && !part.starts_with('0');
            let plain = plain || part == "0";
            plain.then(|| part.parse::<u32>().ok()).flatten()
        };
        let form = || PostgresVersionError::Form(text.to_owned());
        let (major, minor) = match text.split_once('.') {
            Some((major, minor)) => (major, Some(number(minor).ok_or_else(form)?)),
            None => (text, None),
        };
        let major = number(major).ok_or_else(form)?;
        if !SUPPORTED_MAJORS.contains(&major) {
            return Err(PostgresVersionError::Unsupported(major));
        }
        match minor {
            Some(minor) if minor < Self::lowest_minor(major) => {
                Err(PostgresVersionError::Unsafe { major, minor })
            }
            minor => Ok(Self { major, minor }),
        }
    }
}

impl fmt::Display for PostgresVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.minor {
            Some(minor) => write!(f, "{}.{minor}", self.major),
            None => write!(f, "{}", self.major),
        }
    }
}

impl Serialize for PostgresVersion {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PostgresVersion {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for PostgresVersion {
    fn schema_name() -> Cow<'static, str> {
        "PostgresVersion".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", TYPE_KEYWORD: Tf::new().rule(Rule::PostgresVersion) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn supported_versions_are_read_and_printed_alike() {
        for text in ["15", "16", "17", "18", "18.0", "18.1", "16.9", "15.13", "17.10"] {
            assert_eq!(text.parse::<PostgresVersion>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn others_are_refused_with_the_reason() {
        for (text, reason) in [
            ("", "`` is not a PostgreSQL version"),
            ("latest", "`latest` is not a PostgreSQL version"),
            ("18.", "`18.` is not a PostgreSQL version"),
            ("18.01", "`18.01` is not a PostgreSQL version"),
            ("18.1.2", "`18.1.2` is not a PostgreSQL version"),
            ("14", "PostgreSQL 14 is not supported"),
            ("19.1", "PostgreSQL 19 is not supported"),
            ("16.8", "PostgreSQL 16.8 can skip synchronous waits while it starts"),
        ] {
            assert_eq!(text.parse::<PostgresVersion>().unwrap_err().to_string(), reason);
        }
    }
}
