//! What happens to a live cluster without us, and how the next read has to show it.

use pgha_acceptance_tests::proto_client::agents::fail_over;
use pgha_acceptance_tests::proto_client::kubernetes::Objects;
use pgha_schema::names::{APP_NAME, KEY_DESIRED, KEY_STATUS, LABEL_INSTANCE, LABEL_NAME};
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value as Json, json};

use crate::kept::CLAIMS;
use crate::live::RW;

const SET: &str = "/apis/apps/v1/namespaces/shop/statefulsets/orders";
const RO: &str = "/api/v1/namespaces/shop/services/orders-ro";
const DESIRED: &str = "/api/v1/namespaces/shop/configmaps/orders-desired";
const STATUS: &str = "/api/v1/namespaces/shop/configmaps/orders-status";
/// Less than any volume has.
const SMALL: &str = "1Mi";

/// What happens to a live cluster without us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Edit {
    /// Somebody scales the StatefulSet.
    Scale(u32),
    /// Somebody scales it to nothing.
    ScaleToNothing,
    /// Somebody lets the rw Service lead elsewhere.
    Selector,
    /// Somebody deletes the ro Service.
    Delete,
    /// Somebody edits the desired document.
    Document(Hand),
    /// Somebody sets something inside PostgreSQL, past the configuration: a name, and what the agents tell of its value.
    Alter(&'static str, &'static str),
    /// The first volume asks for less than is wanted.
    SmallVolume,
    /// It asks for enough, and is still growing.
    GrowingVolume,
    /// The primary is lost and another one leads.
    FailOver(u32),
    /// A webhook or a person adds what we don't own.
    Foreign,
}

