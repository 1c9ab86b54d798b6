//! What the laws are tried on: bad input, whole lives, changes, and clusters that moved by themselves.

use pgha_acceptance_tests::host::schema::{Attribute, at, complete, is_unknown, is_wholly_known};
use pgha_acceptance_tests::host::{Action, Calls, Ignored, Plan, Stored, Turn, has_errors};
use pgha_acceptance_tests::proto_client::values::messages;
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::{Value as Json, json};

use crate::generate::{amount, config, ignored, numbered, respelled, same_meaning, sprinkled};
use crate::laws::{
    Kept, Law, REPLACING, World, answered, as_made, difference, ensure, from_config, has_an_image,
    known_at_create, seen_unchanged, sound, update,
};
use crate::learn::{Learned, Meaning, minimal, with};

/// A case of one of the kinds.
#[derive(Debug, Clone)]
pub enum Case {
    /// Values that their attributes don't take.
    Bad(Bad),
    /// A cluster from nothing to its second plan.
    Life(Life),
    /// Another configuration of an existing cluster.
    Change(Change),
    /// The same configuration of a cluster that was changed from outside.
    Moved(Moved),
}

/// What a case came to, for counting: a run in which nothing is ever valid finds nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Came {
    /// The configuration is invalid, and that was said well.
    Invalid,
    /// A cluster was made and needs nothing more.
    Made,
    /// A change in place.
    Updated,
    /// A change that needs a new cluster.
    Replaced,
    /// A change that was refused, as it has to be.
    Refused,
    /// Nothing was to be done.
    Nothing,
}

/// See [`Case::Bad`].
#[derive(Debug, Clone)]
pub struct Bad {
    config: Json,
    spoils: Vec<(Index, Index)>,
}

/// See [`Case::Life`].
#[derive(Debug, Clone)]
pub struct Life {
    config: Json,
    unknown: Vec<Index>,
}

/// See [`Case::Change`].
#[derive(Debug, Clone)]
pub struct Change {
    before: Json,
    after: Json,
    unknown: Vec<Index>,
    ignored: Ignored,
}

/// See [`Case::Moved`].
#[derive(Debug, Clone)]
pub struct Moved {
    config: Json,
    replicas: Option<u32>,
    sync_mode: Option<Index>,
    durability: Option<Index>,
    drift: Vec<Index>,
    ready: bool,
    agent: Agent,
}

/// The agents of a cluster, against those of this provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Agent {
    /// Of an older provider.
    Older,
    /// This one's.
    Same,
    /// Of a newer provider.
    Newer,
}

fn indexes(most: usize) -> impl Strategy<Value = Vec<Index>> {
    prop_oneof![1 => Just(Vec::new()), 2 => prop::collection::vec(any::<Index>(), 0..most)]
}

/// Strategies by kind.
pub fn bad(attributes: &[Attribute], learned: &Learned) -> BoxedStrategy<Case> {
    let spoils = prop::collection::vec(any::<(Index, Index)>(), 1..4);
    (config(attributes, learned), spoils)
        .prop_map(|(config, spoils)| Case::Bad(Bad { config, spoils }))
        .boxed()
}

/// Lives.
pub fn life(attributes: &[Attribute], learned: &Learned) -> BoxedStrategy<Case> {
    let parts = (config(attributes, learned), indexes(5));
    parts.prop_map(|(config, unknown)| Case::Life(Life { config, unknown })).boxed()
}

/// Changes: of some attributes only, since a change of all at once is refused or needs a new cluster.
pub fn change(attributes: &[Attribute], learned: &Learned) -> BoxedStrategy<Case> {
    let names: Vec<String> =
        attributes.iter().filter(|one| !one.is_output()).map(|one| one.name.clone()).collect();
    let numbered = numbered(attributes);
    let weights: Vec<_> = names
        .iter()
        .map(|name| prop::bool::weighted(if REPLACING.contains(&name.as_str()) { 0.05 } else { 0.2 }))
        .collect();
    (config(attributes, learned), config(attributes, learned), weights, indexes(3), ignored(attributes))
        .prop_map(move |(before, other, picks, unknown, ignored)| {
            let mut after = before.clone();
            for (name, _) in names.iter().zip(picks).filter(|(_, picked)| *picked) {
                after[name] = other[name].clone();
            }
            // A write-only value comes from where its number comes from.
            for (name, number) in &numbered {
                let from = if after[number] == before[number] { &before } else { &other };
                after[name] = from[name].clone();
            }
            Case::Change(Change { before, after, unknown, ignored })
        })
        .boxed()
}

