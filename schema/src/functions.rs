//! The provider's functions: what they are called and what they take. What they compute is in the provider's core.

use std::sync::LazyLock;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::convert;
use crate::resource;
use crate::tf::{Function, Parameter, Type};

/// A libpq URI.
pub const CONNECTION_URI: &str = "connection_uri";
/// A libpq string of keywords and values.
pub const CONNECTION_STRING: &str = "connection_string";
/// A URL for pgJDBC.
pub const JDBC_URL: &str = "jdbc_url";
/// A distance between WAL positions.
pub const LSN_DIFF: &str = "lsn_diff";
/// Within how many seconds writes come back.
pub const FAILOVER_BOUND_SECONDS: &str = "failover_bound_seconds";

/// Where a cluster is: what the resource and the data source both say, so that either can be given as it is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ClusterAddress {
    /// Name of the cluster.
    pub name: Option<String>,
    /// Its namespace.
    pub namespace: Option<String>,
    /// How many standbys it has.
    pub replicas: Option<u32>,
    /// Host of the Service that leads to the primary.
    pub rw_host: Option<String>,
    /// Host of the Service that leads to the standbys.
    pub ro_host: Option<String>,
    /// Port of PostgreSQL.
    pub port: Option<u16>,
}

/// Which hosts a connection tries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// The Service in front of the primary.
    Rw,
    /// The Service in front of the standbys.
    Ro,
    /// Every instance by its own name; the client finds the primary.
    All,
}

impl Access {
    /// Every choice with its word.
    pub const ALL: [(&str, Self); 3] = [("rw", Self::Rw), ("ro", Self::Ro), ("all", Self::All)];

    /// The choice that a word means.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|(known, _)| *known == word).map(|(_, access)| access)
    }
}

/// Every function, by name.
pub fn functions() -> &'static [Function] {
    static FUNCTIONS: LazyLock<Vec<Function>> = LazyLock::new(|| {
        vec![
            connection(CONNECTION_STRING, "A libpq connection string", CONNECTION_STRING_TEXT, LIBPQ_OPTIONS),
            connection(CONNECTION_URI, "A libpq connection URI", CONNECTION_URI_TEXT, LIBPQ_OPTIONS),
            Function {
                name: FAILOVER_BOUND_SECONDS,
                summary: "Within how many seconds writes come back",
                description: include_str!("functions/failover_bound_seconds.md").trim_ascii_end(),
                parameters: vec![Parameter {
                    name: "failover",
                    ty: Type::map(Type::String),
                    description: "The timings by name, as in the resource's `failover`, which can be given as it is. What is \
                        left out or null has the resource's default.",
                }],
                variadic: None,
                returns: Type::Number,
            },
            connection(JDBC_URL, "A URL for pgJDBC", JDBC_URL_TEXT, JDBC_OPTIONS),
            Function {
                name: LSN_DIFF,
                summary: "The distance between two WAL positions, in bytes",
                description: include_str!("functions/lsn_diff.md").trim_ascii_end(),
                parameters: vec![
                    position("ahead", "The position to count to."),
                    position("behind", "The position to count from."),
                ],
                variadic: None,
                returns: Type::Number,
            },
        ]
    });
    &FUNCTIONS
}

/// The function called so.
pub fn function(name: &str) -> Option<&'static Function> {
    functions().iter().find(|function| function.name == name)
}

const CONNECTION_URI_TEXT: &str = include_str!("functions/connection_uri.md").trim_ascii_end();
const CONNECTION_STRING_TEXT: &str = include_str!("functions/connection_string.md").trim_ascii_end();
const JDBC_URL_TEXT: &str = include_str!("functions/jdbc_url.md").trim_ascii_end();

const LIBPQ_OPTIONS: &str = "At most one map of libpq's keywords, such as `password`, `sslmode` or `application_name`. It goes over the \
    settings that the function chooses; null leaves one of those out.";
const JDBC_OPTIONS: &str = "At most one map of pgJDBC's properties, such as `password`, `sslmode` or `ApplicationName`. It goes over \
    the settings that the function chooses; null leaves one of those out.";

/// The three ways to write a connection down take the same arguments.
fn connection(
    name: &'static str,
    summary: &'static str,
    description: &'static str,
    options: &'static str,
) -> Function {
    let text = |name, description| Parameter { name, ty: Type::String, description };
    // The type is fixed at compile time; the tests of this crate run the same conversion.
    let cluster = convert::schema(0, &resource::json_schema::<ClusterAddress>(), None)
        .expect("the address's type converts")
        .ty();
    let parameters = vec![
        Parameter {
            name: "cluster",
            ty: cluster,
            description: "The resource or the data source `postgres_ha_cluster`, or an object with its `name`, `namespace`, \
                `replicas`, `rw_host`, `ro_host` and `port`. What `access` does not need may be null.",
        },
        text(
            "access",
            "`rw`: the Service in front of the primary. `ro`: the Service in front of the standbys. `all`: every instance by \
             its own name, of which the client finds the primary by itself; for clients that resolve and reach the pods.",
        ),
        text("database", "The database."),
        text("user", "The user."),
    ];
    let options = Parameter { name: "options", ty: Type::map(Type::String), description: options };
    Function { name, summary, description, parameters, variadic: Some(options), returns: Type::String }
}

fn position(name: &'static str, description: &'static str) -> Parameter {
    Parameter { name, ty: Type::String, description }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_has_what_the_resource_has_under_the_same_names_and_types() {
        let Type::Object { attrs, .. } = &functions()[0].parameters[0].ty else { panic!("no object") };
        for (name, ty) in attrs {
            assert_eq!(
                resource::schema().attribute(name).map(crate::tf::Attribute::ty).as_ref(),
                Some(ty),
                "{name}"
            );
        }
    }

    #[test]
    fn names_are_sorted_and_found() {
        let names: Vec<_> = functions().iter().map(|function| function.name).collect();
        assert!(names.is_sorted(), "{names:?}");
        assert!(names.iter().all(|name| function(name).is_some_and(|found| found.name == *name)));
        assert_eq!(function("nothing"), None);
    }
}
