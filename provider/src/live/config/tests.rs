use std::collections::{BTreeMap, BTreeSet};
use std::path::Path as FilePath;

use secrecy::ExposeSecret as _;

use super::*;

/// Environment and files of a test.
#[derive(Default)]
struct World {
    variables: BTreeMap<&'static str, String>,
    files: BTreeSet<String>,
}

impl World {
    fn with(mut self, name: &'static str, value: &str) -> Self {
        self.variables.insert(name, value.to_owned());
        self
    }

    fn file(mut self, path: &str) -> Self {
        self.files.insert(path.to_owned());
        self
    }

    fn settle(&self, attributes: &Value) -> Result<(kube::config::Kubeconfig, Source), ConfigError> {
        let var = |name: &str| self.variables.get(name).cloned();
        let exists = |path: &FilePath| self.files.contains(&path.display().to_string()) || path.exists();
        settle(&Level::from_attributes(attributes), &Surroundings { var: &var, exists: &exists })
    }

    fn source(&self, attributes: &Value) -> Source {
        let var = |name: &str| self.variables.get(name).cloned();
        let exists = |path: &FilePath| self.files.contains(&path.display().to_string());
        let around = Surroundings { var: &var, exists: &exists };
        let environment = Level::from_environment(&around).unwrap();
        source::choose(&Level::from_attributes(attributes), &environment, &around).unwrap()
    }
}

fn block(attributes: &[(&str, &str)]) -> Value {
    Value::object(attributes.iter().map(|(name, text)| (*name, Value::from(*text))))
}

fn files(paths: &[&str], named_by: &'static str, skip_missing: bool) -> Source {
    Source::Files { paths: paths.iter().map(PathBuf::from).collect(), named_by, skip_missing }
}

const BLOCK: &str = "config_path of the provider block";

#[test]
fn attributes_win_over_variables_and_those_over_kubeconfig() {
    let everything = || {
        World::default()
            .with("HOME", "/home/me")
            .with("KUBE_CONFIG_PATH", "~/env")
            .with("KUBE_HOST", "https://env")
            .with("KUBECONFIG", "/a:/b")
            .file("/home/me/.kube/config")
    };
    assert_eq!(everything().source(&block(&[("config_path", "~/x")])), files(&["/home/me/x"], BLOCK, false));
    assert_eq!(
        everything().source(&block(&[("host", "https://h")])),
        Source::Direct { named_by: "host of the provider block" }
    );
    assert_eq!(everything().source(&block(&[])), files(&["/home/me/env"], "KUBE_CONFIG_PATH", false));
    let mut world = everything();
    world.variables.remove("KUBE_CONFIG_PATH");
    assert_eq!(world.source(&block(&[])), Source::Direct { named_by: "KUBE_HOST" });
    world.variables.remove("KUBE_HOST");
    assert_eq!(world.source(&block(&[])), files(&["/a", "/b"], "KUBECONFIG", true));
    world.variables.remove("KUBECONFIG");
    assert_eq!(world.source(&block(&[])), files(&["/home/me/.kube/config"], "the default file", false));
}

#[test]
fn config_path_wins_over_host_and_host_is_laid_over_it() {
    let attributes = block(&[("config_path", "/x"), ("host", "https://h")]);
    assert_eq!(World::default().source(&attributes), files(&["/x"], BLOCK, false));
}

#[test]
fn lists_of_files_are_split() {
    let world = World::default().with("KUBE_CONFIG_PATHS", "/a:/b:");
    assert_eq!(world.source(&block(&[])), files(&["/a", "/b"], "KUBE_CONFIG_PATH", false));
    let list = Value::object([("config_paths", Value::List(vec!["/c".into(), "/d".into()]))]);
    assert_eq!(world.source(&list), files(&["/c", "/d"], BLOCK, false));
}

