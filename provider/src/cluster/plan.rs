//! Planning: the pure plan, and a dry run that can only warn.

use pgha_provider_core::diagnostic::{Diagnostic, Diagnostics};
use pgha_provider_core::live::LiveCluster;
use pgha_provider_core::plan as core;
use pgha_provider_core::render::Agent;
use pgha_provider_core::steps::{
    Job, Trial, config_for_anchor, kept_claims, of_change, of_create, resumption, secret_probes,
};
use pgha_provider_core::value::Value;
use pgha_schema::names::Names;
use pgha_schema::resource::{ClusterSpec, schema};

use super::carried::{carried, facts, private};
use super::work::taken_secret;
use crate::engine::{Plan, Planned};
use crate::live::api::Api;
use crate::live::collect::{Depth, snapshot};
use crate::live::config::Connector;
use crate::live::dry_run::{Extent, LIMIT, tried};
use crate::live::errors::causes;
use crate::live::pace::Pace;

pub(super) async fn plan(request: Plan, connector: Option<&Connector>) -> Planned {
    let agent_version = &carried().agent.version;
    let core::Plan { planned, requires_replace, facts, mut diagnostics } = core::plan(&core::Request {
        config: &request.config,
        prior: &request.prior,
        facts: &facts(&request.prior_private),
        agent_version,
    });
    let writes = !planned.is_null() && planned != request.prior && requires_replace.is_empty();
    if writes && !diagnostics.has_errors() {
        let looked = look(connector, &request, &planned).await;
        diagnostics.extend(looked.found);
        diagnostics.extend(core::kept_volumes_go(&request.prior, &planned, looked.kept_claims.as_deref()));
    }
    Planned { state: planned, requires_replace, private: private(&facts), diagnostics }
}

/// What a look at the cluster adds to a plan. Nothing when the API server can't be asked, or when not every input is known.
#[derive(Default)]
struct Looked {
    /// What stands against an apply now, and what it would find.
    found: Diagnostics,
    /// Volume claims that earlier scale-downs kept; `None`: they were not seen.
    kept_claims: Option<Vec<String>>,
}

/// What a look tells in time, and how fast the API server answered to it. A user who asked to stop waits for neither.
async fn look(connector: Option<&Connector>, request: &Plan, planned: &Value) -> Looked {
    let (Some(connector), Some(spec)) = (connector, spec(planned)) else { return Looked::default() };
    let pace = Pace::default();
    let mut looked = tokio::select! {
        looked = tokio::time::timeout(LIMIT, dry_run(connector, request, &spec, &pace)) => looked.unwrap_or_else(|_| {
            tracing::info!("the dry run at plan time took too long and is left out");
            Looked::default()
        }),
        () = request.stop.cancelled() => {
            tracing::info!("the dry run at plan time was stopped");
            return Looked::default();
        }
    };
    // A server that is too slow for the whole of it has answered to its first requests.
    looked.found.extend(pace.fastest().and_then(|fastest| core::short_lease(&spec.failover, fastest)));
    looked
}

async fn dry_run(connector: &Connector, request: &Plan, spec: &ClusterSpec, pace: &Pace) -> Looked {
    let connection = match connector.connection().await {
        Ok(connection) => connection,
        Err(problem) => {
            tracing::info!(%problem, "no dry run at plan time");
            return Looked { found: unusable(problem).into(), ..Looked::default() };
        }
    };
    let (agent, _) = Agent::of(spec, &carried().agent, &[]);
    let anchor = config_for_anchor(&request.config);
    // In the second plan of a replacement that of the first: then the old cluster is there still.
    let carried_facts = facts(&request.prior_private);
    let job = Job {
        spec,
        prior: &request.prior,
        config: &anchor,
        facts: &carried_facts.clone().without_mark(),
        ignore: connector.ignore(),
        agent: &agent,
        gzipped: &[],
        superuser_password: None,
    };
    let api = Api::new(connection, &spec.namespace).timed(pace);
    Tryout { job: &job, api, replaces: carried_facts.anchor_uid.is_some() }.run().await
}

/// One plan that is tried.
struct Tryout<'a> {
    job: &'a Job<'a>,
    api: Api,
    replaces: bool,
}

impl Tryout<'_> {
    async fn run(&self) -> Looked {
        let names = Names::new(&self.job.spec.name);
        let live = match Box::pin(snapshot(&self.api, &names, Depth::Objects)).await {
            Ok(live) => live,
            Err(error) => {
                tracing::info!(%error, causes = causes(&error), "no dry run at plan time");
                return Looked::default();
            }
        };
        let mut looked = Looked { kept_claims: kept_claims(self.job, &live), ..Looked::default() };
        let trials = match self.trials(&live).await {
            Ok(trials) => trials,
            Err(problem) => {
                looked.found.push(would_not_begin(problem));
                return looked;
            }
        };
        let creates = self.job.prior.is_null() && !self.replaces;
        looked.found.extend(resumption(self.job, &live).filter(|_| creates));
        looked.found.extend(tried(&self.api, trials, self.extent()).await);
        looked
    }

    /// `Err`: why an apply would not begin.
    async fn trials(&self, live: &LiveCluster) -> Result<Vec<Trial>, Diagnostic> {
        if !self.job.prior.is_null() {
            return of_change(self.job, live);
        }
        let trials = of_create(self.job, live, self.replaces)?;
        let taken =
            if self.replaces { None } else { taken_secret(&self.api, &secret_probes(self.job)).await };
        taken.map_or(Ok(trials), Err)
    }

    fn extent(&self) -> Extent {
        let before = self.job.prior.get("replicas").as_i64();
        let more = before.is_none_or(|before| before < i64::from(self.job.spec.replicas));
        if more { Extent::MorePods } else { Extent::SamePods }
    }
}

/// A refusal that comes before the first write. A destroy plans too, and what a plan replaces is still there: so it only warns.
fn would_not_begin(problem: Diagnostic) -> Diagnostic {
    let detail =
        format!("Unless this plan destroys what is there first, apply will refuse. {}", problem.detail);
    Diagnostic { path: problem.path, ..Diagnostic::warning(problem.summary, detail) }
}

/// The provider's settings, to which its path leads, make no client. The run may be about to make what they name, as a kubeconfig file.
fn unusable(problem: Diagnostic) -> Diagnostic {
    let lead = "Nothing of this plan could be tried, and unless this run mends it first, apply will fail.";
    Diagnostic::warning(problem.summary, format!("{lead} {}", problem.detail))
}

/// The specification, when every input is known.
pub(super) fn spec(planned: &Value) -> Option<ClusterSpec> {
    let inputs = schema().attributes.iter().filter(|attribute| !attribute.is_output());
    let known: Option<serde_json::Map<_, _>> =
        inputs.map(|input| Some((input.name.clone(), planned.get(&input.name).to_json()?))).collect();
    ClusterSpec::from_value(&known?.into()).ok()
}
