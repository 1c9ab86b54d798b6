//! Which standbys confirm commits, and the order in which record and names change (A16–A18).
//!
//! With q = 1 the rule `number + q > |names in force ∪ V|` says: whoever is in V or in the names has to confirm every
//! commit. So V is emptied before a name is left out, and a name is recorded only after it has caught up in force.

use std::collections::BTreeSet;

use pgha_schema::desired::{Desired, Durability, SyncMode};
use pgha_schema::ids::MemberId;
use pgha_schema::record::Record;
use pgha_schema::status::Role;

use crate::cycle::Cycle;
use crate::decision::{Action, Memory};
use crate::divergence::{self, Place};
use crate::failsafe::Rivals;
use crate::observation::{Observation, PrimarySeen, Walsender, ordinal_of};

/// Names that no member can match: member ids have no underscore.
pub const NOBODY: &str = "FIRST 1 (pgha_nobody)";
/// A standby further behind is not named: commits would wait for its backlog.
const NEAR_BYTES: u64 = 1 << 20;
/// A walsender without a reply for this long does not count: standbys reply once a second.
const SILENT_MS: u64 = 2_500;

/// The setting's text for these members, all of which have to confirm.
pub fn names_of(members: &BTreeSet<MemberId>) -> String {
    if members.is_empty() {
        return NOBODY.to_owned();
    }
    let list: Vec<&str> = members.iter().map(MemberId::as_str).collect();
    format!("FIRST {} ({})", members.len(), list.join(", "))
}

/// The members that a text of [`names_of`] names.
pub fn members_in(names: &str) -> BTreeSet<MemberId> {
    let inner =
        names.split_once('(').and_then(|(_, rest)| rest.split_once(')')).map_or("", |(inner, _)| inner);
    inner
        .split(',')
        .map(str::trim)
        .filter(|name| !name.is_empty() && !name.contains('_'))
        .map(MemberId::new)
        .collect()
}

/// Names that a primary starts with: they wait at least for every V that may be in force.
pub(crate) fn names_at_start(memory: &Memory, record: &Record) -> String {
    let mut voters = if record.mode == SyncMode::Async { BTreeSet::new() } else { record.voters.clone() };
    voters.extend(memory.unsettled.iter().flat_map(Rivals::voters).cloned());
    if voters.is_empty() && (record.mode == SyncMode::Async || record.degraded) {
        return String::new();
    }
    names_of(&voters)
}

/// Names that a member promotes with: the best of the others, so that commits flow as soon as it streams.
pub(crate) fn names_at_promotion(seen: &Observation, record: &Record) -> String {
    if record.mode == SyncMode::Async || record.degraded {
        return String::new();
    }
    if !record.voters.is_empty() {
        return names_of(&record.voters);
    }
    let Some(wish) = seen.wish() else { return NOBODY.to_owned() };
    let mut fit: Vec<_> = seen
        .reports()
        .filter(|report| report.role == Role::Standby && !report.stopping && is_wanted(&report.pod, wish))
        .filter(|report| {
            divergence::place_to_lead(record, divergence::reported_era(record, report), report.position)
                == Place::OnChain
        })
        .filter_map(|report| report.member.clone().map(|member| (report.position, member)))
        .collect();
    fit.sort_by(|one, other| other.0.cmp(&one.0).then(one.1.cmp(&other.1)));
    let count = wish.sync_replicas.max(1) as usize;
    if fit.len() < count {
        return NOBODY.to_owned();
    }
    names_of(&fit.into_iter().take(count).map(|(_, member)| member).collect())
}

fn is_wanted(pod: &str, wish: &Desired) -> bool {
    ordinal_of(pod).is_some_and(|ordinal| ordinal <= wish.replicas)
}

