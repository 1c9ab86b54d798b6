//! The server's certificate: mounted by the kubelet from the Secret that `tls.secret` names, replaced under the running
//! postgres when it is renewed.
//!
//! PostgreSQL takes no key that others may read, and does not start with a key that does not fit. So what is mounted is looked
//! at first and copied for postgres alone, beside its socket: in memory, never onto the volume.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use pgha_schema::names::tls_key;
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::postgres::session::{Local, Session, SessionError};

/// The kubelet brings a changed Secret within a minute or so; a look costs nothing.
const EVERY: Duration = Duration::from_secs(5);
const RELOAD_DEADLINE: Duration = Duration::from_secs(1);

/// Where the certificate comes from, and where it is used. Clones share one lock.
#[derive(Clone, Debug)]
pub struct Certificate {
    mounted: PathBuf,
    used: PathBuf,
    taking: Arc<Mutex<()>>,
}

/// Why a certificate is not used.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A file can't be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// PostgreSQL would not start with it.
    #[error("the Secret's {key} can't be used: {why}")]
    Unusable {
        /// Key of the Secret.
        key: &'static str,
        /// Why not.
        why: String,
    },
}

fn file(path: &Path) -> impl FnOnce(io::Error) -> CertificateError {
    let path = path.to_owned();
    move |source| CertificateError::File { path, source }
}

impl Certificate {
    /// The one that is mounted at `mounted`, copied to beside the socket.
    pub fn new(mounted: &Path, sockets: &Path) -> Self {
        Self { mounted: mounted.to_owned(), used: sockets.join(".pgha-tls"), taking: Arc::default() }
    }

    /// This pod was made with one.
    pub fn is_mounted(&self) -> bool {
        self.mounted.is_dir()
    }

    /// The file that postgres uses.
    pub fn file(&self, key: &str) -> PathBuf {
        self.used.join(key)
    }

    /// A pair that fits lies where postgres looks for it.
    pub fn is_ready(&self) -> bool {
        self.file(tls_key::CERTIFICATE).is_file() && self.file(tls_key::KEY).is_file()
    }

    /// Clients' certificates can be verified.
    pub fn has_authority(&self) -> bool {
        self.file(tls_key::AUTHORITY).is_file()
    }

