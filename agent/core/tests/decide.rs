//! Sentences about `decide`, each on the whole list of orders.

mod builders;
mod fuzz;

use builders::{NOW, Seen, check, events, passwords, seen};
use pgha_agent_core::decision::{Reason, Settling};
use pgha_agent_core::observation::{ControlState, Gate, Job};
use pgha_schema::desired::{Credentials, Durability, RunState, SyncMode};
use pgha_schema::ids::Era;
use pgha_schema::request::{Asked, Request};
use pgha_schema::status::{Acknowledged, AgentReport, ClusterStatus, RefusedSettings, Role};

#[test]
fn an_empty_member_takes_the_pending_record_at_once() {
    check(&seen().pending(), "WriteRecord(db-0 era 0 V=[]): TakePending");
}

#[test]
fn nobody_bootstraps_beside_a_volume_that_tells_of_data() {
    check(&seen().pending().stamped(1), ": WaitsForBootstrap");
}

#[test]
fn a_member_with_data_never_bootstraps() {
    check(&seen().down(ControlState::ShutDown).pending(), ": WaitsForBootstrap");
}

#[test]
fn a_holder_whose_renewal_is_overdue_fences_first() {
    check(&seen().primary().held_by_me().renewed_ago(6_000), "Fence: RenewalOverdue");
}

#[test]
fn a_holder_just_before_its_deadline_renews_instead() {
    check(&seen().primary().held_by_me().renewed_ago(5_999), "WriteRecord(db-0 era 1 V=[m1]): Leading");
}

#[test]
fn a_holder_that_its_voters_acknowledge_stays_without_the_api_server() {
    let away = seen().primary().held_by_me().renewed_ago(7_000);
    let renews = "WriteRecord(db-0 era 1 V=[m1]): Leading";
    check(&away.clone().turned(2_000), "Fence: RenewalOverdue");
    check(&away.clone().acknowledged("m1", 3_000).turned(2_000), renews);
    check(&away.clone().acknowledged("m2", 3_000).turned(2_000), "Fence: RenewalOverdue");
    // A lead that was over before it was acknowledged is over.
    check(&away.clone().acknowledged("m1", 500), "Fence: RenewalOverdue");
    // Of three voters two have to acknowledge when two are enough to take.
    let three = away.voters(&["m1", "m2", "m3"]).quorum(2).acknowledged("m1", 3_000);
    check(&three.clone().turned(2_000), "Fence: RenewalOverdue");
    check(
        &three.acknowledged("m2", 3_000).turned(2_000),
        "WriteRecord(db-0 era 1 V=[m1,m2] q=2): LeadingSettling(SyncSet)",
    );
}

#[test]
fn a_holder_that_alone_may_lead_stays_unasked_and_in_async_nobody_vouches() {
    let away = seen().primary().held_by_me().streams(&[]).renewed_ago(7_000);
    check(&away.clone().voters(&[]).turned(2_000), "WriteRecord(db-0 era 1 V=[]): LeadingSettling(SyncSet)");
    check(&away.recorded_async().acknowledged("m1", 100).turned(2_000), "Fence: RenewalOverdue");
}

#[test]
fn in_async_every_recorded_member_has_to_vouch_and_is_bound_by_it() {
    let away = seen().primary().held_by_me().renewed_ago(7_000).recorded_async();
    let both = away.clone().acknowledged("m1", 3_000).acknowledged("m2", 3_000);
    check(
        &both.clone().turned(2_000),
        "WriteRecord(db-0 era 1 V=[] async), SetSyncNames(): LeadingSettling(SyncSet)",
    );
    check(&both.unasked().turned(2_000), "Fence: RenewalOverdue");
    let other = seen().standby().detached().held_by("db-1", "m1").recorded_async().unchanged_for(60_000);
    check(&other.clone().vouched_ago(10_000), "WriteRecord(db-0 era 2 V=[] async): TakeExpired");
    check(&other.clone().vouched_ago(9_999), "Follow(db-1): Following");
    check(&other.unrecorded(), ": MayNotLead(NotRecorded)");
}

#[test]
fn a_stream_that_may_be_plain_is_made_anew_once_the_holder_has_a_certificate() {
    let plain = seen().standby().held_by("db-1", "m1").unchanged_for(1_000);
    check(&plain, ": Following");
    check(&plain.holder_has_certificate(), "Follow(db-1): Following");
}

#[test]
fn who_takes_or_may_have_taken_acknowledges_nobody() {
    let other = seen().standby().held_by("db-1", "m1").recorded_async().unchanged_for(1_000);
    assert_eq!(other.clone().acknowledges(), Some("old1 in era 1, when asked".to_owned()));
    assert_eq!(other.clone().tried_to_take().acknowledges(), None);
    assert_eq!(other.clone().detached().unchanged_for(60_000).acknowledges(), None);
    assert_eq!(other.promised("5").acknowledges(), None);
    let lost = seen().standby().held_by("db-1", "m1").keeps_what_is_recorded().lost(1_000);
    assert_eq!(lost.acknowledges(), Some("old1 in era 1".to_owned()));
}

#[test]
fn a_lost_lease_is_made_again_by_its_holder_only_when_nobody_can_have_taken_it() {
    let lost = seen().primary().held_by_me().renewed_ago(3_000).turned(100).lost(1_000);
    check(&lost, "ReadLease: RecreateLease");
    check(&lost.clone().acknowledged("m1", 1_001), "ReadLease: RecreateLease");
    check(&lost.acknowledged("m1", 900), "CreateLease(db-0 era 1 V=[m1]), ReadLease: RecreateLease");
    let alone = seen().primary().held_by_me().voters(&[]).renewed_ago(3_000).turned(100).lost(1_000);
    check(&alone, "CreateLease(db-0 era 1 V=[]), ReadLease: RecreateLease");
}

#[test]
fn what_is_open_in_an_old_record_may_have_been_done_in_the_lost_one() {
    let standby = seen().standby().detached().held_by("db-1", "m1").keeps_what_is_recorded().lost(10_000);
    check(&standby, "ReadLease, CreateLease(db-0 era 2 V=[]): RecreateLease");
    let asked = Asked::Switchover { to: Some("db-2".to_owned()) };
    let text = "Failed: the Lease was lost: whether this was done is not known; ask again";
    let given_up = format!("ReadLease, CreateLease(db-0 era 2 V=[] {text}): RecreateLease");
    check(&standby.clone().wished(asked.clone()), &given_up);
    check(&standby.clone().requested(asked, 20_000), &given_up);
    check(
        &standby.requested(Asked::Resume, 20_000),
        "ReadLease, CreateLease(db-0 era 2 V=[]): RecreateLease",
    );
}

