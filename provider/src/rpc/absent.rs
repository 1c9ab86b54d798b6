//! Calls about things that this provider doesn't have (yet). Hosts that follow the schema never make them, but one that
//! does deserves an answer that says what is wrong.

use super::answers::FromDiagnostics;
use crate::proto::tfplugin6 as pb;
use crate::wire::diagnostics;
use futures::Stream;
use futures::stream;
use pgha_provider_core::diagnostic::Diagnostic;
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

/// The same where the answer is a stream.
pub(super) fn events<E: FromDiagnostics + Send + 'static>(
    kind: &str,
    name: &str,
) -> Result<Response<Answers<E>>, Status> {
    let event = E::from_diagnostics(messages(kind, name));
    Ok(Response::new(Box::pin(stream::iter([Ok(event)]))))
}

fn messages(kind: &str, name: &str) -> Vec<pb::Diagnostic> {
    diagnostics::to_proto(&no_such(kind, name).into())
}
