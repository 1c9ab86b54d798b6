//! What the API server answers when it does not do what it is asked.

use kube::core::Status;
use pgha_provider_core::conflict;
use pgha_provider_core::diagnostic::Diagnostic;
use pgha_provider_core::object::ObjectKey;
use pgha_provider_core::refusal::{Cause, Refusal};
use pgha_provider_core::step::Forced;

use super::{LiveError, Verb};

impl LiveError {
    /// What follows "can't write this:" — field by field, with the way out; `None` when nothing was answered.
    pub fn refusal_text(&self) -> Option<String> {
        let key = ObjectKey::new(self.kind, self.name.clone());
        Some(self.refusal(self.status()?, &key).text())
    }

    fn refusal<'a>(&'a self, status: &'a Status, key: &'a ObjectKey) -> Refusal<'a> {
        let causes = status.details.as_ref().map(|details| details.causes.as_slice()).unwrap_or_default();
        let causes = causes.iter().filter(|cause| !cause.field.is_empty());
        let causes = causes
            .map(|cause| Cause { field: cause.field.clone(), message: cause.message.clone() })
            .collect();
        Refusal { key, namespace: &self.namespace, message: &status.message, causes }
    }

    pub(super) fn answered(&self, status: &Status, tried: &str) -> Diagnostic {
        let message = &status.message;
        let place = format!("{} (settings from {})", self.server, self.configured_by);
        if status.code == 401 {
            return Diagnostic::error(
                "The Kubernetes API server does not accept the credentials",
                format!(
                    "{tried}: {place} answered \"{message}\". The token or certificate is wrong or has expired. Renew \
                     it, or let an exec program give a fresh one for each run. Nothing was changed in the state."
                ),
            );
        }
        if lacks_right(status) {
            return self.missing_right(message, tried);
        }
        let key = ObjectKey::new(self.kind, self.name.clone());
        if let Err(problem) = conflict::judge(&key, &Forced::default(), &self.conflicts()) {
            return problem;
        }
        if status.is_not_found() && self.verb != Verb::Get && message.contains("namespaces ") {
            return Diagnostic::error(
                format!("Namespace {} does not exist", self.namespace),
                format!(
                    "{tried}: {message}. The provider makes no namespaces, since that takes a right on the whole \
                     cluster. Create it first, for instance with `kubectl create namespace {}`, or let the resource \
                     depend on the one that creates it.",
                    self.namespace
                ),
            );
        }
        let refusal = self.refusal(status, &key);
        let writes = !matches!(self.verb, Verb::Get | Verb::List | Verb::Log);
        if writes && (status.is_forbidden() || refusal.is_understood()) {
            let summary = format!("Kubernetes refuses {}", self.what());
            return Diagnostic::error(summary, format!("{tried}:{}", refusal.text()));
        }
        if status.is_invalid() {
            let summary = format!("Kubernetes does not accept {}", self.what());
            return Diagnostic::error(summary, format!("{tried}:{}", refusal.text()));
        }
        Diagnostic::error(tried, format!("{place} answered {}: {message}", status.code))
    }

    fn missing_right(&self, message: &str, tried: &str) -> Diagnostic {
        let group = match self.kind.group() {
            "" => "the core API group".to_owned(),
            group => format!("API group {group}"),
        };
        let resource = match self.verb {
            Verb::Log => "pods/log",
            _ => self.kind.plural(),
        };
        let example = match self.verb {
            Verb::Get | Verb::List | Verb::Log => "examples/rbac/reader.yaml",
            Verb::Create | Verb::Patch | Verb::Update | Verb::Delete => "examples/rbac/writer.yaml",
        };
        Diagnostic::error(
            format!("No right to {} {resource} in namespace {}", self.verb.right(), self.namespace),
            format!(
                "{tried}: {message}. The credentials lack the verb {} on {resource} of {group} in namespace {}. \
                 {example} of the provider's repository holds a Role with every right that is needed.",
                self.verb.right(),
                self.namespace
            ),
        )
    }
}

/// A 403 of RBAC, as opposed to one of quota or admission.
pub(super) fn lacks_right(status: &Status) -> bool {
    status.is_forbidden() && status.message.contains(" cannot ") && status.message.contains(" resource ")
}
