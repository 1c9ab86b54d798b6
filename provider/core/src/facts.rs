//! What the provider keeps in private state: which cluster this is, and a mark for the second plan of a replacement.

/// The private facts of a resource.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Uid of the anchor (P16).
    pub anchor_uid: Option<String>,
    /// Which Kubernetes cluster it was made in (P15).
    pub cluster_id: Option<String>,
    /// Only in planned private: the instance that this plan would replace holds data and is protected (P20).
    pub protected: bool,
}

const ANCHOR_UID: &str = "anchor_uid";
const CLUSTER_ID: &str = "cluster_id";
const PROTECTED: &str = "protected";

impl Facts {
    /// From the private state's texts by key.
    pub fn read<'a>(text: impl Fn(&str) -> Option<&'a str>) -> Self {
        let owned = |key: &str| text(key).filter(|text| !text.is_empty()).map(str::to_owned);
        Self {
            anchor_uid: owned(ANCHOR_UID),
            cluster_id: owned(CLUSTER_ID),
            protected: text(PROTECTED) == Some("true"),
        }
    }

    /// The same, without the mark that a plan leaves for the next one.
    #[must_use]
    pub fn without_mark(self) -> Self {
        Self { protected: false, ..self }
    }

    /// The private state's texts by key; a key without a fact is left out.
    pub fn texts(&self) -> Vec<(&'static str, String)> {
        let mut texts = Vec::new();
        texts.extend(self.anchor_uid.clone().map(|uid| (ANCHOR_UID, uid)));
        texts.extend(self.cluster_id.clone().map(|id| (CLUSTER_ID, id)));
        if self.protected {
            texts.push((PROTECTED, "true".to_owned()));
        }
        texts
    }
}
