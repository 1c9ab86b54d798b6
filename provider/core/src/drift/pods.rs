//! Pods that were made from an edited template. When the template is mended they stay as they are: what rolls pods is the template's hash,
//! and nobody edits that.

use serde_json::{Map, Value as Json};

use pgha_schema::names::{ANNOTATION_AGENT_HASH, ANNOTATION_TEMPLATE_HASH};

use crate::anchor::Anchor;
use crate::ignore::Ignore;
use crate::live::LiveCluster;
use crate::object::{self, Kind, ObjectKey};
use crate::owned::{self, Difference};

/// What a pod takes from its template as it is. The rest of it is added to at admission: tolerations, pull secrets, a node selector.
const FIELDS: [&str; 6] = [
    "containers",
    "initContainers",
    "securityContext",
    "serviceAccountName",
    "terminationGracePeriodSeconds",
    "volumes",
];
/// The label with the template that a pod was made from.
const REVISION: &str = "controller-revision-hash";

/// Pods that are not as the template which the anchor remembers has them, and where.
///
/// What a policy changes in every pod that is made is in those of the right template too, so these are not looked at; neither are pods
/// that were made with another agent, whose template differs by that alone, nor those that are rolled anyway.
pub fn edited<'a>(
    anchor: &Anchor,
    live: &'a LiveCluster,
    ignore: &Ignore,
) -> Vec<(&'a Json, Vec<Difference>)> {
    compare(anchor, live, ignore).unwrap_or_default()
}

fn compare<'a>(
    anchor: &Anchor,
    live: &'a LiveCluster,
    ignore: &Ignore,
) -> Option<Vec<(&'a Json, Vec<Difference>)>> {
    let key = ObjectKey::new(Kind::StatefulSet, live.names.cluster());
    let recorded = ignore.without(&live.names, &key, anchor.objects.get(&key)?);
    let template = recorded.pointer("/spec/template")?;
    let set = *live.stateful_set().known()?;
    let newest = set.pointer("/status/updateRevision")?.as_str()?;
    let now = owned::project(template, set.pointer("/spec/template")?);
    let is_edited_now = !owned::differences(template, &now).is_empty();
    let wanted = fields(template.get("spec")?);
    let marks = [ANNOTATION_TEMPLATE_HASH, ANNOTATION_AGENT_HASH];
    let suspects = live.pods_by_ordinal().into_values().filter(|pod| {
        let of_newest = pod.pointer("/metadata/labels").is_some_and(|labels| labels[REVISION] == newest);
        let same = |mark| object::annotation(pod, mark) == object::annotation(template, mark);
        of_newest == is_edited_now
            && pod.pointer("/metadata/deletionTimestamp").is_none()
            && marks.into_iter().all(same)
    });
    let found = suspects.map(|pod| (pod, owned::differences(&wanted, &owned::project(&wanted, pod))));
    Some(found.filter(|(_, found)| !found.is_empty()).collect())
}

/// The part of a template's `spec` that pods have unchanged, at its place in a pod.
fn fields(spec: &Json) -> Json {
    let fields: Map<String, Json> =
        FIELDS.iter().filter_map(|name| Some(((*name).to_owned(), spec.get(*name)?.clone()))).collect();
    serde_json::json!({ "spec": fields })
}
