//! New passwords: the Secrets first, then the wish that they be in force. Cut off in between, the agents take them all the same, only
//! later.

use pgha_schema::credentials::CredentialsRole;
use pgha_schema::desired::Credentials;
use pgha_schema::resource::{ClusterSpec, schema};
use serde_json::json;

use super::{Written, rewritten, usable};
use crate::diagnostic::Diagnostic;
use crate::facts::Facts;
use crate::live::LiveCluster;
use crate::path::Path;
use crate::plan::{Request, plan};
use crate::render::{self, Agent, Inputs};
use crate::step::Step;
use crate::steps::next_generation;
use crate::value::Value;

/// What a rotation writes, in this order.
#[derive(Clone, Debug, PartialEq)]
pub struct Rotation {
    /// Whose passwords.
    pub roles: Vec<CredentialsRole>,
    /// The Secrets.
    pub secrets: Vec<Step>,
    /// The number of this writing, higher than that of any before.
    pub number: u64,
}

/// New passwords for these roles; for all that may have one when none is named. `agent` is only needed to render anything at all.
///
/// # Errors
/// When there is no such cluster, or the configuration gives the superuser's password.
pub fn rotation(
    roles: &[CredentialsRole],
    live: &LiveCluster,
    agent: &Agent,
) -> Result<Rotation, Diagnostic> {
    let (anchor, document) = usable(live)?;
    let config = Value::from_json(&anchor.config, &schema().ty());
    let given = !config.get("superuser_password_wo_version").is_null();
    if given && roles.contains(&CredentialsRole::Superuser) {
        return Err(Diagnostic::error(
            "The configuration gives the superuser's password",
            "The cluster's resource sets superuser_password_wo. Give it another one there, and another superuser_password_wo_version; or take \
             both away, apply, and rotate then.",
        )
        .at(Path::of("roles")));
    }
    let may = |role: &CredentialsRole| !(given && *role == CredentialsRole::Superuser);
    let all = [CredentialsRole::App, CredentialsRole::Superuser].into_iter().filter(may);
    let roles: Vec<CredentialsRole> = all.filter(|role| roles.is_empty() || roles.contains(role)).collect();
    let spec = spec(&config).ok_or_else(|| {
        Diagnostic::error(
            "The cluster's anchor can't be used",
            "It does not hold a whole configuration. Nothing was changed. An apply of the cluster's resource repairs it.",
        )
    })?;
    let number = next_generation(live);
    let credentials = raised(document.credentials, &roles, number);
    let inputs = Inputs { credentials, ..Inputs::new(&spec, &document.anchor_uid, agent, number) };
    let secrets = roles.iter().map(|role| Step::WriteSecret(render::secret(&inputs, *role))).collect();
    Ok(Rotation { roles, secrets, number })
}

/// The desired state that wants a rotation in force.
///
/// # Errors
/// When there is no such cluster any more, or its desired state can't be used.
pub fn with_rotation(live: &LiveCluster, rotation: &Rotation) -> Result<Written, Diagnostic> {
    rewritten(
        live,
        |document| json!({"credentials": raised(document.credentials, &rotation.roles, rotation.number)}),
    )
}

fn raised(mut credentials: Credentials, roles: &[CredentialsRole], number: u64) -> Credentials {
    for role in roles {
        let known = match role {
            CredentialsRole::App => &mut credentials.app,
            CredentialsRole::Superuser => &mut credentials.superuser,
        };
        *known = number.max(*known);
    }
    credentials
}

/// The specification that the anchor remembers.
fn spec(config: &Value) -> Option<ClusterSpec> {
    let (prior, facts) = (Value::Null, Facts::default());
    let planned = plan(&Request { config, prior: &prior, facts: &facts, agent_version: "0.0.0" }).planned;
    let inputs = schema().attributes.iter().filter(|attribute| !attribute.is_output());
    let known: Option<serde_json::Map<_, _>> =
        inputs.map(|input| Some((input.name.clone(), planned.get(&input.name).to_json()?))).collect();
    ClusterSpec::from_value(&known?.into()).ok()
}
