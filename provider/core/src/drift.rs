//! Where live objects differ from what we applied (P12–P15).

pub mod pods;
mod show;

use std::collections::{BTreeMap, BTreeSet};

use pgha_schema::desired::{Desired, Durability, SyncMode};
use pgha_schema::names::{DATABASE_INSIDE, KEY_DESIRED, MANAGER, Names, ROLE_INSIDE};
use pgha_schema::quantity::Quantity;
use pgha_schema::status::{ClusterStatus, InstanceState, InstanceStatus};
use serde_json::Value as Json;

use crate::anchor::Anchor;
use crate::ignore::Ignore;
use crate::live::{LiveCluster, Seen};
use crate::object::{self, Kind, ObjectKey};
use crate::owned::{self, Difference, FieldPath};
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
pub(crate) const POSTGRESQL: &str = "PostgreSQL";
/// Who gave them.
const BY_ALTER_SYSTEM: &str = "ALTER SYSTEM";

/// Compares what is there with what the anchor remembers, less what is left to others.
pub fn drift(anchor: &Anchor, live: &LiveCluster, ignore: &Ignore) -> Drift {
    let mut drift = Drift { typed: typed(anchor, live), unreadable: unlisted(live), ..Drift::default() };
    drift.entries.extend(altered(live, ignore));
    compare_chunks(live, &mut drift);
    drift.entries.extend(edited_pods(anchor, live, ignore));
    for (key, recorded) in &anchor.objects {
        match live.object(key) {
            Seen::Forbidden(why) => drift.unreadable.push(format!("{key}: {why}")),
            Seen::Missing => drift.entries.push(missing(key)),
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

/// What the anchor does not remember and is looked at all the same.
fn unlisted(live: &LiveCluster) -> Vec<String> {
    let lists = [("the Pods", &live.pods), ("the PersistentVolumeClaims", &live.claims)];
    let lease = ObjectKey::new(Kind::Lease, live.names.cluster());
    let lists = lists.into_iter().filter_map(|(what, seen)| Some(format!("{what}: {}", seen.forbidden()?)));
    let lease = live.lease().forbidden().map(|why| format!("{lease}: {why}"));
    lists.chain(lease).collect()
}

/// Who edited the template that they were made from is told by nothing any more: the pods themselves are the controller's.
fn edited_pods(anchor: &Anchor, live: &LiveCluster, ignore: &Ignore) -> Vec<Entry> {
    let all = pods::edited(anchor, live, ignore).into_iter();
    let entries = |(pod, found): (&Json, Vec<Difference>)| {
        let key = ObjectKey::new(Kind::Pod, object::name(pod));
        let entry = move |one: Difference| Entry {
            object: key.to_string(),
            field: one.path.to_string(),
            diff: show::difference(&one),
            changed_by: String::new(),
            changed_at: String::new(),
        };
        found.into_iter().map(entry).collect::<Vec<_>>()
    };
    all.flat_map(entries).collect()
}

/// A pod can't start without the ConfigMaps that hold its agent, and they go with their last owner.
fn compare_chunks(live: &LiveCluster, drift: &mut Drift) {
    let head = live.head_wished().and_then(|name| live.chunks.get_key_value(&name));
    for (name, chunk) in live.chunks.iter().filter(|(name, _)| Some(*name) != head.map(|(name, _)| name)) {
        let key = config_map(name);
        match chunk {
            Seen::Forbidden(why) => drift.unreadable.push(format!("{key}: {why}")),
            Seen::Missing => drift.entries.push(missing(&key)),
            Seen::Known(chunk) => compare_owners(&key, chunk, head, live, drift),
        }
    }
}

/// The cluster owns the head that owns the chunk, or, as older providers had it, the chunk itself.
fn compare_owners(
    key: &ObjectKey,
    chunk: &Json,
    head: Option<(&String, &Seen<Json>)>,
    live: &LiveCluster,
    drift: &mut Drift,
) {
    let Some(anchor_uid) = live.anchor_uid() else { return };
    let anchor = config_map(&live.names.anchor());
    if object::is_owned_by(chunk, anchor_uid) {
        return;
    }
    match head.map(|(name, head)| (config_map(name), head)) {
        Some((head_key, Seen::Forbidden(why))) => drift.unreadable.push(format!("{head_key}: {why}")),
        Some((head_key, Seen::Missing)) => drift.entries.push(missing(&head_key)),
        Some((head_key, Seen::Known(head))) => {
            if !object::uid(head).is_some_and(|uid| object::is_owned_by(chunk, uid)) {
                drift.entries.push(without_owner(key, chunk, &head_key));
            }
            if !object::is_owned_by(head, anchor_uid) {
                drift.entries.push(without_owner(&head_key, head, &anchor));
            }
        }
        None => drift.entries.push(without_owner(key, chunk, &anchor)),
    }
}

fn config_map(name: &str) -> ObjectKey {
    ObjectKey::new(Kind::ConfigMap, name)
}

/// That one which has to be among the object's owners is not.
fn without_owner(key: &ObjectKey, object: &Json, owner: &ObjectKey) -> Entry {
    let path = FieldPath::of_fields(&["metadata", "ownerReferences"]);
    let was = Some(Json::String(format!("{owner} among others")));
    let is = Some(Json::String(format!("without {owner}")));
    entry(key, object, &Difference { path, was, is })
}

fn missing(key: &ObjectKey) -> Entry {
    Entry {
        object: key.to_string(),
        field: String::new(),
        diff: show::unified(&format!("{key}\n"), "(missing)\n"),
        changed_by: String::new(),
        changed_at: String::new(),
    }
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
    entries_inside(state).filter_map(|(_, entry)| entry.get("field").as_str().map(str::to_owned)).collect()
}

/// Members of the desired document that a state's `drift` shows as edited, and whose value is a text, with the value that they have
/// now; `None`: taken away. PostgreSQL's settings are among them.
pub(crate) fn edited_settings(state: &Value) -> BTreeMap<String, Option<String>> {
    let name = state.get("name").as_str().map(Names::new);
    let document = name.map(|names| format!("{}/{}", Kind::ConfigMap, names.desired()));
    let entries = state.get("drift").as_items().unwrap_or_default();
    let of_document = entries.iter().filter(|entry| entry.get("object").as_str() == document.as_deref());
    let mut edited = BTreeMap::new();
    for line in of_document.filter_map(|entry| entry.get("diff").as_str()).flat_map(str::lines) {
        let (is_live, member) = match line.split_at_checked(1) {
            Some(("-", member)) => (false, member),
            Some(("+", member)) => (true, member),
            _ => continue,
        };
        let Some((name, value)) = show::member(member) else { continue };
        if is_live {
            edited.insert(name, Some(value));
        } else {
            edited.entry(name).or_insert(None);
        }
    }
    edited
}

/// Entries of a state's `drift` about settings inside PostgreSQL, with their pods.
fn entries_inside(state: &Value) -> impl Iterator<Item = (&str, &Value)> {
    let entries = state.get("drift").as_items().unwrap_or_default();
    entries.iter().filter_map(|entry| {
        let (kind, pod) = entry.get("object").as_str()?.split_once('/')?;
        (kind == POSTGRESQL).then_some((pod, entry))
    })
}

/// The instances whose PostgreSQL nothing tells of, so that what somebody gives it inside does not show.
pub(crate) fn unheard(live: &LiveCluster) -> Vec<String> {
    // That it may not be read is told of the object itself.
    if live.object(&config_map(&live.names.status())).forbidden().is_some() {
        return Vec::new();
    }
    let status = live.status();
    // Pods that somebody adds past the desired state are no members.
    let members = live.desired().map_or(0, |desired| desired.replicas + 1);
    let pods = live.wanted_pods().map_or(members, |pods| members.min(pods as u32));
    (0..pods).map(|ordinal| live.names.pod(ordinal)).filter(|pod| !was_asked(status.as_ref(), pod)).collect()
}

/// What was known of settings in instances that can't be asked now: a PostgreSQL that is down has not forgotten what ALTER SYSTEM
/// gave it (P1).
pub(crate) fn unasked<'a>(prior: &'a Value, live: &LiveCluster, ignore: &Ignore) -> Vec<&'a Value> {
    let status = live.status();
    let wanted = |pod: &str| {
        let ordinal = live.names.ordinal(pod);
        ordinal.is_some_and(|ordinal| live.wanted_pods().is_none_or(|pods| u64::from(ordinal) < pods))
    };
    let known = entries_inside(prior).filter(|(pod, entry)| {
        let left = entry.get("field").as_str().is_none_or(|name| ignore.parameter(name));
        wanted(pod) && !was_asked(status.as_ref(), pod) && !left
    });
    known.map(|(_, entry)| entry).collect()
}

/// Whether what is said of the settings of this pod's instance is what its PostgreSQL answered.
fn was_asked(status: Option<&ClusterStatus>, pod: &str) -> bool {
    match status.and_then(|status| status.instances.get(pod)).map(|instance| instance.state) {
        Some(InstanceState::Serving | InstanceState::Streaming | InstanceState::Behind) => true,
        None | Some(InstanceState::Building | InstanceState::Down | InstanceState::Silent) => false,
    }
}

/// Volumes that ask for less than `size`: an apply lets them grow. Those that ask for enough and have less are growing still, or could
/// not: an apply waits for them, and tells. Larger ones can't be made smaller, and are left so.
pub(crate) fn small_claims(live: &LiveCluster, size: Option<Quantity>) -> Vec<Entry> {
    let Some(size) = size else { return Vec::new() };
    let small = live.wanted_claims().filter_map(|claim| {
        let less = |there: Option<Quantity>| there.filter(|there| *there < size);
        let (path, there) = match less(object::asked_size(claim)) {
            Some(asked) => (["spec", "resources", "requests", "storage"].as_slice(), asked),
            None => (["status", "capacity", "storage"].as_slice(), less(object::capacity(claim))?),
        };
        let (key, path) =
            (ObjectKey::new(Kind::PersistentVolumeClaim, object::name(claim)), FieldPath::of_fields(path));
        let (was, is) = (Some(size.as_str().into()), Some(there.as_str().into()));
        Some(entry(&key, claim, &Difference { path, was, is }))
    });
    small.collect()
}

/// Who changed the typed attributes in the cluster, by their names: those whose value is another than in `prior`, and was not written
/// by us.
pub(crate) fn who_changed(prior: &Value, state: &Value, live: &LiveCluster) -> Vec<String> {
    let desired = live.desired().map(|desired| i64::from(desired.replicas));
    let of_document = (ObjectKey::new(Kind::ConfigMap, live.names.desired()), ["data", KEY_DESIRED]);
    let of_set = (ObjectKey::new(Kind::StatefulSet, live.names.cluster()), ["spec", "replicas"]);
    let changed =
        ["replicas", "sync_mode", "sync_replicas", "durability"].into_iter().filter_map(|attribute| {
            let (was, is) = (prior.get(attribute), state.get(attribute));
            if was == is || was.is_null() {
                return None;
            }
            let scaled = attribute == "replicas" && is.as_i64() != desired;
            let (key, path) = if scaled { &of_set } else { &of_document };
            let object = live.objects.get(key)?.known()?;
            let (who, when) = owned::owner(object, &FieldPath::of_fields(path), MANAGER)?;
            let (was, is) = (was.to_json()?, is.to_json()?);
            Some(format!("{attribute} is {is} and was {was}: by \"{who}\" at {when}, in {key}"))
        });
    changed.collect()
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
