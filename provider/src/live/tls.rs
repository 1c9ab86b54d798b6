//! What is wrong with a TLS connection, told by the types of the errors: their words are those of paths, hosts and servers too.

use std::error::Error;

use rustls::AlertDescription as Alert;

use super::errors::chain;

/// Why there is no connection, though somebody answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// Certificates, a key or a name of the settings are none.
    Settings,
    /// The server's certificate is not one to be trusted.
    Untrusted,
    /// The server wants a certificate from us, or another one.
    Refused,
}

/// What stands in the way; nothing when it is not about certificates.
pub fn trouble(error: &kube::Error) -> Option<Trouble> {
    match error {
        kube::Error::RustlsTls(_) | kube::Error::InferKubeconfig(_) => Some(Trouble::Settings),
        other => chain(other).find_map(inner).and_then(of_connection),
    }
}

/// The library's error, however often it was wrapped: an `io::Error` leaves what it wraps out of its causes.
fn inner<'a>(mut error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    loop {
        match error.downcast_ref::<std::io::Error>() {
            Some(wrapper) => error = wrapper.get_ref()?,
            None => return error.downcast_ref(),
        }
    }
}

fn of_connection(error: &rustls::Error) -> Option<Trouble> {
    match error {
        rustls::Error::InvalidCertificate(_)
        | rustls::Error::InvalidCertRevocationList(_)
        | rustls::Error::NoCertificatesPresented
        | rustls::Error::UnsupportedNameType => Some(Trouble::Untrusted),
        rustls::Error::AlertReceived(
            Alert::NoCertificate
            | Alert::BadCertificate
            | Alert::UnsupportedCertificate
            | Alert::CertificateRevoked
            | Alert::CertificateExpired
            | Alert::CertificateUnknown
            | Alert::CertificateRequired
            | Alert::UnknownCA
            | Alert::AccessDenied,
        ) => Some(Trouble::Refused),
        _ => None,
    }
}
