//! Which standbys confirm commits, and the order in which record and names change (A16–A18).
//!
//! ```text
//!   goal: names N* with record R*      at every instant: the names in force suit the record and every write under way
//!   N* suits R ────────────> set N*, in force, caught up ──> record R*
//!   R less its dead voters is suited ──> record that first
//!   else a step in between: wider names (sync) or a wider record (quorum), while enough of them live
//!   else V = {}: until N* has caught up only this holder may lead
//! ```

use std::collections::BTreeSet;

use pgha_schema::desired::{Desired, Durability, SyncMode};
use pgha_schema::ids::MemberId;
use pgha_schema::lsn::Lsn;
use pgha_schema::record::Record;
use pgha_schema::status::Role;

use crate::cycle::Cycle;
use crate::decision::{Action, Lack, Memory};
use crate::divergence::{self, Place};
use crate::failsafe::Rivals;
use crate::observation::{Observation, PrimarySeen, Walsender, ordinal_of};
use crate::sync_names::{Names, Pair};

/// A standby further behind is not named: commits would wait for its backlog.
const NEAR_BYTES: u64 = 1 << 20;
/// A walsender without a reply for this long does not count: standbys reply once a second at least.
const SILENT_MS: u64 = 2_000;

fn wanted(wish: &Desired) -> usize {
    wish.sync_replicas.max(1) as usize
}

/// Names that a primary starts with: they wait at least for every V that may be in force, and for no fewer than were wished
/// unless the record says so.
pub(crate) fn names_at_start(seen: &Observation, memory: &Memory, record: &Record) -> Names {
    let own = Rivals::of(record);
    let all: Vec<&Rivals> = std::iter::once(&own).chain(&memory.unsettled).collect();
    if all.iter().all(|rivals| rivals.voters().is_empty()) {
        let alone = record.mode == SyncMode::Async || record.degraded;
        return if alone { Names::Empty } else { Names::Nobody };
    }
    let names = Names::for_all(all.into_iter());
    let fewer = seen.wish().is_some_and(|wish| names.number() < wanted(wish));
    if fewer && record.mode != SyncMode::Async && !record.degraded { Names::Nobody } else { names }
}

/// Names that a member promotes with: the best of the others, so that commits flow as soon as they stream.
pub(crate) fn names_at_promotion(seen: &Observation, record: &Record) -> Names {
    if record.mode == SyncMode::Async || (record.degraded && record.voters.is_empty()) {
        return Names::Empty;
    }
    if !record.voters.is_empty() {
        return Names::for_all([Rivals::of(record)].iter());
    }
    let Some(wish) = seen.wish() else { return Names::Nobody };
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
    if fit.len() < wanted(wish) {
        return Names::Nobody;
    }
    let named = if wish.sync_mode == SyncMode::Quorum { fit.len() } else { wanted(wish) };
    let members = fit.into_iter().take(named).map(|(_, member)| member).collect();
    Pair::of(wish.sync_mode, wanted(wish), &members).names
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
        (SyncMode::Async, SyncMode::Sync | SyncMode::Quorum) => {
            // Widens: recorded first.
            next.mode = SyncMode::Async;
            next.voters.clear();
            next.quorum = 1;
            next.degraded = false;
            false
        }
        (SyncMode::Async, SyncMode::Async) => {
            cycle.memory.lack = None;
            show(cycle, record, primary, &Names::Empty)
        }
        (SyncMode::Sync | SyncMode::Quorum, _) => {
            let standbys = Standbys::look(cycle, record, primary, wish);
            if standbys.fit.len() >= wanted(wish) {
                cycle.memory.lack = None;
                let goal = Goal::of(&standbys, wish, wanted(wish), false);
                approach(cycle, record, primary, next, &goal)
            } else {
                lack(cycle, record, primary, next, &standbys)
            }
        }
    }
}

/// The standbys as the primary sees them.
struct Standbys {
    /// Those that may confirm, best first; the flag: better not, it is about to restart.
    fit: Vec<(bool, MemberId)>,
    alive: BTreeSet<MemberId>,
}

impl Standbys {
    fn look(cycle: &Cycle<'_>, record: &Record, primary: &PrimarySeen, wish: &Desired) -> Self {
        let shown = Names::parse(&primary.names_shown).members();
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
                let avoided = is_avoided(cycle, record, &member);
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
        let fit = candidates.into_iter().map(|(avoided, .., member)| (avoided, member)).collect();
        Self { fit, alive }
    }

    /// `sync` names so many; `quorum` all but those that are about to restart, when enough are left.
    fn named(&self, mode: SyncMode, number: usize) -> BTreeSet<MemberId> {
        self.fit
            .iter()
            .enumerate()
            .filter(|(at, (avoided, _))| *at < number || (mode == SyncMode::Quorum && !avoided))
            .map(|(_, (_, member))| member.clone())
            .collect()
    }

