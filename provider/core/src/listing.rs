//! Which clusters there are: each has one Lease, with our label and its own name.

use pgha_schema::identity::ClusterIdentity;
use pgha_schema::names::{APP_NAME, LABEL_INSTANCE, LABEL_NAME};
use serde_json::Value as Json;

use crate::object;
use crate::value::Value;

/// The label selector of the Leases of all clusters.
pub fn selector() -> String {
    format!("{LABEL_NAME}={APP_NAME}")
}

/// The clusters that Leases stand for, in the order of their names.
pub fn clusters(leases: &[Json]) -> Vec<ClusterIdentity> {
    let mut found: Vec<_> = leases.iter().filter_map(cluster).collect();
    found.sort();
    found
}

/// A Lease that carries another cluster's label is none of ours.
fn cluster(lease: &Json) -> Option<ClusterIdentity> {
    let metadata = lease.get("metadata")?;
    let (namespace, name) = (metadata.get("namespace")?.as_str()?, object::name(lease));
    let labelled = metadata.get("labels")?.get(LABEL_INSTANCE)?.as_str()?;
    (labelled == name).then(|| ClusterIdentity { namespace: namespace.to_owned(), name: name.to_owned() })
}

/// An identity as a value.
pub fn identity(cluster: &ClusterIdentity) -> Value {
    Value::object([("namespace", cluster.namespace.as_str().into()), ("name", cluster.name.as_str().into())])
}

/// What people read in a list.
pub fn display_name(cluster: &ClusterIdentity) -> String {
    format!("{}/{}", cluster.namespace, cluster.name)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_lease_of_ours_is_a_cluster() {
        let lease = |namespace: &str, name: &str, label: &str| json!({"metadata": {"namespace": namespace, "name": name, "labels": {LABEL_INSTANCE: label}}});
        let leases = [
            lease("b", "x", "x"),
            lease("a", "z", "z"),
            lease("a", "y", "another"),
            json!({}),
            lease("a", "b", "b"),
        ];
        let found: Vec<_> = clusters(&leases).iter().map(display_name).collect();
        assert_eq!(found, ["a/b", "a/z", "b/x"]);
    }
}