#[test]
fn what_ended_a_promise_is_kept_before_the_promise_goes() {
    let out = seen().standby().detached().held_by("db-1", "m1").voters(&["m2"]).promised("4");
    assert_eq!(out.keeps(), ["keep", "drop"]);
}

#[test]
fn quorum_records_a_new_standby_first_and_drops_a_lost_one_from_the_names_first() {
    let quorum =
        seen().primary().held_by_me().renewed_ago(100).wish(|wish| wish.sync_mode = SyncMode::Quorum);
    let one = quorum.clone().recorded_quorum(&["m1"], 1).shows("ANY 1 (m1)").followed_by(2);
    check(&one, "WriteRecord(db-0 era 1 V=[m1,m2] q=2 quorum): LeadingSettling(SyncSet)");
    let both = quorum.recorded_quorum(&["m1", "m2"], 2);
    check(&both.clone().shows("ANY 1 (m1)"), "SetSyncNames(ANY 1 (m1, m2)): LeadingSettling(SyncSet)");
    check(&both.clone().shows("ANY 1 (m1, m2)"), ": Leading");
    let lost = both.shows("ANY 1 (m1, m2)").streams(&["m1"]);
    check(&lost, "SetSyncNames(ANY 1 (m1)): LeadingSettling(SyncSet)");
    let forced = lost.shows("ANY 1 (m1)");
    check(&forced, "ConfirmInForce(ANY 1 (m1)): LeadingSettling(SyncSet)");
    check(&forced.in_force(1_000), "WriteRecord(db-0 era 1 V=[m1] quorum): LeadingSettling(SyncSet)");
}

#[test]
fn a_standby_that_replays_too_far_behind_leaves_ro_and_is_back_within_half_of_it() {
    let leads = || seen().primary().held_by_me().renewed_ago(100);
    let bound = || leads().wish(|wish| wish.failover.ro_max_lag_bytes = Some(400));
    assert_eq!(leads().replays(1, 0, true).reads(1), None);
    assert_eq!(bound().replays(1, 600, true).reads(1), None);
    assert_eq!(bound().replays(1, 599, true).reads(1), Some(false));
    assert_eq!(bound().replays(1, 799, false).reads(1), None);
    assert_eq!(bound().replays(1, 800, false).reads(1), Some(true));
}

#[test]
fn of_two_that_had_to_confirm_one_is_given_up_in_the_record_first() {
    let two = seen()
        .primary()
        .held_by_me()
        .renewed_ago(100)
        .voters(&["m1", "m2"])
        .shows("FIRST 2 (m1, m2)")
        .wish(|wish| wish.sync_replicas = 2)
        .streams(&["m1"]);
    check(&two, ": LeadingSettling(SyncSet)");
    check(&two.unconfirmed_for(3_000), "WriteRecord(db-0 era 1 V=[m1] degraded): LeadingSettling(SyncSet)");
}

#[test]
fn a_primary_whose_record_another_took_fences() {
    check(&seen().primary().held_by("db-1", "m1"), "Fence: LeaseTaken(\"db-1\")");
}

#[test]
fn the_gate_stays_shut_until_a_renewal_that_was_sent_after_the_start() {
    let shut = seen().primary().gate(Gate::Closed).held_by_me().primary_for(500);
    check(&shut.clone().renewed_ago(1_000), "WriteRecord(db-0 era 1 V=[m1]): LeadingSettling(Gate)");
    check(&shut.renewed_ago(400), "OpenGate: LeadingSettling(Gate)");
}

#[test]
fn clients_are_let_in_for_the_first_time_once_the_own_claim_tells_of_the_data() {
    let shut = never_open();
    let unmarked = shut.clone().unmarked(0);
    check(&unmarked, ": LeadingSettling(Gate)");
    assert_eq!(unmarked.marks(), Some(vec![0]));
    assert_eq!(unmarked.clone().turned(499).marks(), None, "it is on its way");
    assert_eq!(unmarked.turned(500).marks(), Some(vec![0]));
    check(&shut.stamped(0), "KeepMarks(anchor 7), OpenGate: LeadingSettling(Gate)");
}

fn never_open() -> Seen {
    seen().primary().gate(Gate::Closed).held_by_me().primary_for(500).renewed_ago(400).let_nobody_in()
}

#[test]
fn who_let_clients_in_does_so_again_though_kubernetes_shows_no_mark() {
    check(&never_open().unlisted(), ": LeadingSettling(Gate)");
    let opens = "OpenGate: LeadingSettling(Gate)";
    let did = never_open().let_in_under("anchor", 7);
    check(&did.clone().unlisted(), opens);
    check(&did.clone().unmarked(0), opens);
    check(&did.stamped(0), opens);
    // Other data, or a cluster that was made anew over its volumes, whose StatefulSet tells of nothing yet.
    for (anchor, identifier) in [("anchor", 8), ("another", 7)] {
        let other = never_open().let_in_under(anchor, identifier);
        check(&other.clone().unlisted(), ": LeadingSettling(Gate)");
        check(&other.stamped(0), "KeepMarks(anchor 7), OpenGate: LeadingSettling(Gate)");
    }
    // Whatever is kept here, initdb's own marker and a pending record stand as they did.
    check(&seen().pending().primary().held_by_me().renewed_ago(100).unlisted(), ": ForeignData");
}

#[test]
fn what_let_clients_in_is_kept_also_where_they_are_in_already() {
    let serves = seen().primary().held_by_me().renewed_ago(100).let_nobody_in();
    check(&serves.clone().stamped(0), "KeepMarks(anchor 7): Leading");
    check(&serves.clone().unmarked(0), ": Leading");
    check(&serves.unlisted(), ": Leading");
}

