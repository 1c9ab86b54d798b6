//! Actions: the request goes into the desired state, the agents answer it. What goes on meanwhile is told to the host.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::{self, BoxStream};
use pgha_provider_core::action::{
    self as core, Written, outcome, roles, rotation, with_request, with_rotation, without_request,
};
use pgha_provider_core::anchor::Anchor;
use pgha_provider_core::credentials::secret_name;
use pgha_provider_core::diagnostic::{Diagnostic, Diagnostics};
use pgha_provider_core::live::LiveCluster;
use pgha_provider_core::object::ObjectKey;
use pgha_provider_core::rights::{Operation, needs};
use pgha_provider_core::step::{Limit, Step, Wait, Wish};
use pgha_provider_core::value::Value;
use pgha_schema::actions::{Action, Timeouts};
use pgha_schema::request::{Asked, Request};
use serde_json::Value as Json;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::carried::carried;
use super::failure::describe;
use super::work::{LAST_LOOK, Patience, Work};
use crate::engine::{Event, Invoke};
use crate::live::api::Mode;
use crate::live::config::Connector;
use crate::live::execute::Failure;
use crate::live::wait::{self, Ended};

/// Others write the desired state too, and may be first so often in a row.
const ATTEMPTS: u32 = 5;
/// After the answer: the new desired state is acknowledged everywhere within this, and then a plan finds the cluster ready. One that takes
/// longer has another reason, which the next plan shows.
const SETTLE_MS: u64 = 30_000;
/// How long the withdrawal of a request that nobody took up may go on after its deadline.
const WITHDRAW: Duration = Duration::from_secs(5);

/// What an invocation tells, and at last what came of it.
pub(super) fn invoke(request: Invoke, connector: Arc<Connector>) -> BoxStream<'static, Event> {
    let (tell, told) = unbounded_channel();
    let work: BoxFuture<'static, Diagnostics> = Box::pin(async move {
        match carry_out(request, &connector, tell).await {
            Ok(()) => Diagnostics::new(),
            Err(problem) => problem.into(),
        }
    });
    stream::unfold(Some(Telling { work, told, ended: None }), |telling| async move {
        let mut telling = telling?;
        let event = telling.next().await;
        let over = matches!(event, Event::Completed(_));
        Some((event, (!over).then_some(telling)))
    })
    .boxed()
}

struct Telling {
    work: BoxFuture<'static, Diagnostics>,
    told: UnboundedReceiver<String>,
    ended: Option<Diagnostics>,
}

impl Telling {
    /// Everything that was told comes before the end.
    async fn next(&mut self) -> Event {
        if self.ended.is_none() {
            tokio::select! {
                biased;
                Some(message) = self.told.recv() => return Event::Progress(message),
                ended = &mut self.work => self.ended = Some(ended),
            }
        }
        match self.told.try_recv() {
            Ok(message) => Event::Progress(message),
            Err(_) => Event::Completed(self.ended.take().unwrap_or_default()),
        }
    }
}

async fn carry_out(
    request: Invoke,
    connector: &Connector,
    tell: UnboundedSender<String>,
) -> Result<(), Diagnostic> {
    let Invoke { action, config, stop } = request;
    if !config.is_wholly_known() {
        let detail =
            "The host asked for an action with arguments that are not known yet. Please report this.";
        return Err(Diagnostic::error("Arguments are not known", detail));
    }
    let text = |name: &str| config.get(name).as_str().unwrap_or_default().to_owned();
    let (namespace, name) = (text("namespace"), text("name"));
    let mut work = Work::new(connector, &namespace, &name, patience(action, &config), stop).await?;
    work.frame.tell = Some(tell);
    let operation = Operation::Act(action);
    work.may(operation, &needs(operation, false)).await?;
    if action == Action::RotateCredentials {
        return rotate(&config, &work).await;
    }
    for asked in core::asked(action, &config, &work.objects().await?)? {
        ask(asked, &work).await?;
    }
    Ok(())
}

fn patience(action: Action, config: &Value) -> Patience {
    let timeouts = config.get("timeouts").to_json();
    let timeouts =
        timeouts.and_then(|json| serde_json::from_value::<Timeouts>(json).ok()).unwrap_or_default();
    Patience::said_in("timeouts.invoke", timeouts.invoke.unwrap_or(action.patience()).to_std())
}

/// One request, from the asking to its answer.
async fn ask(asked: Asked, work: &Work) -> Result<(), Diagnostic> {
    // Another name each time: an action that is run again is another request.
    let request = Request { id: format!("a{}", uuid::Uuid::new_v4().simple()), asked };
    let start = work.start().await?;
    let written = write(work, |live| with_request(live, &request)).await?;
    work.frame.tell(format!("asked the primary's agent: {}", in_words(&request.asked)));
    let answered = Wish::Answered { id: request.id.clone() };
    if let Err(ended) = wait_for(answered, Limit::Operation, work, &start).await {
        let left = withdraw(&request, work).await;
        return Err(unanswered(ended, &left, work));
    }
    let record = work.objects().await?.record();
    let answer = record.as_ref().and_then(|record| record.answer_to(&request.id)).ok_or_else(|| {
        Diagnostic::error(
            "The answer is gone",
            "It was there a moment ago; many others have pushed it out since.",
        )
    })?;
    work.frame.tell(outcome(answer)?);
    let settled = Wish::Acknowledged { generation: written.generation, sha256: written.sha256 };
    // Done is done: that the desired state is not everywhere yet is the next plan's affair.
    if wait_for(settled, Limit::GoOnAfterMs(SETTLE_MS), work, &start).await.is_err() {
        tracing::info!("the desired state with the request is not acknowledged yet");
    }
    Ok(())
}

