//! What the provider keeps in private state: which cluster this is, and marks for the second plan of a replacement.

/// The private facts of a resource.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Uid of the anchor (P16).
    pub anchor_uid: Option<String>,
    /// Which Kubernetes cluster it was made in (P15).
    pub cluster_id: Option<String>,
    /// Only in planned private: the instance that this plan would replace holds data and is protected (P20).
    pub protected: bool,
    /// Only in planned private: what a destroy does to the volumes of the instance, when it holds data and this plan has not
    /// told it.
    pub volumes: Option<Volumes>,
}

/// What a destroy does to volumes with data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Volumes {
    /// They stay, and a cluster of the same name goes on from them.
    Kept,
    /// They go.
    Deleted,
}

impl Volumes {
    const ALL: [Self; 2] = [Self::Kept, Self::Deleted];

    fn as_str(self) -> &'static str {
        match self {
            Self::Kept => "kept",
            Self::Deleted => "deleted",
        }
    }
}

const ANCHOR_UID: &str = "anchor_uid";
const CLUSTER_ID: &str = "cluster_id";
const PROTECTED: &str = "protected";
const VOLUMES: &str = "volumes";

impl Facts {
    /// From the private state's texts by key.
    pub fn read<'a>(text: impl Fn(&str) -> Option<&'a str>) -> Self {
        let owned = |key: &str| text(key).filter(|text| !text.is_empty()).map(str::to_owned);
        Self {
            anchor_uid: owned(ANCHOR_UID),
            cluster_id: owned(CLUSTER_ID),
            protected: text(PROTECTED) == Some("true"),
            volumes: Volumes::ALL.into_iter().find(|one| text(VOLUMES) == Some(one.as_str())),
        }
    }

    /// The same, without the marks that a plan leaves for the next one.
    #[must_use]
    pub fn without_marks(self) -> Self {
        Self { protected: false, volumes: None, ..self }
    }

    /// The private state's texts by key; a key without a fact is left out.
    pub fn texts(&self) -> Vec<(&'static str, String)> {
        let mut texts = Vec::new();
        texts.extend(self.anchor_uid.clone().map(|uid| (ANCHOR_UID, uid)));
        texts.extend(self.cluster_id.clone().map(|id| (CLUSTER_ID, id)));
        if self.protected {
            texts.push((PROTECTED, "true".to_owned()));
        }
        texts.extend(self.volumes.map(|volumes| (VOLUMES, volumes.as_str().to_owned())));
        texts
    }
}
