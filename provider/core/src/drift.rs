//! Where live objects differ from what we applied (P12–P15).

mod show;

use std::collections::BTreeSet;

use pgha_schema::desired::{Desired, Durability, SyncMode};
use pgha_schema::names::{DATABASE_INSIDE, KEY_DESIRED, MANAGER, ROLE_INSIDE};
use pgha_schema::status::InstanceStatus;
use serde_json::Value as Json;

use crate::anchor::Anchor;
use crate::ignore::Ignore;
use crate::live::{LiveCluster, Seen};
use crate::object::{Kind, ObjectKey};
use crate::owned::{self, Difference};
use crate::value::Value;

/// One difference.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// The object, as `Service orders-rw`.
    pub object: String,
    /// The field as server-side apply names it; empty when the whole object is gone.
    pub field: String,
    /// Unified diff from what was applied to what is there; what looks secret is masked.
    pub diff: String,
    /// Who wrote the field last, by `managedFields`; empty when that does not tell.
    pub changed_by: String,
    /// When, in RFC 3339; empty when that is not known.
    pub changed_at: String,
}

/// What stands in attributes of its own and never in `drift` (P13).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Typed {
    /// Standbys beside the primary.
    pub replicas: u32,
    /// How commits are confirmed.
    pub sync_mode: SyncMode,
    /// How many standbys confirm.
    pub sync_replicas: u32,
    /// What happens when none can.
    pub durability: Durability,
}

/// What a comparison found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Drift {
    /// The live values of the typed attributes; `None` when they can't be read.
    pub typed: Option<Typed>,
    /// Every other difference, in a stable order.
    pub entries: Vec<Entry>,
    /// Objects that may not be read.
    pub unreadable: Vec<String>,
}

/// What settings inside PostgreSQL are entries of: this and the pod.
const POSTGRESQL: &str = "PostgreSQL";
/// Who gave them.
const BY_ALTER_SYSTEM: &str = "ALTER SYSTEM";

/// Compares what is there with what the anchor remembers, less what is left to others.
pub fn drift(anchor: &Anchor, live: &LiveCluster, ignore: &Ignore) -> Drift {
    let mut drift = Drift { typed: typed(anchor, live), ..Drift::default() };
    drift.entries.extend(altered(live, ignore));
    for (key, recorded) in &anchor.objects {
        match live.object(key) {
            Seen::Forbidden(why) => drift.unreadable.push(format!("{key}: {why}")),
            Seen::Missing => drift.entries.push(Entry {
                object: key.to_string(),
                field: String::new(),
                diff: show::unified(&format!("{key}\n"), "(missing)\n"),
                changed_by: String::new(),
                changed_at: String::new(),
            }),
            Seen::Known(object) => {
                let recorded = ignore.without(&live.names, key, recorded);
                let found = owned::differences(&recorded, &owned::project(&recorded, object));
                let found = found.into_iter().filter_map(|one| without_typed(anchor, live, key, one));
                drift.entries.extend(found.map(|one| entry(key, object, &one)));
            }
        }
    }
    drift.entries.sort();
    drift.entries.dedup();
    drift
}

fn entry(key: &ObjectKey, live: &Json, difference: &Difference) -> Entry {
    let (changed_by, changed_at) = owned::owner(live, &difference.path, MANAGER).unwrap_or_default();
    Entry {
        object: key.to_string(),
        field: difference.path.to_string(),
        diff: show::difference(difference),
        changed_by: changed_by.to_owned(),
        changed_at: changed_at.to_owned(),
    }
}

/// What somebody gave it with.
fn statement_behind(name: &str) -> &'static str {
    if name.starts_with(ROLE_INSIDE) {
        "ALTER ROLE"
    } else if name.starts_with(DATABASE_INSIDE) {
        "ALTER DATABASE"
    } else {
        BY_ALTER_SYSTEM
    }
}

/// Settings that somebody gave inside PostgreSQL, and what was done to the application's role, as the agents tell.
fn altered(live: &LiveCluster, ignore: &Ignore) -> Vec<Entry> {
    let Some(status) = live.status() else { return Vec::new() };
    let of_pod = |(pod, instance): (&String, &InstanceStatus)| {
        let settings = instance.altered.iter().filter(|(name, _)| !ignore.parameter(name));
        let entry = |(name, value): (&String, &String)| Entry {
            object: format!("{POSTGRESQL} {pod}"),
            field: name.clone(),
            diff: show::setting(name, value),
            changed_by: statement_behind(name).to_owned(),
            changed_at: String::new(),
        };
        settings.map(entry).collect::<Vec<_>>()
    };
    status.instances.iter().flat_map(of_pod).collect()
}

/// The settings inside PostgreSQL that a state's `drift` shows.
pub fn altered_settings(state: &Value) -> BTreeSet<String> {
    let entries = state.get("drift").as_items().unwrap_or_default();
    let inside = entries.iter().filter(|entry| {
        let object = entry.get("object").as_str().and_then(|object| object.split_once('/'));
        object.is_some_and(|(kind, _)| kind == POSTGRESQL)
    });
    inside.filter_map(|entry| entry.get("field").as_str().map(str::to_owned)).collect()
}

fn is_replicas(key: &ObjectKey, field: &str) -> bool {
    key.kind == Kind::StatefulSet && field == ".spec.replicas"
}

fn is_desired(key: &ObjectKey, field: &str) -> bool {
    key.kind == Kind::ConfigMap && field == format!(".data.{KEY_DESIRED}")
}

/// The difference less what the typed attributes show; `None` when nothing is left.
fn without_typed(
    anchor: &Anchor,
    live: &LiveCluster,
    key: &ObjectKey,
    found: Difference,
) -> Option<Difference> {
    let field = found.path.to_string();
    if is_replicas(key, &field) {
        // Scaled to nothing can't be said in `replicas`: it would read as -1.
        return (live.wanted_pods() == Some(0)).then_some(found);
    }
    if !is_desired(key, &field) {
        return Some(found);
    }
    let parse =
        |json: &Option<Json>| -> Option<Desired> { serde_json::from_str(json.as_ref()?.as_str()?).ok() };
    let (Some(was), Some(mut is)) = (parse(&found.was), parse(&found.is)) else { return Some(found) };
    let typed = typed(anchor, live)?;
    // Shown in `replicas` only if that is where the attribute's value comes from.
    if is.replicas == typed.replicas {
        is.replicas = was.replicas;
    }
    (is.sync_mode, is.sync_replicas, is.durability) = (was.sync_mode, was.sync_replicas, was.durability);
    if is.requests != was.requests || is.credentials != was.credentials {
        // What actions write: it is carried out once, and leaves what was configured as it is.
        is.requests.clone_from(&was.requests);
        (is.credentials, is.generation) = (was.credentials, was.generation);
    }
    let (was, is) = (was.to_text(), is.to_text());
    (was != is).then(|| Difference { was: Some(was.into()), is: Some(is.into()), ..found })
}

fn typed(anchor: &Anchor, live: &LiveCluster) -> Option<Typed> {
    let desired = live.desired()?;
    let set = ObjectKey::new(Kind::StatefulSet, live.names.cluster());
    let recorded = anchor.objects.get(&set).and_then(|fields| fields.pointer("/spec/replicas")?.as_u64());
    let scaled = live.wanted_pods().filter(|pods| *pods > 0 && Some(*pods) != recorded);
    Some(Typed {
        replicas: scaled.map_or(desired.replicas, |pods| (pods - 1) as u32),
        sync_mode: desired.sync_mode,
        sync_replicas: desired.sync_replicas,
        durability: desired.durability,
    })
}
