//! What the volumes of an earlier cluster of this name say (P21).

use std::collections::BTreeMap;

use pgha_schema::names::{
    ANNOTATION_NEVER_INITIALISED, ANNOTATION_RECORD, ANNOTATION_SYSTEM_IDENTIFIER, Names,
};
use pgha_schema::record::{Bootstrap, Record};
use serde_json::Value as Json;

use crate::diagnostic::Diagnostic;
use crate::live::{LiveCluster, record_of};
use crate::object;
use crate::path::Path;

/// What a create finds.
#[derive(Clone, Debug, PartialEq)]
pub enum Found {
    /// No volume, or only such as never held data.
    Empty,
    /// Volumes of a cluster that was destroyed and kept them.
    Kept(Box<Record>),
}

/// Judges the claims that are there; `replicas` is what is wanted.
pub fn judge(live: &LiveCluster, replicas: u32) -> Result<Found, Diagnostic> {
    let claims = live.claims_by_ordinal();
    let mut records: BTreeMap<String, Record> = BTreeMap::new();
    let mut unknown = Vec::new();
    for claim in claims.values() {
        let name = object::name(claim).to_owned();
        match (record_of(claim), is_never_initialised(claim)) {
            (Some(record), _) if record.bootstrap == Bootstrap::Done => {
                records.insert(name, record);
            }
            (_, true) => {}
            (Some(_) | None, false) => unknown.push(name),
        }
    }
    if !unknown.is_empty() {
        return Err(without_record(&live.names, &unknown));
    }
    let systems: Vec<_> = records.values().map(|record| record.system_identifier).collect();
    if systems.windows(2).any(|two| two[0] != two[1]) {
        return Err(two_systems(&live.names, &records));
    }
    let Some(record) = records.into_values().max_by_key(|record| (record.era(), record.renewals)) else {
        return Ok(Found::Empty);
    };
    match needed_replicas(&live.names, &record) {
        Some(needed) if needed > replicas => Err(too_few(needed, replicas)),
        _ => Ok(Found::Kept(Box::new(record))),
    }
}

/// Marked at a destroy before there was data; a system identifier, which the agent writes, says that there is some now.
fn is_never_initialised(claim: &Json) -> bool {
    object::annotation(claim, ANNOTATION_NEVER_INITIALISED) == Some("true")
        && object::annotation(claim, ANNOTATION_SYSTEM_IDENTIFIER).is_none()
}

/// The highest ordinal among holder and voters: without that volume the last commits may be missing.
fn needed_replicas(names: &Names, record: &Record) -> Option<u32> {
    let holder = record.holder.as_ref().and_then(|holder| names.ordinal(&holder.pod));
    let voters = record.voters.iter().filter_map(|voter| names.ordinal(&record.members.get(voter)?.pod));
    voters.chain(holder).max()
}

const MOVE_AWAY: &str = "give the new cluster another name";

fn without_record(names: &Names, claims: &[String]) -> Diagnostic {
    Diagnostic::error(
        "Volumes of this name exist, and nothing says whose last commits they hold",
        format!(
            "{} exist without the record that a destroy leaves on them (annotation {ANNOTATION_RECORD}), so neither \
             resuming nor overwriting them would be safe. If their data may go, delete them (kubectl delete pvc {}); \
             else {MOVE_AWAY} than {} and move the data. Nothing was changed.",
            claims.join(", "),
            claims.join(" "),
            names.cluster()
        ),
    )
}

fn two_systems(names: &Names, records: &BTreeMap<String, Record>) -> Diagnostic {
    let shown = |(claim, record): (&String, &Record)| {
        let system = record.system_identifier.map_or_else(|| "none".to_owned(), |system| system.to_string());
        format!("{claim} (system identifier {system})")
    };
    let claims: Vec<_> = records.iter().map(shown).collect();
    Diagnostic::error(
        "Volumes of two different databases have this name",
        format!(
            "{}. Delete those whose data may go (kubectl delete pvc); or {MOVE_AWAY} than {}. Nothing was changed.",
            claims.join(", "),
            names.cluster()
        ),
    )
}

fn too_few(needed: u32, replicas: u32) -> Diagnostic {
    Diagnostic::error(
        "Too few replicas to resume the kept volumes",
        format!(
            "Volumes of an earlier cluster of this name were kept, and the instance with ordinal {needed} may hold the \
             last commits, so replicas must be at least {needed} (it is {replicas}). Raise it to {needed}; once the \
             cluster runs it can be lowered."
        ),
    )
    .at(Path::of("replicas"))
}
