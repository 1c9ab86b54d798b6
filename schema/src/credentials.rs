//! The ephemeral resource `postgres_ha_credentials`: a password for one run.

use std::sync::LazyLock;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::convert;
use crate::extension::Tf;
use crate::resource;
use crate::tf;
use crate::validators::Rule;

/// Name of the ephemeral resource.
pub const TYPE_NAME: &str = "postgres_ha_credentials";

/// User and password of a cluster, read when a run needs them and kept nowhere: they are in no state and in no plan. They come from the
/// Secret that the cluster's agents set the role's password from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CredentialsQuery {
    /// Name of the cluster.
    #[schemars(extend("x-tf" = Tf::new().rule(Rule::ClusterName)))]
    pub name: String,
    /// Its namespace.
    #[schemars(extend("x-tf" = Tf::new().rule(Rule::DnsLabel)))]
    pub namespace: String,
    /// Whose credentials.
    #[serde(default)]
    pub role: CredentialsRole,
}

/// Whose credentials.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum CredentialsRole {
    /// The owner of the application's database.
    #[default]
    App,
    /// The superuser.
    Superuser,
}

/// What is read.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Credentials {
    /// The user's name.
    pub username: Option<String>,
    /// Its password.
    #[schemars(extend("x-tf" = Tf::new().sensitive()))]
    pub password: Option<String>,
    /// Host of the Service that leads to the primary, inside the Kubernetes cluster.
    pub host: Option<String>,
    /// Port of PostgreSQL.
    pub port: Option<u16>,
    /// The application's database; `postgres` for the superuser.
    pub database: Option<String>,
    /// A libpq URI of all this, with the settings with which a client notices a lost node.
    #[schemars(extend("x-tf" = Tf::new().sensitive()))]
    pub uri: Option<String>,
}

/// The schema of the ephemeral resource.
pub fn schema() -> &'static tf::Schema {
    static SCHEMA: LazyLock<tf::Schema> = LazyLock::new(|| {
        let (inputs, outputs) =
            (resource::json_schema::<CredentialsQuery>(), resource::json_schema::<Credentials>());
        // The input is fixed at compile time; the tests of this crate run the same conversion.
        convert::schema(0, &inputs, Some(&outputs)).expect("the credentials' types convert")
    });
    &SCHEMA
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_secret_is_marked_so() {
        let secret: Vec<_> =
            schema().attributes.iter().filter(|one| one.sensitive).map(|one| one.name.as_str()).collect();
        assert_eq!(secret, ["password", "uri"]);
    }
}
