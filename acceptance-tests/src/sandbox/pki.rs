//! Certificates of one run of the sandbox, and kubeconfigs made of them.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use base64::Engine as _;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use serde_json::json;

use super::layout::{API_ADDRESS, API_PROXY_ADDRESS, API_SERVICE_ADDRESS, Layout, Node};

/// The certificate authority of this run.
pub struct Authority {
    folder: PathBuf,
    issuer: Issuer<'static, KeyPair>,
}

/// What a certificate is for.
enum Purpose<'a> {
    Client,
    Server(&'a [&'a str]),
}

impl Authority {
    /// Makes a new authority and all certificates of the cluster.
    ///
    /// # Errors
    /// When a file can't be written.
    pub fn create(layout: &Layout) -> Result<Self> {
        let folder = layout.pki();
        fs::create_dir_all(&folder)?;
        let params = authority_params();
        let key = KeyPair::generate()?;
        fs::write(folder.join("ca.crt"), params.self_signed(&key)?.pem())?;
        write_key(&folder.join("ca.key"), &key)?;
        let authority = Self { folder, issuer: Issuer::new(params, key) };
        authority.cluster_certificates()?;
        Ok(authority)
    }

    /// The authority of the running sandbox.
    ///
    /// # Errors
    /// When there is none.
    pub fn open(layout: &Layout) -> Result<Self> {
        let folder = layout.pki();
        let key = fs::read_to_string(folder.join("ca.key")).context("read ca.key: is the sandbox up?")?;
        // The same parameters and the same key are the same issuer.
        Ok(Self { folder, issuer: Issuer::new(authority_params(), KeyPair::from_pem(&key)?) })
    }

    fn cluster_certificates(&self) -> Result<()> {
        let api_names = [
            "kubernetes",
            "kubernetes.default",
            "kubernetes.default.svc",
            "kubernetes.default.svc.cluster.local",
            "localhost",
            "127.0.0.1",
            API_ADDRESS,
            API_PROXY_ADDRESS,
            API_SERVICE_ADDRESS,
        ];
        self.issue("apiserver", "kube-apiserver", &[], &Purpose::Server(&api_names))?;
        self.issue("apiserver-kubelet", "kube-apiserver", &["system:masters"], &Purpose::Client)?;
        for node in Node::all() {
            let address = node.address();
            let name = node.name();
            self.issue(&format!("kubelet-server-{name}"), &name, &[], &Purpose::Server(&[&name, &address]))?;
        }
        let accounts = KeyPair::generate()?;
        write_key(&self.folder.join("accounts.key"), &accounts)?;
        fs::write(self.folder.join("accounts.pub"), accounts.public_key_pem())?;
        Ok(())
    }

    fn issue(
        &self,
        file: &str,
        name: &str,
        groups: &[&str],
        purpose: &Purpose<'_>,
    ) -> Result<(String, String)> {
        let names: &[&str] = match purpose {
            Purpose::Client => &[],
            Purpose::Server(names) => names,
        };
        let mut params =
            CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())?;
        params.distinguished_name.push(DnType::CommonName, name);
        for group in groups {
            params.distinguished_name.push(DnType::OrganizationName, *group);
        }
        params.key_usages.push(KeyUsagePurpose::DigitalSignature);
        params.extended_key_usages.push(match purpose {
            Purpose::Client => ExtendedKeyUsagePurpose::ClientAuth,
            Purpose::Server(_) => ExtendedKeyUsagePurpose::ServerAuth,
        });
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?.pem();
        fs::write(self.folder.join(format!("{file}.crt")), &certificate)?;
        write_key(&self.folder.join(format!("{file}.key")), &key)?;
        Ok((certificate, key.serialize_pem()))
    }

    /// Writes a kubeconfig for a user of this name and groups.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn kubeconfig(&self, file: &Path, server: &str, user: &str, groups: &[&str]) -> Result<()> {
        let (certificate, key) = self.issue(&user.replace(':', "-"), user, groups, &Purpose::Client)?;
        let encode = |text: &str| base64::engine::general_purpose::STANDARD.encode(text);
        let authority = fs::read_to_string(self.folder.join("ca.crt"))?;
        // JSON is YAML too.
        let config = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{ "name": "sandbox", "cluster": {
                "server": server, "certificate-authority-data": encode(&authority) } }],
            "users": [{ "name": user, "user": {
                "client-certificate-data": encode(&certificate), "client-key-data": encode(&key) } }],
            "contexts": [{ "name": "sandbox", "context": { "cluster": "sandbox", "user": user } }],
            "current-context": "sandbox",
        });
        fs::write(file, serde_json::to_vec_pretty(&config)?)
            .with_context(|| format!("write {}", file.display()))?;
        restrict(file)
    }
}

fn authority_params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, "sandbox");
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    params
}

fn write_key(file: &Path, key: &KeyPair) -> Result<()> {
    fs::write(file, key.serialize_pem())?;
    restrict(file)
}

fn restrict(file: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    Ok(fs::set_permissions(file, fs::Permissions::from_mode(0o600))?)
}
