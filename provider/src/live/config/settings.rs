//! What the user said about the connection, by attribute and by environment variable.

use std::path::PathBuf;

use kube::config::ExecConfig;
use pgha_provider_core::value::Value;
use secrecy::SecretString;

use super::ConfigError;

/// What is around the process: environment variables and files. An input, so that the precedence can be tested.
pub struct Surroundings<'a> {
    /// An environment variable; `None` when it is not set.
    pub var: &'a (dyn Fn(&str) -> Option<String> + Sync),
    /// Whether a file is there.
    pub exists: &'a (dyn Fn(&std::path::Path) -> bool + Sync),
}

impl Surroundings<'_> {
    /// A variable that is set and not empty.
    pub fn set(&self, name: &str) -> Option<String> {
        (self.var)(name).filter(|text| !text.is_empty())
    }

    /// `~` at the start of a path means the home directory.
    pub fn expand(&self, path: &str) -> PathBuf {
        let home = self.set("HOME");
        match (path.strip_prefix('~'), home) {
            (Some(rest), Some(home)) if rest.is_empty() || rest.starts_with('/') => {
                PathBuf::from(home).join(rest.trim_start_matches('/'))
            }
            _ => PathBuf::from(path),
        }
    }
}

/// Settings that come from one place: all from attributes, or all from the environment.
#[derive(Clone, Default)]
pub struct Level {
    /// Address of the API server.
    pub host: Option<String>,
    /// Name for basic authentication.
    pub username: Option<String>,
    /// Password for basic authentication.
    pub password: Option<SecretString>,
    /// Bearer token.
    pub token: Option<SecretString>,
    /// The server's certificate is not checked.
    pub insecure: Option<bool>,
    /// The name that the server's certificate must have.
    pub tls_server_name: Option<String>,
    /// Client certificate, PEM.
    pub client_certificate: Option<String>,
    /// Its key, PEM.
    pub client_key: Option<SecretString>,
    /// Certificates that the server's must be signed by, PEM.
    pub cluster_ca_certificate: Option<String>,
    /// Kubeconfig files, the first one's entries win.
    pub config_paths: Vec<String>,
    /// Context in them.
    pub context: Option<String>,
    /// User in them, instead of the context's.
    pub context_user: Option<String>,
    /// Cluster in them, instead of the context's.
    pub context_cluster: Option<String>,
    /// Proxy on the way to the API server.
    pub proxy_url: Option<String>,
    /// Program that gives credentials.
    pub exec: Option<ExecConfig>,
}

impl Level {
    /// Says who the client is; then nothing that a weaker level says about it counts.
    pub fn authenticates(&self) -> bool {
        self.token.is_some()
            || self.username.is_some()
            || self.client_certificate.is_some()
            || self.exec.is_some()
    }

    /// From the environment variables that Kubernetes providers share.
    pub fn from_environment(around: &Surroundings<'_>) -> Result<Self, ConfigError> {
        let text = |name: &str| around.set(name);
        let secret = |name: &str| around.set(name).map(SecretString::from);
        let config_paths = match text("KUBE_CONFIG_PATH") {
            Some(path) => vec![path],
            None => text("KUBE_CONFIG_PATHS").map(|list| split_paths(&list)).unwrap_or_default(),
        };
        Ok(Self {
            host: text("KUBE_HOST"),
            username: text("KUBE_USER"),
            password: secret("KUBE_PASSWORD"),
            token: secret("KUBE_TOKEN"),
            insecure: text("KUBE_INSECURE").map(|word| truth("KUBE_INSECURE", &word)).transpose()?,
            tls_server_name: text("KUBE_TLS_SERVER_NAME"),
            client_certificate: text("KUBE_CLIENT_CERT_DATA"),
            client_key: secret("KUBE_CLIENT_KEY_DATA"),
            cluster_ca_certificate: text("KUBE_CLUSTER_CA_CERT_DATA"),
            config_paths,
            context: text("KUBE_CTX"),
            context_user: text("KUBE_CTX_AUTH_INFO"),
            context_cluster: text("KUBE_CTX_CLUSTER"),
            proxy_url: text("KUBE_PROXY_URL"),
            exec: None,
        })
    }

    /// From the attributes of the provider block. Unknown ones count as not set: ask [`unknown_attributes`] first.
    pub fn from_attributes(config: &Value) -> Self {
        let text = |name: &str| config.get(name).as_str().filter(|t| !t.is_empty()).map(str::to_owned);
        let secret = |name: &str| text(name).map(SecretString::from);
        let config_paths = match text("config_path") {
            Some(path) => vec![path],
            None => texts(config.get("config_paths")),
        };
        Self {
            host: text("host"),
            username: text("username"),
            password: secret("password"),
            token: secret("token"),
            insecure: config.get("insecure").as_bool(),
            tls_server_name: text("tls_server_name"),
            client_certificate: text("client_certificate"),
            client_key: secret("client_key"),
            cluster_ca_certificate: text("cluster_ca_certificate"),
            config_paths,
            context: text("config_context"),
            context_user: text("config_context_auth_info"),
            context_cluster: text("config_context_cluster"),
            proxy_url: text("proxy_url"),
            exec: exec(config.get("exec")),
        }
    }
}

/// Names of the attributes that are not known yet (P11).
pub fn unknown_attributes(config: &Value) -> Vec<String> {
    let Some(attributes) = config.as_entries() else { return Vec::new() };
    attributes.iter().filter(|(_, value)| !value.is_wholly_known()).map(|(name, _)| name.clone()).collect()
}

/// Paths of a list like KUBECONFIG's.
pub fn split_paths(list: &str) -> Vec<String> {
    std::env::split_paths(list)
        .map(|path| path.to_string_lossy().into_owned())
        .filter(|path| !path.is_empty())
        .collect()
}

fn texts(value: &Value) -> Vec<String> {
    let items = value.as_items().unwrap_or_default();
    items.iter().filter_map(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned).collect()
}

fn exec(value: &Value) -> Option<ExecConfig> {
    let command = value.get("command").as_str()?.to_owned();
    let env = value.get("env").as_entries().map(|entries| {
        let named = |(name, value): (&String, &Value)| {
            [
                ("name".to_owned(), name.clone()),
                ("value".to_owned(), value.as_str().unwrap_or_default().to_owned()),
            ]
            .into()
        };
        entries.iter().map(named).collect()
    });
    Some(ExecConfig {
        api_version: value.get("api_version").as_str().map(str::to_owned),
        command: Some(command),
        args: Some(texts_with_empty(value.get("args"))),
        env,
        ..serde_json::from_value(serde_json::json!({})).ok()?
    })
}

/// Arguments of a program: an empty one is an argument too.
fn texts_with_empty(value: &Value) -> Vec<String> {
    value.as_items().unwrap_or_default().iter().filter_map(Value::as_str).map(str::to_owned).collect()
}

fn truth(name: &str, word: &str) -> Result<bool, ConfigError> {
    match word.to_ascii_lowercase().as_str() {
        "1" | "t" | "true" => Ok(true),
        "0" | "f" | "false" => Ok(false),
        _ => Err(ConfigError::NotTrueOrFalse { name: name.to_owned(), word: word.to_owned() }),
    }
}
