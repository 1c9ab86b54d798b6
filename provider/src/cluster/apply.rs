//! Applying: create, change, destroy (P16–P21). The core says what to do with each snapshot; here it is done, and a failure
//! becomes the state that is really in force.

use std::borrow::Cow;

use pgha_provider_core::anchor::Anchor;
use pgha_provider_core::diagnostic::{Diagnostic, Diagnostics};
use pgha_provider_core::facts::Facts;
use pgha_provider_core::live::LiveCluster;
use pgha_provider_core::outcome::{self, Outcome};
use pgha_provider_core::plan::{Changed, changes};
use pgha_provider_core::render::Agent;
use pgha_provider_core::rights::{Operation, needs, of_new_anchor, of_steps};
use pgha_provider_core::step::Sensitive;
use pgha_provider_core::steps::{
    self, Job, Leaving, Steps, anchor_metadata, build, change, config_for_anchor, copy_record, create_anchor,
    password_to_write, remake_anchor, remove, secret_probes,
};
use pgha_provider_core::value::Value;
use pgha_schema::resource::{ClusterSpec, Timeouts, schema};
use serde_json::Value as Json;
use tokio::time::Instant;

use super::carried::{carried, facts, private};
use super::failure::describe;
use super::work::{Patience, Work};
use crate::engine::{Answer, Apply};
use crate::live::config::Connector;
use crate::live::errors::causes;
use crate::live::execute::{Failure, Runner};

pub(super) async fn apply(request: Apply, connector: &Connector) -> Answer {
    let kept = (request.prior.clone(), request.private.clone());
    let done = match (request.prior.is_null(), request.planned.is_null()) {
        (_, true) => destroy(request, connector).await,
        (true, false) => create(request, connector).await,
        (false, false) => update(request, connector).await,
    };
    done.unwrap_or_else(|problem| {
        let (state, private) = kept;
        Answer { state, private, diagnostics: problem.into() }
    })
}

/// What an operation is made from, owned, so that a [`Job`] can borrow from it.
struct Plan {
    spec: ClusterSpec,
    prior: Value,
    config: Json,
    facts: Facts,
    agent: Cow<'static, Agent>,
    gzipped: &'static [u8],
    superuser_password: Option<Sensitive>,
}

impl Plan {
    fn new(request: &Apply) -> Result<Self, Diagnostic> {
        let spec = super::plan::spec(&request.planned).ok_or_else(unknown_inputs)?;
        let carried = carried();
        let (agent, gzipped) = Agent::of(&spec, &carried.agent, &carried.gzipped);
        Ok(Self {
            spec,
            prior: request.prior.clone(),
            config: config_for_anchor(&request.config),
            // The mark of a plan is none of the state's facts.
            facts: facts(&request.private).without_mark(),
            agent,
            gzipped,
            superuser_password: password_to_write(&request.config, &request.prior, &request.planned),
        })
    }

    fn job<'a>(&'a self, connector: &'a Connector) -> Job<'a> {
        Job {
            spec: &self.spec,
            prior: &self.prior,
            config: &self.config,
            facts: &self.facts,
            ignore: connector.ignore(),
            agent: &self.agent,
            gzipped: self.gzipped,
            superuser_password: self.superuser_password.as_ref(),
        }
    }
}

fn unknown_inputs() -> Diagnostic {
    Diagnostic::error(
        "The planned configuration is not wholly known",
        "The host asked to apply values that it does not know yet. Please report this.",
    )
}

async fn create(request: Apply, connector: &Connector) -> Result<Answer, Diagnostic> {
    let mut plan = Plan { facts: Facts::default(), ..Plan::new(&request)? };
    let timeout = plan.spec.timeouts.clone().unwrap_or_default().create();
    let patience = Patience::said_in("timeouts.create", timeout);
    let work = Work::new(connector, &plan.spec.namespace, &plan.spec.name, patience, request.stop).await?;
    work.may(Operation::Create, &needs(Operation::Create, plan.spec.network_policy.is_some())).await?;
    let start = work.start().await?;
    let first = create_anchor(&plan.job(connector), &start)?;
    if start.anchor_uid().is_none() {
        work.secrets_are_free(&secret_probes(&plan.job(connector))).await?;
    }
    let mut anchor = Anchor::new(plan.config.clone());
    let mut runner = work.runner(&start, &mut anchor, None, anchor_metadata(&plan.spec));
    if let Err(failure) = runner.run(vec![first]).await {
        return Err(describe(failure, &work));
    }
    plan.facts = Facts {
        anchor_uid: runner.anchor_uid.clone(),
        cluster_id: start.cluster_id.clone(),
        ..Facts::default()
    };
    // From here on something exists, so a state is returned whatever happens.
    let mut diagnostics = Diagnostics::new();
    let live = match runner.anchor_made.take() {
        // Nothing was there a moment ago, and nobody else makes a cluster of this name beside the anchor.
        Some(anchor) if start.is_bare() => Ok(start.clone().with_anchor(anchor)),
        _ => work.objects().await,
    };
    let ended = match live.and_then(|live| build(&plan.job(connector), &live)) {
        Ok(Steps { steps, diagnostics: told }) => {
            diagnostics.extend(told);
            runner.run(steps).await
        }
        Err(problem) => Err(Failure::Refused(problem)),
    };
    let until = work.last_moment();
    let problem = finished(ended, &runner, &work, until).await;
    let live = work.last(until).await.unwrap_or_else(|| LiveCluster::nothing(&plan.spec.name));
    Ok(answer(outcome::created(&request.planned, &live, problem), &plan.facts, diagnostics))
}

