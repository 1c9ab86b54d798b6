//! `last_change`: what a change does to the database, in words (P9).

use pgha_schema::names::{ANNOTATION_TEMPLATE_HASH, Names};
use pgha_schema::parameters::needs_restart;
use pgha_schema::resource::PostgresVersion;
use pgha_schema::tf::Change;

use crate::drift::altered_settings;
use crate::ignore::Ignore;
use crate::pauses;
use crate::plan::Changed;
use crate::value::Value;

use self::parameters::Effect;
use self::restarts::Restarts;

mod parameters;
mod restarts;

/// What a change does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Story {
    /// All that is known, for `last_change` when that is everything.
    pub(super) text: String,
    /// Something of it interrupts connections or drops data copies.
    disrupts: bool,
    /// The inputs that change and are not known yet.
    open: Vec<String>,
}

impl Story {
    /// Everything is known.
    pub(super) fn is_whole(&self) -> bool {
        self.open.is_empty()
    }

    /// What it comes to, in a few words.
    pub(super) fn summary(&self) -> &'static str {
        match (self.disrupts, self.is_whole()) {
            (true, _) => "This change interrupts connections",
            (false, true) => "This change is made while the database runs",
            (false, false) => "Not all that this change does is known yet",
        }
    }

    /// For a warning: also what is not known yet.
    pub(super) fn detail(&self) -> String {
        match self.open.as_slice() {
            [] => self.text.clone(),
            [one] => format!("at least: {}; more once {one} is known", self.text),
            all => format!("at least: {}; more once these are known: {}", self.text, all.join(", ")),
        }
    }
}

/// Tells it; `None` while nothing of it is known. `agent` is the new agent's version when it changes.
pub(super) fn tell(
    planned: &Value,
    prior: &Value,
    changes: &[Changed],
    agent: Option<&str>,
) -> Option<Story> {
    if prior.is_null() {
        let (replicas, version) =
            (planned.get("replicas").as_i64()?, planned.get("postgres_version").as_str()?);
        let standbys = count(replicas, "standby", "standbys");
        let text = format!("create: a primary and {standbys} of PostgreSQL {version}");
        return Some(Story { text, ..Story::default() });
    }
    let significant = changes.iter().filter(|one| one.is_significant());
    let open: Vec<String> = significant.flat_map(unknown_parts).collect();
    let changes: Vec<&Changed> = changes.iter().filter(|one| one.becomes.is_wholly_known()).collect();
    let mut sentences = Sentences::of(planned, prior);
    sentences.replicas(prior, planned, &changes);
    sentences.online(&changes);
    sentences.parameters(prior, planned, &changes);
    sentences.growth(&changes);
    sentences.rolling(&changes);
    sentences.altered(prior, planned);
    sentences.restarts();
    sentences.agent(agent);
    sentences.repair(prior, planned);
    match (sentences.all.is_empty(), open.is_empty()) {
        (true, true) => sentences.all.push("finish: the configuration is put in force everywhere".to_owned()),
        (true, false) => return None,
        (false, _) => {}
    }
    Some(Story { text: sentences.all.join("; "), disrupts: sentences.disrupts, open })
}

