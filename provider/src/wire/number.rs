//! Decimal text to numbers, such that one number has one form whichever way it came.

use pgha_provider_core::value::Number;

/// Digits after the point that the longest double has.
const DOUBLE_DIGITS_MAX: usize = 1074;

/// Reads decimal text. A number that is exactly a double becomes one, as msgpack would have brought it.
#[must_use]
pub fn from_text(text: &str) -> Option<Number> {
    let number = Number::from_text(text)?;
    let Number::Decimal(text) = &number else { return Some(number) };
    let double: f64 = text.parse().ok()?;
    let exact = format!("{double:.DOUBLE_DIGITS_MAX$}");
    if plain(&exact) == plain(text) { Number::from_f64(double) } else { Some(number) }
}

/// The same digits without what doesn't count.
fn plain(text: &str) -> &str {
    let text = text.strip_prefix('+').unwrap_or(text);
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_exactly_a_double_becomes_one() {
        assert_eq!(from_text("0.5"), Some(Number::Float(0.5)));
        assert_eq!(from_text("-0.250"), Some(Number::Float(-0.25)));
        assert_eq!(from_text("3.0"), Some(Number::Int(3)));
        assert_eq!(from_text("0.1"), Some(Number::Decimal("0.1".to_owned())));
        assert_eq!(from_text("7"), Some(Number::Int(7)));
        assert_eq!(from_text("x"), None);
    }
}
