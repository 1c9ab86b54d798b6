//! Restarts, as the agents fold them: every reason for the same restart is in one sentence.

use crate::pauses;

const STANDBYS_FIRST: &str = "standbys one by one, the primary last";
const PRIMARY_FIRST: &str =
    "the primary first, since a standby must never have less, then standbys one by one";
const PRIMARY_BETWEEN: &str =
    "standbys one by one, the primary, and the standbys once more, since they must never have less";

/// Why PostgreSQL restarts, by the order in which it does.
#[derive(Debug, Default)]
pub(super) struct Restarts {
    /// Pods are made anew.
    pub(super) pods: Vec<String>,
    /// Settings that standbys take first.
    pub(super) standbys_first: Vec<String>,
    /// Settings that the primary takes first.
    pub(super) primary_first: Vec<String>,
    /// Settings that ALTER SYSTEM gave, and that go.
    pub(super) altered: Vec<String>,
}

impl Restarts {
    /// One sentence for each time that the primary restarts or hands over. `instances` is how many there are.
    ///
    /// A pod that is made anew starts PostgreSQL with all that is configured, so nothing is left that waits for a restart; only what a
    /// standby may not have before its primary comes after it.
    pub(super) fn sentences(self, instances: i64) -> Vec<String> {
        let Self { mut pods, mut standbys_first, mut primary_first, altered } = self;
        let mut all = Vec::new();
        if !pods.is_empty() || !standbys_first.is_empty() {
            standbys_first.extend(altered.iter().map(|name| format!("{name} (given by ALTER SYSTEM)")));
        } else if !altered.is_empty() {
            all.push(taken_back(&altered));
        }
        if !pods.is_empty() {
            pods.append(&mut standbys_first);
            if instances == 1 {
                pods.append(&mut primary_first);
            }
            all.push(format!("rolling restart ({}): {}", rolling(instances), pods.join(", ")));
        }
        let order = match (standbys_first.is_empty(), primary_first.is_empty()) {
            (true, true) => return all,
            (false, true) => STANDBYS_FIRST,
            (true, false) => PRIMARY_FIRST,
            (false, false) => PRIMARY_BETWEEN,
        };
        standbys_first.append(&mut primary_first);
        all.push(format!("{}: {}", restart(instances, order), standbys_first.join(", ")));
        all
    }
}

fn rolling(instances: i64) -> String {
    match instances {
        1 => pauses::OF_THE_ONLY_ONE.to_owned(),
        all => format!(
            "all {all} instances: standbys one by one, a switchover, the old primary last; {}",
            pauses::OF_A_SWITCHOVER
        ),
    }
}

/// In which instances PostgreSQL is restarted, in this order, and what that costs.
fn restart(instances: i64, order: &str) -> String {
    match instances {
        1 => format!("restart of PostgreSQL ({})", pauses::OF_THE_ONLY_ONE),
        all => format!("restart of PostgreSQL in all {all} instances, {order} ({})", pauses::OF_A_RESTART),
    }
}

fn taken_back(names: &[String]) -> String {
    format!(
        "restart of PostgreSQL where they are in force, {STANDBYS_FIRST}, to take back what ALTER SYSTEM gave (if the primary is one \
         of them, {}): {}",
        pauses::OF_A_RESTART,
        names.join(", ")
    )
}
