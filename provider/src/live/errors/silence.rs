//! Nothing is answered: no connection, no trust, no credentials.

use kube::client::AuthError;
use pgha_provider_core::diagnostic::Diagnostic;

use super::causes_from;
use super::chain;
use crate::live::tls::{self, Trouble};

pub(super) fn no_answer(error: &kube::Error, tried: &str, server: &str, configured_by: &str) -> Diagnostic {
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
pub(super) fn auth_failure(error: &kube::Error) -> Option<&AuthError> {
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
