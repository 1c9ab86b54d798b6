//! A cluster and the state that Terraform holds of it, through plans and applies.
#![allow(dead_code, missing_docs, clippy::panic)]

use crate::common;
use crate::common::{agent, config};
use crate::fake::Fake;
use pgha_provider_core::check;
use pgha_provider_core::diagnostic::Diagnostic;
use pgha_provider_core::facts::Facts;
use pgha_provider_core::ignore::Ignore;
use pgha_provider_core::live::LiveCluster;
use pgha_provider_core::object::Kind;
use pgha_provider_core::outcome;
use pgha_provider_core::plan::{Plan, Request, plan};
use pgha_provider_core::refresh::{Refreshed, refresh};
use pgha_provider_core::render::Agent;
use pgha_provider_core::rights::{Operation, Right, needs, of_steps};
use pgha_provider_core::step::Sensitive;
use pgha_provider_core::steps::{self, Job, Leaving, Steps};
use pgha_provider_core::value::Value;
use pgha_schema::resource::{ClusterSpec, schema};
use serde_json::{Value as Json, json};
use std::collections::BTreeSet;

/// A cluster and the state that Terraform holds of it.
pub struct World {
    pub fake: Fake,
    pub state: Value,
    pub facts: Facts,
    pub ignore: Ignore,
}