/// Moved clusters.
pub fn moved(attributes: &[Attribute], learned: &Learned) -> BoxedStrategy<Case> {
    let agent = prop_oneof![1 => Just(Agent::Older), 4 => Just(Agent::Same), 1 => Just(Agent::Newer)];
    let word = || prop::option::weighted(0.3, any::<Index>());
    let drift = prop_oneof![Just(Vec::new()), prop::collection::vec(any::<Index>(), 1..3)];
    let parts = (
        config(attributes, learned),
        prop::option::weighted(0.3, 0..10_u32),
        word(),
        word(),
        drift,
        prop::bool::weighted(0.8),
        agent,
    );
    parts
        .prop_map(|(config, replicas, sync_mode, durability, drift, ready, agent)| {
            Case::Moved(Moved { config, replicas, sync_mode, durability, drift, ready, agent })
        })
        .boxed()
}

impl<C: Calls> World<'_, C> {
    /// Runs a case.
    pub async fn run(&self, case: &Case) -> Kept<Came> {
        match case {
            Case::Bad(case) => self.bad(case).await,
            Case::Life(case) => self.life(case).await,
            Case::Change(case) => self.change(case).await,
            Case::Moved(case) => self.moved(case).await,
        }
    }

    async fn bad(&self, case: &Bad) -> Kept<Came> {
        let leaves: Vec<_> = self.learned.leaves.iter().filter(|(_, pool)| !pool.bad.is_empty()).collect();
        let mut spoiled = case.config.clone();
        for (position, (leaf, value)) in case.spoils.iter().enumerate() {
            let (path, pool) = leaf.get(&leaves);
            let value = value.get(&pool.bad);
            spoiled = with(&self.core.attributes, spoiled, path, value.clone());
            if position == 0 {
                let only = with(&self.core.attributes, minimal(), path, value.clone());
                let passes = self.validated(&only).await?;
                ensure(!passes, Law::RefusesBadInput, || format!("{path} = {value}"))?;
            }
        }
        self.validated(&spoiled).await?;
        // A host plans nothing that is invalid; a provider that is asked all the same must live.
        let plan = answered(self.core.plan(&Stored::nothing(), &spoiled, &Ignored::Nothing)).await?;
        sound(&plan.diagnostics)?;
        Ok(Came::Invalid)
    }

    async fn life(&self, case: &Life) -> Kept<Came> {
        if !self.validated(&case.config).await? {
            return Ok(Came::Invalid);
        }
        let open = sprinkled(&case.config, &case.unknown);
        let seen = self.agreed(&Stored::nothing(), &open).await?;
        self.twice(&seen).await?;
        ensure(seen.action == Action::Create, Law::Plans, || format!("{:?} of nothing", seen.action))?;
        if is_wholly_known(&open) {
            known_at_create(&self.core.attributes, &seen)?;
        }
        let last = self.completed(&seen, &case.config).await?;
        ensure(!last.is_refused(), Law::Plans, || messages(&last.diagnostics).join("\n"))?;
        self.unconfigured_apply(&last).await?;
        let stored = as_made(&self.core.attributes, &last);
        self.nothing_to_do(Law::NothingToDo, Turn::of(&stored, &case.config)).await?;
        let mut written = answered(self.core.generate(&stored.state)).await?;
        // What is in no state, the user writes again.
        for (name, _) in numbered(&self.core.attributes) {
            written[&name] = case.config[&name].clone();
        }
        self.nothing_to_do(Law::ComesBack, Turn::of(&stored, &written)).await?;
        let address = "registry.example.com/another/postgres";
        let moved = answered(self.core.move_from(address, &self.core.type_name, &stored)).await?;
        seen_unchanged(Law::ComesBack, &stored, &moved)?;
        Ok(Came::Made)
    }

    /// P11: an apply is an error, and nothing was made.
    async fn unconfigured_apply(&self, plan: &Plan) -> Kept {
        let applied = answered(self.core.apply(plan, &plan.config)).await?;
        sound(&applied.diagnostics)?;
        let refused = has_errors(&applied.diagnostics) && applied.stored.state == plan.prior.state;
        ensure(refused, Law::Unconfigured, || format!("{:?}", messages(&applied.diagnostics)))
    }

    async fn change(&self, case: &Change) -> Kept<Came> {
        if !self.validated(&case.before).await? || !self.validated(&case.after).await? {
            return Ok(Came::Invalid);
        }
        let stored = self.made(&case.before).await?;
        self.destroyed(&stored).await?;
        self.spelled_otherwise(&stored, &case.before).await?;
        let settled = self.given(case, &stored, &case.after);
        let new = self.as_new(&settled).await?;
        let written = sprinkled(&case.after, &case.unknown);
        let open = self.given(case, &stored, &written);
        let (_, seen) = self.turned(Turn { config: &written, ..case.turn(&stored) }).await?;
        self.twice(&seen).await?;
        self.allowed(&stored, &new, &open, &seen)?;
        if seen.is_refused() {
            return Ok(Came::Refused);
        }
        let last = self.completed(&seen, &case.after).await?;
        if seen.action != Action::Replace {
            // What was unknown may have become what can't be done.
            self.allowed(&stored, &new, &settled, &last)?;
        }
        if last.is_refused() {
            return Ok(Came::Refused);
        }
        self.follows(case, &stored, &new, &last).await?;
        let after = as_made(&self.core.attributes, &last);
        self.nothing_to_do(Law::NothingToDo, case.turn(&after)).await?;
        Ok(match seen.action {
            Action::Replace => Came::Replaced,
            Action::Update => Came::Updated,
            Action::NoOp | Action::Create | Action::Delete => Came::Nothing,
        })
    }

    /// What the provider gets of what is written.
    fn given(&self, case: &Change, stored: &Stored, written: &Json) -> Json {
        let written = complete(&self.core.attributes, written);
        case.ignored.over(&self.core.attributes, &stored.state, &written)
    }

    /// The plan during apply is what the configuration comes to: `new`, or of a replacement all that is written.
    async fn follows(&self, case: &Change, stored: &Stored, new: &Json, last: &Plan) -> Kept {
        if last.action == Action::Create {
            let new = self.as_new(&case.after).await?;
            return from_config(self.learned, &self.core.attributes, [&new, &last.planned, &Json::Null]);
        }
        from_config(self.learned, &self.core.attributes, [new, &last.planned, &stored.state])?;
        left_alone(case, &stored.state, last)?;
        if last.action == Action::Update {
            update(&self.core.attributes, stored, last)?;
        }
        Ok(())
    }

    /// P20, P23: refused is what has to be, and nothing else.
    fn allowed(&self, stored: &Stored, new: &Json, given: &Json, plan: &Plan) -> Kept {
        let (was, given) = (&stored.state, complete(&self.core.attributes, given));
        let changed = |path: &str| {
            let meaning = self.learned.leaves.get(path).and_then(|pool| pool.meaning);
            !is_wholly_known(at(&given, path)) || !same_meaning(meaning, at(was, path), at(new, path))
        };
        let known = |path: &str| is_wholly_known(at(&given, path));
        let replaces = REPLACING.iter().any(|name| changed(name));
        let protected = was["deletion_protection"] != false;
        let size =
            |state: &Json| amount(Meaning::Quantity, at(state, "storage.size").as_str().unwrap_or_default());
        let major = |state: &Json| {
            let version = state["postgres_version"].as_str().unwrap_or_default();
            version.split('.').next().unwrap_or_default().to_owned()
        };
        let shrinks = known("storage.size") && size(new) < size(was);
        let jumps = known("postgres_version") && major(new) != major(was);
        // A new number without its password, which `ignore_changes` may have taken away.
        let lacks = numbered(&self.core.attributes).into_iter().any(|(text, number)| {
            given[&text].is_null()
                && !is_unknown(&given[&number])
                && !given[&number].is_null()
                && given[&number] != was[&number]
        });
        // Of a volume of which nothing is known yet, nothing can be said.
        let moves = !is_unknown(&given["storage"]) && changed("storage.class");
        let impossible = shrinks || jumps || moves || lacks;
        let refused = plan.is_refused();
        let say = || format!("refused: {refused}; {}", messages(&plan.diagnostics).join("\n"));
        let resumes = comes_back(was, changed);
        if replaces && !protected {
            ensure(refused == resumes, Law::BringsNothingBack, say)?;
        } else if replaces {
            ensure(refused, Law::Protected, say)?;
        } else {
            ensure(refused == impossible, Law::Refused, say)?;
        }
        if refused {
            return self.named(&plan.diagnostics);
        }
        ensure((plan.action == Action::Replace) == replaces, Law::Replaces, || {
            format!("{:?}, and another cluster is needed: {replaces}", plan.action)
        })?;
        let told = messages(&plan.diagnostics)
            .iter()
            .any(|text| text.contains("is destroyed and a new one is made"));
        ensure(told == replaces, Law::Warned, || format!("replaces: {replaces}, told: {told}"))
    }

    /// P20: a destroy of protected data is refused, any other planned.
    async fn destroyed(&self, stored: &Stored) -> Kept {
        let protected = stored.state["deletion_protection"] != false;
        let plan = self.planned(stored, &Json::Null).await?;
        let refused = plan.is_refused();
        ensure(refused == protected, Law::Protected, || {
            format!("protected: {protected}, refused: {refused}")
        })?;
        self.named(&plan.diagnostics)?;
        ensure(refused || plan.action == Action::Delete, Law::Protected, || format!("{:?}", plan.action))?;
        let word = if stored.state["storage"]["retain"] == false {
            "is deleted with it"
        } else {
            "stays in its volumes"
        };
        let told = messages(&plan.diagnostics).iter().any(|text| text.contains(word));
        ensure(told != refused, Law::Warned, || format!("refused: {refused}, and {word:?} is told: {told}"))
    }

    /// P5: another spelling is no change.
    async fn spelled_otherwise(&self, stored: &Stored, config: &Json) -> Kept {
        let (other, changed) = respelled(&self.core.attributes, self.learned, config);
        if changed == 0 || !self.validated(&other).await? {
            return Ok(());
        }
        self.nothing_to_do(Law::FromConfig, Turn::of(stored, &other)).await
    }

    async fn moved(&self, case: &Moved) -> Kept<Came> {
        if !self.validated(&case.config).await? {
            return Ok(Came::Invalid);
        }
        let before = self.made(&case.config).await?;
        let mut live = before.clone();
        let mut word = |name: &str, pick: Option<&Index>| {
            if let Some(pick) = pick {
                live.state[name] = pick.get(&self.learned.leaves[name].good).clone();
            }
        };
        word("sync_mode", case.sync_mode.as_ref());
        word("durability", case.durability.as_ref());
        if let Some(replicas) = case.replicas {
            live.state["replicas"] = json!(replicas);
        }
        live.state["drift"] = case.drift.iter().map(drifted).collect();
        live.state["ready"] = json!(case.ready);
        let touched = live != before;
        let ours = before.state["agent_version"].clone();
        match case.agent {
            Agent::Older => live.state["agent_version"] = json!("0.0.1"),
            Agent::Same => {}
            Agent::Newer => live.state["agent_version"] = json!("99.0.0"),
        }
        let carried = !has_an_image(&live.state);
        let plan = self.planned(&live, &case.config).await?;
        if case.agent == Agent::Newer && carried {
            let same = plan.planned["agent_version"] == live.state["agent_version"];
            let kept = plan.is_refused() || (!touched && same);
            ensure(kept, Law::AgentNeverLower, || {
                "an older provider changes a newer one's cluster".to_owned()
            })?;
        }
        if plan.is_refused() {
            ensure(case.agent == Agent::Newer && carried && touched, Law::Repaired, || {
                messages(&plan.diagnostics).join("\n")
            })?;
            return Ok(Came::Refused);
        }
        let repairs = touched || (case.agent == Agent::Older && carried);
        let expected = if repairs { Action::Update } else { Action::NoOp };
        let law = if case.ready { Law::Repaired } else { Law::Ready };
        ensure(plan.action == expected, law, || format!("{:?} where {expected:?} is due", plan.action))?;
        if !repairs {
            return Ok(Came::Nothing);
        }
        ensure(!carried || plan.planned["agent_version"] == ours, Law::AgentNeverLower, || {
            format!("agent_version is {}", plan.planned["agent_version"])
        })?;
        update(&self.core.attributes, &live, &plan)?;
        let new = self.as_new(&case.config).await?;
        from_config(self.learned, &self.core.attributes, [&new, &plan.planned, &live.state])?;
        let after = as_made(&self.core.attributes, &plan);
        self.nothing_to_do(Law::NothingToDo, Turn::of(&after, &case.config)).await?;
        Ok(Came::Updated)
    }
}

