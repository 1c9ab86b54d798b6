//! `last_change`: what a change does to the database, in words (P9).

use pgha_schema::parameters::needs_restart;
use pgha_schema::resource::PostgresVersion;
use pgha_schema::tf::Change;

use crate::drift::altered_settings;
use crate::plan::Changed;
use crate::value::Value;

use self::parameters::Effect;

mod parameters;

/// What a change does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Story {
    /// Everything, for `last_change`.
    pub(super) text: String,
    /// Something of it interrupts connections or drops data copies.
    pub(super) disrupts: bool,
}

impl Story {
    /// What it comes to, in a few words.
    pub(super) fn summary(&self) -> &'static str {
        if self.disrupts {
            "This change interrupts connections"
        } else {
            "This change is made while the database runs"
        }
    }
}

/// Tells it; `None` while an input is unknown. `agent` is the new agent's version when it changes.
pub(super) fn tell(
    planned: &Value,
    prior: &Value,
    changes: &[Changed],
    agent: Option<&str>,
) -> Option<Story> {
    if changes.iter().any(|one| one.is_significant() && !one.becomes.is_wholly_known()) {
        return None;
    }
    if prior.is_null() {
        let (replicas, version) =
            (planned.get("replicas").as_i64()?, planned.get("postgres_version").as_str()?);
        let standbys = count(replicas, "standby", "standbys");
        return Some(Story {
            text: format!("create: a primary and {standbys} of PostgreSQL {version}"),
            disrupts: false,
        });
    }
    let mut sentences = Sentences::of(planned);
    sentences.replicas(prior, planned, changes);
    sentences.online(changes);
    sentences.parameters(prior, planned, changes);
    sentences.growth(changes);
    sentences.rolling(changes);
    sentences.agent(agent);
    sentences.repair(prior, planned);
    if sentences.all.is_empty() {
        sentences.all.push("finish: the configuration is put in force everywhere".to_owned());
    }
    Some(Story { text: sentences.all.join("; "), disrupts: sentences.disrupts })
}

fn postgres_major(planned: &Value) -> u32 {
    let version = planned.get("postgres_version").as_str().and_then(|text| text.parse().ok());
    let PostgresVersion { major, .. } = version.unwrap_or_default();
    major
}

fn count(number: i64, one: &str, many: &str) -> String {
    match number {
        1 => format!("1 {one}"),
        number => format!("{number} {many}"),
    }
}

const STANDBYS_FIRST: &str = "standbys one by one, the primary last";
/// What the project's own benchmark sees, rounded up.
const PAUSE: &str = "writes pause for about a second";
const PAUSE_OF_THE_ONLY_ONE: &str = "the only instance: no reads or writes until it is back";

#[derive(Default)]
struct Sentences {
    all: Vec<String>,
    disrupts: bool,
    /// How many instances there are, once this change is through.
    instances: i64,
}

impl Sentences {
    fn of(planned: &Value) -> Self {
        Self { instances: planned.get("replicas").as_i64().unwrap_or_default() + 1, ..Self::default() }
    }

    /// In which instances PostgreSQL is restarted, in this order, and what that costs.
    fn restart(&self, order: &str) -> String {
        match self.instances {
            1 => format!("restart of PostgreSQL ({PAUSE_OF_THE_ONLY_ONE})"),
            all => format!("restart of PostgreSQL in all {all} instances, {order} ({PAUSE})"),
        }
    }

    fn disruptive(&mut self, sentence: String) {
        self.disrupts = true;
        self.all.push(sentence);
    }

    fn replicas(&mut self, prior: &Value, planned: &Value, changes: &[Changed]) {
        let Some(changed) = changes.iter().find(|one| one.path.to_string() == "replicas") else { return };
        let (Some(was), Some(becomes)) = (changed.was.as_i64(), changed.becomes.as_i64()) else { return };
        let name = planned.get("name").as_str().or_else(|| prior.get("name").as_str()).unwrap_or_default();
        if becomes > was {
            self.all.push(format!("scale up: {} are cloned", count(becomes - was, "standby", "standbys")));
            return;
        }
        let volumes = match planned.get("storage.retain").as_bool() {
            Some(false) => "their volumes are deleted",
            _ => "their volumes are kept",
        };
        let pods: Vec<String> = (becomes + 1..=was).map(|ordinal| format!("{name}-{ordinal}")).collect();
        self.disruptive(format!(
            "scale down: {} go, {volumes}; should one of them be the primary, a switchover comes first ({PAUSE})",
            pods.join(", ")
        ));
    }

