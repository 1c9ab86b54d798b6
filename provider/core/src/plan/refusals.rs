//! Changes that can't be made in place and must not cost the data: refused, each with a way out.

use pgha_schema::quantity::Quantity;
use pgha_schema::resource::PostgresVersion;
use pgha_schema::tf::Change;

use crate::diagnostic::Diagnostic;
use crate::path::Path;
use crate::plan::Changed;
use crate::steps::numbers_new_password;
use crate::value::Value;

const SECOND_CLUSTER: &str =
    "make a second cluster and move the data, by dump and restore or logical replication";

pub(super) fn refusals(changes: &[Changed]) -> Vec<Diagnostic> {
    let refused = changes.iter().filter_map(|changed| match changed.change {
        Change::Grow => shrink(changed),
        Change::Refused => Some(refused(changed)),
        Change::RollingMinor => major(changed),
        Change::Nothing
        | Change::InPlace
        | Change::Reload
        | Change::ReloadOrRestart
        | Change::Rolling
        | Change::Replace => None,
    });
    refused.collect()
}

/// A new number says that there is a new password. While the number stays, nobody has to have the password at hand. A new cluster
/// gets a random one then: `ignore_changes` takes the password away where a cluster is made anew.
pub(super) fn new_number_without_password(config: &Value, prior: &Value) -> Option<Diagnostic> {
    let (password, version) = ("superuser_password_wo", "superuser_password_wo_version");
    if !numbers_new_password(config, prior) || !config.get(password).is_null() {
        return None;
    }
    let summary = format!("{version} without {password}");
    let none = "It numbers a new password, and there is none";
    let told = if prior.is_null() {
        Diagnostic::warning(
            summary,
            format!("{none}: the superuser gets a random one. Set {password} too, or leave both out."),
        )
    } else {
        let way_out =
            if prior.get(version).is_null() { "leave both out" } else { "leave the number as it was" };
        Diagnostic::error(summary, format!("{none}. Set {password} too, or {way_out}."))
    };
    Some(told.at(Path::of(version)))
}

fn shrink(changed: &Changed) -> Option<Diagnostic> {
    let quantity = |value: &Value| value.as_str()?.parse::<Quantity>().ok();
    let (was, becomes) = (quantity(&changed.was)?, quantity(&changed.becomes)?);
    (becomes < was).then(|| {
        Diagnostic::error(
            "Volumes can't shrink",
            format!("The volumes have {was}, and Kubernetes can't make them {becomes}. Keep {was} or more; or {SECOND_CLUSTER}."),
        )
        .at(changed.path.clone())
    })
}

fn refused(changed: &Changed) -> Diagnostic {
    let shown = |value: &Value| match value {
        Value::Null => "the Kubernetes cluster's default".to_owned(),
        Value::String(text) => format!("\"{text}\""),
        Value::Unknown => "a value that is not known yet".to_owned(),
        _ => "another value".to_owned(),
    };
    Diagnostic::error(
        format!("{} can't be changed", changed.path),
        format!(
            "It is {} and would become {}. Kubernetes can't move existing volumes. Take the change back; or {SECOND_CLUSTER}.",
            shown(&changed.was),
            shown(&changed.becomes)
        ),
    )
    .at(changed.path.clone())
}

fn major(changed: &Changed) -> Option<Diagnostic> {
    let version = |value: &Value| value.as_str()?.parse::<PostgresVersion>().ok();
    let (was, becomes) = (version(&changed.was)?, version(&changed.becomes)?);
    (was.major != becomes.major).then(|| {
        Diagnostic::error(
            "Another major version needs another cluster",
            format!(
                "The data was made by PostgreSQL {}, and PostgreSQL {} can't read it. Keep postgres_version at {}; or {SECOND_CLUSTER}.",
                was.major, becomes.major, was.major
            ),
        )
        .at(changed.path.clone())
    })
}

/// The objects would be rendered with this provider's older agent.
pub(super) fn older_provider(ours: &str, theirs: &str) -> Diagnostic {
    Diagnostic::error(
        "This provider is older than the cluster's agents",
        format!(
            "The agents have version {theirs}, and this provider carries {ours}: a change would put the older ones in their \
             place, which may not know what the newer ones wrote. Use provider version {theirs} or a newer one. Plans that \
             change nothing, and destroys, go through."
        ),
    )
}
