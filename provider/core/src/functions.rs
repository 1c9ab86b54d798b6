//! The provider's functions: pure, and called before anything is configured. What they take is declared in the schema crate.

mod connect;
mod timing;
mod wal;

use pgha_schema::functions::{
    CONNECTION_STRING, CONNECTION_URI, FAILOVER_BOUND_SECONDS, JDBC_URL, LSN_DIFF, function,
};

use crate::connection::Connection;
use crate::value::Value;

/// Why a function gives nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FunctionError {
    /// What is wrong and what to do about it.
    pub text: String,
    /// Index of the argument at fault.
    pub argument: Option<usize>,
}

impl FunctionError {
    fn at(argument: usize, text: impl Into<String>) -> Self {
        Self { text: text.into(), argument: Some(argument) }
    }
}

/// What a function gives: of unknown arguments an unknown value. `None` when there is no function of that name.
pub fn call(name: &str, arguments: &[Value]) -> Option<Result<Value, FunctionError>> {
    let declared = function(name)?;
    let (least, given) = (declared.parameters.len(), arguments.len());
    if given < least || (given > least && declared.variadic.is_none()) {
        let text = format!("{name} takes {least} arguments, and {given} are given.");
        return Some(Err(FunctionError { text, argument: None }));
    }
    if let Some(position) = arguments[..least].iter().position(Value::is_null) {
        let text = format!("{} is null.", declared.parameters[position].name);
        return Some(Err(FunctionError::at(position, text)));
    }
    if !arguments.iter().all(Value::is_wholly_known) {
        return Some(Ok(Value::Unknown));
    }
    Some(match name {
        CONNECTION_STRING => connect::libpq(arguments).map(|one| Connection::keywords(&one).into()),
        CONNECTION_URI => connect::libpq(arguments).map(|one| Connection::uri(&one).into()),
        JDBC_URL => connect::jdbc(arguments).map(|one| Connection::jdbc(&one).into()),
        LSN_DIFF => wal::lsn_diff(arguments),
        FAILOVER_BOUND_SECONDS => timing::failover_bound(arguments),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use pgha_schema::functions::functions;

    use super::*;

    #[test]
    fn every_declared_function_is_there_and_no_other() {
        for declared in functions() {
            let unknown = vec![Value::Unknown; declared.parameters.len()];
            assert_eq!(call(declared.name, &unknown), Some(Ok(Value::Unknown)), "{}", declared.name);
            // What is known is computed or refused, not missing.
            let texts = vec![Value::from("x"); declared.parameters.len()];
            assert!(
                !matches!(call(declared.name, &texts), None | Some(Ok(Value::Unknown))),
                "{}",
                declared.name
            );
        }
        assert_eq!(call("nothing", &[]), None);
    }

    #[test]
    fn nulls_and_other_counts_are_refused() {
        let error = call(LSN_DIFF, &["0/0".into(), Value::Null]).unwrap().unwrap_err();
        assert_eq!(error, FunctionError { text: "behind is null.".to_owned(), argument: Some(1) });
        let error = call(LSN_DIFF, &["0/0".into()]).unwrap().unwrap_err();
        assert!(
            error.text.contains("takes 2 arguments, and 1 are given") && error.argument.is_none(),
            "{error:?}"
        );
        assert!(call(LSN_DIFF, &["0/0".into(), "0/0".into(), "0/0".into()]).unwrap().is_err());
    }
}