#[test]
fn a_mark_that_is_refused_holds_up_nothing_once_clients_were_let_in() {
    let serves = seen().primary().held_by_me().renewed_ago(100).stamped(0).unmarked(1).followed_by(1);
    let goes_on = "WriteRecord(db-0 era 1 V=[m1]): Leading";
    check(&serves, goes_on);
    assert_eq!(serves.marks(), Some(vec![1]));
    assert_eq!(serves.clone().turned(4_999).marks(), None);
    assert_eq!(serves.clone().turned(5_000).marks(), Some(vec![1]));
    let refused = serves.next().marks_refused();
    check(&refused, goes_on);
    let words = "Kubernetes does not let the volumes be marked with the identifier of their data: forbidden";
    assert_eq!(refused.status().unwrap().activity, [words]);
    assert_eq!(events(&refused), [format!("VolumesNotMarked: {words}")]);
    let told = refused.next();
    assert_eq!(events(&told), [""; 0], "once");
    // One more that has data is not left waiting for the one that is refused.
    assert_eq!(told.clone().unmarked(2).followed_by(2).marks(), Some(vec![1, 2]));
    let away = told.clone().streams(&["m2"]);
    assert_eq!((away.marks(), events(&away.next())), (None, Vec::new()), "it is unmarked nevertheless");
    let marked = told.stamped(1);
    assert_eq!(marked.marks(), None);
    assert_eq!(events(&marked), ["VolumesMarked: the volumes with data are marked with its identifier"]);
}

#[test]
fn a_voter_leaves_the_stream_before_it_takes() {
    let voter = seen().standby().held_by("db-1", "m1").voters(&["m0"]).unchanged_for(2_500);
    check(&voter, "GivePromise(5), LeaveStream: GathersPromises");
    check(&voter.clone().promised("5"), "LeaveStream: LeavesStream");
    check(&voter.promised("5").detached(), "WriteRecord(db-0 era 2 V=[]): TakeSilent");
}

#[test]
fn a_silent_holder_is_pre_empted_only_when_its_record_is_unchanged_too() {
    let voter = seen().standby().held_by("db-1", "m1").voters(&["m0"]);
    check(&voter.clone().unchanged_for(2_499), ": Following");
    check(&voter.clone().unchanged_for(2_500).heartbeat_ago(1_499), ": Following");
    check(&voter.unchanged_for(2_500).heartbeat_ago(1_500), "GivePromise(5), LeaveStream: GathersPromises");
}

#[test]
fn expiry_is_no_reason_while_heartbeats_arrive() {
    let voter = seen().standby().held_by("db-1", "m1").voters(&["m0"]).unchanged_for(60_000);
    check(&voter.heartbeat_ago(100), ": Following");
}

#[test]
fn a_dead_container_on_a_live_machine_is_pre_empted_at_once() {
    let voter = seen().standby().held_by("db-1", "m1").voters(&["m0"]).unchanged_for(1_000);
    check(
        &voter.clone().refused_at(1, 100).heartbeat_ago(400),
        "GivePromise(5), LeaveStream: GathersPromises",
    );
    check(&voter.refused_at(2, 100).heartbeat_ago(400), ": Following");
}

#[test]
fn the_swap_carries_exactly_the_promised_version() {
    let voter = seen().standby().detached().held_by("db-1", "m1").voters(&["m0"]).unchanged_for(2_500);
    check(&voter.promised("4"), "DropPromise, GivePromise(5): GathersPromises");
}

#[test]
fn a_promise_keeps_postgres_out_of_the_stream_from_its_start_until_an_uncached_read_ends_it() {
    let down = seen().down(ControlState::InRecovery).held_by("db-1", "m1").voters(&["m0"]);
    check(&down.clone().promised("5"), "StartPostgres(standby of nobody, FIRST 1 (pgha_nobody)): Following");
    check(
        &down.clone().promised("4").cached(),
        "ReadLease, StartPostgres(standby of nobody, FIRST 1 (pgha_nobody)): Following",
    );
    check(
        &down.promised("4"),
        "DropPromise, StartPostgres(standby of db-1, FIRST 1 (pgha_nobody)): Following",
    );
    let out = seen().standby().detached().held_by("db-1", "m1").voters(&["m0"]);
    check(&out.promised("5"), ": HoldsPromise");
}

#[test]
fn a_member_that_is_asked_promises_only_when_it_hears_nothing_either() {
    let voter = seen().standby().held_by("db-1", "m1").voters(&["m0"]).unchanged_for(1_600).asked("5");
    check(&voter, "GivePromise(5), LeaveStream: HoldsPromise");
    check(&voter.clone().heartbeat_ago(1_000), ": Following");
    check(&voter.clone().asked("4"), ": Following");
    check(&voter.clone().cached(), "ReadLease: Following");
    // Outside V it tells how far it has come, and who is recorded nowhere tells nobody.
    check(&voter.clone().voters(&["m2"]), "GivePromise(5), LeaveStream: HoldsPromise");
    check(&voter.clone().voters(&["m2"]).unrecorded(), ": Following");
    check(&voter.voters(&[]), ": Following");
}

#[test]
fn a_quorum_of_promises_is_needed_and_none_of_them_may_be_ahead() {
    let voter = seen()
        .standby()
        .held_by("db-1", "m1")
        .voters(&["m0", "m2"])
        .quorum(2)
        .unchanged_for(2_500)
        .promised("5")
        .detached();
    check(&voter, ": GathersPromises");
    check(&voter.clone().promise_of(2, 1_001), ": HoldsPromise");
    check(&voter.clone().promise_of(2, 1_001).stands_since(1_000), ": GathersPromises");
    check(&voter.promise_of(2, 1_000), "WriteRecord(db-0 era 2 V=[]): TakeSilent");
}

#[test]
fn a_member_of_v_lets_who_is_ahead_of_it_lead_for_a_second() {
    let voter = seen().standby().detached().held_by("db-1", "m1").voters(&["m0"]).terminated(1);
    let takes = "WriteRecord(db-0 era 2 V=[]): TakeProven";
    check(&voter.clone().promise_of(2, 1_000), takes);
    let behind = voter.clone().promise_of(2, 1_001);
    check(&behind, "GivePromise(5): GathersPromises");
    check(&behind.clone().promised("5"), ": HoldsPromise");
    check(&behind.clone().promised("5").stands_since(999), ": HoldsPromise");
    check(&behind.promised("5").stands_since(1_000), takes);
    // Who answers and has not told how far it has come is waited for less.
    let unknown = voter.followed_by(2);
    check(&unknown.clone().stands_since(199), ": GathersPromises");
    check(&unknown.stands_since(200), takes);
}

