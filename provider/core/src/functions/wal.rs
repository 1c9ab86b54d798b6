//! WAL positions.

use pgha_schema::lsn::Lsn;

use super::FunctionError;
use crate::value::{Number, Value};

/// `ahead - behind`, in bytes.
pub(super) fn lsn_diff(arguments: &[Value]) -> Result<Value, FunctionError> {
    let position = |index: usize| {
        let text = arguments[index].as_str().unwrap_or_default();
        text.parse::<Lsn>().map_err(|error| FunctionError::at(index, format!("{error}.")))
    };
    let (ahead, behind) = (position(0)?, position(1)?);
    let difference = i128::from(ahead.0) - i128::from(behind.0);
    Ok(Number::from_text(&difference.to_string()).map_or(Value::Null, Value::Number))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn diff(ahead: &str, behind: &str) -> Result<Value, FunctionError> {
        lsn_diff(&[ahead.into(), behind.into()])
    }

    #[test]
    fn counts_as_postgresql_does() {
        assert_eq!(diff("16/B4000000", "16/B3000000"), Ok(Value::int(16 << 20)));
        assert_eq!(diff("0/1", "1/0"), Ok(Value::int(1 - (1_i64 << 32))));
        assert_eq!(diff("0/0", "0/0"), Ok(Value::int(0)));
        assert_eq!(diff("FFFFFFFF/FFFFFFFF", "0/0"), Ok(Value::Number(Number::Uint(u64::MAX))));
        assert_eq!(
            diff("0/0", "FFFFFFFF/FFFFFFFF"),
            Ok(Value::Number(Number::Decimal("-18446744073709551615".to_owned())))
        );
    }

    #[test]
    fn the_argument_at_fault_is_named() {
        assert_eq!(diff("x", "0/0").unwrap_err().argument, Some(0));
        let error = diff("0/0", "0/g").unwrap_err();
        assert!(error.argument == Some(1) && error.text.contains("`0/g`"), "{error:?}");
    }
}