/// An edit of the desired document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hand {
    /// A word that the resource has as an attribute too.
    Word(&'static str, &'static str),
    /// A number that the resource has as an attribute too.
    Number(&'static str, u32),
    /// Another member, in JSON.
    Member(&'static str, &'static str),
    /// A member that changes nothing that was configured: what actions write, what no agent knows.
    Aside(&'static str, &'static str),
    /// The pods are to run an agent that lies elsewhere.
    Chunk(&'static str),
    /// The same in other letters.
    Spelling,
    /// Another text altogether.
    Text(&'static str),
    /// The ConfigMap without the document.
    Emptied,
    /// No ConfigMap.
    Deleted,
}

/// How a read has to show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shown {
    /// Not at all.
    Nowhere,
    /// In an attribute, and not in `drift`.
    Attribute(&'static str, Json),
    /// In `drift`, as entries of these objects.
    Entries(Vec<String>),
    /// Only as what no agent has acknowledged.
    Unready,
}

/// Every kind of edit.
pub fn edits() -> impl Strategy<Value = Edit> {
    prop_oneof![
        2 => (0..8_u32).prop_map(Edit::Scale),
        1 => Just(Edit::ScaleToNothing),
        1 => Just(Edit::Selector),
        1 => Just(Edit::Delete),
        5 => hands().prop_map(Edit::Document),
        3 => select(SETTINGS.to_vec()).prop_map(|(name, value)| Edit::Alter(name, value)),
        1 => Just(Edit::SmallVolume),
        1 => Just(Edit::GrowingVolume),
        1 => (1..3_u32).prop_map(Edit::FailOver),
        1 => Just(Edit::Foreign),
    ]
}

/// Settings that no configuration of these tests gives; a text, which may be secret, is told as how long it is.
const SETTINGS: [(&str, &str); 7] = [
    ("log_statement", "ddl"),
    ("random_page_cost", "1.1"),
    ("wal_buffers", "16MB"),
    ("archive_command", "(a text of 41 characters)"),
    ("ssl_passphrase_command", "(a text of 12 characters)"),
    ("role app", "NOLOGIN"),
    ("database app", "connections refused"),
];

fn hands() -> impl Strategy<Value = Hand> {
    let texts = ["", "{", "null", "[]", "\u{0}", "{\"format\": 1}", "{\"generation\": 1e99}"];
    prop_oneof![
        3 => select(vec!["sync", "async", "quorum"]).prop_map(|mode| Hand::Word("sync_mode", mode)),
        1 => select(vec!["required", "preferred"]).prop_map(|word| Hand::Word("durability", word)),
        1 => (0..8_u32).prop_map(|number| Hand::Number("replicas", number)),
        1 => (0..4_u32).prop_map(|number| Hand::Number("sync_replicas", number)),
        4 => select(MEMBERS.to_vec()).prop_map(|(name, json)| Hand::Member(name, json)),
        2 => select(ASIDES.to_vec()).prop_map(|(name, json)| Hand::Aside(name, json)),
        1 => select(vec!["nowhere", "Not a name/..", "ü?a=b#c", ""]).prop_map(Hand::Chunk),
        1 => Just(Hand::Spelling),
        2 => select(texts.to_vec()).prop_map(Hand::Text),
        1 => Just(Hand::Emptied),
        1 => Just(Hand::Deleted),
    ]
}

const MEMBERS: [(&str, &str); 11] = [
    ("format", "99"),
    ("generation", "0"),
    ("generation", "18446744073709551615"),
    ("state", "\"stopped\""),
    ("postgres_major", "9"),
    ("template_hash", "\"another\""),
    ("parameters", "{\"log_statement\": \"all\", \"archive_command\": \"cp --token=hunter2 %p\"}"),
    ("taken_back", "[\"enable_seqscan\"]"),
    ("pg_hba", "[\"host all all 0.0.0.0/0 trust\"]"),
    ("anchor_uid", "\"another\""),
    ("break_glass", "{\"member\": \"m1\", \"era\": 7, \"accept_data_loss\": true}"),
];

const ASIDES: [(&str, &str); 3] = [
    ("requests", "[{\"id\": \"by-hand\", \"action\": \"pause\"}]"),
    ("credentials", "{\"superuser\": 7, \"app\": 7}"),
    ("a_member_of_tomorrow", "{\"a\": [1]}"),
];

impl Edit {
    /// Does it, and says how it has to show.
    pub fn happens(self, objects: &mut Objects, state: &Json) -> Shown {
        let entry = |object: &str| Shown::Entries(vec![object.to_owned()]);
        match self {
            Self::Scale(replicas) => {
                set(objects, SET, "/spec/replicas", json!(replicas + 1));
                attribute("replicas", json!(replicas), state)
            }
            Self::ScaleToNothing => {
                set(objects, SET, "/spec/replicas", json!(0));
                entry("StatefulSet/orders")
            }
            Self::Selector => {
                set(objects, RW, "/spec/selector/role", json!("replica"));
                entry("Service/orders-rw")
            }
            Self::Delete => {
                objects.remove(RO);
                entry("Service/orders-ro")
            }
            Self::Document(hand) => hand.edits(objects, state),
            Self::Alter(name, value) => {
                let pod = alter(objects, name, value);
                let ignored = state["ignore"].as_array().into_iter().flatten();
                let left = ignored.into_iter().any(|entry| *entry == format!("parameters.{name}"));
                if left { Shown::Nowhere } else { entry(&format!("PostgreSQL/{pod}")) }
            }
            Self::SmallVolume | Self::GrowingVolume => {
                let size = state["storage"]["size"].as_str().unwrap_or_default();
                let asks = if self == Self::SmallVolume { SMALL } else { size };
                give_volumes(objects, state, asks, size);
                entry("PersistentVolumeClaim/data-orders-0")
            }
            Self::FailOver(ordinal) => {
                let standbys = state["replicas"].as_u64().unwrap_or(0) as u32;
                fail_over(objects, "orders", ordinal.min(standbys));
                Shown::Nowhere
            }
            Self::Foreign => {
                if let Some(set) = objects.get_mut(SET) {
                    set["metadata"]["annotations"]["example.com/seen"] = json!("yes");
                }
                Shown::Nowhere
            }
        }
    }
}

impl Hand {
    fn edits(self, objects: &mut Objects, state: &Json) -> Shown {
        let Some(text) = objects[DESIRED]["data"][KEY_DESIRED].as_str().map(str::to_owned) else {
            return Shown::Nowhere;
        };
        let mut document: Json = serde_json::from_str(&text).unwrap_or_default();
        let before = document.clone();
        let mut entries = vec!["ConfigMap/orders-desired".to_owned()];
        let parsed = |json: &str| serde_json::from_str::<Json>(json).unwrap_or_default();
        let shown = match self {
            Self::Word(name, word) => {
                document[name] = json!(word);
                attribute(name, json!(word), state)
            }
            Self::Number(name, number) => {
                document[name] = json!(number);
                attribute(name, json!(number), state)
            }
            Self::Member(name, json) => {
                document[name] = parsed(json);
                Shown::Entries(entries)
            }
            Self::Aside(name, json) => {
                document[name] = parsed(json);
                Shown::Unready
            }
            Self::Chunk(name) => {
                document["agent"] = json!({ "version": "0.0.1", "sha256": "00", "chunks": [name] });
                entries.push(format!("ConfigMap/{name}"));
                entries.sort();
                Shown::Entries(entries)
            }
            Self::Spelling => Shown::Unready,
            Self::Text(text) => {
                set(objects, DESIRED, "/data", json!({ KEY_DESIRED: text }));
                return Shown::Entries(entries);
            }
            Self::Emptied => {
                set(objects, DESIRED, "/data", json!({}));
                return Shown::Entries(entries);
            }
            Self::Deleted => {
                objects.remove(DESIRED);
                return Shown::Entries(entries);
            }
        };
        // The same document in other letters is an edit by hand too, and shows (P8); here only where it is meant.
        if document == before && self != Self::Spelling {
            return Shown::Nowhere;
        }
        let text = serde_json::to_string(&document).unwrap_or_default();
        set(objects, DESIRED, "/data", json!({ KEY_DESIRED: text }));
        shown
    }
}

fn attribute(name: &'static str, value: Json, state: &Json) -> Shown {
    if state[name] == value { Shown::Nowhere } else { Shown::Attribute(name, value) }
}

/// A setting in the report of the first instance that there is one of; gives its pod.
pub fn alter(objects: &mut Objects, name: &str, value: &str) -> String {
    let mut altered = String::new();
    change_status(objects, |status| {
        let instances = &mut status["instances"];
        let known = instances.as_object().and_then(|all| all.keys().next().cloned());
        altered = known.unwrap_or_else(|| "orders-0".to_owned());
        let instance = &mut instances[&altered];
        if instance.is_null() {
            *instance = json!({ "role": "primary", "state": "serving" });
        }
        instance["altered"][name] = json!(value);
    });
    altered
}

/// From now on nothing is heard of any instance; gives the document as it was.
pub fn silence(objects: &mut Objects) -> Json {
    let before = objects.get(STATUS).cloned().unwrap_or_default();
    change_status(objects, |status| {
        for instance in status["instances"].as_object_mut().into_iter().flatten().map(|(_, one)| one) {
            instance["state"] = json!("silent");
            instance["altered"] = json!({});
        }
    });
    before
}

/// The agents' document as it was.
pub fn heard_again(objects: &mut Objects, before: Json) {
    objects.insert(STATUS.to_owned(), before);
}

fn change_status(objects: &mut Objects, change: impl FnOnce(&mut Json)) {
    let Some(slot) = objects.get_mut(STATUS).map(|object| &mut object["data"][KEY_STATUS]) else { return };
    let mut status: Json = slot.as_str().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    change(&mut status);
    *slot = json!(status.to_string());
}

/// A claim for each pod; the first asks for `asks` and has little, the others have what is wanted.
fn give_volumes(objects: &mut Objects, state: &Json, asks: &str, size: &str) {
    for ordinal in 0..=state["replicas"].as_u64().unwrap_or(0) {
        let (asked, has) = if ordinal == 0 { (asks, SMALL) } else { (size, size) };
        let claim = json!({ "kind": "PersistentVolumeClaim", "apiVersion": "v1",
            "metadata": { "name": format!("data-orders-{ordinal}"), "uid": format!("v-{ordinal}"),
                "labels": { LABEL_NAME: APP_NAME, LABEL_INSTANCE: "orders" } },
            "spec": { "volumeName": format!("pv-{ordinal}"), "resources": { "requests": { "storage": asked } } },
            "status": { "phase": "Bound", "capacity": { "storage": has } } });
        objects.insert(format!("{CLAIMS}{ordinal}"), claim);
    }
}

fn set(objects: &mut Objects, path: &str, pointer: &str, value: Json) {
    if let Some(slot) = objects.get_mut(path).and_then(|object| object.pointer_mut(pointer)) {
        *slot = value;
    }
}