async fn update(request: Apply, connector: &Connector) -> Result<Answer, Diagnostic> {
    let mut plan = Plan::new(&request)?;
    if !touches_cluster(&request.prior, &request.planned) {
        return Ok(Answer {
            state: request.planned,
            private: private(&plan.facts),
            diagnostics: Diagnostics::new(),
        });
    }
    let timeout = plan.spec.timeouts.clone().unwrap_or_default().update();
    let patience = Patience::said_in("timeouts.update", timeout);
    let work = Work::new(connector, &plan.spec.namespace, &plan.spec.name, patience, request.stop).await?;
    work.may(Operation::Update, &needs(Operation::Update, plan.job(connector).has_network_policy())).await?;
    let start = work.start().await?;
    let mut live = start.clone();
    let mut anchor = remembered(&start, &plan.config)?;
    let metadata = anchor_metadata(&plan.spec);
    let mut runner = work.runner(&start, &mut anchor, start.anchor_uid(), metadata);
    let mut remade = false;
    if let Some(step) = remake_anchor(&plan.job(connector), &start)? {
        work.may(Operation::Update, &of_new_anchor(&start)).await?;
        runner.run(vec![step]).await.map_err(|failure| describe(failure, &work))?;
        remade = true;
        plan.facts.anchor_uid.clone_from(&runner.anchor_uid);
        live = work.objects().await?;
    }
    let Steps { steps, diagnostics } = change(&plan.job(connector), &live, remade)?;
    // With a new anchor something was changed already, and the refusal would not be true.
    if !remade {
        work.may(Operation::Update, &of_steps(&steps, &live)).await?;
    }
    let ended = runner.run(steps).await;
    plan.facts.anchor_uid.clone_from(&runner.anchor_uid);
    if plan.facts.cluster_id.is_none() {
        plan.facts.cluster_id.clone_from(&start.cluster_id);
    }
    let until = work.last_moment();
    let problem = finished(ended, &runner, &work, until).await;
    let live = work.last(until).await.unwrap_or_else(|| live.clone());
    let outcome = outcome::updated(&request.planned, &request.prior, &live, problem);
    Ok(answer(outcome, &plan.facts, diagnostics))
}

async fn destroy(request: Apply, connector: &Connector) -> Result<Answer, Diagnostic> {
    let prior = &request.prior;
    let text = |name: &str| prior.get(name).as_str().unwrap_or_default().to_owned();
    let timeouts =
        prior.get("timeouts").to_json().and_then(|json| serde_json::from_value::<Timeouts>(json).ok());
    let patience = Patience::said_in("timeouts.delete", timeouts.unwrap_or_default().delete());
    let work = Work::new(connector, &text("namespace"), &text("name"), patience, request.stop).await?;
    let facts = facts(&request.private).without_mark();
    let leaving = Leaving { prior, facts: &facts };
    work.may(Operation::Destroy, &needs(Operation::Destroy, leaving.has_network_policy())).await?;
    let start = work.start().await?;
    let ahead = steps::all_ahead(&leaving, &start)?;
    work.may(Operation::Destroy, &of_steps(&ahead, &start)).await?;
    let mut anchor = remembered(&start, &Json::Null).unwrap_or_else(|_| Anchor::new(Json::Null));
    let metadata = super::plan::spec(prior).map(|spec| anchor_metadata(&spec)).unwrap_or_default();
    let mut runner = work.runner(&start, &mut anchor, start.anchor_uid(), metadata);
    let mut diagnostics = Diagnostics::new();
    let phases: [LeavingPhase; 3] = [steps::stop, copy_record, remove];
    for phase in phases {
        let Steps { steps, diagnostics: told } = phase(&leaving, &work.objects().await?)?;
        diagnostics.extend(told);
        runner.run(steps).await.map_err(|failure| describe(failure, &work))?;
    }
    Ok(Answer { diagnostics, ..Answer::default() })
}

/// One phase of a destroy: what to do, by a snapshot from just before it.
type LeavingPhase = fn(&Leaving<'_>, &LiveCluster) -> Result<Steps, Diagnostic>;

/// The anchor as it is there, with the configuration that is applied now.
fn remembered(live: &LiveCluster, config: &Json) -> Result<Anchor, Diagnostic> {
    let Some(object) = live.anchor().known().copied() else { return Ok(Anchor::new(config.clone())) };
    let anchor = Anchor::parse(object).map_err(|error| {
        Diagnostic::error(
            format!("ConfigMap {} can't be used", live.names.anchor()),
            format!("{error}. Nothing was changed."),
        )
    })?;
    Ok(Anchor { config: config.clone(), ..anchor })
}

/// The failure in words. A failed apply is remembered as far as it got.
async fn finished(
    ended: Result<(), Failure>,
    runner: &Runner<'_>,
    work: &Work,
    until: Instant,
) -> Option<Diagnostic> {
    let failure = ended.err()?;
    match tokio::time::timeout_at(until, runner.save_anchor()).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            tracing::warn!(%error, causes = causes(&error), "the anchor is not up to date");
        }
        Err(_) => tracing::warn!("the anchor is not up to date: the API server did not answer in time"),
    }
    Some(describe(failure, work))
}

fn answer(outcome: Outcome, facts: &Facts, mut diagnostics: Diagnostics) -> Answer {
    diagnostics.extend(outcome.diagnostics);
    Answer { state: outcome.state, private: private(facts), diagnostics }
}

/// A change of only `timeouts` or `deletion_protection` touches no cluster (P7): then the plan keeps every output.
fn touches_cluster(prior: &Value, planned: &Value) -> bool {
    let outputs = schema().attributes.iter().filter(|attribute| attribute.is_output());
    let mut changed = outputs.filter(|output| prior.get(&output.name) != planned.get(&output.name));
    changed.next().is_some() || changes(prior, planned).iter().any(Changed::is_significant)
}
