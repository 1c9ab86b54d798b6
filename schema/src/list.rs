//! The list resource `postgres_ha_cluster`: which clusters there are, for `terraform query`.

use std::sync::LazyLock;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::convert;
use crate::extension::Tf;
use crate::resource;
use crate::tf;
use crate::validators::Rule;

/// Name of the list resource: that of the resource that it finds.
pub const TYPE_NAME: &str = resource::TYPE_NAME;

/// Finds the clusters that exist, of one namespace or of all, whoever made them; with their whole configuration when it is asked for, so
/// that `terraform query -generate-config-out` writes it down together with the imports.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ClusterList {
    /// Only clusters of this namespace. Without it those of all namespaces, which takes the right to list Leases in all of them.
    #[schemars(extend("x-tf" = Tf::new().rule(Rule::DnsLabel)))]
    pub namespace: Option<String>,
}

/// The schema of the list resource's `config` block.
pub fn schema() -> &'static tf::Schema {
    static SCHEMA: LazyLock<tf::Schema> = LazyLock::new(|| {
        // The input is fixed at compile time; the tests of this crate run the same conversion.
        convert::schema(0, &resource::json_schema::<ClusterList>(), None).expect("the list's type converts")
    });
    &SCHEMA
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_required() {
        assert!(schema().attributes.iter().all(|attribute| attribute.optional && !attribute.computed));
    }
}
