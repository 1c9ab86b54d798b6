//! What timings come to.

use pgha_schema::resource::{Failover, schema};
use pgha_schema::spec::{check_timing, failover_bound_seconds};
use pgha_schema::validators::check;

use super::FunctionError;
use crate::value::Value;

/// The resource's `failover_bound_seconds` with these timings.
pub(super) fn failover_bound(arguments: &[Value]) -> Result<Value, FunctionError> {
    let wrong = |text: String| FunctionError::at(0, text);
    let attributes = schema().attribute("failover").map_or(&[][..], |failover| failover.attributes());
    let mut given = serde_json::Map::new();
    for (name, value) in arguments[0].as_entries().into_iter().flatten().filter(|(_, value)| !value.is_null())
    {
        let Some(attribute) = attributes.iter().find(|attribute| attribute.name == *name) else {
            let known: Vec<_> = attributes.iter().map(|attribute| attribute.name.as_str()).collect();
            return Err(wrong(format!("There is no timing `{name}`. There are: {}.", known.join(", "))));
        };
        let Some(json) = value.to_json() else { continue };
        for validator in &attribute.validators {
            check(validator, &json).map_err(|problem| wrong(format!("{name}: {problem}")))?;
        }
        given.insert(name.clone(), json);
    }
    let failover: Failover = serde_json::from_value(given.into())
        .map_err(|error| wrong(format!("The timings can't be read: {error}.")))?;
    let problems = check_timing(
        Some(failover.renew_interval),
        Some(failover.fence_after),
        Some(failover.lease_duration),
        Some(failover.degrade_after),
    );
    if let Some((path, problem)) = problems.first() {
        return Err(wrong(format!("{}: {problem}", path.trim_start_matches("failover."))));
    }
    Ok(Value::int(failover_bound_seconds(&failover)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bound(timings: &[(&str, &str)]) -> Result<Value, FunctionError> {
        failover_bound(&[Value::map(timings.iter().map(|(name, text)| (*name, Value::from(*text))))])
    }

    #[test]
    fn what_is_left_out_has_the_resources_default() {
        let all = [
            ("renew_interval", "2s"),
            ("fence_after", "6s"),
            ("lease_duration", "10s"),
            ("degrade_after", "3s"),
        ];
        assert_eq!(bound(&[]), bound(&all));
        assert_eq!(bound(&[]), Ok(Value::int(15)));
        let longer = bound(&[("lease_duration", "30s"), ("on_postgres_crash", "restart")]);
        assert_eq!(longer, Ok(Value::int(35)));
    }

    #[test]
    fn the_resources_own_object_with_its_nulls_is_taken() {
        let timings = Value::map([("lease_duration", Value::from("10s")), ("max_lag", Value::Null)]);
        assert_eq!(failover_bound(&[timings]), bound(&[]));
    }

    #[test]
    fn what_the_resource_refuses_is_refused() {
        for (timings, saying) in [
            (&[("lease_duration", "7s")][..], "fence_after: "),
            (&[("renew_interval", "10")], "renew_interval: "),
            (&[("renew_interval", "100ms")], "renew_interval: "),
            (&[("ttl", "1s")], "no timing `ttl`. There are: degrade_after, "),
            (&[("on_postgres_crash", "wait")], "on_postgres_crash: "),
        ] {
            let error = bound(timings).unwrap_err();
            assert!(error.text.contains(saying) && error.argument == Some(0), "{error:?}");
        }
    }
}
