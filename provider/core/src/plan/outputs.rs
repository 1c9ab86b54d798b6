//! The computed attributes of a plan (P7).

use pgha_schema::names::{Names, POSTGRES_PORT};
use pgha_schema::resource::{PostgresVersion, ServiceType, schema};
use pgha_schema::spec::failover_bound_seconds;

use super::story::{self, Story};
use crate::plan::{Changed, Request};
use crate::value::{Number, Value};

/// Inputs that follow from other inputs when config has none: the image.
pub(super) fn derive(planned: &mut Value, prior: &Value) {
    if !planned.get("image").is_null() {
        return;
    }
    let image = match planned.get("postgres_version") {
        Value::Unknown => Value::Unknown,
        Value::String(text) => text
            .parse::<PostgresVersion>()
            .map_or(Value::Null, |version| Value::String(version.default_image())),
        _ => Value::Null,
    };
    let image = if prior.get("image") == &image { prior.get("image").clone() } else { image };
    planned.set_at("image", image);
}

/// Fills the outputs in. Gives, for a warning, what the change does to a database that is there.
pub(super) fn fill(planned: &mut Value, request: &Request<'_>, changes: &[Changed]) -> Option<Story> {
    let prior = request.prior;
    let carried = carries_agent(planned);
    let upgrade = carried && newer(request.agent_version, prior.get("agent_version").as_str());
    if !prior.is_null() && !touches_cluster(prior, changes) && !upgrade {
        for attribute in schema().attributes.iter().filter(|attribute| attribute.is_output()) {
            planned.set_at(&attribute.name, prior.get(&attribute.name).clone());
        }
        return None;
    }
    let names = text(planned, "name").map(|name| Names::new(&name));
    let secret =
        |name: fn(&Names) -> String| names.as_ref().map_or(Value::Unknown, |names| name(names).into());
    planned.set_at("superuser_secret", secret(Names::secret_superuser));
    planned.set_at("app_secret", secret(Names::secret_app));
    planned.set_at("rw_host", host(planned, prior, "rw", names.as_ref()));
    planned.set_at("ro_host", host(planned, prior, "ro", names.as_ref()));
    planned.set_at("port", Value::int(POSTGRES_PORT));
    planned.set_at("drift", Value::List(Vec::new()));
    planned.set_at("failover_bound_seconds", bound(planned));
    let given_back = carried && !carries_agent(prior);
    let agent = match carried {
        // Apply finds out what the image holds; a tag may mean something else than it did.
        false => Value::Unknown,
        true if upgrade || given_back => request.agent_version.into(),
        true => prior.get("agent_version").clone(),
    };
    planned.set_at("agent_version", agent);
    planned.set_at("ready", if prior.is_null() { Value::Unknown } else { Value::Bool(true) });
    let identifier = prior.get("system_identifier");
    planned
        .set_at("system_identifier", if identifier.is_null() { Value::Unknown } else { identifier.clone() });
    let story = story::tell(planned, prior, changes, upgrade.then_some(request.agent_version));
    let whole = story.as_ref().filter(|story| story.is_whole());
    planned.set_at("last_change", whole.map_or(Value::Unknown, |story| story.text.clone().into()));
    story.filter(|_| !prior.is_null())
}

/// Whether the provider's own agent is wanted, rather than what an image holds.
pub(super) fn carries_agent(planned: &Value) -> bool {
    planned.get("agent_image").is_null()
}

/// Whether a plan does anything in the cluster: a change of `timeouts` or `deletion_protection` does not.
pub(super) fn touches_cluster(prior: &Value, changes: &[Changed]) -> bool {
    let drifted = prior.get("drift").as_items().is_some_and(|entries| !entries.is_empty());
    let unfinished = prior.get("ready").as_bool() != Some(true);
    drifted || unfinished || changes.iter().any(Changed::is_significant)
}

fn text(value: &Value, path: &str) -> Option<String> {
    value.get(path).as_str().map(str::to_owned)
}

/// Known for every kind of Service but a load balancer, whose address the platform gives.
fn host(planned: &Value, prior: &Value, service: &str, names: Option<&Names>) -> Value {
    let kind = format!("services.{service}.type");
    let (Some(names), Some(namespace)) = (names, text(planned, "namespace")) else { return Value::Unknown };
    let known = match service {
        "rw" => names.rw_host(&namespace),
        _ => names.ro_host(&namespace),
    };
    let before = prior.get(&format!("{service}_host"));
    match planned.get(&kind) {
        Value::Unknown => Value::Unknown,
        Value::String(kind) if kind == ServiceType::LoadBalancer.as_str() => {
            let kept = prior.get(&format!("services.{service}.type")).as_str() == Some(kind)
                && prior.get("name") == planned.get("name")
                && prior.get("namespace") == planned.get("namespace")
                && !before.is_null();
            if kept { before.clone() } else { Value::Unknown }
        }
        _ => known.into(),
    }
}

fn bound(planned: &Value) -> Value {
    let failover = planned.get("failover").to_json();
    let failover = failover.and_then(|json| serde_json::from_value(json).ok());
    failover.map_or(Value::Unknown, |failover| {
        Value::Number(Number::Int(i64::from(failover_bound_seconds(&failover))))
    })
}

/// Whether this provider's agent is newer than the one in place; versions are compared number by number.
pub(super) fn newer(ours: &str, theirs: Option<&str>) -> bool {
    let Some(theirs) = theirs else { return true };
    let numbers = |version: &str| -> Vec<u64> {
        let plain = version.split(['-', '+']).next().unwrap_or_default();
        plain.split('.').map(|part| part.parse().unwrap_or(0)).collect()
    };
    numbers(ours) > numbers(theirs)
}
