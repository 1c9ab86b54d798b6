//! The toy's settings: one needs a restart, with one value of it no postgres starts, and an earlier one is on the volume.

use std::collections::BTreeMap;

use pgha_agent_core::observation::{DesiredSeen, SettingsSeen};
use pgha_schema::status::{Acknowledged, FailedStarts};

use crate::postgres::{Postgres, Process};
use crate::world::World;

/// Whoever is started with this value ends at once.
const ENDS_AT_START: u64 = 666;
/// So many starts with it; then the accepted one.
const STARTS: u32 = 3;

/// What postgres was last seen to run with as wished.
#[derive(Clone, Debug)]
pub struct Accepted {
    document: Acknowledged,
    value: u64,
}

/// The setting that needs a restart.
fn restarts(parameters: &BTreeMap<String, String>) -> u64 {
    parameters.get("max_connections").and_then(|text| text.parse().ok()).unwrap_or(0)
}

fn identity(desired: &DesiredSeen) -> Acknowledged {
    Acknowledged { generation: desired.document.generation, sha256: desired.sha256.clone() }
}

impl World {
    /// Gives a postgres that starts its settings; tells whether it lives.
    pub fn give_settings(&mut self, pod: usize, desired: &DesiredSeen, process: &mut Process) -> bool {
        let (wish, value) = (identity(desired), restarts(&desired.document.parameters));
        let at = &mut self.pods[pod];
        let failed = at.agent.starts_failed.take().filter(|failed| failed.document == wish);
        let enough = failed.as_ref().is_some_and(|failed| failed.starts >= STARTS);
        if let Some(accepted) = at.volume.accepted.clone().filter(|_| enough) {
            process.instead_of =
                failed.clone().map(|one| FailedStarts { instead: Some(accepted.document.clone()), ..one });
            at.agent.starts_failed = failed;
            (process.rendered, process.started_with) = (Some(accepted.document), accepted.value);
            return true;
        }
        if value == ENDS_AT_START {
            let starts = failed.map_or(0, |failed| failed.starts) + 1;
            at.agent.starts_failed =
                Some(FailedStarts { document: wish, starts, exit_code: 1, instead: None });
            let text = format!("{} ends at its start", at.name);
            self.say(text);
            return false;
        }
        (process.rendered, process.started_with) = (Some(wish), value);
        true
    }

    /// The wish is in force wholly: it is kept on the volume.
    pub fn keep_accepted(&mut self, pod: usize) {
        let at = &mut self.pods[pod];
        let (Postgres::Running(process), Some(desired)) = (&at.postgres, &at.agent.desired) else { return };
        let value = restarts(&desired.document.parameters);
        if process.rendered == Some(identity(desired)) && process.started_with == value {
            at.volume.accepted = Some(Accepted { document: identity(desired), value });
        }
    }

    /// What it ends at, or has ended at before it came up with something else.
    pub fn starts_failed(&self, pod: usize) -> Option<FailedStarts> {
        let at = &self.pods[pod];
        match &at.postgres {
            Postgres::Running(process) => process.instead_of.clone(),
            Postgres::Down | Postgres::Starting { .. } | Postgres::Stopping { .. } => {
                at.agent.starts_failed.clone()
            }
        }
    }

    /// The settings of a running postgres.
    pub fn see_settings(&self, process: &Process) -> SettingsSeen {
        let rendered = process.rendered.clone();
        let current = rendered.as_ref().is_some_and(|at| at.generation == self.api.desired.generation);
        let pending_restart = current && process.started_with != restarts(&self.api.desired.parameters);
        SettingsSeen { rendered, pending_restart, ..SettingsSeen::default() }
    }

    /// A running postgres reads what is wished.
    pub fn render(process: &mut Process, desired: Option<&DesiredSeen>) {
        if let Some(desired) = desired {
            (process.rendered, process.instead_of) = (Some(identity(desired)), None);
        }
    }
}