#[test]
fn outside_v_who_was_asked_and_is_ahead_takes_with_promises_of_v() {
    let asked = seen().standby().detached().held_by("db-1", "m1").voters(&["m2"]).terminated(1).promised("5");
    let takes = "WriteRecord(db-0 era 2 V=[]): TakeProven";
    check(&asked, ": HoldsPromise");
    check(&asked.clone().promise_of(2, 999), takes);
    check(&asked.clone().promise_of(2, 1_001), ": HoldsPromise");
    check(&asked.clone().promise_of(2, 1_001).stands_since(1_000), ": GathersPromises");
    // Among equals V goes first, and has had its time after a second.
    check(&asked.clone().promise_of(2, 1_000), ": HoldsPromise");
    check(&asked.clone().promise_of(2, 1_000).stands_since(1_000), takes);
    // Two have to promise where two are needed, and its own is none of them.
    let two = asked.clone().voters(&["m2", "m3"]).quorum(2).promise_of(2, 999);
    check(&two, ": GathersPromises");
    check(
        &asked.clone().voters(&["m2"]).promise_of(2, 999).promised("4"),
        "DropPromise: MayNotLead(NotAVoter)",
    );
}

#[test]
fn in_async_a_member_waits_for_the_whole_lease() {
    let other = seen().standby().held_by("db-1", "m1").recorded_async();
    check(&other.clone().unchanged_for(9_999), ": Following");
    check(&other.detached().unchanged_for(10_000), "WriteRecord(db-0 era 2 V=[] async): TakeExpired");
}

#[test]
fn expiry_counts_only_by_an_uncached_read_after_it() {
    let other = seen().standby().held_by("db-1", "m1").recorded_async().unchanged_for(10_000);
    check(&other.cached(), "ReadLease: Following");
}

#[test]
fn in_sync_nobody_outside_v_takes() {
    let other = seen().standby().detached().held_by("db-1", "m1").unchanged_for(60_000);
    check(&other.clone().voters(&["m2"]), ": MayNotLead(NotAVoter)");
    check(&other.voters(&[]), ": MayNotLead(NoVoters)");
}

#[test]
fn proof_of_death_spares_the_wait() {
    check(
        &seen().standby().detached().held_by("db-1", "m1").voters(&["m0"]).terminated(1),
        "WriteRecord(db-0 era 2 V=[]): TakeProven",
    );
}

#[test]
fn a_release_is_taken_only_with_its_position() {
    let standby = seen().standby().detached().held_by("db-1", "m1").voters(&["m2"]);
    check(&standby.clone().released(1_000), "WriteRecord(db-0 era 2 V=[]): TakeReleased");
    check(&standby.released(1_001), ": MayNotLead(BehindRelease)");
}

#[test]
fn nobody_takes_over_a_stopped_cluster() {
    let standby = seen().standby().detached().held_by("db-1", "m1").voters(&["m0"]).released(1_000);
    check(&standby.wish(|wish| wish.state = RunState::Stopped), ": MayNotLead(Stopped)");
}

#[test]
fn the_holders_own_member_takes_its_record_again_at_once() {
    check(
        &seen().down(ControlState::InProduction).held_by("db-0", "m0"),
        "WriteRecord(db-0 era 1 V=[m1]): TakeAgain",
    );
}

#[test]
fn a_holder_starts_primary_data_as_primary_and_standby_data_as_standby() {
    check(
        &seen().down(ControlState::InProduction).held_by_me().renewed_ago(100),
        "StartPostgres(primary, FIRST 1 (m1)): LeadingSettling(Starting)",
    );
    check(
        &seen().down(ControlState::InRecovery).held_by_me().renewed_ago(100),
        "StartPostgres(standby of nobody, FIRST 1 (pgha_nobody)): LeadingSettling(Starting)",
    );
}

#[test]
fn nothing_starts_as_primary_without_a_good_renewal() {
    check(
        &seen().down(ControlState::InProduction).held_by_me(),
        "WriteRecord(db-0 era 1 V=[m1]): LeadingSettling(Starting)",
    );
}

#[test]
fn a_voter_that_is_gone_leaves_the_record_before_the_names_change() {
    check(
        &seen().primary().held_by_me().renewed_ago(100).streams(&["m2"]).followed_by(2),
        "WriteRecord(db-0 era 1 V=[]): LeadingSettling(SyncSet)",
    );
}

#[test]
fn a_standby_whose_agent_does_not_know_the_era_yet_is_no_voter() {
    let alone = seen().primary().held_by_me().renewed_ago(100).voters(&[]).streams(&["m2"]);
    let shows = alone.clone().followed_by(2);
    check(&shows, "WriteRecord(db-0 era 1 V=[]), SetSyncNames(FIRST 1 (m2)): LeadingSettling(SyncSet)");
    check(&alone, ": LeadingSettling(SyncSet)");
}

#[test]
fn names_stay_while_a_write_that_needs_them_may_have_landed() {
    let alone = seen().primary().held_by_me().renewed_ago(100).voters(&[]).streams(&[]).degraded();
    check(&alone, "SetSyncNames(): LeadingSettling(SyncSet)");
    check(&alone.tried(&["m1"]), ": LeadingSettling(SyncSet)");
}

#[test]
fn preferred_degrades_in_the_record_first_and_required_never() {
    let alone = seen().primary().held_by_me().renewed_ago(100).streams(&[]).unconfirmed_for(3_000);
    check(&alone, "WriteRecord(db-0 era 1 V=[] degraded): LeadingSettling(SyncSet)");
    check(&alone.wish(|wish| wish.durability = Durability::Required), ": LeadingSettling(SyncSet)");
}

#[test]
fn a_change_to_async_is_recorded_before_the_names_go() {
    let wished = seen().primary().held_by_me().renewed_ago(100).wish(|wish| wish.sync_mode = SyncMode::Async);
    check(&wished, "WriteRecord(db-0 era 1 V=[] async): LeadingSettling(SyncSet)");
    check(&wished.recorded_async(), "SetSyncNames(): LeadingSettling(SyncSet)");
}

#[test]
fn a_deleted_primary_checkpoints_while_it_serves() {
    check(&seen().primary().held_by_me().renewed_ago(100).told_to_stop(), "Checkpoint: HandingOver");
}

