//! From a source and the explicit settings to one kubeconfig with one context, and from it to a client's configuration.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kube::config::{
    AuthInfo, Cluster, Context, KubeConfigOptions, Kubeconfig, NamedAuthInfo, NamedCluster, NamedContext,
};
use secrecy::{ExposeSecret as _, SecretString};

use super::ConfigError;
use super::proxy;
use super::settings::{Level, Surroundings};
use super::source::Source;

const NAME: &str = "provider";
const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// A server that accepts a connection and then says nothing is a broken one.
const READ_TIMEOUT: Duration = Duration::from_secs(30);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// Stands where a proxy is to be chosen yet.
const UNUSED: &str = "http://unused";

/// Reads the source's files.
pub fn load(source: &Source, around: &Surroundings<'_>) -> Result<Kubeconfig, ConfigError> {
    match source {
        Source::Files { paths, skip_missing, named_by } => {
            let mut all = Kubeconfig::default();
            let mut read = 0;
            for path in paths {
                if *skip_missing && !(around.exists)(path) {
                    continue;
                }
                let merged =
                    Kubeconfig::read_from(path).and_then(|next| std::mem::take(&mut all).merge(next));
                all = merged.map_err(|source| ConfigError::ReadFile {
                    path: path.clone(),
                    source: Box::new(source),
                })?;
                read += 1;
            }
            if read == 0 {
                return Err(ConfigError::NoFile { named_by, paths: paths.clone() });
            }
            Ok(all)
        }
        Source::Direct { .. } => Ok(single(Cluster::default(), AuthInfo::default())),
        Source::InCluster { server } => Ok(single(
            Cluster {
                server: Some(server.clone()),
                certificate_authority: Some(format!("{SERVICE_ACCOUNT}/ca.crt")),
                ..Cluster::default()
            },
            AuthInfo { token_file: Some(format!("{SERVICE_ACCOUNT}/token")), ..AuthInfo::default() },
        )),
    }
}

/// Picks the context and lays the explicit settings over it, the stronger level last.
pub fn resolve(
    mut config: Kubeconfig,
    source: &Source,
    attributes: &Level,
    environment: &Level,
) -> Result<Kubeconfig, ConfigError> {
    let pick = |of: fn(&Level) -> &Option<String>| of(attributes).clone().or_else(|| of(environment).clone());
    let named_cluster = pick(|level| &level.context_cluster);
    let named_user = pick(|level| &level.context_user);
    let direct = !matches!(source, Source::Files { .. });
    let wanted = if direct { Some(NAME.to_owned()) } else { pick(|level| &level.context) };
    let wanted = wanted.or_else(|| config.current_context.take().filter(|name| !name.is_empty()));
    let context = match &wanted {
        Some(name) => {
            let found = config.contexts.iter().find(|context| &context.name == name);
            found.and_then(|context| context.context.clone()).ok_or_else(|| ConfigError::NoSuchEntry {
                what: "context",
                name: name.clone(),
                place: source.describe(),
                known: config.contexts.iter().map(|context| context.name.clone()).collect(),
            })?
        }
        None if named_cluster.is_some() => Context::default(),
        None => {
            return Err(ConfigError::NoContext {
                place: source.describe(),
                known: config.contexts.iter().map(|context| context.name.clone()).collect(),
            });
        }
    };
    let cluster_name = named_cluster.filter(|_| !direct).unwrap_or_else(|| context.cluster.clone());
    let mut cluster = config
        .clusters
        .iter()
        .find(|cluster| cluster.name == cluster_name)
        .and_then(|cluster| cluster.cluster.clone())
        .ok_or_else(|| ConfigError::NoSuchEntry {
            what: "cluster",
            name: cluster_name.clone(),
            place: source.describe(),
            known: config.clusters.iter().map(|cluster| cluster.name.clone()).collect(),
        })?;
    let user_name = named_user.filter(|_| !direct).or(context.user);
    let mut user = match &user_name {
        Some(name) => config
            .auth_infos
            .iter()
            .find(|user| &user.name == name)
            .and_then(|user| user.auth_info.clone())
            .ok_or_else(|| ConfigError::NoSuchEntry {
                what: "user",
                name: name.clone(),
                place: source.describe(),
                known: config.auth_infos.iter().map(|user| user.name.clone()).collect(),
            })?,
        None => AuthInfo::default(),
    };
    for level in [environment, attributes] {
        overlay(&mut cluster, &mut user, level);
    }
    Ok(single(cluster, user))
}

