//! What PostgreSQL does not take of the wish, as the agents tell it.

use pgha_schema::desired::document_sha256;
use pgha_schema::status::{Acknowledged, ClusterStatus};

use super::trouble::is_current;
use crate::live::LiveCluster;
use crate::object;
use crate::step::Wish;

/// The desired document that stands there now.
pub(super) fn desired(now: &LiveCluster) -> Option<Acknowledged> {
    let generation = now.desired()?.generation;
    Some(Acknowledged { generation, sha256: document_sha256(now.desired_text()?) })
}

/// Settings that PostgreSQL refuses stay refused until they are corrected: waiting would be in vain. The agents tell of none before
/// it has stood for a moment, and name the document, so that what an earlier one said is no failure of this one.
pub(super) fn refused_settings(wish: &Wish, status: &ClusterStatus, now: &LiveCluster) -> Option<String> {
    let document = match wish {
        Wish::Acknowledged { generation, sha256 } => {
            Acknowledged { generation: *generation, sha256: sha256.clone() }
        }
        Wish::Primary | Wish::Streaming { .. } => desired(now)?,
        Wish::Stopped
        | Wish::Answered { .. }
        | Wish::PodsGone { .. }
        | Wish::Grown { .. }
        | Wish::ClaimsGone { .. }
        | Wish::ObjectsGone { .. } => return None,
    };
    let pods = now.pods_by_ordinal();
    // A pod of an older template may have an older PostgreSQL or extension, which the next pod has not.
    let counts = |name: &str| pods.values().any(|pod| object::name(pod) == name && is_current(now, pod));
    let (pod, refused) = status.instances.iter().filter(|(pod, _)| counts(pod)).find_map(|(pod, one)| {
        Some((pod, one.settings_refused.as_ref().filter(|refused| refused.document == document)?))
    })?;
    let settings = refused.settings.iter().map(|(name, words)| format!("parameters[\"{name}\"]: {words}"));
    let settings: Vec<_> = settings.collect();
    let meanwhile = if status.primary.is_some() {
        "The database goes on with the settings that it had"
    } else {
        "PostgreSQL does not start before that"
    };
    Some(format!(
        "PostgreSQL in pod {pod} does not take {}. Correct it and apply again. {meanwhile}",
        settings.join("; ")
    ))
}
