//! What the I/O shell carries out, one step after the other: data, never closures.
//!
//! ```text
//!   phases(op) ── for each: snapshot ──> steps(phase, job, live) ──> run one by one ──> next phase
//! ```
//!
//! Every step may be cut off and repeated; every write carries what it expects to find.

use std::fmt;

use serde_json::Value as Json;

use crate::object::ObjectKey;

/// One thing to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// POST.
    Create {
        /// The whole object.
        object: Json,
        /// What it means when the name is taken.
        taken: Taken,
    },
    /// Become an owner of the agent's head ([`crate::render::head`]), and see to it that the head owns every chunk. What is there gets
    /// the owner into `metadata.ownerReferences` (strategic merge patch: the list is merged by uid), what is not there is made.
    ShareAgent {
        /// The ConfigMap that owns the chunks, and is owned by the clusters that run the agent.
        head: Json,
        /// The ConfigMaps with the agent's binary.
        chunks: Vec<Json>,
        /// The cluster's anchor, as an owner.
        owner: Json,
    },
    /// POST a Secret. One that exists is kept: content is made once (P24).
    CreateSecret(Secret),
    /// POST a Secret, or PUT it in the place of the one that is there: whole, so that what was in it is not asked for, and no answer
    /// tells more than was sent.
    WriteSecret(Secret),
    /// Server-side apply with field manager `terraform-provider-postgres`, first without force.
    Apply {
        /// The object, exactly the fields that we own.
        object: Json,
        /// On a conflict, ask [`crate::conflict::judge`] with this.
        forced: Forced,
        /// The uid that the live object must have; it stands in `metadata.uid` of the request, so that another object of
        /// the same name answers 409.
        expect_uid: Option<String>,
        /// Remember the API server's answer with [`crate::anchor::Anchor::remember`] (P12).
        remember: bool,
    },
    /// JSON merge patch; `metadata.uid` in the body is the precondition.
    Patch {
        /// Which object.
        key: ObjectKey,
        /// The patch.
        body: Json,
        /// A missing object is no error.
        may_be_missing: bool,
    },
    /// DELETE with the precondition `uid`, propagation in the background, and [`crate::anchor::Anchor::forget`]. A missing
    /// object is no error, another uid is one.
    Delete {
        /// Which object.
        key: ObjectKey,
        /// The uid that it must have; `None` only for Secrets, which are never read.
        uid: Option<String>,
    },
    /// Give up the agent's chunks that nothing of this cluster names any more ([`crate::steps::chunks::given_up`]). What can't be
    /// done now is left for another time.
    GiveUpChunks {
        /// Uid of the anchor, which owns them among others.
        owner_uid: String,
        /// The head of the agent that is in force; none when an image holds it.
        kept: Option<String>,
    },
    /// Take snapshots until [`crate::progress::progress`] says done or failed, or the time is up.
    Wait(Wait),
    /// Write the anchor: server-side apply of [`crate::anchor::Anchor::object`] with everything remembered so far.
    SaveAnchor,
}

/// A Secret and what the shell puts into it.
#[derive(Clone, Debug, PartialEq)]
pub struct Secret {
    /// The Secret with everything but what must stay unseen.
    pub object: Json,
    /// Keys of `stringData` with a value that was given.
    pub given: Vec<(String, Sensitive)>,
    /// Keys of `stringData` whose value is a fresh random text, and in which kind.
    pub random: Vec<(String, Random)>,
    /// Keys of `stringData` made from others: `{name}` stands for the value of key `name`, percent-encoded.
    pub derived: Vec<(String, String)>,
}

/// A text that is shown nowhere.
#[derive(Clone, PartialEq, Eq)]
pub struct Sensitive(String);

impl Sensitive {
    /// Hides a text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text, for who must write it down.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Sensitive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(sensitive)")
    }
}

/// What it means when the name of an object to be created is taken.
#[derive(Clone, Debug, PartialEq)]
pub enum Taken {
    /// It is there already, and stays as it is.
    Keep,
    /// An error with this summary and detail.
    Error {
        /// What is wrong.
        summary: String,
        /// What to do.
        detail: String,
    },
}

/// What a random text is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Random {
    /// 32 letters and digits.
    Password,
    /// 64 hexadecimal digits.
    Key,
}

/// The fields that may be taken from another field manager (P17): those whose difference the plan showed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Forced {
    /// Field paths as server-side apply prints them (`.spec.replicas`); a path covers what is below it.
    pub fields: Vec<String>,
}

/// A wait.
#[derive(Clone, Debug, PartialEq)]
pub struct Wait {
    /// For what.
    pub wish: Wish,
    /// When the time is up.
    pub limit: Limit,
}

/// How long a wait may last, and what then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// The operation's timeout; then it has failed.
    Operation,
    /// So long; then the next step follows all the same.
    GoOnAfterMs(u64),
}

/// What is waited for. Each is a level that stays true once reached.
#[derive(Clone, Debug, PartialEq)]
pub enum Wish {
    /// The primary accepts writes.
    Primary,
    /// The desired document with this generation and hash is in force (P8).
    Acknowledged {
        /// Its generation.
        generation: u64,
        /// SHA-256 of its text.
        sha256: String,
    },
    /// A request of the desired document is answered.
    Answered {
        /// Its id.
        id: String,
    },
    /// So many standbys stream and, unless the mode is async, commits wait for as many as were asked for.
    Streaming {
        /// How many.
        standbys: u32,
    },
    /// The cluster was stopped cleanly.
    Stopped,
    /// No pod with this ordinal or a higher one is left.
    PodsGone {
        /// The lowest ordinal that goes.
        from_ordinal: u32,
    },
    /// Every claim has at least this capacity.
    Grown {
        /// The size as a Kubernetes quantity.
        size: String,
    },
    /// These claims are gone.
    ClaimsGone {
        /// Their names.
        names: Vec<String>,
    },
    /// These objects are gone.
    ObjectsGone {
        /// Which.
        keys: Vec<ObjectKey>,
    },
}

impl Wish {
    /// Whether it is for something to be gone.
    pub fn is_an_end(&self) -> bool {
        match self {
            Self::PodsGone { .. } | Self::ClaimsGone { .. } | Self::ObjectsGone { .. } => true,
            Self::Primary
            | Self::Acknowledged { .. }
            | Self::Answered { .. }
            | Self::Streaming { .. }
            | Self::Stopped
            | Self::Grown { .. } => false,
        }
    }
}

/// How far a wish is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// It came true.
    Done,
    /// Not yet; what is going on, for the log.
    Working(String),
    /// It can't come true without a hand; the cause, for the user (P18).
    Failed(String),
}
