//! The actions: what a configuration asks of a running cluster, for once.

use std::sync::LazyLock;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::convert;
use crate::credentials::CredentialsRole;
use crate::duration::Duration;
use crate::extension::Tf;
use crate::resource;
use crate::tf;
use crate::validators::Rule;

/// An action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Another instance leads.
    Switchover,
    /// PostgreSQL is restarted.
    Restart,
    /// A standby is cloned anew.
    ReinitReplica,
    /// Passwords are made anew.
    RotateCredentials,
}

/// Hands the lead over to another instance: the primary checkpoints, stops, and the target goes on where it stopped. No
/// acknowledged commit is lost. Open sessions end, and for about a second there is no writer. A target that does not fit is refused, and the
/// old primary leads on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Switchover {
    /// Name of the cluster.
    #[schemars(extend("x-tf" = Tf::new().rule(Rule::ClusterName)))]
    pub name: String,
    /// Its namespace.
    #[schemars(extend("x-tf" = Tf::new().rule(Rule::DnsLabel)))]
    pub namespace: String,
    /// The instance that is to lead, by its pod's name such as `orders-1`. Without it, the best standby.
    #[serde(default)]
    #[schemars(extend("x-tf" = Tf::new().rule(Rule::DnsLabel)))]
    pub to: Option<String>,
    /// How long the provider waits for the outcome.
    #[serde(default)]
    pub timeouts: Option<Timeouts>,
}

/// Restarts PostgreSQL in place, under its running agent: of one instance, or of all, standbys one by one, the primary last. Sessions of
/// a restarted instance end; nobody takes over while the primary restarts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Restart {
    /// Name of the cluster.
    #[schemars(extend("x-tf" = Tf::new().rule(Rule::ClusterName)))]
    pub name: String,
    /// Its namespace.
    #[schemars(extend("x-tf" = Tf::new().rule(Rule::DnsLabel)))]
    pub namespace: String,
    /// The one instance to restart, by its pod's name such as `orders-1`. Without it, all of them.
    #[serde(default)]
    #[schemars(extend("x-tf" = Tf::new().rule(Rule::DnsLabel)))]
    pub instance: Option<String>,
    /// How long the provider waits for the outcome.
    #[serde(default)]
    pub timeouts: Option<Timeouts>,
}

/// Clones a standby's data anew from the primary, as for one whose data is damaged. Refused for the primary, and for a standby that
/// holds the only other copy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReinitReplica {
    /// Name of the cluster.
    #[schemars(extend("x-tf" = Tf::new().rule(Rule::ClusterName)))]
    pub name: String,
    /// Its namespace.
    #[schemars(extend("x-tf" = Tf::new().rule(Rule::DnsLabel)))]
    pub namespace: String,
    /// The standby, by its pod's name such as `orders-1`.
    #[schemars(extend("x-tf" = Tf::new().rule(Rule::DnsLabel)))]
    pub instance: String,
    /// How long the provider waits for the outcome.
    #[serde(default)]
    pub timeouts: Option<Timeouts>,
}

/// Makes new random passwords for the superuser and the application's role, writes them into the cluster's Secrets, and waits until
/// PostgreSQL takes them. Open sessions stay; who connects anew needs the new password. The agents' own credentials are not rotated.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RotateCredentials {
    /// Name of the cluster.
    #[schemars(extend("x-tf" = Tf::new().rule(Rule::ClusterName)))]
    pub name: String,
    /// Its namespace.
    #[schemars(extend("x-tf" = Tf::new().rule(Rule::DnsLabel)))]
    pub namespace: String,
    /// Whose passwords: `app`, `superuser`. Without it, both; but the superuser's stays where the configuration gives it by
    /// `superuser_password_wo`.
    #[serde(default)]
    #[schemars(length(min = 1))]
    pub roles: Option<Vec<CredentialsRole>>,
    /// How long the provider waits for the outcome.
    #[serde(default)]
    pub timeouts: Option<Timeouts>,
}

/// How long the provider waits.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Timeouts {
    /// For the whole action; 10 minutes without it, 70 for a new clone.
    pub invoke: Option<Duration>,
}

impl Action {
    /// Every action.
    pub const ALL: [Self; 4] =
        [Self::Switchover, Self::Restart, Self::ReinitReplica, Self::RotateCredentials];

    /// Its type's name.
    pub fn type_name(self) -> &'static str {
        match self {
            Self::Switchover => "postgres_ha_switchover",
            Self::Restart => "postgres_ha_restart",
            Self::ReinitReplica => "postgres_ha_reinit_replica",
            Self::RotateCredentials => "postgres_ha_rotate_credentials",
        }
    }

    /// The action of this type's name.
    pub fn named(type_name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|action| action.type_name() == type_name)
    }

    /// The schema of its `config` block.
    pub fn schema(self) -> &'static tf::Schema {
        static SCHEMAS: LazyLock<[tf::Schema; 4]> = LazyLock::new(|| {
            // The input is fixed at compile time; the tests of this crate run the same conversion.
            let schema =
                |json: serde_json::Value| convert::schema(0, &json, None).expect("the type converts");
            [
                schema(resource::json_schema::<Switchover>()),
                schema(resource::json_schema::<Restart>()),
                schema(resource::json_schema::<ReinitReplica>()),
                schema(resource::json_schema::<RotateCredentials>()),
            ]
        });
        &SCHEMAS[self as usize]
    }

    /// How long it may take when config says nothing.
    pub fn patience(self) -> Duration {
        match self {
            Self::Switchover | Self::Restart | Self::RotateCredentials => Duration::from_millis(600_000),
            // Longer than the agents themselves wait for a clone.
            Self::ReinitReplica => Duration::from_millis(4_200_000),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_found_by_its_name_and_has_its_own_schema() {
        for action in Action::ALL {
            assert_eq!(Action::named(action.type_name()), Some(action));
            assert!(action.type_name().starts_with("postgres_"), "the provider's name comes first");
            let names: Vec<_> = action.schema().attributes.iter().map(|one| one.name.as_str()).collect();
            let expected: &[&str] = match action {
                Action::Switchover => &["name", "namespace", "timeouts", "to"],
                Action::Restart | Action::ReinitReplica => &["instance", "name", "namespace", "timeouts"],
                Action::RotateCredentials => &["name", "namespace", "roles", "timeouts"],
            };
            assert_eq!(names, expected);
            // There is no state in which a host could keep what a provider computes.
            assert!(action.schema().walk().iter().all(|(_, attribute)| !attribute.computed), "{action:?}");
        }
        assert_eq!(Action::named("postgres_ha_drop"), None);
    }
}
