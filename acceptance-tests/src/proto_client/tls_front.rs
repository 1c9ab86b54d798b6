//! A plain server's TLS: clients must have a certificate of the one authority that there is, and the server has one for a name
//! that is not where it is.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// The name in the server's certificate, for the provider's `tls_server_name`.
pub const NAME: &str = "kubernetes.invalid";

/// TLS on a port of its own; it ends with the test's runtime.
#[derive(Debug, Clone)]
pub struct TlsFront {
    /// For the provider's `host`.
    pub address: String,
    /// The authority's certificate, in PEM.
    pub authority: String,
    /// The certificate of a client, in PEM.
    pub client_certificate: String,
    /// Its key, in PEM.
    pub client_key: String,
}

impl TlsFront {
    /// Starts one before `to`, a URL of scheme http.
    ///
    /// # Errors
    /// When no port is to be had, or `to` is no such URL.
    pub async fn start(to: &str) -> Result<Self> {
        let to: SocketAddr =
            to.trim_start_matches("http://").parse().context("no address to connect with")?;
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        let issue = |name: &str| {
            let key = KeyPair::generate()?;
            let certificate = CertificateParams::new(vec![name.to_owned()])?.signed_by(&key, &authority)?;
            anyhow::Ok((certificate, key))
        };
        let (server, server_key) = issue(NAME)?;
        let (client, client_key) = issue("client")?;
        let acceptor = acceptor(authority.der(), server.der(), &server_key)?;
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = format!("https://{}", listener.local_addr()?);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                // A client that is refused sees its connection end, and tells of it.
                tokio::spawn(serve(acceptor.clone(), stream, to));
            }
        });
        Ok(Self {
            address,
            authority: authority.pem(),
            client_certificate: client.pem(),
            client_key: client_key.serialize_pem(),
        })
    }
}

async fn serve(acceptor: TlsAcceptor, stream: TcpStream, to: SocketAddr) -> Result<()> {
    let mut client = acceptor.accept(stream).await?;
    let mut server = TcpStream::connect(to).await?;
    tokio::io::copy_bidirectional(&mut client, &mut server).await?;
    Ok(())
}

fn acceptor(
    authority: &CertificateDer<'static>,
    server: &CertificateDer<'static>,
    key: &KeyPair,
) -> Result<TlsAcceptor> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(authority.clone())?;
    let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build()?;
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(clients)
        .with_single_cert(vec![server.clone()], PrivatePkcs8KeyDer::from(key.serialize_der()).into())?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}