#[test]
fn a_deleted_primary_serves_on_until_kube_proxy_listens_again_when_somebody_can_take_over() {
    let primary = || seen().primary().held_by_me().renewed_ago(100);
    let alone = primary().told_to_stop().checkpointed();
    check(&alone.asked_to_go_ago(10), "StopPostgres { mode: Fast }: HandingOver");
    let with_standby = || primary().streamed_by(1, false).told_to_stop().checkpointed();
    check(&with_standby().asked_to_go_ago(550), "WriteRecord(db-0 era 1 V=[m1]): HandingOver");
    check(
        &with_standby().asked_to_go_ago(650),
        "WriteRecord(db-0 era 1 V=[m1]), StopPostgres { mode: Fast }: HandingOver",
    );
}

#[test]
fn a_pod_that_handed_over_stays_a_moment_to_refuse_whoever_still_comes() {
    let gone = seen().down(ControlState::ShutDown).held_by("db-1", "m1").told_to_stop();
    check(&gone.clone().released_ago(1_000), ": Released");
    check(&gone.clone().released_ago(1_600), "Exit: Terminating");
    check(&gone, "Exit: Terminating");
}

#[test]
fn a_cleanly_stopped_primary_that_was_told_to_end_releases() {
    check(
        &seen().down(ControlState::ShutDown).held_by_me().renewed_ago(100).told_to_stop(),
        "WriteRecord(db-0 era 1 V=[m1] released): HandingOver",
    );
}

#[test]
fn a_hung_disk_is_not_renewed_over() {
    check(&seen().primary().held_by_me().renewed_ago(2_500).disk_hung(), ": Leading");
}

#[test]
fn a_standby_without_room_asks_for_a_restartpoint_one_at_a_time() {
    let full = seen().standby().held_by("db-1", "m1").unchanged_for(1_000).disk_full();
    assert_eq!(full.also(), ["checkpoint"]);
    assert_eq!(full.clone().checkpoint(Job::Running { since_ms: NOW - 60_000 }).also(), [""; 0]);
    let asked_ago = |ms: u64| full.clone().checkpoint(Job::Done { since_ms: NOW - ms, at_ms: NOW });
    assert_eq!(asked_ago(5_000).also(), [""; 0]);
    assert_eq!(asked_ago(5_001).also(), ["checkpoint"]);
    assert_eq!(seen().standby().held_by("db-1", "m1").unchanged_for(1_000).also(), [""; 0]);
}

#[test]
fn a_primary_that_crashed_on_a_full_disk_gives_way_to_a_voter_with_room() {
    let crashed = seen().down(ControlState::InProduction).held_by_me().renewed_ago(100);
    let restarts = "StartPostgres(primary, FIRST 1 (m1)): LeadingSettling(Starting)";
    check(&crashed.clone().streamed_by(1, false), restarts);
    check(&crashed.clone().disk_full().streamed_by(1, false), "Exit: Restarting");
    // Its end would only move the trouble on, and back.
    check(&crashed.clone().disk_full().streamed_by(1, true), restarts);
    check(&crashed.disk_full().streamed_by(2, false), restarts);
}

/// The holder in the middle of an upgrade: it has renewed a moment ago, and nothing else is to be done.
fn holder_upgrades() -> builders::Seen {
    seen().primary().held_by_me().renewed_ago(100).new_agent_wished()
}

const AGENTS: &str = "LeadingSettling(Agents)";

#[test]
fn agents_are_exchanged_one_by_one_standbys_first_who_votes_later() {
    let old = holder_upgrades().agent_of(1, "old").agent_of(2, "old");
    check(&old, &format!("WriteRecord(db-0 era 1 V=[m1] exchange db-2): {AGENTS}"));
    // Until that one runs it: nothing.
    check(&old.clone().permitted("db-2"), &format!(": {AGENTS}"));
    let second = old.agent_of(2, "new");
    check(&second.clone().permitted("db-2"), &format!("WriteRecord(db-0 era 1 V=[m1]): {AGENTS}"));
    check(&second, &format!("WriteRecord(db-0 era 1 V=[m1] exchange db-1): {AGENTS}"));
    check(&second.paused(), ": Leading");
}

#[test]
fn a_voter_gives_up_its_agent_only_while_every_standby_streams() {
    let waits = holder_upgrades().agent_of(1, "old").agent_of(2, "new").streams(&["m1"]);
    check(&waits, &format!(": {AGENTS}"));
    // One that does not stream and does not vote loses nothing.
    let broken = holder_upgrades().agent_of(1, "old").agent_of(2, "old").streams(&["m1"]);
    check(&broken, &format!("WriteRecord(db-0 era 1 V=[m1] exchange db-2): {AGENTS}"));
}

#[test]
fn the_holder_goes_last_right_after_a_renewal_and_before_its_voters_would_miss_it() {
    let last = holder_upgrades().agent_of(1, "new").agent_of(2, "new");
    check(&last, &format!("ExchangeAgent(new within 1600, 3 tries): {AGENTS}"));
    check(&last.clone().renewed_ago(600), &format!(": {AGENTS}"));
    check(&last.clone().streams(&["m1"]), &format!(": {AGENTS}"));
    check(&last.clone().not_fetched(), &format!("FetchAgent(new): {AGENTS}"));
    check(&last.agent_of(1, "old"), &format!("WriteRecord(db-0 era 1 V=[m1] exchange db-1): {AGENTS}"));
}

#[test]
fn a_standby_exchanges_its_agent_when_the_holder_permits_it() {
    let standby = seen().standby().held_by("db-1", "m1").new_agent_wished();
    check(&standby, ": Following");
    check(&standby.clone().permitted("db-2"), ": Following");
    let permitted = standby.permitted("db-0");
    check(&permitted, "ExchangeAgent(new within 15000, 1 tries): Following");
    check(&permitted.clone().not_fetched(), "FetchAgent(new): Following");
    check(&permitted.clone().paused(), ": Following");
    check(&permitted.clone().refused_here(false, 9_000), ": Following");
    check(&permitted.clone().refused_here(true, 99_000), ": Following");
    check(
        &permitted.clone().refused_here(false, 11_000),
        "ExchangeAgent(new within 15000, 1 tries): Following",
    );
    // A newer document asks anew.
    let again = permitted.refused_here(true, 99_000).wish(|desired| desired.generation = 2);
    check(&again, "ApplySettings: Following");
}

