//! Kubernetes quantities: `500m`, `1.5Gi`, `2e3`. Compared by meaning, exactly.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::extension::{TYPE_KEYWORD, Tf};
use crate::tf::Semantic;
use crate::validators::Rule;

const NANOS_PER_UNIT: i128 = 1_000_000_000;

/// A Kubernetes quantity. It keeps its spelling; equality and order are of the meaning.
#[derive(Clone, Debug)]
pub struct Quantity {
    text: String,
    nanos: i128,
}

/// A text that is not a quantity.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuantityError {
    /// It has another form.
    #[error("`{0}` is not a Kubernetes quantity")]
    Form(String),
    /// Kubernetes keeps nothing finer than a billionth and nothing beyond 64 bits.
    #[error("`{0}` is finer than a billionth, or larger than Kubernetes can hold")]
    Bounds(String),
}

impl Quantity {
    /// Its spelling.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Its value in billionths.
    pub fn nanos(&self) -> i128 {
        self.nanos
    }

    /// Its value in whole units (bytes, for sizes), rounded up as Kubernetes does; zero when negative.
    pub fn value(&self) -> u64 {
        let units =
            self.nanos.div_euclid(NANOS_PER_UNIT) + i128::from(self.nanos.rem_euclid(NANOS_PER_UNIT) > 0);
        u64::try_from(units).unwrap_or(0)
    }
}

impl FromStr for Quantity {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let form = || QuantityError::Form(text.to_owned());
        let bounds = || QuantityError::Bounds(text.to_owned());
        let (negative, rest) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, suffix) = rest.split_at(end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
            return Err(form());
        }
        let (factor, exponent) = scale(suffix).ok_or_else(form)?;
        let fraction = fraction.trim_end_matches('0');
        let digits = format!("{whole}{fraction}");
        let digits = digits.trim_start_matches('0');
        let mantissa: i128 = if digits.is_empty() { 0 } else { digits.parse().map_err(|_| bounds())? };
        let fraction_digits = i32::try_from(fraction.len()).map_err(|_| bounds())?;
        let product = mantissa.checked_mul(factor).ok_or_else(bounds)?;
        let nanos = shifted(product, 9 + exponent - fraction_digits).ok_or_else(bounds)?;
        if nanos > i128::from(i64::MAX) * NANOS_PER_UNIT {
            return Err(bounds());
        }
        Ok(Self { text: text.to_owned(), nanos: if negative { -nanos } else { nanos } })
    }
}

/// What a suffix stands for: a factor and a power of ten.
fn scale(suffix: &str) -> Option<(i128, i32)> {
    let binary = |power: u32| Some((1_i128 << (10 * power), 0));
    let decimal = |exponent| Some((1, exponent));
    match suffix {
        "Ki" => binary(1),
        "Mi" => binary(2),
        "Gi" => binary(3),
        "Ti" => binary(4),
        "Pi" => binary(5),
        "Ei" => binary(6),
        "n" => decimal(-9),
        "u" => decimal(-6),
        "m" => decimal(-3),
        "" => decimal(0),
        "k" => decimal(3),
        "M" => decimal(6),
        "G" => decimal(9),
        "T" => decimal(12),
        "P" => decimal(15),
        "E" => decimal(18),
        _ => {
            let exponent = suffix.strip_prefix(['e', 'E'])?;
            let digits = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
            let plain = !digits.is_empty() && digits.len() <= 4 && digits.bytes().all(|b| b.is_ascii_digit());
            plain.then(|| exponent.parse().ok().map(|exponent| (1, exponent)))?
        }
    }
}

/// `product` times ten to the `exponent`, when that is whole and fits.
fn shifted(product: i128, exponent: i32) -> Option<i128> {
    if product == 0 {
        return Some(0);
    }
    let power = 10_i128.checked_pow(exponent.unsigned_abs());
    if exponent >= 0 {
        return product.checked_mul(power?);
    }
    power.filter(|power| product % power == 0).map(|power| product / power)
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.nanos == other.nanos
    }
}

impl Eq for Quantity {}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> Ordering {
        self.nanos.cmp(&other.nanos)
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Serialize for Quantity {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for Quantity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Quantity {
    fn schema_name() -> Cow<'static, str> {
        "Quantity".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            TYPE_KEYWORD: Tf::new().semantic(Semantic::Quantity).rule(Rule::Quantity),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn quantity(text: &str) -> Quantity {
        text.parse().unwrap()
    }

    #[test]
    fn spellings_of_one_quantity_are_equal() {
        for (a, b) in [
            ("1Gi", "1024Mi"),
            ("1.5Gi", "1536Mi"),
            ("1", "1000m"),
            ("0.5", "500m"),
            (".5", "5e-1"),
            ("2e3", "2k"),
            ("1E", "1000P"),
            ("1E3", "1k"),
            ("100n", "0.1u"),
            ("1.", "1.000000000000000"),
            ("0", "-0Ei"),
            ("+5", "5"),
            ("7Ei", "7168Pi"),
        ] {
            assert_eq!(quantity(a), quantity(b), "{a} {b}");
        }
        assert!(quantity("1G") < quantity("1Gi"));
        assert!(quantity("-1") < quantity("1n"));
    }

    #[test]
    fn other_texts_are_refused() {
        for text in
            ["", "Gi", "1gi", "1GB", "1 Gi", "1,5", "1.2.3", "e3", "1e", "1e+", "--1", "1K", "0x1", "NaN"]
        {
            assert_eq!(text.parse::<Quantity>(), Err(QuantityError::Form(text.to_owned())), "{text}");
        }
        for text in ["1e-10", "0.5n", "8Ei", "1e20", "99999999999999999999999999999999999999999", "1e9999"] {
            assert_eq!(text.parse::<Quantity>(), Err(QuantityError::Bounds(text.to_owned())), "{text}");
        }
    }

    #[test]
    fn whole_units_round_up() {
        assert_eq!(quantity("1500m").value(), 2);
        assert_eq!(quantity("1Ki").value(), 1024);
        assert_eq!(quantity("-3").value(), 0);
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,12}") {
            let _ = text.parse::<Quantity>();
        }

        #[test]
        fn a_kibi_is_1024(number in 0_u64..1 << 40) {
            prop_assert_eq!(quantity(&format!("{number}Ki")), quantity(&format!("{}", number * 1024)));
            prop_assert_eq!(quantity(&format!("{number}m")).nanos(), i128::from(number) * 1_000_000);
        }
    }
}
