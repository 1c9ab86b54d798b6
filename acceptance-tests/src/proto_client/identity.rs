//! The host's certificate, of the shape that Go hosts make: ECDSA P-521, a CA used as a leaf.

use anyhow::{Context as _, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P521_SHA512,
};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ClientConfig, RootCertStore};
use std::sync::Arc;

/// A certificate and its key.
#[derive(Debug)]
pub struct Identity {
    /// For `PLUGIN_CLIENT_CERT`.
    pub pem: String,
    certificate: CertificateDer<'static>,
    key: PrivatePkcs8KeyDer<'static>,
}

impl Identity {
    /// A new one.
    ///
    /// # Errors
    /// When the key can't be made.
    pub fn new() -> Result<Self> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P521_SHA512).context("make a P-521 key")?;
        let mut params = CertificateParams::new(vec!["localhost".to_owned()])?;
        params.distinguished_name.push(DnType::CommonName, "localhost");
        params.distinguished_name.push(DnType::OrganizationName, "HashiCorp");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![
            KeyUsagePurpose::DigitalSignature,
            KeyUsagePurpose::KeyEncipherment,
            KeyUsagePurpose::KeyAgreement,
            KeyUsagePurpose::KeyCertSign,
        ];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
        let certificate = params.self_signed(&key).context("make the host's certificate")?;
        Ok(Self {
            pem: certificate.pem(),
            certificate: certificate.der().clone(),
            key: PrivatePkcs8KeyDer::from(key.serialize_der()),
        })
    }

    /// A client with this identity that accepts only the server whose certificate the handshake named, and checks its
    /// name, as Go hosts do.
    ///
    /// # Errors
    /// When the server's certificate can't be read.
    pub fn client(&self, server_certificate_der: &[u8]) -> Result<Arc<ClientConfig>> {
        let key = PrivateKeyDer::from(self.key.clone_key());
        let builder = trusting(server_certificate_der)?;
        let config = builder.with_client_auth_cert(vec![self.certificate.clone()], key)?;
        Ok(finished(config))
    }

    /// The other's certificate with this one's key: what someone has who only listened.
    ///
    /// # Errors
    /// When the server's certificate can't be read.
    pub fn client_claiming(
        &self,
        other: &Identity,
        server_certificate_der: &[u8],
    ) -> Result<Arc<ClientConfig>> {
        let key = aws_lc_rs::sign::any_supported_type(&PrivateKeyDer::from(self.key.clone_key()))?;
        let claimed = rustls::sign::CertifiedKey::new(vec![other.certificate.clone()], key);
        let resolver = Arc::new(rustls::sign::SingleCertAndKey::from(claimed));
        Ok(finished(trusting(server_certificate_der)?.with_client_cert_resolver(resolver)))
    }
}

/// A client that shows no certificate at all.
///
/// # Errors
/// When the server's certificate can't be read.
pub fn client_without_identity(server_certificate_der: &[u8]) -> Result<Arc<ClientConfig>> {
    Ok(finished(trusting(server_certificate_der)?.with_no_client_auth()))
}

type Builder = rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert>;

fn trusting(server_certificate_der: &[u8]) -> Result<Builder> {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from(server_certificate_der.to_vec()))
        .context("take the server's certificate as root")?;
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .context("configure TLS")?;
    Ok(builder.with_root_certificates(roots))
}

fn finished(mut config: ClientConfig) -> Arc<ClientConfig> {
    config.alpn_protocols = vec![b"h2".to_vec()];
    Arc::new(config)
}
