//! What the Kubernetes API refuses, in words for the user: what was tried, on which object, which right is missing, who
//! else owns the field.

use std::time::Duration;

use kube::client::AuthError;
use kube::core::Status;
use pgha_provider_core::conflict::{self, Conflict};
use pgha_provider_core::diagnostic::Diagnostic;
use pgha_provider_core::object::{Kind, ObjectKey};
use pgha_provider_core::step::Forced;

use super::tls::{self, Trouble};

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

    fn answered(&self, status: &Status, tried: &str) -> Diagnostic {
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
        if status.is_forbidden() {
            return Diagnostic::error(
                format!("Kubernetes refuses {}", self.what()),
                format!(
                    "{tried}: {message}. A quota or an admission policy of the namespace stands against it."
                ),
            );
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
        if status.is_invalid() {
            let causes = status.details.as_ref().map(|details| details.causes.as_slice()).unwrap_or_default();
            let mut lines: Vec<_> =
                causes.iter().map(|c| format!("\n  {}: {}", c.field, c.message)).collect();
            lines.dedup();
            let text = if lines.is_empty() { format!(" {message}") } else { lines.concat() };
            return Diagnostic::error(
                format!("Kubernetes does not accept {}", self.what()),
                format!("{tried}:{text}"),
            );
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

/// A client that can't even be built: wrong certificates, or a credential program that fails.
pub fn while_building(error: kube::Error, server: &str, configured_by: &str) -> Diagnostic {
    no_answer(&error, "The Kubernetes client can't be built", server, configured_by)
}

fn no_answer(error: &kube::Error, tried: &str, server: &str, configured_by: &str) -> Diagnostic {
    let causes = causes_from(error);
    if let Some(failure) = auth_failure(error) {
        let (what, said) = no_credentials(failure);
        return Diagnostic::error(what, format!("{tried}: {said} (settings from {configured_by})"));
    }
    let (what, advice) = match tls::trouble(error) {
        Some(Trouble::Settings) => (
            "The provider's TLS settings can't be used".to_owned(),
            "Correct cluster_ca_certificate, tls_server_name, client_certificate or client_key, whichever is named.",
        ),
        Some(Trouble::Untrusted) => (
            format!("No trusted connection to {server}"),
            "Set cluster_ca_certificate to the authority that signed the server's certificate, or tls_server_name to the \
             name in it.",
        ),
        Some(Trouble::Refused) => (
            format!("{server} does not accept the client's certificate"),
            "Set client_certificate and client_key to a pair that has not expired, from an authority that the server \
             knows.",
        ),
        None => (
            format!("The Kubernetes API server {server} can't be reached"),
            "The state is kept as it is. Check that the address is right and that the server is up.",
        ),
    };
    Diagnostic::error(what, format!("{tried}: {causes} (settings from {configured_by}). {advice}"))
}

/// Why there are no credentials to send.
fn auth_failure(error: &kube::Error) -> Option<&AuthError> {
    chain(error).find_map(|cause| cause.downcast_ref())
}

/// What failed; and the credential program's name, exit status and last words, or the file and what is wrong with it.
fn no_credentials(failure: &AuthError) -> (&'static str, String) {
    const PROGRAM: &str = "The program that gives the Kubernetes credentials failed";
    match failure {
        AuthError::AuthExecRun { cmd, out } => {
            let said = String::from_utf8_lossy(&out.stderr);
            (PROGRAM, format!("`{cmd}` ended with {}: {}", out.status, said.trim()))
        }
        AuthError::ReadTokenFile(..) | AuthError::InvalidBearerToken(_) | AuthError::InvalidBasicAuth(_) => {
            ("The Kubernetes credentials can't be used", failure.to_string())
        }
        other => (PROGRAM, other.to_string()),
    }
}

/// A 403 of RBAC, as opposed to one of quota or admission.
fn lacks_right(status: &Status) -> bool {
    status.is_forbidden() && status.message.contains(" cannot ") && status.message.contains(" resource ")
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn answered(verb: Verb, kind: Kind, name: &str, status: serde_json::Value) -> LiveError {
        let status: Status = serde_json::from_value(status).unwrap();
        LiveError {
            verb,
            kind,
            name: name.to_owned(),
            namespace: "shop".to_owned(),
            server: "https://k:6443".to_owned(),
            configured_by: "kubeconfig /x, given by KUBECONFIG".to_owned(),
            error: kube::Error::Api(Box::new(status)),
        }
    }

    fn text(error: &LiveError, parts: &[&str]) {
        let text = error.diagnostic().to_string();
        for part in parts {
            assert!(text.contains(part), "{part} is missing in {text}");
        }
    }

    #[test]
    fn a_missing_right_is_named_with_the_role_that_has_it() {
        let message = "leases.coordination.k8s.io \"orders\" is forbidden: User \"ci\" cannot get resource \"leases\" \
                       in API group \"coordination.k8s.io\" in the namespace \"shop\"";
        let status = json!({"code": 403, "reason": "Forbidden", "message": message});
        let error = answered(Verb::Get, Kind::Lease, "orders", status.clone());
        assert!(error.is_forbidden());
        text(
            &error,
            &[
                "No right to get leases in namespace shop",
                "User \"ci\"",
                "coordination.k8s.io",
                "reader.yaml",
            ],
        );
        text(
            &answered(Verb::Create, Kind::Lease, "orders", status),
            &["the verb create on leases", "writer.yaml"],
        );
    }

    #[test]
    fn a_quota_is_no_missing_right() {
        let message =
            "services \"orders-rw\" is forbidden: exceeded quota: q, requested: services=1, used: services=3";
        let status = json!({"code": 403, "reason": "Forbidden", "message": message});
        let error = answered(Verb::Patch, Kind::Service, "orders-rw", status);
        assert!(!error.is_forbidden());
        text(&error, &["Kubernetes refuses Service orders-rw", "exceeded quota"]);
    }

    #[test]
    fn conflicts_name_each_field_and_its_manager() {
        let status = json!({"code": 409, "reason": "Conflict", "message": "Apply failed", "details": {"causes": [
            {"reason": "FieldManagerConflict", "message": "conflict with \"kubectl-edit\" using apps/v1", "field": ".spec.replicas"},
            {"reason": "FieldManagerConflict", "message": "conflict with \"hpa\"", "field": ".spec.paused"},
        ]}});
        let error = answered(Verb::Patch, Kind::StatefulSet, "orders", status);
        assert_eq!(
            error.conflicts()[0],
            Conflict { field: ".spec.replicas".to_owned(), manager: "kubectl-edit".to_owned() }
        );
        assert!(!error.is_other_uid());
        text(&error, &["spec.replicas: managed by \"kubectl-edit\"", "spec.paused: managed by \"hpa\""]);
    }

    #[test]
    fn another_object_of_the_same_name_is_recognised_by_its_uid() {
        let by_delete = json!({"code": 409, "reason": "Conflict",
            "message": "Operation cannot be fulfilled: the UID in the precondition (a) does not match the UID in record (b)"});
        assert!(answered(Verb::Delete, Kind::Service, "x", by_delete).is_other_uid());
        let by_change = json!({"code": 422, "reason": "Invalid", "message": "", "details": {"causes": [
            {"reason": "FieldValueInvalid", "message": "field is immutable", "field": "metadata.uid"}]}});
        assert!(answered(Verb::Patch, Kind::Service, "x", by_change).is_other_uid());
    }

    #[test]
    fn expired_credentials_and_missing_namespaces_have_their_own_words() {
        let status = json!({"code": 401, "reason": "Unauthorized", "message": "Unauthorized"});
        text(
            &answered(Verb::Get, Kind::Lease, "x", status),
            &["does not accept the credentials", "expired", "KUBECONFIG"],
        );
        let status = json!({"code": 404, "reason": "NotFound", "message": "namespaces \"shop\" not found"});
        text(
            &answered(Verb::Create, Kind::ConfigMap, "x", status),
            &["Namespace shop does not exist", "kubectl create namespace shop"],
        );
    }

    #[test]
    fn an_unreachable_server_keeps_the_state() {
        let refused = std::io::Error::new(std::io::ErrorKind::ConnectionRefused, "connection refused");
        let mut error = answered(Verb::Get, Kind::Lease, "x", json!({}));
        error.error = kube::Error::Service(Box::new(refused));
        assert!(error.is_passing() && !error.is_not_found());
        text(&error, &["https://k:6443 can't be reached", "connection refused", "state is kept"]);
    }

    #[test]
    fn a_certificate_is_the_trouble_only_where_one_was_looked_at() {
        let failed = |cause: std::io::Error| {
            let mut error = answered(Verb::Get, Kind::Lease, "x", json!({}));
            error.error = kube::Error::Service(Box::new(cause));
            error
        };
        // As the connector wraps it.
        let tls = |cause: rustls::Error| {
            failed(std::io::Error::other(std::io::Error::new(std::io::ErrorKind::InvalidData, cause)))
        };
        let unknown = rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer);
        text(&tls(unknown), &["No trusted connection to https://k:6443", "cluster_ca_certificate"]);
        let expired = rustls::Error::AlertReceived(rustls::AlertDescription::CertificateExpired);
        text(&tls(expired), &["does not accept the client's certificate", "client_key"]);
        let plain = rustls::Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType);
        text(&tls(plain), &["can't be reached"]);
        let elsewhere = std::io::Error::other("no route to tls-certificate.example");
        text(&failed(elsewhere), &["can't be reached", "tls-certificate.example"]);
        let mut settings = answered(Verb::Get, Kind::Lease, "x", json!({}));
        settings.error = kube::Error::RustlsTls(kube::client::RustlsTlsError::MissingPrivateKey);
        text(&settings, &["TLS settings can't be used", "private key", "client_key"]);
    }

    #[test]
    fn a_server_may_say_when_it_wants_to_be_asked_again() {
        let busy = |details: serde_json::Value| {
            let status = json!({"code": 429, "reason": "TooManyRequests", "details": details});
            answered(Verb::Get, Kind::Lease, "x", status)
        };
        let asked = busy(json!({"retryAfterSeconds": 7}));
        assert!(asked.is_passing());
        assert_eq!(asked.retry_after(), Some(Duration::from_secs(7)));
        assert_eq!((busy(json!({})).retry_after(), busy(json!(null)).retry_after()), (None, None));
    }

    #[test]
    fn without_credentials_nothing_is_sent_again_and_what_failed_is_named() {
        let missing = std::io::Error::new(std::io::ErrorKind::NotFound, "not there");
        let mut error = answered(Verb::Get, Kind::Lease, "x", json!({}));
        error.error = kube::Error::Auth(AuthError::ReadTokenFile(missing, "/token".into()));
        text(&error, &["credentials can't be used", "/token", "not there", "KUBECONFIG"]);
        error.error = kube::Error::Service(Box::new(AuthError::ExecPluginFailed));
        assert!(!error.is_passing());
        text(&error, &["program that gives the Kubernetes credentials failed", "status"]);
    }
}
