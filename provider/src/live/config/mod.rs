//! The provider's configuration: from attributes, environment and files to a client, built when it is first needed.
//!
//! ```text
//!   provider block ─┐
//!   KUBE_* ─────────┼─> choose (precedence) ─> load files ─> resolve (one context) ─> kube::Client
//!   KUBECONFIG ... ─┘
//! ```

mod connection;
mod kubeconfig;
mod program;
mod proxy;
mod retry_after;
mod settings;
mod socks;
mod source;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

use pgha_provider_core::diagnostic::{Diagnostic, Diagnostics};
use pgha_provider_core::ignore::Ignore;
use pgha_provider_core::path::Path;
use pgha_provider_core::value::Value;
use tokio::sync::OnceCell;

pub use connection::Connection;
pub use settings::unknown_attributes;
use settings::{Level, Surroundings};
use source::Source;

/// Why no client can be made of the configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Nothing says where the API server is.
    #[error("nothing says where the Kubernetes API server is")]
    NothingFound {
        /// The default kubeconfig, which is not there.
        default_file: PathBuf,
    },
    /// A variable that must be a truth value is not.
    #[error("{name} is {word:?}, neither true nor false")]
    NotTrueOrFalse {
        /// The variable.
        name: String,
        /// Its value.
        word: String,
    },
    /// A file can't be read or parsed.
    #[error("can't read the kubeconfig {}", path.display())]
    ReadFile {
        /// The file.
        path: PathBuf,
        /// Why.
        source: Box<kube::config::KubeconfigError>,
    },
    /// No file of the list is there.
    #[error("no kubeconfig named by {named_by} is there")]
    NoFile {
        /// What named them.
        named_by: &'static str,
        /// The files.
        paths: Vec<PathBuf>,
    },
    /// No context is chosen.
    #[error("no context is chosen in {place}")]
    NoContext {
        /// Where.
        place: String,
        /// Those that are there.
        known: Vec<String>,
    },
    /// A context, cluster or user is not there.
    #[error("no {what} {name:?} in {place}")]
    NoSuchEntry {
        /// context, cluster or user.
        what: &'static str,
        /// Its name.
        name: String,
        /// Where.
        place: String,
        /// Those that are there.
        known: Vec<String>,
    },
    /// The proxy on the way to the API server can't be asked.
    #[error("the proxy that {named_by} names can't be used")]
    Proxy {
        /// The attribute or the variable.
        named_by: &'static str,
        /// Why.
        source: proxy::ProxyError,
    },
    /// The settings do not make a client.
    #[error("the settings do not make a client")]
    Unusable {
        /// Why.
        source: Box<kube::config::KubeconfigError>,
    },
    /// The client can't be built.
    #[error("the client can't be built")]
    Client {
        /// Why.
        source: Box<kube::Error>,
    },
}

impl ConfigError {
    /// What the user sees.
    pub fn diagnostic(&self) -> Diagnostic {
        let (path, way_out) = self.advice();
        let detail = match super::errors::causes(self) {
            causes if causes.is_empty() => format!("{}. {way_out}", capitalised(&self.to_string())),
            causes => format!("{}: {causes}. {way_out}", capitalised(&self.to_string())),
        };
        let diagnostic =
            Diagnostic::error("No Kubernetes client can be made of the provider's configuration", detail);
        match path {
            Some(path) => diagnostic.at(Path::of(path)),
            None => diagnostic,
        }
    }

    fn advice(&self) -> (Option<&'static str>, String) {
        let listed = |known: &[String]| {
            if known.is_empty() {
                "there is none".to_owned()
            } else {
                format!("there are: {}", known.join(", "))
            }
        };
        match self {
            Self::NothingFound { default_file } => (
                None,
                format!(
                    "Tried, in this order: config_path, config_paths and host of the provider block; the variables \
                     KUBE_CONFIG_PATH, KUBE_CONFIG_PATHS, KUBE_HOST and KUBECONFIG, none of which is set; the file {}, \
                     which is not there; the service account of a pod, which this is not. Set one of them; the \
                     provider never falls back to localhost.",
                    default_file.display()
                ),
            ),
            Self::NotTrueOrFalse { .. } => (None, "Set it to true or false, or unset it.".to_owned()),
            Self::ReadFile { .. } => {
                (Some("config_path"), "Check the path, its permissions and its text.".to_owned())
            }
            Self::NoFile { paths, .. } => {
                let paths: Vec<_> = paths.iter().map(|path| path.display().to_string()).collect();
                (None, format!("Looked for: {}.", paths.join(", ")))
            }
            Self::NoContext { known, .. } => (
                Some("config_context"),
                format!("Set config_context or KUBE_CTX, or current-context in the file; {}.", listed(known)),
            ),
            Self::NoSuchEntry { known, what, .. } => {
                let path = match *what {
                    "cluster" => "config_context_cluster",
                    "user" => "config_context_auth_info",
                    _ => "config_context",
                };
                (Some(path), format!("{}.", capitalised(&listed(known))))
            }
            Self::Proxy { named_by, .. } if *named_by == proxy::ATTRIBUTE => (
                Some(proxy::ATTRIBUTE),
                "It is set there, by KUBE_PROXY_URL, or as proxy-url in the kubeconfig.".to_owned(),
            ),
            Self::Proxy { named_by, .. } => {
                (None, format!("Correct {named_by}, or let NO_PROXY name the server."))
            }
            Self::Unusable { .. } | Self::Client { .. } => {
                (None, "Correct the setting that is named, or the file that it comes from.".to_owned())
            }
        }
    }
}

