//! The anchor: ConfigMap `<name>-anchor`, the cluster's identity and its memory of what we applied (P12, P16, P22).

use std::collections::BTreeMap;

use pgha_schema::names::Names;
use serde_json::{Map, Value as Json, json};

use crate::object::{self, Kind, ObjectKey};
use crate::owned;

/// Format of the anchor that this build writes; a reader refuses a higher one.
pub const ANCHOR_FORMAT: u32 = 1;

const KEY_FORMAT: &str = "format";
const KEY_CONFIG: &str = "config.json";
const KEY_OBJECTS: &str = "objects.json";

/// What the anchor holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Anchor {
    /// The user's configuration as written, without `timeouts`: what import gives back.
    pub config: Json,
    /// Per object the fields that we own, as the API server answered to our last apply.
    pub objects: BTreeMap<ObjectKey, Json>,
}

/// An anchor that can't be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AnchorError {
    /// Written by a newer provider.
    #[error(
        "the anchor has format {0}, and this provider knows formats up to {ANCHOR_FORMAT}: use a newer provider"
    )]
    Newer(u32),
    /// Edited, or not ours.
    #[error("the anchor's `{key}` can't be read: {why}")]
    Unreadable {
        /// Which part.
        key: &'static str,
        /// What is wrong with it.
        why: String,
    },
}

impl Anchor {
    /// An anchor that remembers no object yet.
    pub fn new(config: Json) -> Self {
        Self { config, objects: BTreeMap::new() }
    }

    /// Reads it from its ConfigMap.
    pub fn parse(config_map: &Json) -> Result<Self, AnchorError> {
        let text = |key: &'static str| {
            object::data(config_map, key)
                .ok_or(AnchorError::Unreadable { key, why: "the key is missing".to_owned() })
        };
        let unreadable = |key: &'static str| move |why: String| AnchorError::Unreadable { key, why };
        let format: u32 = text(KEY_FORMAT)?
            .trim()
            .parse()
            .map_err(|_| unreadable(KEY_FORMAT)("not a number".to_owned()))?;
        if format > ANCHOR_FORMAT {
            return Err(AnchorError::Newer(format));
        }
        let config = serde_json::from_str(text(KEY_CONFIG)?)
            .map_err(|error| unreadable(KEY_CONFIG)(error.to_string()))?;
        let objects: Map<String, Json> = serde_json::from_str(text(KEY_OBJECTS)?)
            .map_err(|error| unreadable(KEY_OBJECTS)(error.to_string()))?;
        let objects = objects.into_iter().filter_map(|(key, fields)| Some((ObjectKey::parse(&key)?, fields)));
        Ok(Self { config, objects: objects.collect() })
    }

    /// Its ConfigMap; `metadata` holds the labels and annotations.
    pub fn object(&self, names: &Names, namespace: &str, metadata: &Json) -> Json {
        let objects: Map<String, Json> =
            self.objects.iter().map(|(key, fields)| (key.to_string(), fields.clone())).collect();
        let pretty = |json: &Json| serde_json::to_string_pretty(json).unwrap_or_default();
        let mut metadata = metadata.clone();
        metadata["name"] = json!(names.anchor());
        metadata["namespace"] = json!(namespace);
        json!({
            "apiVersion": "v1",
            "kind": Kind::ConfigMap.name(),
            "metadata": metadata,
            "data": {
                KEY_FORMAT: ANCHOR_FORMAT.to_string(),
                KEY_CONFIG: pretty(&self.config),
                KEY_OBJECTS: pretty(&Json::Object(objects)),
            },
        })
    }

    /// Remembers what the API server answered to our apply of `applied`: of the answer, the fields that we own.
    pub fn remember(&mut self, applied: &Json, answer: &Json) {
        let Some(key) = ObjectKey::of(applied) else { return };
        let mut owned = owned::project(applied, answer);
        // The uid is a precondition of a write, not a field of ours.
        if let Some(metadata) = owned.get_mut("metadata").and_then(Json::as_object_mut) {
            metadata.remove("uid");
        }
        self.objects.insert(key, owned);
    }

    /// Forgets an object that is meant to be gone.
    pub fn forget(&mut self, key: &ObjectKey) {
        self.objects.remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comes_back_from_its_config_map() {
        let mut anchor = Anchor::new(json!({"name": "orders"}));
        let applied = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "orders-rw", "uid": "u"},
            "spec": {"selector": {"role": "primary"}}});
        let answer = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "orders-rw", "uid": "u"},
            "spec": {"selector": {"role": "primary"}, "clusterIP": "10.0.0.1"}});
        anchor.remember(&applied, &answer);
        let object = anchor.object(&Names::new("orders"), "default", &json!({}));
        let back = Anchor::parse(&object).unwrap();
        assert_eq!(back, anchor);
        let fields = &back.objects[&ObjectKey::new(Kind::Service, "orders-rw")];
        assert_eq!(fields["spec"], json!({"selector": {"role": "primary"}}));
        assert_eq!(fields["metadata"], json!({"name": "orders-rw"}));
    }

    #[test]
    fn a_newer_or_broken_anchor_is_refused() {
        let object = |format: &str, config: &str| json!({"data": {"format": format, "config.json": config, "objects.json": "{}"}});
        assert_eq!(Anchor::parse(&object("9", "{}")), Err(AnchorError::Newer(9)));
        assert!(Anchor::parse(&object("1", "{")).is_err());
        assert!(Anchor::parse(&json!({})).is_err());
    }
}
