//! Resource identity: of a state, and back to namespace and name.

use pgha_schema::identity::{ClusterIdentity, IDENTITY_VERSION, schema};

use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::validate;
use crate::value::Value;

/// The identity of a state or plan, unknown where that is; `None` when there is no resource.
pub fn of(state: &Value) -> Option<Value> {
    let parts = schema().attributes.iter().map(|part| (part.name.clone(), state.get(&part.name).clone()));
    let identity = Value::object(parts);
    identity.as_entries()?.values().all(|part| !part.is_null()).then_some(identity)
}

/// Which cluster an identity means.
///
/// # Errors
/// When a part is missing or can't be one.
pub fn parse(identity: &Value) -> Result<ClusterIdentity, Diagnostics> {
    let mut found = validate::attributes(&schema().attributes, identity);
    for part in &schema().attributes {
        if !matches!(identity.get(&part.name), Value::String(_)) {
            found.push(Diagnostic::error(
                format!("The identity lacks its {}", part.name),
                "The identity of a cluster is its namespace and its name: identity = { namespace = \"shop\", name = \"orders\" }.",
            ));
        }
    }
    match identity.to_json().and_then(|json| serde_json::from_value(json).ok()) {
        Some(identity) if !found.has_errors() => Ok(identity),
        _ => Err(found),
    }
}

/// An identity as it was stored, brought up to date.
///
/// # Errors
/// When another version of the provider wrote it.
pub fn upgrade(version: i64, stored: Value) -> Result<Value, Diagnostics> {
    if version != IDENTITY_VERSION {
        let detail = format!(
            "It has version {version}; this version of the provider knows {IDENTITY_VERSION}. Use the version that wrote it, or a newer one."
        );
        return Err(Diagnostic::error("The identity was written by another version", detail).into());
    }
    parse(&stored)?;
    Ok(stored)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(namespace: Value, name: Value) -> Value {
        Value::object([("namespace", namespace), ("name", name)])
    }

    #[test]
    fn a_state_has_the_identity_of_its_cluster() {
        let state = Value::object([
            ("name", "db".into()),
            ("namespace", Value::Unknown),
            ("replicas", Value::int(2)),
        ]);
        assert_eq!(of(&state), Some(identity(Value::Unknown, "db".into())));
        assert_eq!(of(&Value::Null), None);
    }

    #[test]
    fn it_comes_back_and_what_is_none_is_refused() {
        let good = identity("shop".into(), "db".into());
        let parsed = parse(&good).unwrap();
        assert_eq!((&*parsed.namespace, &*parsed.name), ("shop", "db"));
        assert_eq!(upgrade(0, good.clone()), Ok(good.clone()));
        assert!(upgrade(1, good).unwrap_err().to_string().contains("version 1"));
        for bad in [identity("shop".into(), Value::Null), identity("Shop".into(), "db".into()), Value::Null] {
            assert!(parse(&bad).unwrap_err().has_errors(), "{bad:?}");
        }
    }
}
