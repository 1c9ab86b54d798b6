//! Events for people: one for each change of role, of the synchronous set, of pauses and answers (A31, A32).
//!
//! What was told last is remembered, so that a change is told once, however often it is decided on. A new process takes what
//! it finds running for told: it changed nothing.

use std::collections::BTreeSet;

use pgha_schema::ids::Era;
use pgha_schema::record::Record;
use pgha_schema::request::{Answer, Outcome};

use crate::cycle::Cycle;
use crate::decision::{Action, Reason};
use crate::lease::{self, Standing};
use crate::marks;
use crate::observation::{Gate, Job, Observation, PostgresSeen, StreamSeen};

/// What the guard did alone is news for so long.
const TOLD_WITHIN_MS: u64 = 60_000;

/// What was told.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Told {
    begun: bool,
    role: RoleTold,
    taking: Option<Taking>,
    fenced: bool,
    fenced_alone_ms: Option<u64>,
    rewound_ms: Option<u64>,
    cloned_ms: Option<u64>,
    degraded: bool,
    unmarked: bool,
    paused: bool,
    answers: BTreeSet<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum RoleTold {
    #[default]
    None,
    /// It holds the record in this era and does not serve yet.
    Took(Era),
    Serves(Era),
    Follows(String, Era),
}

/// A taking that was ordered.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Taking {
    ground: &'static str,
    from: String,
    silent_ms: Option<u64>,
}

/// Emits what is new since the last cycle.
pub(crate) fn tell(cycle: &mut Cycle<'_>, reason: &Reason) {
    let seen = cycle.seen;
    let mut told = std::mem::take(&mut cycle.memory.told);
    note_taking(seen, reason, &mut told);
    let Some(record) = seen.record() else {
        fenced(cycle, reason, &mut told);
        cycle.memory.told = told;
        return;
    };
    let mine = matches!(lease::standing(seen), Standing::Mine(_));
    if !told.begun {
        let (taking, fenced_alone_ms) = (told.taking, told.fenced_alone_ms);
        told = Told { begun: true, taking, fenced_alone_ms, ..found(seen, record, mine) };
    }
    fenced(cycle, reason, &mut told);
    role(cycle, record, mine, &mut told);
    jobs(cycle, &mut told);
    if mine {
        of_the_record(cycle, record, &mut told);
    } else {
        told.degraded = record.degraded;
        told.paused = record.pause.is_some();
        told.answers = record.answers.iter().map(|answer| answer.id.clone()).collect();
    }
    cycle.memory.told = told;
}

/// What a new process finds: nothing of it is news.
fn found(seen: &Observation, record: &Record, mine: bool) -> Told {
    Told {
        begun: true,
        role: role_now(seen, record, mine).unwrap_or_default(),
        degraded: record.degraded,
        paused: record.pause.is_some(),
        answers: record.answers.iter().map(|answer| answer.id.clone()).collect(),
        ..Told::default()
    }
}

fn role_now(seen: &Observation, record: &Record, mine: bool) -> Option<RoleTold> {
    match &seen.postgres {
        PostgresSeen::Primary(primary) if mine && primary.gate == Gate::Open => {
            Some(RoleTold::Serves(record.era()))
        }
        PostgresSeen::Standby(standby) => match &standby.stream {
            StreamSeen::Streaming { upstream } => Some(RoleTold::Follows(upstream.pod.clone(), upstream.era)),
            StreamSeen::Detached | StreamSeen::Waiting { .. } => None,
        },
        _ => None,
    }
}

fn note_taking(seen: &Observation, reason: &Reason, told: &mut Told) {
    let ground = match reason {
        Reason::TakeReleased => "it handed the lead over",
        Reason::TakeProven => "its container is known to have ended",
        Reason::TakeSilent => "it was silent, and enough voters had left it",
        Reason::TakeExpired => "its Lease had expired",
        Reason::TakeForced => "a person gave it up, and accepted the loss of what only it and its voters had",
        _ => return,
    };
    let Some(read) = seen.lease() else { return };
    let from = read.record.holder.as_ref().map(|holder| holder.pod.clone()).unwrap_or_default();
    let heard_ms = seen.holder_heard.last.as_ref().map(|last| last.at_ms).unwrap_or_default();
    let silent_ms = seen.now_ms.saturating_sub(heard_ms.max(read.first_seen_ms));
    let silent_ms = (*reason != Reason::TakeReleased).then_some(silent_ms);
    told.taking = Some(Taking { ground, from, silent_ms });
}

fn fenced(cycle: &mut Cycle<'_>, reason: &Reason, told: &mut Told) {
    let fences = cycle.actions.contains(&Action::Fence);
    if fences && !told.fenced {
        event(cycle, true, "Fenced", reason.to_string());
    }
    // Often no agent saw it happen, and this one was started after it.
    let alone = cycle.seen.signals.fenced_alone_ms.filter(|at_ms| cycle.elapsed_ms(*at_ms) < TOLD_WITHIN_MS);
    if alone.is_some() && alone != told.fenced_alone_ms {
        let text = "the guard stopped postgres: no agent had told it in time of a renewal";
        event(cycle, true, "Fenced", text.to_owned());
        told.fenced_alone_ms = alone;
    }
    told.fenced = fences || (told.fenced && cycle.seen.postgres != PostgresSeen::Down);
}

