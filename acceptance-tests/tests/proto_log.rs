//! The provider's log: how far a wait is, and nothing that lets somebody in.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::StatusCode;
use pgha_acceptance_tests::host::{Ignored, Stored, has_errors};
use pgha_acceptance_tests::proto_client::agents::{Agents, Mood};
use pgha_acceptance_tests::proto_client::host::Host;
use pgha_acceptance_tests::proto_client::kubernetes::FakeApi;
use pgha_acceptance_tests::proto_client::proxy::{KNOWN, Proxy, Speech};
use pgha_acceptance_tests::proto_client::tls_front::{NAME, TlsFront};
use pgha_acceptance_tests::proto_client::values::messages;
use pgha_acceptance_tests::proto_client::view::{orders, put_cluster, read};
use serde_json::{Value as Json, json as js};

const SECRET: &str = "hunter2-hunter2";
const RENEWED: &str = "hunter3-hunter3";

/// A way in, in front of an API server that knows the cluster `orders`.
struct Way {
    name: &'static str,
    given: Json,
    /// What must be nowhere.
    secrets: Vec<String>,
    /// Who comes with the secret is sent away once, and comes again with the renewed one; else the end is a refusal.
    renews: bool,
}

fn program(env: &Json, script: &str) -> Json {
    js!({
        "api_version": "client.authentication.k8s.io/v1", "command": "sh", "args": ["-c", script], "env": env,
    })
}

/// Says the token of its environment, and another one when it runs again.
fn renewing(folder: &Path) -> Json {
    let script = r#"t=$FIRST; [ ! -e "$MARK" ] || t=$SECOND; touch "$MARK"
        printf '{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential","status":{"token":"%s"}}' "$t""#;
    program(&js!({ "FIRST": SECRET, "SECOND": RENEWED, "MARK": folder.join("mark") }), script)
}

async fn ways(api: &FakeApi, front: &TlsFront, proxy: &Proxy, folder: &Path) -> Result<Vec<Way>> {
    let host = api.address();
    let one = || vec![SECRET.to_owned()];
    let way = |name, given, secrets| Way { name, given, secrets, renews: false };
    let kubeconfig = folder.join("config");
    let config = js!({
        "apiVersion": "v1", "kind": "Config", "current-context": "here",
        "clusters": [{ "name": "c", "cluster": { "server": host } }],
        "users": [{ "name": "u", "user": { "token": SECRET } }],
        "contexts": [{ "name": "here", "context": { "cluster": "c", "user": "u" } }],
    });
    tokio::fs::write(&kubeconfig, config.to_string()).await?;
    let key: Vec<String> =
        front.client_key.lines().filter(|line| !line.starts_with("---")).map(str::to_owned).collect();
    ensure!(!key.is_empty(), "a key has lines");
    let with_password = proxy.url.replacen("http://", &format!("http://me:{SECRET}@"), 1);
    let basic = STANDARD.encode(format!("me:{SECRET}"));
    Ok(vec![
        way("a token", js!({ "host": host, "token": SECRET }), one()),
        way(
            "a password",
            js!({ "host": host, "username": "me", "password": SECRET }),
            vec![SECRET.to_owned(), basic.clone()],
        ),
        way(
            "a key",
            js!({
                "host": front.address, "tls_server_name": NAME, "cluster_ca_certificate": front.authority,
                "client_certificate": front.client_certificate, "client_key": front.client_key,
            }),
            key,
        ),
        way(
            "a proxy's password",
            js!({ "host": format!("http://{KNOWN}"), "proxy_url": with_password }),
            vec![SECRET.to_owned(), basic],
        ),
        way("a kubeconfig's token", js!({ "config_path": kubeconfig }), one()),
        Way {
            name: "a program's environment, and what it prints",
            given: js!({ "host": host, "exec": renewing(folder) }),
            secrets: vec![SECRET.to_owned(), RENEWED.to_owned()],
            renews: true,
        },
        way(
            "what a program prints that fails to say a credential",
            js!({ "host": host, "exec": program(&js!({ "T": SECRET }), "printf '{\"status\":\"%s' \"$T\"") }),
            one(),
        ),
    ])
}

#[tokio::test]
async fn credentials_are_in_no_log_and_in_no_message() -> Result<()> {
    let api = FakeApi::start().await?;
    put_cluster(&api);
    let front = TlsFront::start(api.address()).await?;
    let proxy = Proxy::start(Speech::Connect, api.address()).await?;
    let folder = tempfile::tempdir()?;
    for way in ways(&api, &front, &proxy, folder.path()).await? {
        api.gate(|_| None);
        let host = Host::traced(&way.given).await?;
        if way.renews {
            api.gate(|asked| (asked.token == Some(SECRET)).then_some(StatusCode::UNAUTHORIZED));
        }
        let mut told = messages(&read(&host, &orders(), false).await?.diagnostics);
        if way.renews {
            ensure!(told.is_empty(), "{}: {told:?}", way.name);
            ensure!(api.tokens().contains(RENEWED), "{}: the credentials were not renewed", way.name);
        }
        api.gate(|_| Some(StatusCode::UNAUTHORIZED));
        told.extend(messages(&read(&host, &orders(), false).await?.diagnostics));
        ensure!(!told.is_empty(), "{}: a refusal is told", way.name);
        let log = host.end().await?;
        for traced in ["ReadDataSource", "request to Kubernetes"] {
            ensure!(
                log.contains(traced) || told[0].contains("program"),
                "{}: {traced:?} is missing in {log}",
                way.name
            );
        }
        for secret in &way.secrets {
            ensure!(!log.contains(secret.as_str()), "{} is in the log", way.name);
            ensure!(!told.concat().contains(secret.as_str()), "{} is in {told:?}", way.name);
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_wait_says_in_the_log_what_it_waits_for_and_what_goes_on() -> Result<()> {
    let agents = Agents::default();
    agents.set(Mood::Dead);
    let api = FakeApi::start_with(agents.reaction()).await?;
    let in_words = |command: &mut tokio::process::Command| {
        command.env("TF_LOG_PROVIDER", "INFO");
    };
    let host = Host::configured_in(in_words, &js!({ "host": api.address() })).await?;
    let core = host.core().await?;
    let given = js!({
        "name": "db", "namespace": "shop", "storage": { "size": "1Gi" }, "timeouts": { "create": "4s" },
    });
    let plan = core.plan(&Stored::nothing(), &given, &Ignored::Nothing).await?;
    let made = core.apply(&plan, &given).await?;
    ensure!(has_errors(&made.diagnostics), "nobody makes the cluster");
    let log = host.end().await?;
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Json>(line).ok());
    let waits: Vec<Json> = lines
        .filter(|line| line["@message"].as_str().is_some_and(|text| text.starts_with("waiting until ")))
        .collect();
    let first = waits.first().with_context(|| format!("no wait in {log}"))?;
    let text = first["@message"].as_str().unwrap_or_default();
    ensure!(text.starts_with("waiting until the primary accepts writes: "), "{text}");
    ensure!(first["@level"] == "info" && first["elapsed_ms"].is_u64(), "{first}");
    Ok(())
}