/// One step towards the wished mode and set. Returns whether nothing is left to do.
pub(crate) fn advance(
    cycle: &mut Cycle<'_>,
    record: &Record,
    primary: &PrimarySeen,
    next: &mut Record,
) -> bool {
    let Some(wish) = cycle.seen.wish() else { return false };
    match (wish.sync_mode, record.mode) {
        (SyncMode::Async, SyncMode::Sync) => {
            // Widens: recorded first.
            next.mode = SyncMode::Async;
            next.voters.clear();
            next.degraded = false;
            false
        }
        (SyncMode::Async, SyncMode::Async) => {
            cycle.memory.unconfirmed_since_ms = None;
            show(cycle, primary, "")
        }
        (SyncMode::Sync, SyncMode::Async | SyncMode::Sync) => {
            let set = Set::choose(cycle, record, primary, wish);
            if set.is_full() {
                cycle.memory.unconfirmed_since_ms = None;
                fill(cycle, record, primary, next, &set)
            } else {
                lack(cycle, record, primary, next, wish)
            }
        }
    }
}

/// The members that should confirm.
struct Set {
    chosen: BTreeSet<MemberId>,
    wanted: usize,
    alive: BTreeSet<MemberId>,
}

impl Set {
    fn choose(cycle: &Cycle<'_>, record: &Record, primary: &PrimarySeen, wish: &Desired) -> Self {
        let wanted = wish.sync_replicas.max(1) as usize;
        let shown = members_in(&primary.names_shown);
        let alive: BTreeSet<MemberId> = primary
            .walsenders
            .iter()
            .filter(|sender| confirms(sender))
            .map(|sender| MemberId::new(sender.application_name.clone()))
            .collect();
        let mut candidates: Vec<(bool, bool, bool, MemberId)> = primary
            .walsenders
            .iter()
            .filter(|sender| confirms(sender) && may_vote(cycle, record, sender, wish))
            .map(|sender| {
                let member = MemberId::new(sender.application_name.clone());
                let avoided = is_avoided(cycle, &member);
                let votes = record.voters.contains(&member);
                let near = sender.flushed_lsn.behind(primary.current_lsn).0 <= NEAR_BYTES;
                let named = shown.contains(&member);
                (votes || named || near, avoided, votes, named, member)
            })
            .filter(|(fits, ..)| *fits)
            .map(|(_, avoided, votes, named, member)| (avoided, !votes, !named, member))
            .collect();
        candidates.sort();
        candidates.dedup();
        let chosen = candidates.into_iter().take(wanted).map(|(.., member)| member).collect();
        Self { chosen, wanted, alive }
    }

    fn is_full(&self) -> bool {
        self.chosen.len() == self.wanted
    }
}

fn confirms(sender: &Walsender) -> bool {
    sender.ours && sender.streaming && sender.reply_age_ms < SILENT_MS
}

fn may_vote(cycle: &Cycle<'_>, record: &Record, sender: &Walsender, wish: &Desired) -> bool {
    let pod = record
        .members
        .iter()
        .find(|(member, _)| member.as_str() == sender.application_name)
        .map(|(_, entry)| entry.pod.as_str());
    let Some(pod) = pod.filter(|pod| is_wanted(pod, wish)) else { return false };
    let report = cycle.seen.heard(pod);
    // One that was told to stop is out at once when another can be named, and in two seconds anyway (A21).
    let leaving = report.is_some_and(|report| report.stopping);
    // Its postgres may have come along into this era unasked, when the holder promoted at the address that it streamed from:
    // until its agent has persisted the era (A3), it may yet find its own data forked, and a voter's is never replaced.
    let lives_here = record.voters.iter().any(|voter| voter.as_str() == sender.application_name)
        || report.is_some_and(|report| report.era == Some(record.era()));
    !leaving && lives_here
}

/// A member that is about to restart is named only when there is no other.
fn is_avoided(cycle: &Cycle<'_>, member: &MemberId) -> bool {
    cycle.seen.reports().any(|report| report.member.as_ref() == Some(member) && report.pending_restart)
        || cycle.seen.pods.iter().any(|(pod, at)| {
            at.deleting && cycle.seen.heard(pod).is_some_and(|report| report.member.as_ref() == Some(member))
        })
}

