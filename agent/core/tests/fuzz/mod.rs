//! Whatever a record, a desired document or another agent's report says: `decide` takes it in every situation, and what is written
//! because of it can be read again.

use pgha_agent_core::observation::{ControlState, Gate, Peer};
use pgha_agent_core::{Action, Names};
use pgha_fuzz::{CASES, fuzz, is_written_as_read};
use pgha_schema::desired::Desired;
use pgha_schema::record::Record;
use pgha_schema::request::Asked;
use pgha_schema::status::AgentReport;
use serde::Serialize;
use serde_json::from_slice;

use crate::builders::{Seen, seen};

/// The situations that an agent can be in.
fn scenes() -> Vec<Seen> {
    let leads = seen().primary().held_by_me().renewed_ago(100).followed_by(1).followed_by(2);
    let follows = seen().standby().held_by("db-1", "m1").serving(1);
    vec![
        leads.clone().wished(Asked::Pause),
        leads.clone().shows("ANY 1 (m1, m2)").recorded_quorum(&["m1", "m2"], 2).new_agent_wished(),
        leads.clone().handing_over("m0", "db-1").checkpointed(),
        leads.clone().recorded_async().requested(Asked::Switchover { to: None }, 50),
        leads.gate(Gate::Closed).primary_for(500).let_nobody_in().stamped(0),
        follows.clone().heartbeat_ago(100),
        follows.clone().second_era_from(500),
        follows.clone().detached().voters(&["m0", "m2"]).promise_of(2, 900).unchanged_for(3_000),
        follows.clone().released(1_000).broken_glass("m0", 1),
        follows.recorded_async().unchanged_for(11_000).replays(2, 900, true),
        seen().down(ControlState::InProduction).held_by_me(),
        seen().down(ControlState::ShutDown).held_by("db-1", "m1").serving(1).second_era_from(500),
        seen().pending(),
        seen().standby().held_by("db-1", "m1").keeps_what_is_recorded().lost(11_000).stamped(0),
    ]
}

/// A turn, and everything that it writes or tells, read again.
fn turns(seen: &Seen) {
    let (decision, report) = seen.whole_turn();
    is_written_as_read(&report);
    for action in &decision.actions {
        match action {
            Action::WriteRecord { record, .. }
            | Action::CreateLease { record }
            | Action::KeepRecord { record } => is_written_as_read(&**record),
            Action::WriteStatus { status } => is_written_as_read(&**status),
            Action::SetSyncNames { names } | Action::StartPostgres { names, .. } => {
                assert_eq!(Names::parse(names).to_string(), *names);
            }
            _ => {}
        }
    }
}

fn text(document: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(document).expect("it can be written")
}

#[test]
fn a_record_may_say_anything() {
    let mut read = 0;
    for mut scene in scenes() {
        read += fuzz(vec![text(scene.record())], CASES / 4, |bytes| {
            let Ok(record) = from_slice::<Record>(bytes) else { return false };
            let mut scene = scene.clone();
            *scene.record() = record;
            turns(&scene);
            true
        });
    }
    assert!(read > 200, "only {read} mutilated records were read");
}

#[test]
fn a_desired_document_may_say_anything() {
    let mut read = 0;
    for mut scene in scenes() {
        read += fuzz(vec![text(scene.documents().0)], CASES / 4, |bytes| {
            // The agent's reader leaves out what is beyond measure.
            let document =
                from_slice::<Desired>(bytes).ok().filter(|wish| wish.is_beyond_measure().is_none());
            let Some(document) = document else { return false };
            let mut scene = scene.clone();
            *scene.documents().0 = document;
            turns(&scene);
            true
        });
    }
    assert!(read > 200, "only {read} mutilated documents were read");
}

#[test]
fn another_agent_may_say_anything() {
    let heard = |scene: &mut Seen| {
        let peers = scene.documents().1.values();
        let reports = peers.filter_map(|peer| match peer {
            Peer::Heard { report, .. } => Some(text(report)),
            Peer::Silent { .. } => None,
        });
        reports.collect::<Vec<_>>()
    };
    let (mut situations, mut read) = (0, 0);
    for mut scene in scenes() {
        let reports = heard(&mut scene);
        if reports.is_empty() {
            continue;
        }
        situations += 1;
        read += fuzz(reports, CASES / 4, |bytes| {
            let Ok(report) = from_slice::<AgentReport>(bytes) else { return false };
            let mut scene = scene.clone();
            // Who answers is who was asked.
            let told = Peer::Heard { asked_ms: crate::builders::NOW, report: Box::new(report.clone()) };
            scene.documents().1.insert(report.pod, told);
            turns(&scene);
            true
        });
    }
    assert!(
        situations > 8 && read > 200,
        "in {situations} situations only {read} mutilated reports were read"
    );
}
