//! Functions: pure, and answered whether the provider is configured or not.

use super::{Provider, absent, encode};
use crate::proto::tfplugin6 as pb;
use crate::wire::{self, schema};
use pgha_provider_core::diagnostic::Diagnostics;
use pgha_provider_core::functions::{FunctionError, call};
use pgha_provider_core::value::Value;
use pgha_schema::functions::{function, functions};
use pgha_schema::tf::{Function, Type};
use std::collections::BTreeMap;

/// Every function's declaration.
pub(super) fn declared() -> BTreeMap<String, pb::Function> {
    functions().iter().map(|one| (one.name.to_owned(), schema::function(one))).collect()
}

impl Provider {
    // Hosts other than Terraform ask for them apart from the schema.
    pub(super) fn functions() -> pb::get_functions::Response {
        pb::get_functions::Response { functions: declared(), ..Default::default() }
    }

    pub(super) fn call(
        request: &pb::call_function::Request,
    ) -> Result<pb::call_function::Response, Diagnostics> {
        let name = request.name.as_str();
        let declared = function(name).ok_or_else(|| absent::no_such("function", name))?;
        let answer = arguments(declared, &request.arguments)
            .and_then(|arguments| call(name, &arguments).unwrap_or_else(|| Err(missing(name))));
        match answer {
            Ok(result) => Ok(pb::call_function::Response {
                result: Some(encode(&result, &declared.returns, "result")?),
                error: None,
            }),
            Err(FunctionError { text, argument }) => {
                let function_argument = argument.and_then(|index| i64::try_from(index).ok());
                let error = pb::FunctionError { text, function_argument };
                Ok(pb::call_function::Response { result: None, error: Some(error) })
            }
        }
    }
}

fn arguments(declared: &Function, given: &[pb::DynamicValue]) -> Result<Vec<Value>, FunctionError> {
    // Those beyond the declared ones are refused by their count.
    let rest = declared.variadic.as_ref().map_or(&Type::Dynamic, |variadic| &variadic.ty);
    let types = declared.parameters.iter().map(|parameter| &parameter.ty).chain(std::iter::repeat(rest));
    let decoded = given.iter().zip(types).enumerate().map(|(index, (value, ty))| {
        wire::decode(Some(value), ty)
            .map_err(|error| FunctionError { text: error.to_string(), argument: Some(index) })
    });
    decoded.collect()
}

fn missing(name: &str) -> FunctionError {
    FunctionError {
        text: format!("The function {name} is declared and not there: please report this."),
        argument: None,
    }
}