/// Enough standbys confirm: bring them into force, then into the record.
fn fill(cycle: &mut Cycle<'_>, record: &Record, primary: &PrimarySeen, next: &mut Record, set: &Set) -> bool {
    let recorded = record.mode == SyncMode::Sync && record.voters == set.chosen;
    if recorded {
        next.degraded = false;
        next.confirmed = confirmed(primary, &set.chosen);
        return show(cycle, primary, &names_of(&set.chosen)) && !record.degraded;
    }
    let leaving: BTreeSet<MemberId> = record.voters.difference(&set.chosen).cloned().collect();
    if leaving.iter().any(|member| !set.alive.contains(member)) {
        // A voter that is gone can't confirm: widening first, so until the new one has caught up only this holder may lead.
        next.voters.clear();
        return false;
    }
    let all: BTreeSet<MemberId> = record.voters.union(&set.chosen).cloned().collect();
    let names = names_of(&all);
    if !show(cycle, primary, &names) {
        return false;
    }
    match &primary.in_force {
        Some(in_force) if in_force.names == names => {
            let caught_up = set.chosen.iter().all(|member| {
                primary.walsenders.iter().any(|sender| {
                    sender.application_name == member.as_str()
                        && confirms(sender)
                        && sender.flushed_lsn >= in_force.from_lsn
                })
            });
            if caught_up {
                next.mode = SyncMode::Sync;
                next.voters.clone_from(&set.chosen);
                next.quorum = 1;
                next.degraded = false;
                next.confirmed = confirmed(primary, &set.chosen);
            }
        }
        Some(_) | None => {
            let checkpoint = !cycle.memory.names_never_empty;
            cycle.push(Action::ConfirmInForce { names, checkpoint });
        }
    }
    cycle.wake_in(100);
    false
}

/// The position that all of them have flushed.
fn confirmed(primary: &PrimarySeen, members: &BTreeSet<MemberId>) -> pgha_schema::lsn::Lsn {
    primary
        .walsenders
        .iter()
        .filter(|sender| members.iter().any(|member| member.as_str() == sender.application_name))
        .map(|sender| sender.flushed_lsn)
        .min()
        .unwrap_or_default()
}

/// Too few standbys confirm: `required` waits, `preferred` degrades after a while, recorded before the names go (A18).
fn lack(
    cycle: &mut Cycle<'_>,
    record: &Record,
    primary: &PrimarySeen,
    next: &mut Record,
    wish: &Desired,
) -> bool {
    let since_ms = *cycle.memory.unconfirmed_since_ms.get_or_insert(cycle.seen.now_ms);
    let alone = wish.replicas == 0;
    let waited = alone || cycle.elapsed_ms(since_ms) >= cycle.timing.degrade_after_ms();
    if !waited {
        cycle.wake_at(since_ms.saturating_add(cycle.timing.degrade_after_ms()));
    }
    let preferred = wish.durability == Durability::Preferred;
    match record.mode {
        // Async is what is acknowledged until enough standbys stream; names that wait for one that left go.
        SyncMode::Async => {
            if preferred && waited {
                next.mode = SyncMode::Sync;
                next.voters.clear();
                next.degraded = true;
            }
            show(cycle, primary, "");
            false
        }
        SyncMode::Sync if record.degraded => {
            show(cycle, primary, "");
            preferred && (alone || waited)
        }
        SyncMode::Sync => {
            if preferred && waited {
                next.voters.clear();
                next.degraded = true;
                return false;
            }
            // Whoever is in V still has to confirm; with V empty anything that makes commits wait will do.
            if !record.voters.is_empty() || primary.names_shown.is_empty() {
                show(cycle, primary, &names_of(&record.voters));
            }
            false
        }
    }
}

/// Sets the names when a new connection shows others. Returns whether they are shown. A write of the record whose outcome is
/// not known may have landed: until the version moves, no name goes that its V would need (A16).
fn show(cycle: &mut Cycle<'_>, primary: &PrimarySeen, names: &str) -> bool {
    if primary.names_shown == names {
        return true;
    }
    let kept = members_in(names);
    if cycle.memory.unsettled.iter().flat_map(Rivals::voters).any(|voter| !kept.contains(voter)) {
        cycle.wake_in(100);
        return false;
    }
    cycle.push(Action::SetSyncNames { names: names.to_owned() });
    cycle.wake_in(50);
    false
}
