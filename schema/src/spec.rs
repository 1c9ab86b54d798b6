//! From a wholly known value to the typed [`ClusterSpec`], and from there to the documents that agents read.

use serde_json::{Map, Value};

use crate::desired::{
    AgentBinary, BootstrapSpec, Credentials, DESIRED_FORMAT, Desired, FailoverSpec, RunState, TlsSpec,
};
use crate::duration::Duration;
use crate::resource::{ClusterSpec, Failover, schema};
use crate::tf::{Attribute, Nesting, Shape};
use crate::validators::Problem;

/// How long a fence may take from its start until nothing can write any more (A7).
pub const STOP_BUDGET: Duration = Duration::from_millis(1_000);
/// How long two attempts to renew may take: with less room, one slow answer would fence a healthy primary.
pub const RENEWAL_ROOM: Duration = Duration::from_millis(2_000);
/// Beyond the lease: a second for the swap of the record and the promotion, one for the gate and the labels, one for
/// kube-proxy, which applies new endpoints at most once a second (A27).
const PROMOTION_SECONDS: u32 = 3;

/// A value that is no cluster's specification; the validators let none through.
#[derive(Debug, thiserror::Error)]
#[error("the value is no specification of a cluster: {0}")]
pub struct SpecError(#[from] serde_json::Error);

impl ClusterSpec {
    /// Reads a wholly known value of the resource's type; nulls take their defaults, outputs are left out.
    pub fn from_value(value: &Value) -> Result<Self, SpecError> {
        let inputs: Vec<_> = schema().attributes.iter().filter(|attribute| !attribute.is_output()).collect();
        let known = match value {
            Value::Object(all) => without_nulls(&inputs, all),
            other => other.clone(),
        };
        Ok(serde_json::from_value(known)?)
    }

    /// The image: the user's, or the official one of the version.
    pub fn image(&self) -> String {
        self.image.clone().unwrap_or_else(|| self.postgres_version.default_image())
    }

    /// How many pods there are: the primary and its standbys.
    pub fn instances(&self) -> u32 {
        self.replicas + 1
    }

    /// The document for the agents.
    pub fn desired(
        &self,
        generation: u64,
        anchor_uid: &str,
        template_hash: &str,
        agent: Option<AgentBinary>,
        state: RunState,
    ) -> Desired {
        Desired {
            format: DESIRED_FORMAT,
            generation,
            anchor_uid: anchor_uid.to_owned(),
            state,
            replicas: self.replicas,
            sync_mode: self.sync_mode,
            sync_replicas: self.sync_replicas,
            durability: self.durability,
            postgres_major: self.postgres_version.major,
            template_hash: template_hash.to_owned(),
            agent,
            parameters: self.parameters.clone(),
            pg_hba: self.pg_hba.clone(),
            tls: self.tls.as_ref().map(|tls| TlsSpec {
                required: tls.required.unwrap_or(false),
                client_certificates: tls.client_certificates.unwrap_or(false),
            }),
            bootstrap: BootstrapSpec {
                database: self.bootstrap.database.clone(),
                owner: self.bootstrap.owner.clone(),
                encoding: self.bootstrap.encoding.clone(),
                locale: self.bootstrap.locale.clone(),
                data_checksums: self.bootstrap.data_checksums,
            },
            failover: FailoverSpec::from(&self.failover),
            requests: Vec::new(),
            credentials: Credentials::default(),
            break_glass: None,
            taken_back: std::collections::BTreeSet::new(),
        }
    }
}

impl From<&Failover> for FailoverSpec {
    fn from(failover: &Failover) -> Self {
        Self {
            lease_duration_ms: failover.lease_duration.as_millis(),
            renew_interval_ms: failover.renew_interval.as_millis(),
            fence_after_ms: failover.fence_after.as_millis(),
            degrade_after_ms: failover.degrade_after.as_millis(),
            max_lag_bytes: failover.max_lag.as_ref().map(crate::quantity::Quantity::value),
            ro_max_lag_bytes: failover.ro_max_lag.as_ref().map(crate::quantity::Quantity::value),
            on_postgres_crash: failover.on_postgres_crash,
        }
    }
}

/// Terraform gives every attribute, null or not, and any number as a float; serde wants absent ones and whole ones.
fn without_nulls(attributes: &[&Attribute], values: &Map<String, Value>) -> Value {
    let known = |attribute: &&&Attribute| values.get(&attribute.name).is_some_and(|value| !value.is_null());
    Value::Object(
        attributes
            .iter()
            .filter(known)
            .map(|attribute| (attribute.name.clone(), plain(attribute, &values[&attribute.name])))
            .collect(),
    )
}

fn plain(attribute: &Attribute, value: &Value) -> Value {
    let children: Vec<_> = attribute.attributes().iter().collect();
    let nested = |value: &Value| match value {
        Value::Object(values) => without_nulls(&children, values),
        other => other.clone(),
    };
    match (&attribute.shape, value) {
        (Shape::Nested { nesting: Nesting::Single, .. }, value) => nested(value),
        (Shape::Nested { .. }, Value::Array(items)) => Value::Array(items.iter().map(nested).collect()),
        (Shape::Nested { .. }, Value::Object(items)) => {
            Value::Object(items.iter().map(|(key, item)| (key.clone(), nested(item))).collect())
        }
        (Shape::Nested { .. }, other) => other.clone(),
        (Shape::Leaf(_), Value::Array(items)) => Value::Array(items.iter().map(whole).collect()),
        (Shape::Leaf(_), Value::Object(items)) => Value::Object(
            // A null in a map means that the key is not set.
            items
                .iter()
                .filter(|(_, item)| !item.is_null())
                .map(|(key, item)| (key.clone(), whole(item)))
                .collect(),
        ),
        (Shape::Leaf(_), other) => whole(other),
    }
}

/// `2.0` as `2`; other values as they are.
fn whole(value: &Value) -> Value {
    match value.as_f64().filter(|_| value.is_f64()) {
        Some(number) if number.fract() == 0.0 && number.abs() < 9e15 => Value::from(number as i64),
        _ => value.clone(),
    }
}

/// Within how many seconds writes come back after the primary's node is lost, by the way that always stays open: a
/// candidate sees the last record at most one renewal interval late (it polls as often, should its watch hang), waits a
/// whole lease from then on, and is promoted and reachable [`PROMOTION_SECONDS`] later. Rounded up.
pub fn failover_bound_seconds(failover: &Failover) -> u32 {
    let silent_ms = failover.lease_duration.as_millis().saturating_add(failover.renew_interval.as_millis());
    u32::try_from(silent_ms.div_ceil(1_000)).unwrap_or(u32::MAX).saturating_add(PROMOTION_SECONDS)
}

/// The timing law (A6) between the durations of the failover. `None` is a duration that is not known yet; a rule that
/// needs it is left out. Each problem comes with the attribute that it is told at.
pub fn check_timing(
    renew_interval: Option<Duration>,
    fence_after: Option<Duration>,
    lease_duration: Option<Duration>,
    degrade_after: Option<Duration>,
) -> Vec<(&'static str, Problem)> {
    let mut problems = Vec::new();
    for (path, duration) in
        [("failover.renew_interval", renew_interval), ("failover.degrade_after", degrade_after)]
    {
        if let Some(duration) = duration.filter(|duration| *duration < Duration::from_millis(500)) {
            problems.push((
                path,
                Problem::new(
                    format!("{duration} is shorter than the cluster can keep."),
                    "Choose 500ms or more.",
                ),
            ));
        }
    }
    if let (Some(fence), Some(lease)) = (fence_after, lease_duration)
        && fence.plus(STOP_BUDGET) >= lease
    {
        let what = format!(
            "A primary that has {fence} and {STOP_BUDGET} to stop could still write when its lease of {lease} has run out."
        );
        let least = fence.plus(STOP_BUDGET);
        let remedy = format!("Make fence_after shorter, or lease_duration longer than {least}.");
        problems.push(("failover.fence_after", Problem::new(what, remedy)));
    }
    if let (Some(renew), Some(fence)) = (renew_interval, fence_after)
        && renew.plus(RENEWAL_ROOM) >= fence
    {
        let what = format!(
            "With a renewal every {renew} and fence_after {fence}, one slow answer of the Kubernetes API would stop the primary."
        );
        let least = renew.plus(RENEWAL_ROOM);
        let remedy = format!("Make renew_interval shorter, or fence_after longer than {least}.");
        problems.push(("failover.renew_interval", Problem::new(what, remedy)));
    }
    problems
}

#[cfg(test)]
mod tests;