/// The client's configuration of a resolved kubeconfig.
pub async fn client_config(
    mut config: Kubeconfig,
    user_agent: &str,
    around: &Surroundings<'_>,
) -> Result<kube::Config, ConfigError> {
    let clusters = config.clusters.iter_mut().filter_map(|named| named.cluster.as_mut());
    // With one named the library leaves the environment's alone, which it fails over when it can't read it, needed or not.
    let named: Vec<_> = clusters.map(|cluster| cluster.proxy_url.replace(UNUSED.to_owned())).collect();
    let named_proxy = named.into_iter().flatten().next();
    let options = KubeConfigOptions::default();
    let mut config = kube::Config::from_custom_kubeconfig(config, &options)
        .await
        .map_err(|source| ConfigError::Unusable { source: Box::new(source) })?;
    // The library holds NO_PROXY against the proxy's own address rather than the server's.
    config.proxy_url = proxy::on_the_way(named_proxy.as_deref(), &config.cluster_url, around)?;
    if config.proxy_url.is_some() {
        config.cluster_url = proxy::with_port(config.cluster_url);
    }
    config.read_timeout = Some(READ_TIMEOUT);
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    // Else the time for which a connection lay idle would count as the server's silence.
    config.reset_reader_on_write = true;
    // Retries up to a quarter of an hour, out of sight: see `api::Api` for ours.
    config.default_retry = false;
    if let Ok(value) = http::HeaderValue::from_str(user_agent) {
        config.headers.push((http::header::USER_AGENT, value));
    }
    Ok(config)
}

fn overlay(cluster: &mut Cluster, user: &mut AuthInfo, level: &Level) {
    if let Some(host) = &level.host {
        let has_scheme = host.contains("://");
        cluster.server = Some(if has_scheme { host.clone() } else { format!("https://{host}") });
    }
    if let Some(insecure) = level.insecure {
        cluster.insecure_skip_tls_verify = Some(insecure);
    }
    if let Some(name) = &level.tls_server_name {
        cluster.tls_server_name = Some(name.clone());
    }
    if let Some(pem) = &level.cluster_ca_certificate {
        cluster.certificate_authority = None;
        cluster.certificate_authority_data = Some(STANDARD.encode(pem));
    }
    if let Some(url) = &level.proxy_url {
        cluster.proxy_url = Some(url.clone());
    }
    if !level.authenticates() {
        return;
    }
    *user = AuthInfo {
        username: level.username.clone(),
        password: level.password.clone(),
        token: level.token.clone(),
        client_certificate_data: level.client_certificate.as_ref().map(|pem| STANDARD.encode(pem)),
        client_key_data: level
            .client_key
            .as_ref()
            .map(|pem| SecretString::from(STANDARD.encode(pem.expose_secret()))),
        exec: level.exec.clone(),
        ..AuthInfo::default()
    };
}

fn single(cluster: Cluster, user: AuthInfo) -> Kubeconfig {
    Kubeconfig {
        clusters: vec![NamedCluster {
            name: NAME.to_owned(),
            cluster: Some(cluster),
            ..NamedCluster::default()
        }],
        auth_infos: vec![NamedAuthInfo {
            name: NAME.to_owned(),
            auth_info: Some(user),
            ..NamedAuthInfo::default()
        }],
        contexts: vec![NamedContext {
            name: NAME.to_owned(),
            context: Some(Context {
                cluster: NAME.to_owned(),
                user: Some(NAME.to_owned()),
                ..Context::default()
            }),
            ..NamedContext::default()
        }],
        current_context: Some(NAME.to_owned()),
        ..Kubeconfig::default()
    }
}
