//! Where the connection's settings are taken from: the precedence, as a pure function.

use std::path::PathBuf;

use super::ConfigError;
use super::settings::{Level, Surroundings, split_paths};

/// The ground on which the explicit settings are laid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Kubeconfig files, the first one's entries win.
    Files {
        /// The files, `~` expanded.
        paths: Vec<PathBuf>,
        /// What named them.
        named_by: &'static str,
        /// Files of the list that are not there are left out, as kubectl does with KUBECONFIG.
        skip_missing: bool,
    },
    /// The address is given; no file is read.
    Direct {
        /// What gave it.
        named_by: &'static str,
    },
    /// The service account of the pod that this runs in.
    InCluster {
        /// Address of the API server.
        server: String,
    },
}

impl Source {
    /// For messages.
    pub fn describe(&self) -> String {
        match self {
            Self::Files { paths, named_by, .. } => {
                let paths: Vec<_> = paths.iter().map(|path| path.display().to_string()).collect();
                format!("kubeconfig {}, given by {named_by}", paths.join(", "))
            }
            Self::Direct { named_by } => format!("the address in {named_by}"),
            Self::InCluster { .. } => "the pod's service account".to_owned(),
        }
    }
}

const TOKEN_FILE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";

/// Attributes win over variables; the variables of Kubernetes providers over KUBECONFIG; that over `~/.kube/config`;
/// last comes the pod's service account. There is no fallback to localhost: nothing found is an error.
pub fn choose(
    attributes: &Level,
    environment: &Level,
    around: &Surroundings<'_>,
) -> Result<Source, ConfigError> {
    let files = |paths: &[String], named_by, skip_missing| Source::Files {
        paths: paths.iter().map(|path| around.expand(path)).collect(),
        named_by,
        skip_missing,
    };
    if !attributes.config_paths.is_empty() {
        return Ok(files(&attributes.config_paths, "config_path of the provider block", false));
    }
    if attributes.host.is_some() {
        return Ok(Source::Direct { named_by: "host of the provider block" });
    }
    if !environment.config_paths.is_empty() {
        return Ok(files(&environment.config_paths, "KUBE_CONFIG_PATH", false));
    }
    if environment.host.is_some() {
        return Ok(Source::Direct { named_by: "KUBE_HOST" });
    }
    if let Some(list) = around.set("KUBECONFIG") {
        return Ok(files(&split_paths(&list), "KUBECONFIG", true));
    }
    let default = "~/.kube/config".to_owned();
    let default_file = around.expand(&default);
    if (around.exists)(&default_file) {
        return Ok(files(&[default], "the default file", false));
    }
    match (around.set("KUBERNETES_SERVICE_HOST"), around.set("KUBERNETES_SERVICE_PORT")) {
        (Some(host), Some(port)) if (around.exists)(TOKEN_FILE.as_ref()) => {
            let host = if host.contains(':') { format!("[{host}]") } else { host };
            Ok(Source::InCluster { server: format!("https://{host}:{port}") })
        }
        _ => Err(ConfigError::NothingFound { default_file }),
    }
}
