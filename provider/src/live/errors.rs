//! What the Kubernetes API refuses, in words for the user: what was tried, on which object, which right is missing, who
//! else owns the field.

mod answered;
mod silence;
#[cfg(test)]
mod tests;

use std::time::Duration;

use kube::core::Status;
use pgha_provider_core::conflict::Conflict;
use pgha_provider_core::diagnostic::Diagnostic;
use pgha_provider_core::object::{Kind, ObjectKey};

use answered::lacks_right;
use silence::{auth_failure, no_answer};

/// What was asked of the API server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Read one object.
    Get,
    /// Read the objects of a kind.
    List,
    /// Make an object.
    Create,
    /// Change an object, or make it by server-side apply.
    Patch,
    /// Put an object in the place of one that is there.
    Update,
    /// Delete an object.
    Delete,
    /// Read a container's log.
    Log,
}

impl Verb {
    /// The word in RBAC rules.
    pub fn right(self) -> &'static str {
        match self {
            Self::Get | Self::Log => "get",
            Self::List => "list",
            Self::Create => "create",
            Self::Patch => "patch",
            Self::Update => "update",
            Self::Delete => "delete",
        }
    }

    /// The word in messages: "Can't ... ".
    fn word(self) -> &'static str {
        match self {
            Self::Get => "read",
            Self::List => "list",
            Self::Create => "create",
            Self::Patch | Self::Update => "write",
            Self::Delete => "delete",
            Self::Log => "read the log of",
        }
    }
}

/// Stands for all namespaces, as no name can.
pub const EVERYWHERE: &str = "";

/// A request that failed.
#[derive(Debug, thiserror::Error)]
#[error("can't {} {} in {}", verb.word(), self.what(), self.place())]
pub struct LiveError {
    /// What was asked.
    pub verb: Verb,
    /// Of which kind.
    pub kind: Kind,
    /// Which object; empty for a list.
    pub name: String,
    /// In which namespace; [`EVERYWHERE`]: in all.
    pub namespace: String,
    /// Address of the API server.
    pub server: String,
    /// Where the provider's settings come from.
    pub configured_by: String,
    /// What came back.
    #[source]
    pub error: kube::Error,
}

impl LiveError {
    fn place(&self) -> String {
        match self.namespace.as_str() {
            EVERYWHERE => "all namespaces".to_owned(),
            namespace => format!("namespace {namespace}"),
        }
    }

    fn what(&self) -> String {
        if self.name.is_empty() {
            self.kind.plural().to_owned()
        } else {
            ObjectKey::new(self.kind, self.name.clone()).to_string()
        }
    }

    /// The API server's own answer; `None` when none came.
    pub fn status(&self) -> Option<&Status> {
        match &self.error {
            kube::Error::Api(status) => Some(status),
            _ => None,
        }
    }

    /// The object is not there.
    pub fn is_not_found(&self) -> bool {
        self.status().is_some_and(Status::is_not_found)
    }

    /// RBAC refuses it. Quotas and admission answer 403 as well, and are not meant.
    pub fn is_forbidden(&self) -> bool {
        self.status().is_some_and(lacks_right)
    }

    /// An object of that name is there already.
    pub fn is_already_exists(&self) -> bool {
        self.status().is_some_and(Status::is_already_exists)
    }

    /// The precondition does not hold, or another manager owns a field.
    pub fn is_conflict(&self) -> bool {
        self.status().is_some_and(Status::is_conflict)
    }

    /// The name is that of another object than the one that the request's uid means: 409 to a delete and to an apply of
    /// what is not there, 422 to a change.
    pub fn is_other_uid(&self) -> bool {
        let Some(status) = self.status() else { return false };
        let causes = status.details.as_ref().map(|details| details.causes.as_slice()).unwrap_or_default();
        (status.is_conflict() && status.message.to_ascii_lowercase().contains("uid"))
            || causes.iter().any(|cause| cause.field == "metadata.uid")
    }

    /// The same request may well succeed a little later, and nothing was done by this one.
    pub fn is_passing(&self) -> bool {
        match &self.error {
            kube::Error::Api(status) => matches!(status.code, 429 | 503 | 504),
            // A program that gives no credentials, or ones that can't be sent, was heard once and says the same again.
            kube::Error::Service(_) => auth_failure(&self.error).is_none(),
            kube::Error::HyperError(_) => true,
            _ => false,
        }
    }

    /// After how long the server wants to be asked again, if it says so.
    pub fn retry_after(&self) -> Option<Duration> {
        let seconds = self.status()?.details.as_ref()?.retry_after_seconds;
        (seconds > 0).then(|| Duration::from_secs(seconds.into()))
    }

    /// The fields that other managers own.
    pub fn conflicts(&self) -> Vec<Conflict> {
        let causes = self.status().and_then(|status| status.details.as_ref()).map(|details| &details.causes);
        causes
            .into_iter()
            .flatten()
            .filter(|cause| cause.reason == "FieldManagerConflict")
            .map(|cause| Conflict {
                field: cause.field.clone(),
                manager: cause.message.split('"').nth(1).unwrap_or("unknown").to_owned(),
            })
            .collect()
    }

    /// What the user sees.
    pub fn diagnostic(&self) -> Diagnostic {
        let tried = capitalised(&self.to_string());
        match self.status() {
            Some(status) => self.answered(status, &tried),
            None => no_answer(&self.error, &tried, &self.server, &self.configured_by),
        }
    }
}

/// A client that can't even be built: wrong certificates, or a credential program that fails.
pub fn while_building(error: kube::Error, server: &str, configured_by: &str) -> Diagnostic {
    no_answer(&error, "The Kubernetes client can't be built", server, configured_by)
}

/// The causes of an error, each once, outermost first; the error itself not among them.
pub fn causes(error: &(dyn std::error::Error + 'static)) -> String {
    join(chain(error).skip(1))
}

fn causes_from(error: &(dyn std::error::Error + 'static)) -> String {
    join(chain(error))
}

/// An error and its causes, outermost first.
pub fn chain<'a>(
    error: &'a (dyn std::error::Error + 'static),
) -> impl Iterator<Item = &'a (dyn std::error::Error + 'static)> {
    std::iter::successors(Some(error), |error| error.source())
}

/// Many libraries print their cause themselves: a text that holds the next one swallows it.
fn join<'a>(errors: impl Iterator<Item = &'a (dyn std::error::Error + 'static)>) -> String {
    let mut texts: Vec<String> = Vec::new();
    for text in errors.map(ToString::to_string) {
        if !texts.iter().any(|known| known.contains(&text)) {
            texts.push(text);
        }
    }
    texts.join(": ")
}

fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}