#[test]
fn a_pod_uses_its_service_account() {
    let world = World::default()
        .with("KUBERNETES_SERVICE_HOST", "fd00::1")
        .with("KUBERNETES_SERVICE_PORT", "443")
        .file("/var/run/secrets/kubernetes.io/serviceaccount/token");
    assert_eq!(world.source(&block(&[])), Source::InCluster { server: "https://[fd00::1]:443".to_owned() });
    let (server, user, cluster) = outcome(&world, &block(&[]));
    assert_eq!(server, "https://[fd00::1]:443");
    let folder = "/var/run/secrets/kubernetes.io/serviceaccount";
    assert_eq!(user.token_file, Some(format!("{folder}/token")));
    assert_eq!(cluster.certificate_authority, Some(format!("{folder}/ca.crt")));
}

#[test]
fn nothing_found_is_an_error_that_says_what_was_tried_and_never_localhost() {
    let error = World::default().with("HOME", "/home/me").settle(&block(&[])).unwrap_err();
    let text = error.diagnostic().to_string();
    for part in [
        "config_path",
        "KUBE_CONFIG_PATHS",
        "KUBE_HOST",
        "KUBECONFIG",
        "/home/me/.kube/config",
        "service account",
    ] {
        assert!(text.contains(part), "{part} is missing in {text}");
    }
}

const TWO_CONTEXTS: &str = r#"
apiVersion: v1
kind: Config
current-context: one
clusters:
- {name: c1, cluster: {server: "https://c1:6443", certificate-authority-data: "QQ=="}}
- {name: c2, cluster: {server: "https://c2:6443"}}
users:
- {name: u1, user: {exec: {apiVersion: client.authentication.k8s.io/v1, command: login, interactiveMode: Always}}}
- {name: u2, user: {token: two}}
contexts:
- {name: one, context: {cluster: c1, user: u1}}
- {name: two, context: {cluster: c2, user: u2}}
"#;

struct File(tempfile::NamedTempFile);

impl File {
    fn new() -> Self {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), TWO_CONTEXTS).unwrap();
        Self(file)
    }

    fn path(&self) -> &str {
        self.0.path().to_str().unwrap()
    }
}

/// Server, user and token that the settings come to.
fn outcome(world: &World, attributes: &Value) -> (String, kube::config::AuthInfo, kube::config::Cluster) {
    let (config, _) = world.settle(attributes).unwrap();
    let cluster = config.clusters[0].cluster.clone().unwrap();
    (cluster.server.clone().unwrap(), config.auth_infos[0].auth_info.clone().unwrap(), cluster)
}

#[test]
fn a_context_user_and_cluster_are_chosen_by_name() {
    let file = File::new();
    let attributes = block(&[("config_path", file.path())]);
    assert_eq!(outcome(&World::default(), &attributes).0, "https://c1:6443");
    let by_variable = World::default().with("KUBE_CTX", "two");
    assert_eq!(outcome(&by_variable, &attributes).0, "https://c2:6443");
    let named = block(&[("config_path", file.path()), ("config_context", "one")]);
    assert_eq!(outcome(&by_variable, &named).0, "https://c1:6443");
    let mixed = block(&[("config_path", file.path()), ("config_context_auth_info", "u2")]);
    let (server, user, _) = outcome(&World::default(), &mixed);
    assert_eq!((server.as_str(), user.token.unwrap().expose_secret()), ("https://c1:6443", "two"));
}

#[test]
fn a_wrong_context_names_those_that_are_there() {
    let file = File::new();
    let attributes = block(&[("config_path", file.path()), ("config_context", "three")]);
    let text = World::default().settle(&attributes).unwrap_err().diagnostic().to_string();
    assert!(text.contains("\"three\"") && text.contains("one, two"), "{text}");
}

