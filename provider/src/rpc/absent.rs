//! Calls about things that this provider doesn't have (yet). Hosts that follow the schema never make them, but one that
//! does deserves an answer that says what is wrong.

use super::answers::FromDiagnostics;
use crate::proto::tfplugin6 as pb;
use crate::wire::diagnostics;
use futures::Stream;
use futures::stream;
use pgha_provider_core::diagnostic::{Diagnostic, Diagnostics};
use std::pin::Pin;
use tonic::{Response, Status};

/// A stream of answers.
pub(super) type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// There is no `kind` of that name.
pub(super) fn no_such(kind: &str, name: &str) -> Diagnostic {
    Diagnostic::error(
        format!("Unknown {kind} {name:?}"),
        format!(
            "This version ({}) of the provider has no {kind} of that name. Is it a newer one that has it?",
            env!("CARGO_PKG_VERSION")
        ),
    )
}

/// The whole answer to a call about an absent thing.
pub(super) fn answer<A: FromDiagnostics>(kind: &str, name: &str) -> Result<Response<A>, Status> {
    Ok(Response::new(A::from_diagnostics(messages(kind, name))))
}

/// The resource is there, but can't do that.
pub(super) fn unable<A: FromDiagnostics>(
    summary: &str,
    detail: impl Into<String>,
) -> Result<Response<A>, Status> {
    let problem = Diagnostics::from(Diagnostic::error(summary, detail));
    Ok(Response::new(A::from_diagnostics(diagnostics::to_proto(&problem))))
}

pub(super) fn list_events(name: &str) -> Answers<pb::list_resource::Event> {
    let event =
        pb::list_resource::Event { diagnostic: messages("list resource", name), ..Default::default() };
    Box::pin(stream::iter([Ok(event)]))
}

pub(super) fn action_events(name: &str) -> Answers<pb::invoke_action::Event> {
    let completed = pb::invoke_action::event::Completed { diagnostics: messages("action", name) };
    let event =
        pb::invoke_action::Event { r#type: Some(pb::invoke_action::event::Type::Completed(completed)) };
    Box::pin(stream::iter([Ok(event)]))
}

pub(super) fn state_chunks(name: &str) -> Answers<pb::read_state_bytes::ResponseChunk> {
    let chunk = pb::read_state_bytes::ResponseChunk {
        diagnostics: messages("state store", name),
        ..Default::default()
    };
    Box::pin(stream::iter([Ok(chunk)]))
}

fn messages(kind: &str, name: &str) -> Vec<pb::Diagnostic> {
    diagnostics::to_proto(&no_such(kind, name).into())
}