impl Change {
    /// The turn of what comes after.
    fn turn<'a>(&'a self, stored: &'a Stored) -> Turn<'a> {
        Turn { stored, config: &self.after, ignored: &self.ignored }
    }
}

/// Whether a new cluster of this would go on from the old one's volumes, with another `bootstrap` than they were made with.
fn comes_back(was: &Json, changed: impl Fn(&str) -> bool) -> bool {
    let elsewhere = changed("name") || changed("namespace");
    was["storage"]["retain"] != false && changed("bootstrap") && !elsewhere
}

/// What is ignored is as it was.
fn left_alone(case: &Change, was: &Json, plan: &Plan) -> Kept {
    let kept = match &case.ignored {
        Ignored::Nothing => return Ok(()),
        Ignored::All => plan.planned == *was,
        Ignored::Parts(parts) => parts.iter().all(|part| {
            let [is, was, given] = [&plan.planned, was, &plan.config].map(|value| at(value, &part.path));
            match &part.key {
                Some(key) => is.get(key) == was.get(key) || given.get(key) != was.get(key),
                None => is == was || given != was,
            }
        }),
    };
    ensure(kept, Law::LeavesIgnored, || format!("{:?}\n{}", case.ignored, difference(was, &plan.planned)))
}

/// An entry of drift.
fn drifted(pick: &Index) -> Json {
    let objects = ["Service/orders-rw", "StatefulSet/orders", "ConfigMap/orders-desired", "Role/orders"];
    json!({ "object": pick.get(&objects), "field": "spec.selector", "diff": "-a\n+b\n", "changed_by": null,
        "changed_at": null })
}
