//! Durations in Go's grammar: `90s`, `1m30s`, `1.5h`.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::extension::{TYPE_KEYWORD, Tf};
use crate::tf::Semantic;
use crate::validators::Rule;

const UNITS: [(&str, i128); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("\u{b5}s", 1_000),
    ("\u{3bc}s", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// A duration in nanoseconds, of Go's range (about 292 years either way).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Duration(i64);

/// A text that is not a duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a duration")]
pub struct DurationError(String);

impl Duration {
    /// Of so many milliseconds.
    pub const fn from_millis(ms: u32) -> Self {
        Self(ms as i64 * 1_000_000)
    }

    /// In whole milliseconds, rounded down; zero when negative.
    pub fn as_millis(self) -> u64 {
        u64::try_from(self.0 / 1_000_000).unwrap_or(0)
    }

    /// The sum, at most the longest duration.
    pub fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// In nanoseconds.
    pub fn as_nanos(self) -> i64 {
        self.0
    }

    /// As the standard library's; zero when negative.
    pub fn to_std(self) -> std::time::Duration {
        std::time::Duration::from_nanos(u64::try_from(self.0).unwrap_or(0))
    }
}

impl FromStr for Duration {
    type Err = DurationError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse(text).map(Self).ok_or_else(|| DurationError(text.to_owned()))
    }
}

fn parse(text: &str) -> Option<i64> {
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total: i128 = 0;
    while !rest.is_empty() {
        let (whole, after) = leading_digits(rest);
        let (fraction, after) = after.strip_prefix('.').map_or(("", after), leading_digits);
        if whole.is_empty() && fraction.is_empty() {
            return None;
        }
        let end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (name, after) = after.split_at(end);
        let unit = UNITS.iter().find(|(unit, _)| *unit == name)?.1;
        let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
        total = total.checked_add(whole.checked_mul(unit)?)?.checked_add(part(fraction, unit))?;
        rest = after;
    }
    i64::try_from(if negative { -total } else { total }).ok()
}

fn leading_digits(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
}

/// `0.<fraction>` of a unit, in nanoseconds, cut off as Go does. No unit has more than 13 digits.
fn part(fraction: &str, unit: i128) -> i128 {
    let digits = &fraction[..fraction.len().min(18)];
    let power = 10_i128.pow(digits.len() as u32);
    digits.parse::<i128>().unwrap_or(0) * unit / power
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 {
            return f.write_str("0s");
        }
        if self.0 < 0 {
            f.write_str("-")?;
        }
        let mut rest = self.0.unsigned_abs();
        for (name, unit) in
            [("h", 3_600_000_000_000_u64), ("m", 60_000_000_000), ("s", 1_000_000_000), ("ms", 1_000_000)]
        {
            if rest >= unit {
                write!(f, "{}{name}", rest / unit)?;
                rest %= unit;
            }
        }
        if rest > 0 { write!(f, "{rest}ns") } else { Ok(()) }
    }
}

impl Serialize for Duration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Duration {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            TYPE_KEYWORD: Tf::new().semantic(Semantic::Duration).rule(Rule::Duration),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn go_grammar_is_read() {
        for (text, nanos) in [
            ("0", 0),
            ("+5s", 5_000_000_000),
            ("1m30s", 90_000_000_000),
            ("1.5h", 5_400_000_000_000),
            (".5s", 500_000_000),
            ("1.s", 1_000_000_000),
            ("-1.5h", -5_400_000_000_000),
            ("30s1h", 3_630_000_000_000),
            ("100ns3us2ms", 2_003_100),
            ("1\u{b5}s", 1_000),
            ("1\u{3bc}s", 1_000),
            ("0.3333333333333333333h", 1_200_000_000_000 - 1),
            ("9223372036854775807ns", i64::MAX),
            ("-9223372036854775808ns", i64::MIN),
        ] {
            assert_eq!(text.parse(), Ok(Duration(nanos)), "{text}");
        }
    }

    #[test]
    fn other_texts_are_refused() {
        for text in
            ["", "-", "3", "s", ".s", "1d", "1 s", "1m 30s", "9223372036854775808ns", "1e3s", "PT1S", "1S"]
        {
            assert_eq!(text.parse::<Duration>(), Err(DurationError(text.to_owned())), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read_back(nanos in any::<i64>()) {
            prop_assert_eq!(Duration(nanos).to_string().parse(), Ok(Duration(nanos)));
        }

        #[test]
        fn any_text_is_read_or_refused(text in "[0-9.hmsnu+-]{0,14}|\\PC{0,8}") {
            let _ = text.parse::<Duration>();
        }
    }
}