#[test]
fn a_stronger_level_replaces_the_whole_identity() {
    let file = File::new();
    let world = World::default().with("KUBE_TOKEN", "env").with("KUBE_HOST", "env:1");
    let base = block(&[("config_path", file.path())]);
    let (server, user, _) = outcome(&world, &base);
    assert_eq!(server, "https://env:1");
    assert_eq!(user.token.unwrap().expose_secret(), "env");
    assert!(user.exec.is_none(), "the file's program would win over the token");
    let stronger = block(&[("config_path", file.path()), ("username", "me"), ("password", "pw")]);
    let (_, user, _) = outcome(&world, &stronger);
    assert!(user.token.is_none());
    assert_eq!(user.username.as_deref(), Some("me"));
}

#[test]
fn a_credential_program_is_taken_as_it_is_written() {
    let exec = Value::object([
        ("command", Value::from("aws")),
        ("args", Value::List(vec!["eks".into(), "".into()])),
        ("env", Value::map([("A", Value::from("b"))])),
    ]);
    let attributes = Value::object([("host", Value::from("h")), ("exec", exec)]);
    let exec = outcome(&World::default(), &attributes).1.exec.unwrap();
    assert_eq!(exec.args, Some(vec!["eks".to_owned(), String::new()]));
    assert_eq!(exec.env.unwrap()[0]["value"], "b");
}

#[test]
fn missing_files_are_skipped_only_in_kubeconfigs_list() {
    let file = File::new();
    let world = World::default().with("KUBECONFIG", &format!("/nowhere/x:{}", file.path()));
    assert_eq!(outcome(&world, &block(&[])).0, "https://c1:6443");
    let error = World::default().settle(&block(&[("config_path", "/nowhere/x")])).unwrap_err();
    assert!(error.diagnostic().to_string().contains("/nowhere/x"));
    let none = World::default().with("KUBECONFIG", "/nowhere/x").settle(&block(&[])).unwrap_err();
    assert!(matches!(none, ConfigError::NoFile { .. }));
}

#[test]
fn a_variable_that_is_no_truth_value_is_an_error() {
    let world = World::default().with("KUBE_INSECURE", "maybe").with("KUBE_HOST", "h");
    assert!(matches!(world.settle(&block(&[])), Err(ConfigError::NotTrueOrFalse { .. })));
    let world = World::default().with("KUBE_INSECURE", "TRUE").with("KUBE_HOST", "h");
    assert_eq!(outcome(&world, &block(&[])).2.insecure_skip_tls_verify, Some(true));
}

#[test]
fn the_block_is_checked_without_a_cluster() {
    let found = validate(&block(&[("username", "me")]));
    assert!(found.has_errors() && found.to_string().contains("username needs password"), "{found}");
    let found = validate(&Value::object([("username", Value::from("me")), ("password", Value::Unknown)]));
    assert!(found.is_empty(), "{found}");
    let found = validate(&block(&[("config_path", "/a"), ("config_paths", "/b")]));
    assert!(found.has_errors());
    let found = validate(&block(&[("token", "t"), ("username", "u"), ("password", "p")]));
    assert!(found.to_string().contains("More than one way"), "{found}");
}

#[test]
fn unknown_attributes_are_named() {
    let config = Value::object([
        ("host", Value::Unknown),
        ("token", Value::Null),
        ("exec", Value::object([("args", Value::Unknown)])),
    ]);
    assert_eq!(unknown_attributes(&config), ["exec", "host"]);
}

#[tokio::test]
async fn a_failing_credential_program_is_quoted() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let exec = Value::object([
        ("api_version", Value::from("client.authentication.k8s.io/v1")),
        ("command", Value::from("sh")),
        ("args", Value::List(vec!["-c".into(), "echo $PASSWORD; echo please log in >&2; exit 3".into()])),
        ("env", Value::map([("PASSWORD", Value::from("hunter2"))])),
    ]);
    let attributes = Value::object([("host", Value::from("https://127.0.0.1:1")), ("exec", exec)]);
    let diagnostic = Connector::new(&attributes, "1.11.4").connection().await.err().unwrap();
    let text = diagnostic.to_string();
    assert!(text.contains("please log in") && text.contains("exit status: 3"), "{text}");
    assert!(text.contains("`sh -c echo") && !text.contains("hunter2"), "{text}");
}