#[test]
fn what_one_pod_has_refused_no_other_gets() {
    let refused = holder_upgrades().agent_of(1, "old").refused_by(2);
    check(&refused.clone().permitted("db-2"), &format!("WriteRecord(db-0 era 1 V=[m1]): {AGENTS}"));
    check(&refused, ": Leading");
    let last = holder_upgrades().agent_of(1, "new").agent_of(2, "new");
    check(&last.clone().refused_here(false, 1_000), &format!(": {AGENTS}"));
    check(&last.refused_here(true, 1_000), ": Leading");
}

#[test]
fn a_new_agent_takes_a_running_primary_over_as_it_is_and_stays_once_it_has_renewed() {
    let new = seen().primary().held_by_me().new_agent_wished().on_trial();
    let new = new.agent_of(1, "new").agent_of(2, "new");
    check(&new, "WriteRecord(db-0 era 1 V=[m1]): Leading");
    check(&new.renewed_ago(50), "StayAgent: Leading");
}

#[test]
fn a_new_agent_takes_a_running_standby_over_as_it_is_and_stays_once_it_has_read_the_record() {
    let new = seen().standby().held_by("db-1", "m1").new_agent_wished().on_trial();
    check(&new.clone().cached(), "ReadLease, SetSlots { slots: {1: None, 2: None} }: Following");
    check(&new, "SetSlots { slots: {1: None, 2: None} }, StayAgent: Following");
}

#[test]
fn a_new_agent_obeys_the_promise_of_the_one_before() {
    let promised = seen().standby().held_by("db-1", "m1").voters(&["m0"]).new_agent_wished().on_trial();
    check(
        &promised.promised("5").detached(),
        "SetSlots { slots: {1: None, 2: None} }, StayAgent: HoldsPromise",
    );
}

#[test]
fn in_a_pause_nobody_takes_over_but_the_holders_own_member() {
    let voter = seen().standby().detached().held_by("db-1", "m1").voters(&["m0"]).terminated(1).paused();
    check(&voter, ": MayNotLead(Paused)");
    check(&voter.lifted(), "WriteRecord(db-0 era 2 V=[]): TakeProven");
    check(
        &seen().down(ControlState::InProduction).held_by("db-0", "m0").paused(),
        "WriteRecord(db-0 era 1 V=[m1] paused): TakeAgain",
    );
}

#[test]
fn a_paused_primary_that_is_told_to_stop_leaves_itself_as_the_holder() {
    let stopped = seen().down(ControlState::ShutDown).held_by_me().renewed_ago(100).told_to_stop();
    let paused = stopped.followed_by(1).paused();
    check(&paused, "WriteRecord(db-0 era 1 V=[m1] released paused): HandingOver");
    let standby = seen().standby().detached().held_by("db-1", "m1").voters(&["m0"]).released(1_000).paused();
    check(&standby, ": MayNotLead(Paused)");
}

#[test]
fn a_broken_glass_lets_only_the_named_member_take_in_the_named_era_after_expiry() {
    let other = seen().standby().held_by("db-1", "m1").voters(&["m2"]).unchanged_for(60_000);
    check(&other, ": MayNotLead(NotAVoter)");
    check(&other.clone().broken_glass("m0", 1).unchanged_for(9_999), ": MayNotLead(NotAVoter)");
    check(&other.clone().broken_glass("m0", 1), "LeaveStream: LeavesStream");
    let out = other.detached();
    check(&out.clone().broken_glass("m0", 1), "WriteRecord(db-0 era 2 V=[]): TakeForced");
    check(&out.clone().broken_glass("m0", 2), ": MayNotLead(NotAVoter)");
    check(&out.clone().broken_glass("m9", 1), ": MayNotLead(NotAVoter)");
    // Whoever has every commit is not lost while it is heard, and a person's word ends a pause for this member.
    check(&out.clone().followed_by(2).broken_glass("m0", 1), ": MayNotLead(NotLost(\"db-2\"))");
    check(&out.broken_glass("m0", 1).paused(), "WriteRecord(db-0 era 2 V=[] paused): TakeForced");
}

#[test]
fn a_request_is_answered_in_the_record_and_a_late_one_forgotten() {
    let primary = || seen().primary().held_by_me().renewed_ago(100);
    let to = |pod: &str| Asked::Switchover { to: Some(pod.to_owned()) };
    check(
        &primary().requested(to("db-0"), 10),
        "WriteRecord(db-0 era 1 V=[m1] Refused: db-0 is the primary already): Leading",
    );
    check(
        &primary().followed_by(1).paused().requested(to("db-1"), 10),
        "WriteRecord(db-0 era 1 V=[m1] paused Refused: the cluster is paused; `pgha-agent resume` ends that): Leading",
    );
    check(&primary().requested(to("db-0"), 30_000), ": Leading");
    check(
        &primary().requested(Asked::Pause, 10),
        "WriteRecord(db-0 era 1 V=[m1] paused Done: paused: renewals and fencing go on, and nobody takes over): Leading",
    );
}

#[test]
fn who_leads_after_a_hand_over_answers_it_once_it_serves() {
    let taker = seen().primary().held_by_me().renewed_ago(100).handing_over("m1", "db-0");
    check(&taker, "WriteRecord(db-0 era 1 V=[m1] Done: db-0 is the primary now): Leading");
    check(
        &taker.handing_over("m1", "db-2"),
        "WriteRecord(db-0 era 1 V=[m1] Failed: db-2 did not take over; db-0 leads now): Leading",
    );
}

#[test]
fn a_change_is_told_once_and_what_a_new_agent_finds_is_none() {
    let primary = seen().primary().held_by_me().renewed_ago(100);
    assert_eq!(events(&primary), Vec::<String>::new());
    let degraded = primary.next().degraded();
    let told = events(&degraded);
    assert!(told.len() == 1 && told[0].starts_with("SyncDegraded: "), "{told:?}");
    assert_eq!(events(&degraded.clone().next()), Vec::<String>::new());
    let lost = degraded.next().held_by("db-1", "m1");
    let told = events(&lost);
    assert_eq!(
        told,
        ["Fenced: stopped postgres: db-1 holds the Lease", "Demoted: leads no longer: db-1 does, in era 1"]
    );
    assert_eq!(events(&lost.next()), Vec::<String>::new());
}

