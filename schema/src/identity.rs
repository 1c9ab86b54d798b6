//! Resource identity: what tells one cluster from all others that the same Kubernetes API serves.

use std::sync::LazyLock;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::convert;
use crate::extension::Tf;
use crate::resource;
use crate::tf;
use crate::validators::Rule;

/// Version of the identity's shape.
pub const IDENTITY_VERSION: i64 = 0;

/// The identity of a cluster; both parts are needed for an import.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClusterIdentity {
    /// The cluster's namespace.
    #[schemars(extend("x-tf" = Tf::new().rule(Rule::DnsLabel)))]
    pub namespace: String,
    /// The cluster's name.
    #[schemars(extend("x-tf" = Tf::new().rule(Rule::ClusterName)))]
    pub name: String,
}

/// The schema of the identity.
pub fn schema() -> &'static tf::Schema {
    static SCHEMA: LazyLock<tf::Schema> = LazyLock::new(|| {
        // The input is fixed at compile time; the tests of this crate run the same conversion.
        convert::schema(IDENTITY_VERSION, &resource::json_schema::<ClusterIdentity>(), None)
            .expect("the identity's type converts")
    });
    &SCHEMA
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_parts_are_the_resources_and_a_change_of_one_is_another_cluster() {
        assert!(schema().attributes.iter().all(|part| part.required));
        for part in &schema().attributes {
            let attribute = resource::schema().attribute(&part.name).expect("an attribute of the resource");
            assert!(attribute.replaces() && attribute.ty() == part.ty(), "{}", part.name);
            assert_eq!(attribute.validators, part.validators, "{}", part.name);
        }
    }
}