    fn online(&mut self, changes: &[Changed]) {
        let online = |one: &&Changed| one.change == Change::InPlace && one.path.to_string() != "replicas";
        let names: Vec<_> = changes.iter().filter(online).map(|one| one.path.to_string()).collect();
        if !names.is_empty() {
            self.all.push(format!("online, no restart: {}", names.join(", ")));
        }
    }

    fn parameters(&mut self, prior: &Value, planned: &Value, changes: &[Changed]) {
        let mut reload: Vec<String> = changes
            .iter()
            .filter(|one| one.change == Change::Reload)
            .map(|one| one.path.to_string())
            .collect();
        let (mut standbys_first, mut primary_first) = (Vec::new(), Vec::new());
        if changes.iter().any(|one| one.change == Change::ReloadOrRestart) {
            for (name, effect) in parameters::effects(
                prior.get("parameters"),
                planned.get("parameters"),
                postgres_major(planned),
            ) {
                match effect {
                    Effect::Reload => reload.push(name),
                    Effect::RestartStandbysFirst => standbys_first.push(name),
                    Effect::RestartPrimaryFirst => primary_first.push(name),
                }
            }
        }
        if !reload.is_empty() {
            self.all.push(format!("reload: {}", reload.join(", ")));
        }
        if !standbys_first.is_empty() {
            let restart = self.restart(STANDBYS_FIRST);
            self.disruptive(format!("{restart}: {}", standbys_first.join(", ")));
        }
        if !primary_first.is_empty() {
            let restart = self
                .restart("the primary first, since a standby must never have less, then standbys one by one");
            self.disruptive(format!("{restart}: {}", primary_first.join(", ")));
        }
    }

    fn growth(&mut self, changes: &[Changed]) {
        for one in changes.iter().filter(|one| one.change == Change::Grow) {
            let (was, becomes) = (one.was.as_str().unwrap_or("?"), one.becomes.as_str().unwrap_or("?"));
            self.all.push(format!("growth: the volumes from {was} to {becomes}, in place"));
        }
    }

    fn rolling(&mut self, changes: &[Changed]) {
        let rolls = |one: &&Changed| matches!(one.change, Change::Rolling | Change::RollingMinor);
        let names: Vec<String> = changes.iter().filter(rolls).map(|one| one.path.to_string()).collect();
        if !names.is_empty() {
            let how = match self.instances {
                1 => PAUSE_OF_THE_ONLY_ONE.to_owned(),
                all => format!(
                    "all {all} instances: standbys one by one, a switchover, the old primary last; {PAUSE}"
                ),
            };
            self.disruptive(format!("rolling restart ({how}): {}", names.join(", ")));
        }
    }

    fn agent(&mut self, version: Option<&str>) {
        if let Some(version) = version {
            self.all.push(format!(
                "agent {version} under the running PostgreSQL, standbys one by one, the primary last: no restart, no switchover"
            ));
        }
    }

    fn repair(&mut self, prior: &Value, planned: &Value) {
        let major = postgres_major(planned);
        let restarted: Vec<String> =
            altered_settings(prior).into_iter().filter(|name| needs_restart(name, major)).collect();
        if !restarted.is_empty() {
            self.disruptive(format!(
                "restart of PostgreSQL where they are in force, {STANDBYS_FIRST}, to take back what ALTER SYSTEM gave ({PAUSE} if \
                 the primary is one of them): {}",
                restarted.join(", ")
            ));
        }
        let entries = prior.get("drift").as_items().unwrap_or_default();
        let text = |entry: &Value, name: &str| entry.get(name).as_str().unwrap_or_default().to_owned();
        let named: Vec<String> = entries
            .iter()
            .map(|entry| format!("{} {}", text(entry, "object"), text(entry, "field")).trim().to_owned())
            .collect();
        if !named.is_empty() {
            self.all.push(format!("repair of drift: {}", named.join(", ")));
        }
    }
}
