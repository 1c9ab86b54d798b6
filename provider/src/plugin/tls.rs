//! Mutual TLS as go-plugin's AutoMTLS has it: two throw-away certificates, each pinned by the other side.
//!
//! Two traps make the stock client verifier useless here. The host's certificate is a CA used as a leaf, which
//! webpki refuses; and its key is ECDSA P-521, so that the server must ask for that signature scheme or the host sends
//! no certificate at all. So the verifier is our own: it compares the certificate byte for byte with the one in the
//! environment, and checks the handshake's signature with it.

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, PeerIncompatible, ServerConfig,
    SignatureScheme,
};
use std::sync::Arc;
use thiserror::Error as ThisError;

/// Why no TLS server could be made.
#[derive(Debug, ThisError)]
pub enum TlsError {
    /// The host's certificate can't be read.
    #[error("read the host's certificate in PLUGIN_CLIENT_CERT")]
    ClientCertificate(#[source] rustls::pki_types::pem::Error),
    /// Our own certificate could not be made.
    #[error("make the server's certificate")]
    ServerCertificate(#[source] rcgen::Error),
    /// rustls refused the configuration.
    #[error("configure TLS")]
    Configure(#[source] Error),
}

/// The server's half of the agreement.
#[derive(Debug)]
pub struct ServerTls {
    /// Ready for `tokio_rustls::TlsAcceptor`.
    pub config: Arc<ServerConfig>,
    /// Our certificate, for the handshake line.
    pub certificate_der: Vec<u8>,
}

impl ServerTls {
    /// Makes a certificate for this process and a server that accepts only the holder of `client_pem`.
    ///
    /// # Errors
    /// When `client_pem` holds no certificate or the key can't be made.
    pub fn for_client(client_pem: &str) -> Result<Self, TlsError> {
        let client =
            CertificateDer::from_pem_slice(client_pem.as_bytes()).map_err(TlsError::ClientCertificate)?;
        let key = rcgen::KeyPair::generate().map_err(TlsError::ServerCertificate)?;
        let certificate = server_certificate(&key).map_err(TlsError::ServerCertificate)?;
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier = Arc::new(PinnedClient { certificate: client, provider: provider.clone() });
        let key_der = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        // Only 1.3: every host of protocol 6 speaks it, and P-521 in 1.2 needs a cipher negotiation rustls lacks.
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(TlsError::Configure)?
            .with_client_cert_verifier(verifier)
            .with_single_cert(vec![certificate.clone()], key_der)
            .map_err(TlsError::Configure)?;
        // Newer gRPC hosts hang up on a server that doesn't choose it.
        config.alpn_protocols = vec![b"h2".to_vec()];
        // The process lives for one host's connections: no tickets, so that a resumed session can't skip the pin.
        config.send_tls13_tickets = 0;
        Ok(Self { config: Arc::new(config), certificate_der: certificate.to_vec() })
    }
}

/// Hosts pin this exact certificate and check that it names `localhost`.
fn server_certificate(key: &rcgen::KeyPair) -> Result<CertificateDer<'static>, rcgen::Error> {
    let mut params = rcgen::CertificateParams::new(vec!["localhost".to_owned()])?;
    params.distinguished_name.push(rcgen::DnType::CommonName, "localhost");
    params.key_usages = vec![rcgen::KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    Ok(params.self_signed(key)?.der().clone())
}

/// Accepts one certificate and nothing else.
#[derive(Debug)]
struct PinnedClient {
    certificate: CertificateDer<'static>,
    provider: Arc<CryptoProvider>,
}

impl ClientCertVerifier for PinnedClient {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        // Go hosts look for a certificate issued by one of the hints; no hint lets them send the one they have.
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        // No look at the dates: the host made it seconds ago, on this machine, and its clock may have been set since.
        if *end_entity == self.certificate && intermediates.is_empty() {
            return Ok(ClientCertVerified::assertion());
        }
        Err(Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure))
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::PeerIncompatible(PeerIncompatible::Tls12NotOffered))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        // Has ECDSA_NISTP521_SHA512, the only one that Go's P-521 key can sign with (a test below keeps it so).
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_one_scheme_of_go_hosts_is_asked_for() {
        let verifier = PinnedClient {
            certificate: CertificateDer::from(vec![]),
            provider: Arc::new(aws_lc_rs::default_provider()),
        };
        assert!(verifier.supported_verify_schemes().contains(&SignatureScheme::ECDSA_NISTP521_SHA512));
        assert!(verifier.client_auth_mandatory());
    }

    #[test]
    fn text_that_is_no_certificate_is_refused() {
        assert!(matches!(ServerTls::for_client("nonsense"), Err(TlsError::ClientCertificate(_))));
    }
}
