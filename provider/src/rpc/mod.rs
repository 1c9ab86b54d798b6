//! The provider service: each call decoded, handed to the [`Engine`], and encoded. One file a group of calls.
//!
//! Calls always answer OK: what is wrong goes into diagnostics, which hosts show well, where gRPC errors read as if the
//! plugin had crashed. A panic in a call becomes a diagnostic too.

mod absent;
mod action;
mod answers;
mod change;
mod data_source;
mod ephemeral;
mod functions;
mod generate;
mod identity;
mod import;
mod list;
mod moved;
mod provider_block;
mod resource;
mod schemas;
mod service;

use crate::engine::{Engine, RESOURCE_TYPE, Schemas};
use crate::plugin::panics;
use crate::plugin::stop::StopSwitch;
use crate::private::Private;
use crate::proto::tfplugin6::DynamicValue;
use crate::proto::tfplugin6::provider_server::ProviderServer;
use crate::wire::{self, diagnostics};
use absent::Answers;
use answers::FromDiagnostics;
use futures::StreamExt as _;
use futures::stream::{self, BoxStream};
use pgha_provider_core::check::Violation;
use pgha_provider_core::diagnostic::{Diagnostic, Diagnostics};
use pgha_provider_core::value::Value;
use pgha_schema::tf::Type;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;
use tonic::service::RoutesBuilder;
use tonic::{Response, Status};
use tracing::{Instrument as _, Span};

/// Go servers take this much; tonic's own limit of 4 MiB would refuse large states.
const MESSAGE_MAX_BYTES: usize = 256 << 20;

/// The provider service's address in log lines.
const PROVIDER_ADDRESS: &str = "registry.terraform.io/pgha/postgres";

/// The provider service.
pub struct Provider {
    engine: Arc<dyn Engine>,
    schemas: Schemas,
    provider_type: Type,
    cluster_type: Type,
    stop: StopSwitch,
    requests: AtomicU64,
}

impl Provider {
    /// A service that asks `engine`.
    #[must_use]
    pub fn new(engine: Arc<dyn Engine>) -> Self {
        let schemas = engine.schemas();
        Self {
            engine,
            schemas,
            provider_type: schemas.provider.ty(),
            cluster_type: schemas.cluster.ty(),
            stop: StopSwitch::default(),
            requests: AtomicU64::new(0),
        }
    }

    /// Adds the service to a server.
    pub fn add_to(self, routes: &mut RoutesBuilder) {
        let server = ProviderServer::new(self)
            .max_decoding_message_size(MESSAGE_MAX_BYTES)
            .max_encoding_message_size(MESSAGE_MAX_BYTES);
        routes.add_service(server);
    }

    /// Runs one call: logs it, catches its panics, and turns its errors into an answer. `subject` is the resource type
    /// or other name that the call is about.
    async fn answer<A: FromDiagnostics>(
        &self,
        rpc: &'static str,
        subject: &str,
        call: impl Future<Output = Result<A, Diagnostics>>,
    ) -> Result<Response<A>, Status> {
        let logged = async {
            let started = Instant::now();
            tracing::trace!("received request");
            let answer = panics::catch(call).await.unwrap_or_else(|panic| Err(panicked(rpc, &panic)));
            let answer =
                answer.unwrap_or_else(|problems| A::from_diagnostics(diagnostics::to_proto(&problems)));
            for diagnostic in answer.diagnostics() {
                tracing::debug!(
                    diagnostic_severity = diagnostic.severity,
                    diagnostic_summary = diagnostic.summary,
                    "answered with a diagnostic"
                );
            }
            tracing::trace!(tf_req_duration_ms = started.elapsed().as_millis() as u64, "served request");
            answer
        };
        Ok(Response::new(logged.instrument(self.span(rpc, subject)).await))
    }

    /// The same for a call that is answered by a stream of events. A panic ends it with an event that says so.
    async fn events<E: FromDiagnostics + Send + 'static>(
        &self,
        rpc: &'static str,
        subject: &str,
        call: impl Future<Output = Result<BoxStream<'static, E>, Diagnostics>>,
    ) -> Result<Response<Answers<E>>, Status> {
        let broken = move |panic: &str| E::from_diagnostics(diagnostics::to_proto(&panicked(rpc, panic)));
        let opened = panics::catch(call.instrument(self.span(rpc, subject))).await;
        let events = match opened {
            Ok(Ok(events)) => events,
            Ok(Err(problems)) => {
                stream::iter([E::from_diagnostics(diagnostics::to_proto(&problems))]).boxed()
            }
            Err(panic) => stream::iter([broken(&panic)]).boxed(),
        };
        let guarded = stream::unfold(Some(events), move |events| async move {
            let mut events = events?;
            match panics::catch(events.next()).await {
                Ok(event) => Some((Ok(event?), Some(events))),
                Err(panic) => Some((Ok(broken(&panic)), None)),
            }
        });
        Ok(Response::new(guarded.boxed()))
    }

    fn span(&self, rpc: &'static str, subject: &str) -> Span {
        tracing::info_span!(
            "rpc",
            tf_rpc = rpc,
            tf_req_id = self.requests.fetch_add(1, Ordering::Relaxed),
            tf_resource_type = Some(subject).filter(|name| !name.is_empty()),
            tf_provider_addr = PROVIDER_ADDRESS,
        )
    }
}

fn panicked(rpc: &str, panic: &str) -> Diagnostics {
    tracing::error!(panic, "a call panicked");
    diagnostics::bug("The provider hit an internal error", format!("{rpc} stopped at: {panic}")).into()
}

fn known_type(name: &str) -> Result<(), Diagnostics> {
    if name == RESOURCE_TYPE {
        return Ok(());
    }
    Err(absent::no_such("resource", name).into())
}

fn decode(value: Option<&DynamicValue>, ty: &Type, what: &str) -> Result<Value, Diagnostics> {
    wire::decode(value, ty).map_err(|error| diagnostics::unreadable(what, &error).into())
}

fn encode(value: &Value, ty: &Type, what: &str) -> Result<DynamicValue, Diagnostic> {
    wire::encode(value, ty)
        .map_err(|error| diagnostics::bug(&format!("The provider made an invalid {what}"), error))
}

/// The host would refuse the answer too, but with no word about where it comes from.
fn broken(what: &str, found: &[Violation]) -> Option<Diagnostic> {
    if found.is_empty() {
        return None;
    }
    let places: Vec<_> = found.iter().map(|violation| format!("- {violation}")).collect();
    tracing::error!(violations = places.join("\n"), "the {what} breaks the host's rules");
    let summary = format!("The provider made an inconsistent {what}");
    let detail = format!("It breaks rules that keep plans true:\n{}", places.join("\n"));
    Some(diagnostics::bug(&summary, detail))
}

fn decode_private(bytes: &[u8]) -> Result<Private, Diagnostics> {
    Private::decode(bytes).map_err(|error| {
        let detail = format!(
            "What the state holds for the provider can't be read: {error}. Was the state edited by hand? The way out is \
             to remove the resource from the state (`terraform state rm`) and to import it again."
        );
        Diagnostic::error("Unreadable private state", detail).into()
    })
}

#[cfg(test)]
mod tests;