fn role(cycle: &mut Cycle<'_>, record: &Record, mine: bool, told: &mut Told) {
    let era = record.era();
    if mine && let Some(taking) = told.taking.take() {
        let silent = taking
            .silent_ms
            .map(|ms| format!("; its last sign of life was {}.{} s ago", ms / 1_000, ms % 1_000 / 100))
            .unwrap_or_default();
        let from = if taking.from.is_empty() { "nobody".to_owned() } else { taking.from };
        let text = format!("takes the lead from {from} in era {era}: {}{silent}", taking.ground);
        event(cycle, taking.silent_ms.is_some(), "TookOver", text);
        told.role = RoleTold::Took(era);
    }
    let leads = matches!(told.role, RoleTold::Took(_) | RoleTold::Serves(_));
    if leads && !mine {
        let by = record.holder.as_ref().map_or("nobody", |holder| holder.pod.as_str());
        event(cycle, false, "Demoted", format!("leads no longer: {by} does, in era {era}"));
        told.role = RoleTold::None;
    }
    let Some(now) = role_now(cycle.seen, record, mine).filter(|now| *now != told.role) else { return };
    match &now {
        RoleTold::Serves(era) => {
            event(cycle, false, "Promoted", format!("is the primary and lets clients in, era {era}"));
        }
        RoleTold::Follows(pod, era) => {
            event(cycle, false, "Following", format!("streams from {pod}, era {era}"));
        }
        RoleTold::None | RoleTold::Took(_) => {}
    }
    told.role = now;
}

fn jobs(cycle: &mut Cycle<'_>, told: &mut Told) {
    let ended = |job: &Job| match job {
        Job::Done { at_ms, .. } => Some(*at_ms),
        Job::Idle | Job::Running { .. } | Job::Failed { .. } => None,
    };
    let seen = cycle.seen;
    let (rewound_ms, cloned_ms) = (ended(&seen.jobs.rewind), ended(&seen.jobs.clone));
    if rewound_ms.is_some() && rewound_ms != told.rewound_ms {
        event(cycle, false, "Rewound", "its data was rewound to the primary's history".to_owned());
    }
    if cloned_ms.is_some() && cloned_ms != told.cloned_ms {
        event(cycle, false, "Cloned", "its data was cloned from the primary".to_owned());
    }
    told.rewound_ms = rewound_ms.or(told.rewound_ms);
    told.cloned_ms = cloned_ms.or(told.cloned_ms);
}

/// What the record says that this instance writes.
fn of_the_record(cycle: &mut Cycle<'_>, record: &Record, told: &mut Told) {
    match (told.degraded, record.degraded) {
        (false, true) => event(
            cycle,
            true,
            "SyncDegraded",
            "writes go on without a confirming standby; until one has caught up only this instance may lead"
                .to_owned(),
        ),
        (true, false) => {
            event(cycle, false, "SyncRestored", "commits wait for a standby again".to_owned());
        }
        _ => {}
    }
    told.degraded = record.degraded;
    let refusal = marks::refusal(cycle.seen, &cycle.memory);
    let unmarked = refusal.is_some();
    match (told.unmarked, refusal) {
        (false, Some(why)) => event(cycle, true, "VolumesNotMarked", why),
        (true, None) => {
            let text = "the volumes with data are marked with its identifier".to_owned();
            event(cycle, false, "VolumesMarked", text);
        }
        _ => {}
    }
    told.unmarked = unmarked;
    match (told.paused, record.pause.is_some()) {
        (false, true) => {
            event(cycle, true, "Paused", "the cluster is held as it is; nobody takes over".to_owned());
        }
        (true, false) => event(cycle, false, "Resumed", "the pause is over".to_owned()),
        _ => {}
    }
    told.paused = record.pause.is_some();
    for answer in record.answers.iter().filter(|answer| !told.answers.contains(&answer.id)) {
        if let Some(name) = name_of(answer) {
            event(cycle, answer.outcome != Outcome::Done, name, answer.text.clone());
        }
    }
    told.answers = record.answers.iter().map(|answer| answer.id.clone()).collect();
}

/// Pauses have events of their own.
fn name_of(answer: &Answer) -> Option<&'static str> {
    Some(match (answer.asked.as_str(), answer.outcome) {
        ("switchover", Outcome::Done) => "SwitchoverDone",
        ("switchover", Outcome::Refused) => "SwitchoverRefused",
        ("switchover", Outcome::Reverted) => "SwitchoverReverted",
        ("switchover", Outcome::Failed) => "SwitchoverFailed",
        ("restart", Outcome::Done) => "RestartDone",
        ("restart", Outcome::Refused) => "RestartRefused",
        ("restart", _) => "RestartFailed",
        ("reinit", Outcome::Done) => "ReinitDone",
        ("reinit", Outcome::Refused) => "ReinitRefused",
        ("reinit", _) => "ReinitFailed",
        ("pause", Outcome::Refused) => "PauseRefused",
        _ => return None,
    })
}

fn event(cycle: &mut Cycle<'_>, warning: bool, reason: &'static str, message: String) {
    cycle.push(Action::EmitEvent { warning, reason, message });
}
