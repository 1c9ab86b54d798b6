//! What a plan tries on the API server without anything being stored (P10): the very writes of an apply.

use serde_json::Value as Json;

use super::{Job, create_anchor, readable};
use crate::diagnostic::Diagnostic;
use crate::live::LiveCluster;
use crate::object::{Kind, ObjectKey};
use crate::render;
use crate::step::{Forced, Step};

/// One write.
#[derive(Clone, Debug, PartialEq)]
pub enum Trial {
    /// Server-side apply.
    Apply {
        /// The object.
        object: Json,
        /// What may be taken over from other managers.
        forced: Forced,
    },
    /// JSON merge patch: a volume claim that is to grow.
    Patch {
        /// Which object.
        key: ObjectKey,
        /// The patch.
        body: Json,
    },
}

/// Stands in for the anchor's uid, which only apply can tell.
const NO_UID: &str = "00000000-0000-0000-0000-000000000000";

/// The writes of a create. `Err`: why an apply would not begin. In the plan of a replacement, `replaces`, the old cluster is there
/// still, and nothing of it is in the way.
pub fn of_create(job: &Job<'_>, live: &LiveCluster, replaces: bool) -> Result<Vec<Trial>, Diagnostic> {
    if readable(live, job.has_network_policy()).is_err() {
        return Ok(Vec::new());
    }
    if !replaces {
        if live.anchor_uid().is_some() {
            return Err(super::create::exists_already(job));
        }
        create_anchor(job, live)?;
    }
    let inputs = job.inputs(NO_UID, 1, &LiveCluster::nothing(&job.spec.name));
    let apply = |object| Trial::Apply { object, forced: Forced::default() };
    Ok(render::objects(&inputs).into_iter().map(apply).collect())
}

/// The writes of a change. `Err`: why an apply would not begin. Nothing where that can't be told: the anchor is to be made again first,
/// or something may not be read.
pub fn of_change(job: &Job<'_>, live: &LiveCluster) -> Result<Vec<Trial>, Diagnostic> {
    if live.anchor_uid().is_none() || readable(live, job.has_network_policy()).is_err() {
        return Ok(Vec::new());
    }
    let steps = super::change(job, live, false)?.steps;
    let trial = |step| match step {
        Step::Apply { object, forced, .. } => Some(Trial::Apply { object, forced }),
        Step::Patch { key, body, .. } if key.kind == Kind::PersistentVolumeClaim => {
            Some(Trial::Patch { key, body })
        }
        _ => None,
    };
    Ok(steps.into_iter().filter_map(trial).collect())
}