/// The explicit settings, and the client that is made of them when it is first needed: never while configuring.
pub struct Connector {
    attributes: Level,
    ignore: Ignore,
    terraform_version: String,
    client: OnceCell<Connection>,
}

impl Connector {
    /// Keeps the settings; dials nobody and reads no file.
    pub fn new(config: &Value, terraform_version: &str) -> Self {
        Self {
            attributes: Level::from_attributes(config),
            ignore: Ignore::of_provider(config),
            terraform_version: terraform_version.to_owned(),
            client: OnceCell::new(),
        }
    }

    /// What the configuration leaves to others.
    pub fn ignore(&self) -> &Ignore {
        &self.ignore
    }

    /// The client. A failure is not kept: the next call tries again.
    pub async fn connection(&self) -> Result<&Connection, Diagnostic> {
        self.client.get_or_try_init(|| self.connect()).await
    }

    async fn connect(&self) -> Result<Connection, Diagnostic> {
        let around = Surroundings { var: &|name| std::env::var(name).ok(), exists: &|path| path.exists() };
        let (config, source) = settle(&self.attributes, &around).map_err(|error| error.diagnostic())?;
        let agent = format!(
            "terraform-provider-postgres/{} Terraform/{}",
            env!("CARGO_PKG_VERSION"),
            if self.terraform_version.is_empty() { "unknown" } else { &self.terraform_version }
        );
        let config =
            kubeconfig::client_config(config, &agent, &around).await.map_err(|error| error.diagnostic())?;
        let server = connection::address(&config);
        let source = match &config.proxy_url {
            Some(proxy) => format!("{}, through the proxy {}", source.describe(), proxy::shown(proxy)),
            None => source.describe(),
        };
        tracing::debug!(%server, %source, "connecting to Kubernetes");
        Connection::new(config, source.clone())
            .await
            .map_err(|error| super::errors::while_building(error, &server, &source))
    }
}

/// Everything but the client: the kubeconfig with one context that the settings come to.
fn settle(
    attributes: &Level,
    around: &Surroundings<'_>,
) -> Result<(kube::config::Kubeconfig, Source), ConfigError> {
    let environment = Level::from_environment(around)?;
    let source = source::choose(attributes, &environment, around)?;
    let loaded = kubeconfig::load(&source, around)?;
    Ok((kubeconfig::resolve(loaded, &source, attributes, &environment)?, source))
}

/// What can be said of the provider block without a cluster. Unknown values are skipped.
pub fn validate(config: &Value) -> Diagnostics {
    let mut found = Diagnostics::new();
    let is_set = |name: &str| !config.get(name).is_null() && config.get(name).as_str() != Some("");
    let mut pair = |one: &str, other: &str, why: &str| {
        if is_set(one) && config.get(other).is_null() {
            found.error(Path::of(one), format!("{one} needs {other}"), why.to_owned());
        }
    };
    pair("username", "password", "Basic authentication takes both: set password too.");
    pair("password", "username", "Basic authentication takes both: set username too.");
    pair(
        "client_certificate",
        "client_key",
        "A client certificate is of no use without its key: set client_key too.",
    );
    pair(
        "client_key",
        "client_certificate",
        "A key is of no use without its certificate: set client_certificate too.",
    );
    if is_set("config_path") && is_set("config_paths") {
        found.error(
            Path::of("config_paths"),
            "config_path and config_paths are both set",
            "Set one of them: config_paths for several files, the first one's entries win.",
        );
    }
    let ways: Vec<_> =
        ["token", "username", "client_certificate", "exec"].into_iter().filter(|name| is_set(name)).collect();
    if let [_, second, ..] = ways.as_slice() {
        found.error(
            Path::of(second),
            "More than one way to authenticate",
            format!("{} are set; the API server takes one of them. Remove the others.", ways.join(", ")),
        );
    }
    if config.get("insecure").as_bool() == Some(true) {
        found.warning(
            Path::of("insecure"),
            "The API server's certificate is not checked",
            "Whoever sits between can read the credentials. Set cluster_ca_certificate instead.",
        );
    }
    if let Some(version) = config.get("exec.api_version").as_str()
        && version.ends_with("v1alpha1")
    {
        found.warning(
            Path::of("exec.api_version"),
            "client.authentication.k8s.io/v1alpha1 was removed from Kubernetes",
            "Use client.authentication.k8s.io/v1 (or v1beta1), if the program speaks it.",
        );
    }
    found
}

fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}