fn in_words(asked: &Asked) -> String {
    match asked {
        Asked::Switchover { to } => {
            format!("switchover to {}", to.as_deref().unwrap_or("the best standby"))
        }
        Asked::Restart { pod } | Asked::Reinit { pod } => format!("{} of {pod}", asked.name()),
        Asked::Pause | Asked::Resume => asked.name().to_owned(),
    }
}

/// Writes the desired state, on top of what is there.
async fn write(
    work: &Work,
    make: impl Fn(&LiveCluster) -> Result<Written, Diagnostic>,
) -> Result<Written, Diagnostic> {
    let mut attempt = 1;
    loop {
        let written = make(&work.objects().await?)?;
        match apply(work, &written.object).await? {
            Ok(()) => return Ok(written),
            Err(error) if attempt < ATTEMPTS && error.is_conflict() => attempt += 1,
            Err(error) => return Err(error.diagnostic()),
        }
    }
}

type Applied = Result<(), Box<crate::live::errors::LiveError>>;

/// With force: the document keeps what others have changed in it, whoever owns the field then.
async fn apply(work: &Work, object: &Json) -> Result<Applied, Diagnostic> {
    let key = ObjectKey::of(object).ok_or_else(|| {
        Diagnostic::error("The provider rendered an object without a name", "This is a bug in the provider.")
    })?;
    let answer = work.within(work.api.apply_once(&key, object, true, Mode::Real)).await?;
    Ok(answer.map(drop).map_err(Box::new))
}

async fn wait_for(wish: Wish, limit: Limit, work: &Work, start: &LiveCluster) -> Result<(), Ended> {
    wait::wait(&work.api, &work.names, &work.frame, start, &Wait { wish, limit }).await
}

/// Takes a request out that nobody took up, and tells what became of it. Works beyond deadline and stop, for a moment.
async fn withdraw(request: &Request, work: &Work) -> String {
    let limit = if work.frame.stop.is_cancelled() { LAST_LOOK } else { WITHDRAW };
    let frame = wait::Frame {
        deadline: tokio::time::Instant::now() + limit,
        timeout: limit,
        stop: tokio_util::sync::CancellationToken::new(),
        tell: None,
    };
    let work = Work { api: work.api.clone(), names: work.names.clone(), frame, patience: work.patience };
    let withdrawn = async {
        let Some(written) = without_request(&work.objects().await?, &request.id)? else { return Ok(false) };
        apply(&work, &written.object).await?.map_err(|error| error.diagnostic())?;
        let record = work.objects().await?.record();
        Ok::<bool, Diagnostic>(!record.is_some_and(|record| record.knows(&request.id)))
    };
    match withdrawn.await {
        Ok(true) => "The request was withdrawn: nobody had taken it up.".to_owned(),
        Ok(false) => "The request was taken up, and goes on in the cluster.".to_owned(),
        Err(problem) => {
            tracing::info!(%problem, "the request was not withdrawn");
            "Whether the request was taken up is not known: it may still be carried out.".to_owned()
        }
    }
}

fn unanswered(ended: Ended, left: &str, work: &Work) -> Diagnostic {
    match ended {
        Ended::Failed(cause) => Diagnostic::error("The request was not answered", format!("{cause}. {left}")),
        Ended::TimedOut(words) => Diagnostic::error(
            format!("Not answered within {:?}", work.frame.timeout),
            format!("What was going on last: {words}. {left} Raise timeouts.invoke if it only needs longer."),
        ),
        Ended::Stopped(words) => {
            Diagnostic::error("Interrupted", format!("What was going on: {words}. {left}"))
        }
        Ended::Refused(error) => error.diagnostic(),
    }
}

/// New passwords: Secrets, wish, and its acknowledgement.
async fn rotate(config: &Value, work: &Work) -> Result<(), Diagnostic> {
    let start = work.start().await?;
    let agent = &carried().agent;
    let roles = roles(config);
    let mut rotation = rotation(&roles, &start, agent)?;
    let secrets = std::mem::take(&mut rotation.secrets);
    let names: Vec<String> = rotation.roles.iter().map(|role| secret_name(&work.names, *role)).collect();
    // Steps for Secrets need no memory of what was applied.
    let mut anchor = Anchor::new(Json::Null);
    let mut runner = work.runner(&start, &mut anchor, start.anchor_uid(), Json::Null);
    let described = |failure: Failure| describe(failure, work);
    runner.run(secrets).await.map_err(described)?;
    work.frame.tell(format!("new passwords are in {}", names.join(" and ")));
    let written = write(work, |live| with_rotation(live, &rotation)).await;
    let written = written.map_err(|problem| half_rotated(&problem, &names))?;
    let wish = Wish::Acknowledged { generation: written.generation, sha256: written.sha256 };
    let wait = Step::Wait(Wait { wish, limit: Limit::Operation });
    runner.run(vec![wait]).await.map_err(described)?;
    work.frame.tell("PostgreSQL takes the new passwords");
    Ok(())
}

/// Agents look at the Secrets too, but hear of them only when Kubernetes has brought them into the pods.
fn half_rotated(problem: &Diagnostic, names: &[String]) -> Diagnostic {
    Diagnostic::error(
        "New passwords are in the Secrets, and nobody waited for PostgreSQL to take them",
        format!(
            "{} What was written stays: {}. The agents take it when Kubernetes has brought it into their pods, which may need a minute or \
             two; until then new connections with it may fail. Run the action again to have it at once.",
            problem.detail,
            names.join(" and ")
        ),
    )
}
