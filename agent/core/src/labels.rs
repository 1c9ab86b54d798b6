//! Who carries which label, written by the holder for every pod (A27).

use std::collections::BTreeMap;

use pgha_schema::names::{LABEL_READ_ONLY, LABEL_ROLE, ROLE_PRIMARY, ROLE_REPLICA};
use pgha_schema::status::{AgentReport, Role};

use crate::cycle::Cycle;
use crate::decision::Action;
use crate::observation::{Observation, PodSeen};

/// Which labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Which {
    /// Who the primary is: early, since kube-proxy takes its time.
    Roles,
    /// Also who is read from: this pod is not, once clients are let in here.
    All,
}

/// Patches what differs.
pub(crate) fn keep(cycle: &mut Cycle<'_>, which: Which) {
    let seen = cycle.seen;
    let gone = cycle.memory.predecessor_gone;
    let mut own = None;
    let (mut after, mut before) = (Vec::new(), Vec::new());
    for (name, pod) in &seen.pods {
        let mut labels = BTreeMap::new();
        let me = *name == seen.me.pod;
        let role = if me { ROLE_PRIMARY } else { ROLE_REPLICA };
        want(&mut labels, pod, LABEL_ROLE, Some(role));
        match (which, seen.heard(name)) {
            (Which::All, _) if me => want(&mut labels, pod, LABEL_READ_ONLY, None),
            (Which::All, Some(report)) => {
                let reads = report.role == Role::Standby && !report.stopping && is_fresh(seen, pod, report);
                want(&mut labels, pod, LABEL_READ_ONLY, reads.then_some("true"));
            }
            (Which::All, None) | (Which::Roles, _) => {}
        }
        if labels.is_empty() {
            continue;
        }
        let patch = Action::LabelPod {
            pod: name.clone(),
            uid: pod.uid.clone(),
            resource_version: pod.resource_version.clone(),
            labels,
        };
        if me {
            own = Some(patch);
        } else if gone || is_stopped(seen, name, pod) {
            after.push(patch);
        } else {
            before.push(patch);
        }
    }
    // Where the old primary is verified stopped the new label comes first; where only time says so, the old one goes
    // first, since connections to it would hang.
    cycle.actions.extend(before.into_iter().chain(own).chain(after));
}

/// Whether another pod, which is to stay, carries the primary's label.
pub(crate) fn another_is_primary(seen: &Observation) -> bool {
    seen.pods.iter().any(|(name, pod)| {
        let labelled = pod.labels.get(LABEL_ROLE).is_some_and(|role| role == ROLE_PRIMARY);
        *name != seen.me.pod && labelled && pod.running && !pod.deleting
    })
}

/// Within the wished bound; one that was beyond it comes back at half of it, so that it does not come and go.
fn is_fresh(seen: &Observation, pod: &PodSeen, report: &AgentReport) -> bool {
    let bound = seen.wish().and_then(|wish| wish.failover.ro_max_lag_bytes);
    let (Some(bound), Some(primary)) = (bound, seen.primary()) else { return true };
    let reads_now = pod.labels.contains_key(LABEL_READ_ONLY);
    let bound = if reads_now { bound } else { bound / 2 };
    report.replayed.is_some_and(|replayed| replayed.behind(primary.current_lsn).0 <= bound)
}

fn is_stopped(seen: &Observation, name: &str, pod: &PodSeen) -> bool {
    !pod.running
        || !pod.terminated.is_empty()
        || seen.heard(name).is_some_and(|report| report.role != Role::Primary)
}

fn want(labels: &mut BTreeMap<String, Option<String>>, pod: &PodSeen, key: &str, value: Option<&str>) {
    if pod.labels.get(key).map(String::as_str) != value {
        labels.insert(key.to_owned(), value.map(str::to_owned));
    }
}