/// The parts of a changed input that are not known yet: the keys of a map of which others are known, else the input itself.
fn unknown_parts(changed: &Changed) -> Vec<String> {
    let path = changed.path.to_string();
    match &changed.becomes {
        becomes if becomes.is_wholly_known() => Vec::new(),
        Value::Map(entries) => {
            let unknown = entries.iter().filter(|(_, value)| !value.is_wholly_known());
            unknown.map(|(key, _)| format!("{path}.{key}")).collect()
        }
        _ => vec![path],
    }
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

/// What the resource leaves to others from now on; nothing while that is not known. The provider's own part was left out when the
/// state was read.
fn left_to_others(planned: &Value) -> Ignore {
    Ignore::default().and(planned.get("ignore").texts())
}

#[derive(Default)]
struct Sentences {
    all: Vec<String>,
    disrupts: bool,
    /// How many instances there are, once this change is through.
    instances: i64,
    restarts: Restarts,
}

impl Sentences {
    fn of(planned: &Value, prior: &Value) -> Self {
        let replicas = planned.get("replicas").as_i64().or_else(|| prior.get("replicas").as_i64());
        Self { instances: replicas.unwrap_or_default() + 1, ..Self::default() }
    }

    fn disruptive(&mut self, sentence: String) {
        self.disrupts = true;
        self.all.push(sentence);
    }

    fn replicas(&mut self, prior: &Value, planned: &Value, changes: &[&Changed]) {
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
            "scale down: {} go, {volumes}; should one of them be the primary, a switchover comes first ({})",
            pods.join(", "),
            pauses::OF_A_SWITCHOVER
        ));
    }

    fn online(&mut self, changes: &[&Changed]) {
        let online = |one: &&&Changed| one.change == Change::InPlace && one.path.to_string() != "replicas";
        let names: Vec<_> = changes.iter().filter(online).map(|one| one.path.to_string()).collect();
        if !names.is_empty() {
            self.all.push(format!("online, no restart: {}", names.join(", ")));
        }
    }

    fn parameters(&mut self, prior: &Value, planned: &Value, changes: &[&Changed]) {
        let mut reload: Vec<String> = changes
            .iter()
            .filter(|one| one.change == Change::Reload)
            .map(|one| one.path.to_string())
            .collect();
        for (name, effect) in parameters::effects(prior, planned, postgres_major(planned)) {
            match effect {
                Effect::Reload => reload.push(name),
                Effect::RestartStandbysFirst => self.restarts.standbys_first.push(name),
                Effect::RestartPrimaryFirst => self.restarts.primary_first.push(name),
            }
        }
        if !reload.is_empty() {
            self.all.push(format!("reload: {}", reload.join(", ")));
        }
    }

    fn growth(&mut self, changes: &[&Changed]) {
        for one in changes.iter().filter(|one| one.change == Change::Grow) {
            let (was, becomes) = (one.was.as_str().unwrap_or("?"), one.becomes.as_str().unwrap_or("?"));
            self.all.push(format!("growth: the volumes from {was} to {becomes}, in place"));
        }
    }

    fn rolling(&mut self, changes: &[&Changed]) {
        let rolls = |one: &&&Changed| matches!(one.change, Change::Rolling | Change::RollingMinor);
        self.restarts.pods = changes.iter().filter(rolls).map(|one| one.path.to_string()).collect();
    }

    /// What ALTER SYSTEM gave, and this change takes back.
    fn altered(&mut self, prior: &Value, planned: &Value) {
        let (major, left) = (postgres_major(planned), left_to_others(planned));
        let taken_back = altered_settings(prior).into_iter().filter(|name| !left.parameter(name));
        self.restarts.altered = taken_back.filter(|name| needs_restart(name, major)).collect();
    }

    fn restarts(&mut self) {
        for sentence in std::mem::take(&mut self.restarts).sentences(self.instances) {
            self.disruptive(sentence);
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
        let left = left_to_others(planned);
        let names = Names::new(prior.get("name").as_str().unwrap_or_default());
        let entries = prior.get("drift").as_items().unwrap_or_default();
        let text = |entry: &Value, name: &str| entry.get(name).as_str().unwrap_or_default().to_owned();
        let all = entries.iter().map(|entry| (text(entry, "object"), text(entry, "field")));
        let named: Vec<String> = all
            .filter(|(object, field)| !left.covers(&names, object, field))
            .map(|(object, field)| format!("{object} {field}").trim().to_owned())
            .collect();
        // Pods that were made from an edited template, when its hash was edited too or they are found by what they are.
        let rolls = |one: &String| {
            one.starts_with("Pod/")
                || (one.starts_with("StatefulSet/") && one.ends_with(ANNOTATION_TEMPLATE_HASH))
        };
        if named.iter().any(rolls) {
            self.disruptive(format!(
                "rolling restart of instances whose pods were made from an edited template (if the primary is one of them, {})",
                pauses::OF_A_SWITCHOVER
            ));
        }
        if !named.is_empty() {
            self.all.push(format!("repair of drift: {}", named.join(", ")));
        }
    }
}
