//! Pages of functions.

use super::attributes::leaf_words;
use super::filled;
use crate::functions::{CONNECTION_STRING, CONNECTION_URI, FAILOVER_BOUND_SECONDS, JDBC_URL, LSN_DIFF};
use crate::tf::{Function, Parameter};

/// docs/functions/NAME.md.
pub(super) fn page(function: &Function) -> String {
    let words = |parameter: &Parameter| leaf_words(&parameter.ty);
    let named = |parameter: &Parameter| format!("{} {}", parameter.name, words(parameter).to_lowercase());
    let mut signature: Vec<_> = function.parameters.iter().map(named).collect();
    signature.extend(function.variadic.as_ref().map(|rest| format!("{}...", named(rest))));
    let mut arguments: Vec<_> = function
        .parameters
        .iter()
        .map(|one| format!("1. `{}` ({}) {}", one.name, words(one), one.description))
        .collect();
    arguments.extend(
        function
            .variadic
            .as_ref()
            .map(|rest| format!("1. `{}` (Variadic, {}) {}", rest.name, words(rest), rest.description)),
    );
    let returns = leaf_words(&function.returns).to_lowercase();
    filled(
        include_str!("function.md").to_owned(),
        &[
            ("name", function.name),
            ("summary", function.summary),
            ("description", function.description),
            ("example", example(function.name).trim_end()),
            ("signature", &format!("{}({}) {returns}", function.name, signature.join(", "))),
            ("arguments", &arguments.join("\n")),
        ],
    )
}

fn example(name: &str) -> &'static str {
    match name {
        CONNECTION_STRING => include_str!("../../../examples/functions/connection_string/function.tf"),
        CONNECTION_URI => include_str!("../../../examples/functions/connection_uri/function.tf"),
        FAILOVER_BOUND_SECONDS => {
            include_str!("../../../examples/functions/failover_bound_seconds/function.tf")
        }
        JDBC_URL => include_str!("../../../examples/functions/jdbc_url/function.tf"),
        LSN_DIFF => include_str!("../../../examples/functions/lsn_diff/function.tf"),
        _ => "",
    }
}
