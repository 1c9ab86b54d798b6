//! How far volumes are that were asked to grow: by the claims' own words, and by events.
//!
//! A growth goes through two hands: the driver's controller grants it, then the driver on the node makes use of it. The claim's
//! `allocatedResourceStatuses` says which hand has it, and whether that one refuses; a condition says why. Clusters that are older than
//! these (Kubernetes 1.32) tell by events alone, and so do failures that are no refusals.

use pgha_schema::quantity::Quantity;
use serde_json::Value as Json;

use super::trouble::news_about;
use crate::live::LiveCluster;
use crate::object;
use crate::step::Progress;

/// What failed is tried again, and a cloud's "not yet" is a failure too; that it goes wrong for so long is told. What a driver refuses
/// for good is told at once.
const PATIENCE_MS: u64 = 120_000;
/// Why it fails, as resizer and kubelet tell it.
const FAILED: &str = "VolumeResizeFailed";

/// Whether every volume has `size`.
pub(super) fn grown(start: &LiveCluster, now: &LiveCluster, size: &str, waited_ms: u64) -> Progress {
    let Ok(wanted) = size.parse::<Quantity>() else {
        return Progress::Failed(format!("`{size}` is not a quantity"));
    };
    let mut waiting = Vec::new();
    for (ordinal, claim) in now.claims_by_ordinal() {
        // A claim that is not bound yet gets its size when it is.
        let Some(has) = object::capacity(claim).filter(|has| *has < wanted) else { continue };
        let name = object::name(claim);
        let failed =
            |why: &str| Progress::Failed(format!("growing PersistentVolumeClaim {name} failed: {why}"));
        let refused = refusal(claim);
        let before = start.claims_by_ordinal().get(&ordinal).copied().and_then(refusal);
        let news = failure(start, now, ordinal, claim);
        // One of an earlier apply may be over, unless it was given once more since.
        if let Some(why) = refused.filter(|_| refused != before || news.is_some()) {
            return failed(why);
        }
        let trouble = refused.or(news);
        if let Some(why) = trouble.filter(|_| waited_ms >= PATIENCE_MS) {
            return failed(why);
        }
        let stage = stage(claim).map(|stage| format!(" ({stage})")).unwrap_or_default();
        let trouble = trouble.map(|why| format!(", and growing it failed: {why}")).unwrap_or_default();
        waiting.push(format!("{name} has {has}{stage}{trouble}"));
    }
    if waiting.is_empty() {
        return Progress::Done;
    }
    Progress::Working(format!("waiting for volumes of {size}: {}", waiting.join("; ")))
}

/// Which hand has the growth, and how it fares there.
fn stage(claim: &Json) -> Option<&str> {
    claim.pointer("/status/allocatedResourceStatuses/storage")?.as_str()
}

/// Why the driver will not give the volume what the claim asks for. What it said to another size is none of this.
fn refusal(claim: &Json) -> Option<&str> {
    let (stage, condition) = match stage(claim)? {
        stage @ "ControllerResizeInfeasible" => (stage, "ControllerResizeError"),
        stage @ "NodeResizeInfeasible" => (stage, "NodeResizeError"),
        // Within milliseconds the resizer gives a node's refusal back to the node; the condition stays beside.
        "NodeResizePending" => ("", "NodeResizeError"),
        _ => return None,
    };
    let tried = claim.pointer("/status/allocatedResources/storage")?.as_str()?.parse::<Quantity>().ok()?;
    if object::asked_size(claim)? != tried {
        return None;
    }
    let conditions = claim.pointer("/status/conditions").and_then(Json::as_array).into_iter().flatten();
    let mut told = conditions.filter(|one| one["type"].as_str() == Some(condition));
    let words = told.find_map(|one| one["message"].as_str()).unwrap_or(stage);
    Some(words).filter(|words| !words.is_empty())
}

/// What failed, and is tried again. A resizer tells of the claim, a kubelet of the pod; what the one said is over once the other has it.
fn failure<'a>(start: &LiveCluster, now: &'a LiveCluster, ordinal: u32, claim: &Json) -> Option<&'a str> {
    let (on_node, pod) = (stage(claim).map(|stage| stage.starts_with("Node")), now.names.pod(ordinal));
    let of_controller = || news_about(start, now, "PersistentVolumeClaim", object::name(claim), FAILED);
    let of_node = || news_about(start, now, "Pod", &pod, FAILED);
    match on_node {
        Some(true) => of_node(),
        Some(false) => of_controller(),
        None => of_controller().or_else(of_node),
    }
}
