//! The frame of one operation on one cluster: where it happens, until when, and who may end it.

use std::time::Duration;

use futures::future::join_all;
use pgha_provider_core::anchor::Anchor;
use pgha_provider_core::diagnostic::Diagnostic;
use pgha_provider_core::live::LiveCluster;
use pgha_provider_core::object::ObjectKey;
use pgha_provider_core::rights::{self, Needs, Operation};
use pgha_provider_core::steps::secret_of_others;
use pgha_schema::names::Names;
use serde_json::Value as Json;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::live::api::{Api, Mode};
use crate::live::collect::{Depth, snapshot};
use crate::live::config::Connector;
use crate::live::execute::Runner;
use crate::live::wait::Frame;

/// How long an operation that was stopped may look at what it leaves behind.
pub(super) const LAST_LOOK: Duration = Duration::from_secs(1);
/// The same for one that failed by itself.
const PATIENT_LAST_LOOK: Duration = Duration::from_secs(20);

/// How long an operation may take, and where the user says so.
#[derive(Clone, Copy)]
pub(super) struct Patience {
    time: Duration,
    /// The attribute, as `timeouts.read`; none where it is fixed.
    attribute: Option<&'static str>,
}

impl Patience {
    /// As an attribute says.
    pub(super) fn said_in(attribute: &'static str, time: Duration) -> Self {
        Self { time, attribute: Some(attribute) }
    }

    /// Nobody can say otherwise.
    pub(super) fn fixed(time: Duration) -> Self {
        Self { time, attribute: None }
    }

    /// What to raise, for messages.
    pub(super) fn attribute(self) -> &'static str {
        self.attribute.unwrap_or("the timeout")
    }
}

/// One operation.
pub(super) struct Work {
    /// The namespace.
    pub(super) api: Api,
    /// The names of the cluster's objects.
    pub(super) names: Names,
    /// Deadline and stop.
    pub(super) frame: Frame,
    /// Where the deadline comes from.
    pub(super) patience: Patience,
}

impl Work {
    pub(super) async fn new(
        connector: &Connector,
        namespace: &str,
        cluster: &str,
        patience: Patience,
        stop: CancellationToken,
    ) -> Result<Self, Diagnostic> {
        let timeout = patience.time;
        let deadline = Instant::now() + timeout;
        let connection = tokio::select! {
            connection = connector.connection() => connection?,
            () = stop.cancelled() => return Err(stopped()),
        };
        let api = Api::new(connection, namespace).until(deadline);
        let frame = Frame { deadline, timeout, stop, tell: None };
        Ok(Self { api, names: Names::new(cluster), frame, patience })
    }

    /// Lists every right of these that the credentials lack, before the operation's first write.
    pub(super) async fn may(&self, operation: Operation, needs: &Needs) -> Result<(), Diagnostic> {
        let missing = self.within(crate::live::rights::missing(&self.api, needs)).await?;
        if missing.is_empty() {
            return Ok(());
        }
        Err(rights::refusal(operation, self.names.cluster(), self.api.namespace(), &missing))
    }

    /// Refuses to go on where others have Secrets under these names.
    pub(super) async fn secrets_are_free(&self, probes: &[Json]) -> Result<(), Diagnostic> {
        self.within(taken_secret(&self.api, probes)).await?.map_or(Ok(()), Err)
    }

    /// A snapshot of the objects.
    pub(super) async fn objects(&self) -> Result<LiveCluster, Diagnostic> {
        self.look(Depth::Objects).await
    }

    /// A snapshot with events, from before the first write: what happens later is told from it.
    pub(super) async fn start(&self) -> Result<LiveCluster, Diagnostic> {
        self.look(Depth::Events).await
    }

    /// A snapshot of what the data source tells of.
    pub(super) async fn overview(&self) -> Result<LiveCluster, Diagnostic> {
        self.look(Depth::Overview).await
    }

    async fn look(&self, depth: Depth) -> Result<LiveCluster, Diagnostic> {
        let taken = self.within(Box::pin(snapshot(&self.api, &self.names, depth))).await?;
        taken.map_err(|error| error.diagnostic())
    }

    /// What a request gives, unless the user or the deadline ends it before.
    pub(super) async fn within<T>(&self, request: impl Future<Output = T>) -> Result<T, Diagnostic> {
        tokio::select! {
            answer = request => Ok(answer),
            () = self.frame.stop.cancelled() => Err(stopped()),
            () = tokio::time::sleep_until(self.frame.deadline) => Err(too_slow(self.patience)),
        }
    }

    /// By when an operation that has ended has to have said its last words: a user who stopped it does not wait for a slow API server.
    pub(super) fn last_moment(&self) -> Instant {
        let limit = if self.frame.stop.is_cancelled() { LAST_LOOK } else { PATIENT_LAST_LOOK };
        Instant::now() + limit
    }

    /// A snapshot of what the operation leaves behind, for the state; nothing when the API server does not tell in time.
    pub(super) async fn last(&self, until: Instant) -> Option<LiveCluster> {
        let look = Box::pin(snapshot(&self.api, &self.names, Depth::Objects));
        match tokio::time::timeout_at(until, look).await {
            Ok(Ok(live)) => Some(live),
            Ok(Err(error)) => {
                tracing::warn!(%error, causes = crate::live::errors::causes(&error), "no last look");
                None
            }
            Err(_) => None,
        }
    }

    /// What carries steps out.
    pub(super) fn runner<'a>(
        &'a self,
        start: &'a LiveCluster,
        anchor: &'a mut Anchor,
        anchor_uid: Option<&str>,
        anchor_metadata: Json,
    ) -> Runner<'a> {
        Runner {
            api: &self.api,
            names: &self.names,
            frame: &self.frame,
            start,
            anchor,
            anchor_metadata,
            anchor_uid: anchor_uid.map(str::to_owned),
            anchor_made: None,
        }
    }
}

/// Why nothing is made when one of these Secrets is there: the first of them. Any other answer to the try is the real request's to tell.
pub(super) async fn taken_secret(api: &Api, probes: &[Json]) -> Option<Diagnostic> {
    let tried = probes.iter().filter_map(|probe| {
        let key = ObjectKey::of(probe)?;
        Some(async move {
            let tried = api.create(&key, probe, Mode::DryRun).await;
            tried.is_err_and(|error| error.is_already_exists()).then(|| secret_of_others(&key))
        })
    });
    join_all(tried).await.into_iter().flatten().next()
}

fn stopped() -> Diagnostic {
    Diagnostic::error("Stopped before anything was changed", "The run was interrupted.")
}

fn too_slow(patience: Patience) -> Diagnostic {
    let advice = match patience.attribute {
        Some(attribute) => format!("Raise {attribute}, or try again."),
        None => "Try again.".to_owned(),
    };
    Diagnostic::error(
        "The Kubernetes API is too slow",
        format!("It did not tell within {:?} what is there. {advice}", patience.time),
    )
}