    fn living(&self, members: &BTreeSet<MemberId>) -> BTreeSet<MemberId> {
        members.intersection(&self.alive).cloned().collect()
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

/// A member that is about to restart or to be cloned anew is named only when there is no other.
fn is_avoided(cycle: &Cycle<'_>, record: &Record, member: &MemberId) -> bool {
    record.reinit.as_ref().is_some_and(|reinit| reinit.member == *member)
        || cycle.seen.reports().any(|report| report.member.as_ref() == Some(member) && report.pending_restart)
        || cycle.seen.pods.iter().any(|(pod, at)| {
            at.deleting && cycle.seen.heard(pod).is_some_and(|report| report.member.as_ref() == Some(member))
        })
}

/// Where names and record are to come to.
struct Goal<'a> {
    mode: SyncMode,
    pair: Pair,
    /// Fewer confirm than were wished.
    degraded: bool,
    standbys: &'a Standbys,
}

impl<'a> Goal<'a> {
    fn of(standbys: &'a Standbys, wish: &Desired, number: usize, degraded: bool) -> Self {
        let mode = wish.sync_mode;
        Self { mode, pair: Pair::of(mode, number, &standbys.named(mode, number)), degraded, standbys }
    }
}

/// The next thing to do on the way to a goal.
enum Step {
    /// Bring these names in force, and the goal into the record once it has caught up.
    Force(Names),
    /// Write this into the record: whoever may take by it could take by the present one too.
    Write(Rivals),
}

/// A step after which the names in force still suit the record, whenever it is cut off.
fn step(now: &Rivals, goal: &Goal<'_>) -> Step {
    let Pair { names, voters, quorum } = &goal.pair;
    if names.suits(now) {
        return Step::Force(names.clone());
    }
    // Any q of fewer are q of the present ones.
    let left = Rivals::new(goal.standbys.living(now.voters()), now.quorum());
    if left.voters().len() >= now.quorum() && names.suits(&left) {
        return Step::Write(left);
    }
    let wider_names = || {
        let all: BTreeSet<MemberId> = names.members().union(now.voters()).cloned().collect();
        let number = (all.len() + 1).saturating_sub(now.quorum().min(*quorum));
        let names = Names::waits(number < all.len(), number, &all);
        (goal.standbys.living(&all).len() >= number).then_some(Step::Force(names))
    };
    let wider_record = || {
        let all: BTreeSet<MemberId> = now.voters().union(voters).cloned().collect();
        // So many of these hold q of the present ones among them, and meet the goal's names.
        let kept = now.quorum() + all.len() - now.voters().len();
        let meets = (names.members().union(&all).count() + 1).saturating_sub(names.number());
        let quorum = kept.max(meets);
        (goal.standbys.living(&all).len() >= quorum).then(|| Step::Write(Rivals::new(all, quorum)))
    };
    let between = match goal.mode {
        SyncMode::Quorum => wider_record().or_else(wider_names),
        SyncMode::Sync | SyncMode::Async => wider_names().or_else(wider_record),
    };
    // Those that are gone can't confirm: until the new ones have caught up only this holder may lead.
    between.unwrap_or_else(|| Step::Write(Rivals::new(BTreeSet::new(), 1)))
}

/// Brings names and record to the goal, one step a cycle. Returns whether it is there.
fn approach(
    cycle: &mut Cycle<'_>,
    record: &Record,
    primary: &PrimarySeen,
    next: &mut Record,
    goal: &Goal<'_>,
) -> bool {
    let pair = &goal.pair;
    // Before the first commit that fewer confirm.
    let lowers_unrecorded = goal.degraded && !record.degraded;
    next.degraded = record.degraded || goal.degraded;
    let recorded =
        record.mode == goal.mode && record.voters == pair.voters && record.quorum as usize == pair.quorum;
    if recorded {
        next.degraded = goal.degraded;
        next.confirmed = confirmed(primary, pair);
        return !lowers_unrecorded
            && show(cycle, record, primary, &pair.names)
            && record.degraded == goal.degraded;
    }
    match step(&Rivals::of(record), goal) {
        Step::Write(rivals) => {
            next.quorum = rivals.quorum() as u32;
            next.voters.clone_from(rivals.voters());
        }
        Step::Force(_) if lowers_unrecorded => {}
        Step::Force(names) => {
            if show(cycle, record, primary, &names) && is_caught_up(cycle, primary, &names, pair) {
                next.mode = goal.mode;
                next.voters.clone_from(&pair.voters);
                next.quorum = pair.quorum as u32;
                next.degraded = goal.degraded;
                next.confirmed = confirmed(primary, pair);
            }
            cycle.wake_in(100);
        }
    }
    false
}

/// The names are in force, and whatever was acknowledged without them is where the goal's record will look for it: any q of
/// its voters hold one that has flushed it.
fn is_caught_up(cycle: &mut Cycle<'_>, primary: &PrimarySeen, names: &Names, pair: &Pair) -> bool {
    let text = names.to_string();
    let Some(in_force) = primary.in_force.as_ref().filter(|in_force| in_force.names == text) else {
        let checkpoint = !cycle.memory.names_never_empty;
        cycle.push(Action::ConfirmInForce { names: text, checkpoint });
        return false;
    };
    let there = primary
        .walsenders
        .iter()
        .filter(|sender| confirms(sender) && sender.flushed_lsn >= in_force.from_lsn)
        .filter(|sender| pair.voters.iter().any(|member| member.as_str() == sender.application_name))
        .count();
    there + pair.quorum > pair.voters.len()
}

/// The position that as many of them have flushed as have to confirm.
fn confirmed(primary: &PrimarySeen, pair: &Pair) -> Lsn {
    let mut flushed: Vec<Lsn> = primary
        .walsenders
        .iter()
        .filter(|sender| pair.voters.iter().any(|member| member.as_str() == sender.application_name))
        .map(|sender| sender.flushed_lsn)
        .collect();
    flushed.sort_unstable_by(|one, other| other.cmp(one));
    pair.names.number().checked_sub(1).and_then(|at| flushed.get(at)).copied().unwrap_or_default()
}

/// Too few standbys confirm: `required` waits, `preferred` goes on with fewer after a while, recorded before (A18).
fn lack(
    cycle: &mut Cycle<'_>,
    record: &Record,
    primary: &PrimarySeen,
    next: &mut Record,
    standbys: &Standbys,
) -> bool {
    let Some(wish) = cycle.seen.wish() else { return false };
    let count = standbys.fit.len();
    // One more that goes is waited for anew: it may come back.
    let since_ms = match cycle.memory.lack {
        Some(Lack { since_ms, standbys }) if standbys <= count => since_ms,
        Some(_) | None => cycle.seen.now_ms,
    };
    cycle.memory.lack = Some(Lack { since_ms, standbys: count });
    let alone = wish.replicas == 0;
    let waited = alone || cycle.elapsed_ms(since_ms) >= cycle.timing.degrade_after_ms();
    if !waited {
        cycle.wake_at(since_ms.saturating_add(cycle.timing.degrade_after_ms()));
    }
    match wish.durability {
        Durability::Preferred if waited && count > 0 => {
            let goal = Goal::of(standbys, wish, count, true);
            approach(cycle, record, primary, next, &goal)
        }
        Durability::Preferred if waited => {
            next.mode = wish.sync_mode;
            next.voters.clear();
            next.quorum = 1;
            next.degraded = true;
            let recorded = record.mode == next.mode && record.voters.is_empty() && record.degraded;
            recorded && show(cycle, record, primary, &Names::Empty)
        }
        Durability::Preferred => {
            hold(cycle, record, primary);
            false
        }
        // Nothing more is acknowledged, so whoever has come this far may vote: with V empty only this holder could lead.
        Durability::Required if record.mode != SyncMode::Async && record.voters.is_empty() && count > 0 => {
            let voters = standbys.named(SyncMode::Sync, count);
            let pair = Pair { names: Names::Nobody, voters, quorum: 1 };
            let goal = Goal { mode: wish.sync_mode, pair, degraded: false, standbys };
            approach(cycle, record, primary, next, &goal);
            false
        }
        Durability::Required => {
            hold(cycle, record, primary);
            false
        }
    }
}

/// What was in force stays so; never fewer confirm.
fn hold(cycle: &mut Cycle<'_>, record: &Record, primary: &PrimarySeen) {
    let alone = record.mode == SyncMode::Async || (record.degraded && record.voters.is_empty());
    let shown = Names::parse(&primary.names_shown);
    if alone {
        // Async is what is acknowledged until enough standbys stream; names that wait for one that left go.
        show(cycle, record, primary, &Names::Empty);
    } else if shown == Names::Empty || !shown.suits(&Rivals::of(record)) {
        let names = names_at_start(cycle.seen, &cycle.memory, record);
        show(cycle, record, primary, &names);
    }
}

/// Sets the names when a new connection shows others. Returns whether they are shown. A write of the record whose outcome is
/// not known may have landed: until the version moves, names that do not suit it are not set (A16).
fn show(cycle: &mut Cycle<'_>, record: &Record, primary: &PrimarySeen, names: &Names) -> bool {
    let text = names.to_string();
    if primary.names_shown == text {
        return true;
    }
    let own = Rivals::of(record);
    if !std::iter::once(&own).chain(&cycle.memory.unsettled).all(|rivals| names.suits(rivals)) {
        cycle.wake_in(100);
        return false;
    }
    cycle.push(Action::SetSyncNames { names: text });
    cycle.wake_in(50);
    false
}