    /// Takes over what is mounted, if postgres can use it; tells whether it is another one than before.
    pub fn take(&self) -> Result<bool, CertificateError> {
        let _one_at_a_time = self.taking.lock().unwrap_or_else(PoisonError::into_inner);
        let read = |key: &str| {
            let path = self.mounted.join(key);
            fs::read(&path).map_err(file(&path))
        };
        let (certificate, key) = (read(tls_key::CERTIFICATE)?, read(tls_key::KEY)?);
        let authority = match read(tls_key::AUTHORITY) {
            // Issuers of public certificates give none, and cert-manager then leaves the key empty.
            Ok(text) => Some(text).filter(|text| !text.trim_ascii().is_empty()),
            Err(CertificateError::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        usable(&certificate, &key, authority.as_deref())?;
        fs::create_dir_all(&self.used).map_err(file(&self.used))?;
        let mut changed = self.put(tls_key::CERTIFICATE, &certificate)?;
        changed |= self.put(tls_key::KEY, &key)?;
        changed |= match &authority {
            Some(text) => self.put(tls_key::AUTHORITY, text)?,
            None => self.drop_authority()?,
        };
        Ok(changed)
    }

    fn put(&self, key: &str, content: &[u8]) -> Result<bool, CertificateError> {
        let path = self.file(key);
        if fs::read(&path).is_ok_and(|old| old == content) {
            return Ok(false);
        }
        let temporary = self.used.join(format!("{key}.tmp"));
        let write = || {
            // The rights come before the key.
            crate::volume::remove_if_there(&temporary)?;
            let mut new = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
            new.write_all(content)?;
            fs::rename(&temporary, &path)
        };
        write().map_err(file(&path)).map(|()| true)
    }

    fn drop_authority(&self) -> Result<bool, CertificateError> {
        let path = self.file(tls_key::AUTHORITY);
        let was_there = path.exists();
        crate::volume::remove_if_there(&path).map_err(file(&path)).map(|()| was_there)
    }

    /// Keeps what postgres uses as new as what is mounted, for ever.
    pub async fn renew(self, local: Local) {
        if !self.is_mounted() {
            return;
        }
        let (mut stale, mut told) = (false, String::new());
        loop {
            tokio::time::sleep(EVERY).await;
            let failure = match self.take() {
                Ok(changed) => {
                    stale |= changed;
                    None
                }
                Err(error) => Some(error.to_string()),
            };
            // A postgres that starts later reads it then.
            if stale && reload(&local).await.is_ok() {
                tracing::info!("postgres reads the renewed certificate");
                stale = false;
            }
            if let Some(failure) = failure.as_ref().filter(|failure| **failure != told) {
                tracing::warn!(failure, "the certificate is not renewed: the one before stays in use");
            }
            told = failure.unwrap_or_default();
        }
    }
}

async fn reload(local: &Local) -> Result<(), SessionError> {
    let session = Session::open(local).await?;
    session.query("select pg_reload_conf()", &[], RELOAD_DEADLINE).await.map(drop)
}

/// What postgres would refuse, found before it has to.
fn usable(certificate: &[u8], key: &[u8], authority: Option<&[u8]>) -> Result<(), CertificateError> {
    let chain = certificates(tls_key::CERTIFICATE, certificate)?;
    let unusable = |key: &'static str, why: String| CertificateError::Unusable { key, why };
    let chain_kind = unbindable(&chain[0]);
    let key =
        PrivateKeyDer::from_pem_slice(key).map_err(|error| unusable(tls_key::KEY, error.to_string()))?;
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    CertifiedKey::from_der(chain, key, &provider).map_err(|error| {
        unusable(tls_key::KEY, format!("it does not fit the certificate, or is of no known kind ({error})"))
    })?;
    if let Some(kind) = chain_kind {
        let why = format!(
            "it is signed with {kind}, to which PostgreSQL can't bind a log-in: have it signed with RSA or ECDSA"
        );
        return Err(unusable(tls_key::CERTIFICATE, why));
    }
    authority.map_or(Ok(()), |text| certificates(tls_key::AUTHORITY, text).map(drop))
}

/// Object identifiers of signatures that name no hash by themselves, as they stand in a certificate.
const UNBINDABLE: [(&[u8], &str); 2] = [
    (&[0x06, 0x03, 0x2b, 0x65, 0x70], "Ed25519"),
    (&[0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0a], "RSA-PSS"),
];

/// Standbys are authenticated by channel binding, for which the certificate's signature must name a hash.
fn unbindable(certificate: &CertificateDer<'_>) -> Option<&'static str> {
    let holds = |oid: &[u8]| certificate.windows(oid.len()).any(|bytes| bytes == oid);
    UNBINDABLE.iter().find(|(oid, _)| holds(oid)).map(|(_, name)| *name)
}

fn certificates(key: &'static str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match all {
        Ok(all) if !all.is_empty() => Ok(all),
        Ok(_) => {
            Err(CertificateError::Unusable { key, why: "it holds no certificate in PEM form".to_owned() })
        }
        Err(error) => Err(CertificateError::Unusable { key, why: error.to_string() }),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn pair(name: &str) -> (String, String) {
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate =
            rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap().self_signed(&key).unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    fn mount(dir: &Path, (certificate, key): &(String, String), authority: Option<&str>) {
        fs::create_dir_all(dir).unwrap();
        fs::write(dir.join("tls.crt"), certificate).unwrap();
        fs::write(dir.join("tls.key"), key).unwrap();
        match authority {
            Some(text) => fs::write(dir.join("ca.crt"), text).unwrap(),
            None => crate::volume::remove_if_there(&dir.join("ca.crt")).unwrap(),
        }
    }

    #[test]
    fn what_fits_is_copied_for_postgres_alone_and_only_when_it_changed() {
        let dir = tempfile::tempdir().unwrap();
        let (mounted, sockets) = (dir.path().join("mounted"), dir.path().join("sockets"));
        let certificate = Certificate::new(&mounted, &sockets);
        assert!(!certificate.is_mounted() && !certificate.is_ready());
        let (first, second) = (pair("one"), pair("two"));
        mount(&mounted, &first, Some(&first.0));
        assert!(certificate.take().unwrap() && certificate.is_ready() && certificate.has_authority());
        let mode = fs::metadata(certificate.file("tls.key")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(!certificate.take().unwrap(), "nothing changed");
        mount(&mounted, &second, None);
        assert!(certificate.take().unwrap() && !certificate.has_authority());
        assert_eq!(fs::read_to_string(certificate.file("tls.crt")).unwrap(), second.0);
    }

    #[test]
    fn what_postgres_could_not_start_with_leaves_the_one_before() {
        let dir = tempfile::tempdir().unwrap();
        let (mounted, sockets) = (dir.path().join("mounted"), dir.path().join("sockets"));
        let certificate = Certificate::new(&mounted, &sockets);
        let (good, other) = (pair("one"), pair("two"));
        mount(&mounted, &good, None);
        certificate.take().unwrap();
        for (pair, authority, told) in [
            ((good.0.clone(), other.1.clone()), None, "tls.key can't be used: it does not fit"),
            (("no PEM".to_owned(), good.1.clone()), None, "tls.crt can't be used: it holds no certificate"),
            ((good.0.clone(), "no PEM".to_owned()), None, "tls.key can't be used"),
            ((good.0.clone(), good.1.clone()), Some("no PEM"), "ca.crt can't be used"),
        ] {
            mount(&mounted, &pair, authority);
            let error = certificate.take().unwrap_err().to_string();
            assert!(error.contains(told), "{error}");
            assert_eq!(fs::read_to_string(certificate.file("tls.key")).unwrap(), good.1);
        }
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
        let edwards =
            rcgen::CertificateParams::new(vec!["one".to_owned()]).unwrap().self_signed(&key).unwrap();
        mount(&mounted, &(edwards.pem(), key.serialize_pem()), None);
        assert!(certificate.take().unwrap_err().to_string().contains("Ed25519"));
        fs::remove_file(mounted.join("tls.key")).unwrap();
        assert!(certificate.take().unwrap_err().to_string().contains("tls.key"));
    }
}