#[test]
fn what_the_guard_did_by_itself_is_told_by_the_agent_that_finds_it() {
    let found = seen().down(ControlState::InProduction).held_by("db-1", "m1").guard_fenced_ago(20_000);
    let told = events(&found);
    assert!(told.len() == 1 && told[0].starts_with("Fenced: the guard stopped postgres"), "{told:?}");
    assert_eq!(events(&found.next()), Vec::<String>::new());
    let long_ago = seen().down(ControlState::InProduction).held_by("db-1", "m1").guard_fenced_ago(60_000);
    assert_eq!(events(&long_ago), Vec::<String>::new());
}

#[test]
fn the_roles_passwords_follow_the_writings_of_the_secrets_that_are_wished() {
    let first = Credentials::default();
    let seventh = Credentials { superuser: 0, app: 7 };
    let primary = || seen().primary().held_by_me().renewed_ago(100).followed_by(1);
    assert_eq!(passwords(&primary()), (None, Reason::Leading));
    // A new primary compares, whatever was set before; that is no work that people wait for.
    assert_eq!(passwords(&primary().passwords_of(None)), (Some(first), Reason::Leading));
    let rotated = || primary().wish(|wish| wish.credentials = seventh);
    let settling = Reason::LeadingSettling(Settling::Passwords);
    assert_eq!(passwords(&rotated()), (Some(seventh), settling.clone()));
    assert_eq!(passwords(&rotated().passwords_of(None)), (Some(seventh), settling));
    let newer = Credentials { app: 8, ..seventh };
    assert_eq!(passwords(&rotated().passwords_of(Some(newer))), (None, Reason::Leading));
    assert_eq!(passwords(&rotated().gate(Gate::Closed)).0, None, "not before clients are let in");
}

#[test]
fn a_request_of_the_desired_state_is_taken_up_once_and_answered() {
    let wished = |asked: Asked| {
        seen()
            .primary()
            .held_by_me()
            .renewed_ago(100)
            .wish(|wish| wish.requests = vec![Request { id: "w".into(), asked }])
    };
    check(
        &wished(Asked::Reinit { pod: "db-0".into() }),
        "WriteRecord(db-0 era 1 V=[m1] Refused: db-0 is the primary; `pgha-agent switchover` makes another one first): Leading",
    );
    check(
        &wished(Asked::Pause),
        "WriteRecord(db-0 era 1 V=[m1] paused Done: paused: renewals and fencing go on, and nobody takes over): Leading",
    );
    check(&wished(Asked::Pause).answered("w"), ": Leading");
}

#[test]
fn a_standby_that_starts_for_ever_is_cloned_unless_it_may_have_what_nobody_else_has() {
    let starting = |ms| seen().starting_for(ms).held_by("db-1", "m1").second_era_from(900);
    let stuck = starting(60_000).serving(1);
    check(&stuck, "Clone(db-1): Cloning");
    check(&starting(59_999).serving(1), ": FindingPosition");
    check(&starting(60_000), ": FindingPosition");
    check(&stuck.voters(&["m0"]), ": FindingPosition");
}

#[test]
fn forked_data_is_replaced_only_where_the_holder_leads_and_it_is_no_voters() {
    let forked = || seen().standby().held_by("db-1", "m1").second_era_from(900).voters(&["m2"]);
    let led = |edit: fn(&mut AgentReport)| {
        forked().serving_but(1, |report| {
            report.rewind_source = true;
            edit(report);
        })
    };
    check(&led(|_| {}), "Rewind(db-1): Rewinding");
    check(&led(|_| {}).voters(&["m0"]), ": WaitsForSource");
    check(&led(|report| report.era = Some(Era(1))), ": WaitsForSource");
    check(&led(|report| report.role = Role::Standby), ": WaitsForSource");
    check(&forked(), ": WaitsForSource");
}

#[test]
fn a_standby_that_waits_for_ever_for_wal_that_nobody_has_is_cloned() {
    let starting = |ms| seen().starting_for(ms).held_by("db-1", "m1").serving(1).voters(&["m2"]);
    check(&starting(60_000).wal_gone(), "Clone(db-1): Cloning");
    check(&starting(59_999).wal_gone(), ": Following");
    check(&starting(60_000), ": Following");
    check(&starting(60_000).wal_gone().voters(&["m0"]), ": Following");
}

#[test]
fn a_standby_whose_postgres_ends_at_every_start_is_cloned_where_the_primarys_comes_up_with_the_same() {
    let tries = |count| {
        let crashed = seen().down(ControlState::InProduction).held_by("db-1", "m1");
        crashed.second_era_from(900).serving(1).failed_starts(count)
    };
    let again = "StartPostgres(standby of nobody, FIRST 1 (pgha_nobody)): FindingPosition";
    check(&tries(8), "Clone(db-1): Cloning");
    check(&tries(7), again);
    check(&tries(8).voters(&["m0"]), again);
    check(&tries(8).disk_full(), again);
    // A setting or an image that the primary does not run with may be what ends it, and a clone that ended well was no help.
    let restarts = |count| tries(count).serving_but(1, |report| report.applied = None);
    check(&restarts(8), again);
    check(&restarts(20), "Clone(db-1): Cloning");
    check(&tries(20).disk_full(), again);
    check(&tries(8).serving_but(1, |report| report.template_hash = "other".into()), again);
    check(&tries(8).cloned(), again);
    check(&tries(8).answered_ago(85_000).cloned(), again);
    check(&tries(8).answered_ago(75_000).cloned(), "Clone(db-1): Cloning");
    // In the current era no position is asked for before it is started.
    let current = seen().down(ControlState::InRecovery).held_by("db-1", "m1").serving(1).voters(&["m2"]);
    check(&current.clone().failed_starts(8), "Clone(db-1): Cloning");
    check(&current.failed_starts(7), "StartPostgres(standby of db-1, FIRST 1 (pgha_nobody)): Following");
}

#[test]
fn who_has_handed_over_starts_into_the_new_stream_once_a_standby_confirms() {
    let before = || seen().down(ControlState::ShutDown).held_by("db-1", "m1").released_ago(300);
    let opens = before().second_era_opens().voters(&[]);
    check(&opens.clone().unchanged_for(200), ": WaitsForEra");
    check(
        &opens.unchanged_for(1_000),
        "StartPostgres(standby of nobody, FIRST 1 (pgha_nobody)): WaitsForEra",
    );
    let starts =
        "PersistEra { era: Era(2) }, StartPostgres(standby of db-1, FIRST 1 (pgha_nobody)): Following";
    let leads = before().second_era_from(1_000).unchanged_for(200);
    check(&leads.clone().voters(&[]), ": Following");
    check(&leads.clone().voters(&["m2"]), starts);
    check(&leads.clone().voters(&[]).released_ago(1_500), starts);
    check(&leads.voters(&[]).alone_with(1), starts);
}

