//! The provider's configuration: how the Kubernetes API is reached.
//!
//! Attributes and environment variables are those of hashicorp/kubernetes, so that a configuration can be copied;
//! beyond them KUBECONFIG is honoured, as every other Kubernetes tool does.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::extension::Tf;
use crate::validators::Rule;
use crate::{convert, resource, tf};

/// What kubectl reads: paths of kubeconfig files, joined by the platform's path separator.
pub const KUBECONFIG_ENV: &str = "KUBECONFIG";

/// The provider makes highly available PostgreSQL clusters on any Kubernetes. It talks to the Kubernetes API only.
/// Without any attribute it finds its way as kubectl does: the variables named below, `KUBECONFIG`,
/// `~/.kube/config`, and last the service account of the pod that it runs in.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ProviderConfig {
    /// URL of the Kubernetes API.
    #[schemars(extend("x-tf" = Tf::new().env("KUBE_HOST")))]
    pub host: Option<String>,
    /// User name for basic authentication.
    #[schemars(extend("x-tf" = Tf::new().env("KUBE_USER")))]
    pub username: Option<String>,
    /// Password for basic authentication.
    #[schemars(extend("x-tf" = Tf::new().env("KUBE_PASSWORD").sensitive()))]
    pub password: Option<String>,
    /// Bearer token.
    #[schemars(extend("x-tf" = Tf::new().env("KUBE_TOKEN").sensitive()))]
    pub token: Option<String>,
    /// Don't verify the API server's certificate. For trials only.
    #[schemars(extend("x-tf" = Tf::new().env("KUBE_INSECURE")))]
    pub insecure: Option<bool>,
    /// Name that the API server's certificate is checked against, when it is not the host's.
    #[schemars(extend("x-tf" = Tf::new().env("KUBE_TLS_SERVER_NAME")))]
    pub tls_server_name: Option<String>,
    /// Client certificate, in PEM.
    #[schemars(extend("x-tf" = Tf::new().env("KUBE_CLIENT_CERT_DATA").rule(Rule::Pem)))]
    pub client_certificate: Option<String>,
    /// Key of the client certificate, in PEM.
    #[schemars(extend("x-tf" = Tf::new().env("KUBE_CLIENT_KEY_DATA").rule(Rule::Pem).sensitive()))]
    pub client_key: Option<String>,
    /// Certificates that the API server's certificate must come from, in PEM.
    #[schemars(extend("x-tf" = Tf::new().env("KUBE_CLUSTER_CA_CERT_DATA").rule(Rule::Pem)))]
    pub cluster_ca_certificate: Option<String>,
    /// Path of a kubeconfig file; `~` is the home directory. Conflicts with `config_paths`.
    #[schemars(extend("x-tf" = Tf::new().env("KUBE_CONFIG_PATH")))]
    pub config_path: Option<String>,
    /// Paths of kubeconfig files that are merged. Conflicts with `config_path`.
    #[schemars(extend("x-tf" = Tf::new().env("KUBE_CONFIG_PATHS")))]
    pub config_paths: Option<Vec<String>>,
    /// Context of the kubeconfig.
    #[schemars(extend("x-tf" = Tf::new().env("KUBE_CTX")))]
    pub config_context: Option<String>,
    /// User of the kubeconfig, instead of the context's.
    #[schemars(extend("x-tf" = Tf::new().env("KUBE_CTX_AUTH_INFO")))]
    pub config_context_auth_info: Option<String>,
    /// Cluster of the kubeconfig, instead of the context's.
    #[schemars(extend("x-tf" = Tf::new().env("KUBE_CTX_CLUSTER")))]
    pub config_context_cluster: Option<String>,
    /// Proxy through which the API is reached: a URL with scheme http, https or socks5, with user and password where it asks for them. Without
    /// one `HTTPS_PROXY` counts, or `HTTP_PROXY` for a server of scheme http, except for the servers that `NO_PROXY` names and for this machine.
    #[schemars(extend("x-tf" = Tf::new().env("KUBE_PROXY_URL").rule(Rule::ProxyUrl)))]
    pub proxy_url: Option<String>,
    /// A program that gives credentials, as in a kubeconfig. It is run without a terminal, and again shortly before what it gave expires or
    /// when the API server no longer accepts it.
    pub exec: Option<Exec>,
    /// Regular expressions; annotations of a cluster's objects whose keys match one are left to others: never drift, and never
    /// touched once the object is there. Those that the cluster needs itself (`pgha/`) are not left to anybody.
    #[schemars(extend("x-tf" = Tf::new().rule(Rule::Regex)))]
    pub ignore_annotations: Option<Vec<String>>,
    /// The same for labels; those that the cluster needs itself (`role`, `pgha/`, `app.kubernetes.io/`) are not left to anybody.
    #[schemars(extend("x-tf" = Tf::new().rule(Rule::Regex)))]
    pub ignore_labels: Option<Vec<String>>,
}

/// A program that gives credentials.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Exec {
    /// Version of the exchange, `client.authentication.k8s.io/v1` or `.../v1beta1`.
    pub api_version: String,
    /// The program.
    pub command: String,
    /// Its arguments.
    #[serde(default)]
    pub args: Option<Vec<String>>,
    /// Environment variables that it gets beside the provider's.
    #[serde(default)]
    pub env: Option<BTreeMap<String, String>>,
}

/// The schema of the provider block.
pub fn schema() -> &'static tf::Schema {
    static SCHEMA: LazyLock<tf::Schema> = LazyLock::new(|| {
        // The input is fixed at compile time; the tests of this crate run the same conversion.
        convert::schema(0, &resource::json_schema::<ProviderConfig>(), None)
            .expect("the provider block's types convert")
    });
    &SCHEMA
}
