//! The status in plain words: who leads, who may take over, who waits for whom, and why there is no failover (A32).

use std::fmt::Write as _;

use pgha_agent_core::words::bytes;
use pgha_schema::desired::SyncMode;
use pgha_schema::lsn::Lsn;
use pgha_schema::record::Record;
use pgha_schema::status::{AgentReport, Role};
use serde::Serialize;
use serde_json::Value;

use crate::rest::view::View;

/// A record that is this old is not renewed any more.
const OVERDUE_MS: u64 = 5_000;

fn word(value: impl Serialize) -> String {
    serde_json::to_value(value).ok().as_ref().and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn seconds(ms: u64) -> String {
    format!("{}.{} s", ms / 1_000, ms % 1_000 / 100)
}

/// The whole page.
pub fn in_words(view: &View) -> String {
    let mut text = format!("as {} sees it:\n", view.instance.pod);
    let Some(record) = &view.record else {
        let _ = writeln!(text, "the record was not read yet");
        instances(&mut text, view, None);
        return text;
    };
    leader(&mut text, view, record);
    durability(&mut text, view, record);
    requests(&mut text, record);
    instances(&mut text, view, Some(record));
    text
}

fn leader(text: &mut String, view: &View, record: &Record) {
    let age = view.record_age_ms.unwrap_or_default();
    match &record.holder {
        Some(holder) => {
            let serves = view.instances().get(holder.pod.as_str()).is_some_and(|(silent, report)| {
                silent.is_none() && report.is_some_and(|report| report.serving)
            });
            let how = if serves { "serves writes" } else { "does not serve" };
            let _ = writeln!(
                text,
                "leader: {} on {}, era {}, {how}; its record is {} old",
                holder.pod,
                holder.node,
                record.era(),
                seconds(age)
            );
            if let Some(ago) = view.heartbeat_age_ms.filter(|_| holder.pod != view.instance.pod) {
                let _ = writeln!(text, "  its last heartbeat came {} ago", seconds(ago));
            }
            if age > OVERDUE_MS {
                let _ = writeln!(text, "  it does not renew: below stands what the others wait for");
            }
        }
        None => {
            let _ = writeln!(text, "leader: none");
        }
    }
    if let Some(ago) = view.api_age_ms.filter(|ago| *ago > 30_000) {
        let _ = writeln!(text, "  the API server has not answered here for {}", seconds(ago));
    }
    if record.release.is_some() {
        let _ = writeln!(text, "  it has stopped and handed over");
    }
    if record.pause.is_some() {
        let _ = writeln!(text, "paused: nobody takes over until `pgha-agent resume`");
    }
}

fn durability(text: &mut String, view: &View, record: &Record) {
    let _ = writeln!(text, "mode: {}", word(record.mode));
    if record.degraded {
        let since = view.degraded_since.as_deref().unwrap_or("some time ago");
        let _ = writeln!(text, "  degraded since {since}: writes go on without a confirming standby");
    }
    let voters: Vec<&str> =
        record.voters.iter().map(|voter| record.pod_of(voter).unwrap_or(voter.as_str())).collect();
    let who = match (record.mode, voters.is_empty()) {
        (SyncMode::Async, _) => "whoever has received most, after the Lease has expired".to_owned(),
        (_, true) => "the leader alone: no standby is known to have every commit".to_owned(),
        (_, false) => format!("{} (V), {} of them has to be heard", voters.join(", "), record.quorum),
    };
    let _ = writeln!(text, "may take over without loss: {who}");
}

fn requests(text: &mut String, record: &Record) {
    if let Some(switchover) = &record.switchover {
        let target = switchover.target_pod.as_deref().unwrap_or("the best standby");
        let _ = writeln!(text, "under way: switchover to {target} ({})", switchover.reason);
    }
    if let Some(permit) = &record.restart {
        let pod = record.pod_of(&permit.member).unwrap_or_default();
        let _ = writeln!(text, "under way: restart of {pod}");
    }
    if let Some(reinit) = &record.reinit {
        let _ = writeln!(text, "under way: new clone of {}", reinit.pod);
    }
    if let Some(answer) = record.answers.last() {
        let _ = writeln!(text, "last request: {}, {}: {}", answer.asked, word(answer.outcome), answer.text);
    }
}

fn instances(text: &mut String, view: &View, record: Option<&Record>) {
    let all = view.instances();
    let primary = all.values().filter_map(|(silent, report)| report.filter(|_| silent.is_none()));
    let primary = primary.filter(|report| report.role == Role::Primary).max_by_key(|report| report.era);
    for (pod, (silent, report)) in &all {
        let Some(report) = report else {
            let _ = writeln!(text, "{pod}: never heard");
            continue;
        };
        let _ = writeln!(text, "{pod}: {}", line(report, *silent, primary, record));
        for activity in report.activity.iter().filter(|_| silent.is_none()) {
            let _ = writeln!(text, "  {activity}");
        }
    }
}

fn line(
    report: &AgentReport,
    silent_ms: Option<u64>,
    primary: Option<&AgentReport>,
    record: Option<&Record>,
) -> String {
    let mut parts = vec![match silent_ms {
        Some(ms) => format!("silent for {}, was {}", seconds(ms), word(report.role)),
        None => format!("{}, {}", word(report.role), word(report.state)),
    }];
    let votes = record
        .is_some_and(|record| report.member.as_ref().is_some_and(|member| record.voters.contains(member)));
    if votes {
        parts.push("confirms commits (in V)".to_owned());
    }
    if let Some(position) = report.position {
        let timeline = report.timeline.map_or(0, |timeline| timeline.0);
        parts.push(format!("at {position} on timeline {timeline}"));
        let behind = |end: Lsn| position.behind(end).0;
        if let Some(end) = primary.filter(|other| other.pod != report.pod).and_then(|other| other.position) {
            parts.push(format!("{} behind", bytes(behind(end))));
        }
        if let Some(backlog) = report.replayed.map(|at| at.behind(position).0).filter(|bytes| *bytes > 0) {
            parts.push(format!("{} to replay", bytes(backlog)));
        }
    }
    let kept = pgha_agent_core::observation::ordinal_of(&report.pod)
        .and_then(|ordinal| primary?.slots.get(&ordinal).copied());
    if let Some(kept) = kept {
        parts.push(format!("{} of WAL kept for it", bytes(kept)));
    }
    if let Some(volume) = report.volume {
        parts.push(format!("volume {} % full", volume.percent()));
    }
    if report.pending_restart {
        parts.push("a restart is pending".to_owned());
    }
    if report.stopping {
        parts.push("shutting down".to_owned());
    }
    parts.join("; ")
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use pgha_schema::desired::{BootstrapSpec, Desired, Durability, FailoverSpec, RunState};
    use pgha_schema::ids::{BootId, ContainerNonce, Era, MemberId};
    use pgha_schema::lsn::TimelineId;
    use pgha_schema::record::{EraEntry, Holder, MemberEntry};
    use pgha_schema::status::{InstanceState, VolumeFill};

    use crate::rest::peers::tests::board;
    use crate::rest::view::Heard;

    pub fn desired() -> Desired {
        Desired {
            format: 1,
            generation: 4,
            anchor_uid: "a".into(),
            state: RunState::Running,
            replicas: 1,
            sync_mode: SyncMode::Sync,
            sync_replicas: 1,
            durability: Durability::Preferred,
            postgres_major: 18,
            template_hash: "it's".into(),
            parameters: std::collections::BTreeMap::new(),
            pg_hba: Vec::new(),
            tls: None,
            bootstrap: BootstrapSpec {
                database: "app".into(),
                owner: "app".into(),
                encoding: "UTF8".into(),
                locale: "C".into(),
                data_checksums: true,
            },
            failover: FailoverSpec::default(),
            agent: None,
            requests: Vec::new(),
            credentials: pgha_schema::desired::Credentials::default(),
            break_glass: None,
            taken_back: std::collections::BTreeSet::new(),
        }
    }

    fn report(pod: &str, member: &str, role: Role) -> AgentReport {
        let mut report = board(None).report;
        report.pod = pod.into();
        report.member = Some(MemberId::new(member));
        report.role = role;
        report.position = Some(Lsn(0x2000));
        report.activity = vec![format!("what {pod} does")];
        report
    }

    /// orders-1 sees orders-0, which led in era 3 and is in V by itself, no more.
    pub fn lost() -> View {
        let mut record = Record::initial("a", SyncMode::Sync);
        record.eras = vec![EraEntry { era: Era(3), parent: None, timeline: None, start: None }];
        record.position = Lsn(0x2000);
        record.confirmed = Lsn(0x1800);
        record.holder = Some(Holder {
            pod: "orders-0".into(),
            member: Some(MemberId::new("m0")),
            nonce: ContainerNonce::new("n"),
            node: "node-a".into(),
            boot_id: BootId::new("b"),
            address: String::new(),
        });
        record.voters.insert(MemberId::new("m0"));
        record
            .members
            .insert(MemberId::new("m0"), MemberEntry { pod: "orders-0".into(), node: "node-a".into() });
        let theirs = report("orders-0", "m0", Role::Primary);
        View {
            instance: report("orders-1", "m1", Role::Standby),
            record: Some(record),
            peers: [("orders-0".to_owned(), Heard { silent_ms: Some(12_300), report: Some(theirs) })].into(),
            record_age_ms: Some(12_000),
            heartbeat_age_ms: Some(12_500),
            api_age_ms: Some(100),
            degraded_since: None,
        }
    }

    #[test]
    fn the_words_name_pods_and_tell_who_waits_for_whom() {
        let mut view = lost();
        view.instance.volume = Some(VolumeFill { size_bytes: 100, used_bytes: 41 });
        view.instance.replayed = Some(Lsn(0x1c00));
        let text = in_words(&view);
        for wanted in [
            "leader: orders-0 on node-a, era 3, does not serve; its record is 12.0 s old\n",
            "its last heartbeat came 12.5 s ago",
            "it does not renew",
            "may take over without loss: orders-0 (V), 1 of them has to be heard\n",
            "orders-0: silent for 12.3 s, was primary; confirms commits (in V)",
            "orders-1: standby, behind; at 0/2000 on timeline 0; 1.0 KiB to replay; volume 41 % full\n",
            "  what orders-1 does\n",
        ] {
            assert!(text.contains(wanted), "`{wanted}` is not in\n{text}");
        }
        assert!(!text.contains("what orders-0 does"), "what a silent one said is old: {text}");
    }

    /// orders-0 leads two standbys, of which orders-1 confirms.
    fn healthy() -> View {
        let mut record = Record::initial("a", SyncMode::Sync);
        record.eras = vec![EraEntry { era: Era(1), parent: None, timeline: None, start: None }];
        record.quorum = 1;
        record.voters.insert(MemberId::new("m1"));
        let one = |ordinal: u32| {
            let (pod, member, node) =
                (format!("orders-{ordinal}"), format!("m{ordinal}"), format!("node-{}", ordinal + 1));
            record.members.insert(MemberId::new(&member), MemberEntry { pod: pod.clone(), node });
            let leads = ordinal == 0;
            let mut report = report(&pod, &member, if leads { Role::Primary } else { Role::Standby });
            report.state = if leads { InstanceState::Serving } else { InstanceState::Streaming };
            report.serving = leads;
            report.position = Some(Lsn(0x500_0160));
            report.timeline = Some(TimelineId(1));
            report.volume = Some(VolumeFill { size_bytes: 100, used_bytes: 12 });
            report.slots = if leads { [(1, 0), (2, 0)].into() } else { [].into() };
            report.activity =
                vec![if leads { "leads, and all is in place" } else { "follows the primary" }.to_owned()];
            report
        };
        let [primary, first, second] = [0, 1, 2].map(one);
        record.holder = Some(Holder {
            pod: "orders-0".into(),
            member: Some(MemberId::new("m0")),
            nonce: ContainerNonce::new("n"),
            node: "node-1".into(),
            boot_id: BootId::new("b"),
            address: String::new(),
        });
        let peers = [first, second];
        let heard = peers.map(|report| (report.pod.clone(), Heard { silent_ms: None, report: Some(report) }));
        View {
            instance: primary,
            record: Some(record),
            peers: heard.into(),
            record_age_ms: Some(800),
            ..lost()
        }
    }

    #[test]
    fn the_quick_start_shows_what_a_healthy_cluster_says() {
        let page = include_str!("../../../docs/guides/quick-start.md");
        let block = page.split("-- pgha-agent status\n").nth(1).and_then(|rest| rest.split("```").next());
        assert_eq!(block, Some(in_words(&healthy()).as_str()));
    }

    #[test]
    fn lag_and_kept_wal_are_told_against_a_primary_that_answers() {
        let mut view = lost();
        if let Some(heard) = view.peers.get_mut("orders-0") {
            heard.silent_ms = None;
            if let Some(report) = &mut heard.report {
                report.position = Some(Lsn(0x4000));
                report.slots.insert(1, 3 << 20);
            }
        }
        let text = in_words(&view);
        assert!(text.contains("8.0 KiB behind; 3.0 MiB of WAL kept for it"), "{text}");
    }
}