#[test]
fn a_clean_stop_beyond_the_new_eras_start_is_no_position_to_follow_from() {
    let stopped =
        seen().down(ControlState::ShutDown).held_by("db-1", "m1").second_era_from(999).voters(&["m2"]);
    check(&stopped, "StartPostgres(standby of nobody, FIRST 1 (pgha_nobody)): FindingPosition");
}

#[test]
fn a_standby_stops_trying_the_old_stream_while_somebody_promotes() {
    let standby = seen().standby().held_by("db-1", "m1").second_era_opens().voters(&[]);
    check(&standby.clone().cut_off(), "LeaveStream: WaitsForEra");
    check(&standby.detached(), ": WaitsForEra");
}

#[test]
fn a_pod_whose_token_counts_no_more_ends_as_soon_as_its_postgres_has() {
    let stopped = seen().down(ControlState::ShutDown).held_by_me().renewed_ago(2_500).told_to_stop();
    check(&stopped.refused_by_the_api(), "Exit: Terminating");
    let serving = seen().primary().held_by_me().renewed_ago(100).told_to_stop().refused_by_the_api();
    check(&serving, "Checkpoint: HandingOver");
}

#[test]
fn labels_come_before_a_promotion_only_where_the_old_primarys_pod_goes() {
    let taken = |deleting| seen().standby().cut_off().took_from_a_pod(deleting);
    assert_eq!(taken(true).promotes(), ["db-0", "db-1", "promote"]);
    assert_eq!(taken(false).promotes(), ["promote", "db-0", "db-1"]);
}

#[test]
fn what_is_for_others_waits_until_a_standby_confirms() {
    let promoted = |ms| {
        let primary = seen().primary().held_by_me().renewed_ago(100).primary_for(ms).not_checkpointed();
        primary.replays(2, 1_000, false).passwords_of(None)
    };
    assert!(promoted(500).voters(&[]).also().is_empty(), "{:?}", promoted(500).voters(&[]).also());
    let all = ["db-2 pgha/ro", "passwords", "checkpoint", "status"];
    assert_eq!(promoted(1_000).voters(&[]).also(), all);
    assert_eq!(promoted(500).also(), all);
}

#[test]
fn what_postgres_refuses_is_told_by_all_and_given_to_it_once() {
    let leads = seen().primary().held_by_me().renewed_ago(1_000);
    let differs = leads.clone().wish(|wish| wish.generation = 2);
    check(&differs, "ApplySettings: Leading");
    let refuses = differs.refuses_a_setting();
    check(&refuses, ": Leading");
    check(&refuses.clone().wish(|wish| wish.generation = 3), "ApplySettings: Leading");
    let told = |status: &ClusterStatus, pod: &str| {
        status.instances[pod].settings_refused.clone().map(|refused| refused.document.generation)
    };
    assert!(refuses.activity().contains(&"PostgreSQL does not take work_mem: invalid value".to_owned()));
    let status = refuses.status().expect("a status");
    assert_eq!((told(&status, "db-0"), status.acknowledged), (Some(2), None));
    // A standby tells the holder, which passes it on.
    let document = Acknowledged { generation: 7, sha256: "s".into() };
    let settings = std::collections::BTreeMap::from([("work_mem".to_owned(), "invalid value".to_owned())]);
    let refused = RefusedSettings { document, settings };
    let hears = leads.told_by(1, |report| report.settings_refused = Some(refused));
    assert_eq!(told(&hears.status().expect("a status"), "db-1"), Some(7));
}

#[test]
fn what_one_postgres_does_not_start_with_no_other_is_restarted_for() {
    let wished = |seen: builders::Seen| seen.wish(|wish| wish.generation = 2);
    let leads = wished(seen().primary().held_by_me().renewed_ago(1_000));
    check(&leads, "ApplySettings: Leading");
    let fell_back = leads.fell_back();
    check(&fell_back, ": Leading");
    let told = fell_back.activity();
    let words =
        "PostgreSQL ended at 3 starts with the settings of generation 2, and is started with those of 1";
    assert!(told.contains(&words.to_owned()), "{told:?}");
    assert_eq!(fell_back.status().unwrap().acknowledged, None);
    check(&fell_back.wish(|wish| wish.generation = 3), "ApplySettings: Leading");
    check(&wished(seen().standby().held_by("db-1", "m1").unchanged_for(100)).fell_back(), ": Following");
}

#[test]
fn the_holder_restarts_for_its_settings_only_once_its_standbys_had_time_to_tell_of_theirs() {
    let alone = seen().primary().held_by_me().renewed_ago(100).wish(|wish| wish.replicas = 0).restart_due();
    assert_eq!(alone.restarts().as_deref(), Some("m0"));
    let due = seen().primary().held_by_me().renewed_ago(100).streamed_by(1, false).streamed_by(2, false);
    let due = due.wish(|wish| wish.replicas = 2).terminated(1).terminated(2).restart_due();
    assert_eq!(due.clone().turned(2_999).restarts(), None);
    assert_eq!(due.clone().turned(3_000).restarts().as_deref(), Some("m0"));
    let told = due.told_by(2, |report| (report.role, report.pending_restart) = (Role::Standby, true));
    assert_eq!(told.restarts().as_deref(), Some("m2"));
}

#[test]
fn a_holder_whose_postgres_ends_at_every_start_says_so_though_nobody_serves() {
    let fails = seen().down(ControlState::ShutDown).held_by_me().renewed_ago(1_000).ends_at_starts(2);
    assert_eq!(fails.status(), None, "the next start may succeed");
    let fails = fails.ends_at_starts(3);
    let status = fails.status().expect("a status");
    let own = &status.instances["db-0"];
    assert_eq!((status.accepts_writes, status.stopped, status.primary), (false, false, None));
    assert_eq!(own.starts_failed.as_ref().map(|failed| (failed.starts, failed.exit_code)), Some((3, 1)));
    // It goes on as it would without.
    check(&fails, "StartPostgres(primary, FIRST 1 (m1)): LeadingSettling(Starting)");
}
