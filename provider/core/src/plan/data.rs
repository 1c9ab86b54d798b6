//! What becomes of the data when a cluster goes: told in every plan that destroys one (P9, P21).

use crate::diagnostic::Diagnostic;
use crate::path::Path;
use crate::plan::{Changed, changes, holds_data, outputs};
use crate::value::Value;

/// What a destroy does to volumes with data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Volumes {
    /// They stay, and a cluster of the same name goes on from them.
    Kept,
    /// They go.
    Deleted,
}

/// What a destroy does to the volumes of this cluster; `None`: it holds no data.
fn volumes(prior: &Value) -> Option<Volumes> {
    let retains = prior.get("storage.retain").as_bool() != Some(false);
    holds_data(prior).then_some(if retains { Volumes::Kept } else { Volumes::Deleted })
}

/// The name that a cluster has in messages.
pub(super) fn who(state: &Value) -> String {
    let text = |name: &str| state.get(name).as_str().unwrap_or("(known after apply)").to_owned();
    format!("{}/{}", text("namespace"), text("name"))
}

const NO_WAY_BACK: &str = "and nothing brings it back";

/// A plan that destroys.
pub(super) fn of_a_destroy(prior: &Value) -> Option<Diagnostic> {
    let who = who(prior);
    Some(match volumes(prior)? {
        Volumes::Deleted => Diagnostic::warning(
            format!("All data of cluster {who} is deleted with it"),
            format!(
                "Its state has storage.retain = false: its volumes go with every row, also those that earlier scale-downs kept, \
                 {NO_WAY_BACK}."
            ),
        ),
        Volumes::Kept => Diagnostic::warning(
            format!("The data of cluster {who} stays in its volumes"),
            "Its state has storage.retain = true: PostgreSQL stops, and the volumes are kept with every row. A cluster that is \
             made again under the same name goes on from them. If the data is to go too, set storage.retain = false and apply \
             that first.",
        ),
    })
}

/// The first plan of a replacement, which these changes force.
pub(super) fn of_a_replacement(prior: &Value, changes: &[Changed]) -> Option<Diagnostic> {
    let who = who(prior);
    let paths: Vec<String> =
        changes.iter().filter(|one| one.replaces).map(|one| one.path.to_string()).collect();
    let then = match volumes(prior)? {
        Volumes::Deleted => format!(
            "Its state has storage.retain = false: all its data is deleted with its volumes, {NO_WAY_BACK}. The new cluster begins \
             empty."
        ),
        Volumes::Kept => format!(
            "Its volumes are kept with every row, and a cluster that is made again as {who} goes on from them. The new cluster has \
             none of that data."
        ),
    };
    Some(Diagnostic::warning(
        format!("Cluster {who} is destroyed and a new one is made"),
        format!("A change of {} can't be made in place. {then}", paths.join(", ")),
    ))
}

/// A replacement for another `bootstrap` that would go on from the old data all the same: initdb is not run over kept volumes, so
/// the new database and role would be in the state and in the Secret, and nowhere else.
pub(super) fn bootstrap_over_kept_volumes(prior: &Value, changes: &[Changed]) -> Option<Diagnostic> {
    let of = |one: &Changed, name: &str| one.path.to_string().split('.').next() == Some(name);
    let changed = |name: &str| changes.iter().find(|one| of(one, name));
    if changed("name").or(changed("namespace")).is_some() || volumes(prior) != Some(Volumes::Kept) {
        return None;
    }
    let first = changed("bootstrap")?;
    let unknown = if first.becomes.is_wholly_known() {
        ""
    } else {
        " (A value that is not known yet counts as another one.)"
    };
    Some(
        Diagnostic::error(
            format!("Kept volumes would bring the old {} back", first.path),
            format!(
                "A change of {} takes a new cluster{unknown}, and the state of {} has storage.retain = true: the volumes are kept, the \
                 new cluster goes on from them, and `bootstrap` has no effect, while the state and the Secret would name what it \
                 says. If the data may go, set storage.retain = false, apply that, and then do this again. If it is needed, take \
                 the change back, or give the new cluster another name and move the data.",
                first.path,
                who(prior)
            ),
        )
        .at(first.path.clone()),
    )
}

/// What becomes of volumes that earlier scale-downs kept, when `storage.retain` is false from now on: they go at once. `claims`:
/// those that are there; `None`: nobody could look.
pub fn kept_volumes_go(prior: &Value, planned: &Value, claims: Option<&[String]>) -> Option<Diagnostic> {
    let drops = |state: &Value| state.get("storage.retain").as_bool() == Some(false);
    let exchanges = || prior.get("agent_version") != planned.get("agent_version");
    let touches = || outputs::touches_cluster(prior, &changes(prior, planned)) || exchanges();
    if prior.is_null() || !drops(planned) || !touches() {
        return None;
    }
    let told = match claims {
        Some([]) => return None,
        Some(claims) => Diagnostic::warning(
            "Volumes that earlier scale-downs kept are deleted",
            format!(
                "With storage.retain = false this apply deletes PersistentVolumeClaim {}, {NO_WAY_BACK}. The instances that run \
                 keep theirs.",
                claims.join(", ")
            ),
        ),
        None if drops(prior) => return None,
        None => Diagnostic::warning(
            "Volumes that earlier scale-downs kept would be deleted",
            format!(
                "With storage.retain = false this apply deletes them, {NO_WAY_BACK}. Whether there are any is not known: the volume \
                 claims could not be listed for this plan."
            ),
        ),
    };
    Some(told.at(Path::of("storage.retain")))
}