/// A part of a destroy.
type Phase = fn(&Leaving<'_>, &LiveCluster) -> Result<Steps, Diagnostic>;

pub fn planned(config: &Value, prior: &Value, facts: &Facts) -> Plan {
    let plan = plan(&Request { config, prior, facts, agent_version: "0.1.0" });
    let violations = check::plan(schema(), config, prior, &plan.planned, &plan.requires_replace);
    assert!(violations.is_empty(), "{violations:?}");
    assert!(!plan.diagnostics.has_errors(), "{}", plan.diagnostics);
    plan
}

pub fn spec_of(value: &Value) -> ClusterSpec {
    let mut known = value.clone();
    for attribute in schema().attributes.iter().filter(|attribute| attribute.is_output()) {
        known.set_at(&attribute.name, Value::Null);
    }
    ClusterSpec::from_value(&known.to_json().expect("known")).expect("a specification")
}

/// What an apply of a configuration is made from, owned, so that a [`Job`] can borrow from it.
struct Wanted {
    planned: Value,
    spec: ClusterSpec,
    agent: Agent,
    anchor: Json,
    password: Option<Sensitive>,
}

impl Wanted {
    fn new(json: &Json, prior: &Value, facts: &Facts) -> Self {
        let config = config(json);
        let planned = planned(&config, prior, facts).planned;
        Self {
            spec: spec_of(&planned),
            agent: agent(),
            anchor: steps::config_for_anchor(&config),
            password: steps::password_to_write(&config, prior, &planned),
            planned,
        }
    }

    fn job<'a>(&'a self, prior: &'a Value, facts: &'a Facts, ignore: &'a Ignore) -> Job<'a> {
        Job {
            spec: &self.spec,
            prior,
            config: &self.anchor,
            facts,
            ignore,
            agent: &self.agent,
            gzipped: &[1],
            superuser_password: self.password.as_ref(),
        }
    }
}

impl World {
    pub fn create(json: &Json) -> Self {
        let fake = Fake::new(json["name"].as_str().expect("a name"));
        Self::create_in(json, fake).expect("a create")
    }

    pub fn create_in(json: &Json, fake: Fake) -> Result<Self, Diagnostic> {
        let mut world = Self { fake, state: Value::Null, facts: Facts::default(), ignore: Ignore::default() };
        let (nothing, no_facts) = (Value::Null, Facts::default());
        let wanted = Wanted::new(json, &nothing, &no_facts);
        let no_ignore = Ignore::default();
        let job = wanted.job(&nothing, &no_facts, &no_ignore);
        let ahead = needs(Operation::Create, job.has_network_policy());
        let ahead: BTreeSet<Right> = ahead.used.union(&ahead.given).copied().collect();
        let first = steps::create_anchor(&job, &world.fake.live)?;
        world.fake.run(vec![first]);
        let all = steps::build(&job, &world.fake.live)?;
        let mut used = of_steps(&all.steps, &world.fake.live).used;
        // Only for a Secret that is there already.
        used.remove(&Right { kind: Kind::Secret, verb: "update" });
        assert!(used.is_subset(&ahead), "not looked for before: {:?}", used.difference(&ahead));
        world.fake.run(all.steps);
        world.answer(&wanted.planned, outcome::created(&wanted.planned, &world.fake.live, None).state);
        Ok(world)
    }

    pub fn answer(&mut self, planned: &Value, state: Value) {
        let violations = check::apply(schema(), planned, &state);
        assert!(violations.is_empty(), "{violations:?}");
        self.state = state;
        self.facts = Facts {
            anchor_uid: self.fake.live.anchor_uid().map(str::to_owned),
            cluster_id: self.fake.live.cluster_id.clone(),
            ..Facts::default()
        };
    }

    pub fn refresh(&mut self) {
        match refresh(&self.state, &self.facts, &self.fake.live, &self.ignore) {
            Refreshed::Present { state, diagnostics } => {
                assert!(diagnostics.is_empty(), "{diagnostics}");
                self.state = state;
            }
            other => panic!("{other:?}"),
        }
    }

    /// The steps of a change that nobody carries out.
    pub fn change(&self, json: &Json) -> Result<Steps, Diagnostic> {
        self.with_job(json, &self.state, |job| steps::change(job, &self.fake.live, false))
    }

    /// What is made of the plan from `prior` to this configuration.
    pub fn with_job<T>(&self, json: &Json, prior: &Value, make: impl FnOnce(&Job<'_>) -> T) -> T {
        make(&Wanted::new(json, prior, &self.facts).job(prior, &self.facts, &self.ignore))
    }

    /// Refresh, plan, apply, refresh: the plan after it is empty. Gives the state that the plan was made from.
    pub fn apply(&mut self, json: &Json) -> Value {
        self.refresh();
        let before = self.state.clone();
        let wanted = Wanted::new(json, &before, &self.facts);
        let planned = &wanted.planned;
        assert_ne!(*planned, before, "there is something to do");
        let job = wanted.job(&before, &self.facts, &self.ignore);
        self.fake.log.clear();
        let remade = steps::remake_anchor(&job, &self.fake.live).expect("may be changed");
        let is_remade = remade.is_some();
        self.fake.run(remade.into_iter().collect());
        let all = steps::change(&job, &self.fake.live, is_remade).expect("may be changed");
        self.fake.run(all.steps);
        self.answer(planned, outcome::updated(planned, &before, &self.fake.live, None).state);
        self.nothing_to_do(json);
        before
    }

    pub fn nothing_to_do(&mut self, json: &Json) {
        self.refresh();
        let plan = planned(&config(json), &self.state, &self.facts);
        assert_eq!(plan.planned, self.state);
    }

    pub fn destroy(&mut self) -> Result<(), Diagnostic> {
        let leaving = Leaving { prior: &self.state, facts: &self.facts };
        self.fake.log.clear();
        let ahead = of_steps(&steps::all_ahead(&leaving, &self.fake.live)?, &self.fake.live).used;
        let phases: [Phase; 3] = [steps::stop, steps::copy_record, steps::remove];
        for phase in phases {
            let all = phase(&leaving, &self.fake.live)?.steps;
            let used = of_steps(&all, &self.fake.live).used;
            assert!(used.is_subset(&ahead), "not looked for before: {:?}", used.difference(&ahead));
            self.fake.run(all);
        }
        Ok(())
    }

    /// A refresh that has something to say.
    pub fn told(&mut self) -> String {
        match refresh(&self.state, &self.facts, &self.fake.live, &self.ignore) {
            Refreshed::Present { state, diagnostics } => {
                self.state = state;
                diagnostics.to_string()
            }
            other => panic!("{other:?}"),
        }
    }

    pub fn drift(&self) -> Vec<(String, String)> {
        let text = |entry: &Value, name: &str| entry.get(name).as_str().unwrap_or_default().to_owned();
        let entries = self.state.get("drift").as_items().unwrap_or_default();
        entries.iter().map(|entry| (text(entry, "object"), text(entry, "field"))).collect()
    }
}

pub fn unprotected() -> Json {
    let mut json = common::minimal();
    json["deletion_protection"] = json!(false);
    json
}
