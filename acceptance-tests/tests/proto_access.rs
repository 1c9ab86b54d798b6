//! Ways in: proxies, programs and files that give credentials, certificates, credentials that expire, a server that is too busy.
//! The real binary asks an API server that only holds objects; what reached that server is what counts.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use hyper::StatusCode;
use jiff::{SignedDuration, Timestamp};
use pgha_acceptance_tests::host::{Ignored, Stored};
use pgha_acceptance_tests::poll::{self, Seen};
use pgha_acceptance_tests::proto_client::agents::Agents;
use pgha_acceptance_tests::proto_client::host::Host;
use pgha_acceptance_tests::proto_client::kubernetes::FakeApi;
use pgha_acceptance_tests::proto_client::proxy::{KNOWN, Proxy, Speech};
use pgha_acceptance_tests::proto_client::tls_front::{NAME, TlsFront};
use pgha_acceptance_tests::proto_client::values::{json, messages};
use pgha_acceptance_tests::proto_client::view::{orders, put_cluster, read};
use serde_json::{Value as Json, json as js};

/// A proxy that is not there.
const AWAY: &str = "http://127.0.0.1:1";
const CONFIG_MAPS: &str = "/api/v1/namespaces/shop/configmaps";
/// How often a request is sent that may be repeated.
const ATTEMPTS: usize = 4;

async fn with_cluster() -> Result<FakeApi> {
    let api = FakeApi::start().await?;
    put_cluster(&api);
    Ok(api)
}

/// The primary that the data source tells of.
async fn primary(host: &Host) -> Result<Json> {
    let answer = read(host, &orders(), false).await?;
    assert_eq!(messages(&answer.diagnostics), [""; 0]);
    Ok(json(answer.state.as_ref())?["primary"].clone())
}

/// The one problem that the data source has.
async fn problem(host: &Host) -> Result<String> {
    let mut found = messages(&read(host, &orders(), false).await?.diagnostics);
    assert_eq!(found.len(), 1, "{found:?}");
    found.pop().context("no problem")
}

fn assert_says(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part} is missing in {text}");
    }
}

/// How often each path was asked for.
fn times(api: &FakeApi) -> BTreeMap<String, usize> {
    let mut times = BTreeMap::new();
    for request in api.requests() {
        *times.entry(request).or_default() += 1;
    }
    times
}

/// A program of the provider block that adds a line to `runs` and says the token `run-N` in its Nth run; and in the first one what stands in
/// the file `runs.more`.
fn program(runs: &Path) -> Json {
    let script = r#"echo run >>"$RUNS"; n=$(wc -l <"$RUNS"); more=$(cat "$RUNS.more" 2>/dev/null); rm -f "$RUNS.more"
        printf '{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential","status":{"token":"run-%d"%s}}' "$n" "$more""#;
    js!({
        "api_version": "client.authentication.k8s.io/v1", "command": "sh", "args": ["-c", script],
        "env": { "RUNS": runs },
    })
}

/// How often it ran.
fn ran(runs: &Path) -> usize {
    std::fs::read_to_string(runs).map_or(0, |text| text.lines().count())
}

/// A kubeconfig with what `user` says, in a folder of its own.
fn kubeconfig(server: &str, cluster: &Json, user: &Json) -> Result<tempfile::TempDir> {
    let folder = tempfile::tempdir()?;
    let mut cluster = cluster.clone();
    cluster["server"] = js!(server);
    let config = js!({
        "apiVersion": "v1", "kind": "Config", "current-context": "here",
        "clusters": [{ "name": "c", "cluster": cluster }],
        "users": [{ "name": "u", "user": user }],
        "contexts": [{ "name": "here", "context": { "cluster": "c", "user": "u" } }],
    });
    std::fs::write(folder.path().join("config"), config.to_string())?;
    Ok(folder)
}

async fn configured_by(folder: &tempfile::TempDir) -> Result<Host> {
    Host::configured(&js!({ "config_path": folder.path().join("config") })).await
}

#[tokio::test]
async fn requests_go_through_an_http_proxy() -> Result<()> {
    let api = with_cluster().await?;
    let proxy = Proxy::start(Speech::Connect, api.address()).await?;
    let host = Host::configured(&js!({ "host": format!("http://{KNOWN}"), "proxy_url": &proxy.url })).await?;
    assert_eq!(primary(&host).await?, "orders-0");
    let asked = proxy.asked();
    assert!(!asked.is_empty() && asked.iter().all(|asked| asked == KNOWN), "{asked:?}");
    Ok(())
}

#[tokio::test]
async fn a_kubeconfig_names_a_socks_proxy() -> Result<()> {
    let api = with_cluster().await?;
    let proxy = Proxy::start(Speech::Socks5, api.address()).await?;
    let cluster = js!({ "proxy-url": &proxy.url });
    let folder = kubeconfig(&format!("http://{KNOWN}"), &cluster, &js!({ "token": "t" }))?;
    assert_eq!(primary(&configured_by(&folder).await?).await?, "orders-0");
    let asked = proxy.asked();
    assert!(!asked.is_empty() && asked.iter().all(|asked| asked == KNOWN), "{asked:?}");
    Ok(())
}

#[tokio::test]
async fn the_environments_proxy_is_taken_and_no_proxy_is_about_the_server() -> Result<()> {
    let api = with_cluster().await?;
    let proxy = Proxy::start(Speech::Connect, api.address()).await?;
    let proxied = |direct: &'static str| {
        let (url, given) = (proxy.url.clone(), js!({ "host": format!("http://{KNOWN}") }));
        async move {
            let change = |command: &mut tokio::process::Command| {
                // That of the other scheme is away.
                command.env("HTTP_PROXY", url).env("HTTPS_PROXY", AWAY).env("NO_PROXY", direct);
            };
            Host::configured_in(change, &given).await
        }
    };
    // The proxy itself is there, and that does not matter.
    assert_eq!(primary(&proxied("127.0.0.1").await?).await?, "orders-0");
    let asked = proxy.asked().len();
    assert!(asked > 0);
    let told = problem(&proxied(".invalid").await?).await?;
    assert!(told.contains("can't be reached") && !told.contains("proxy"), "{told}");
    assert_eq!(proxy.asked().len(), asked);
    Ok(())
}

#[tokio::test]
async fn a_server_of_scheme_https_has_a_proxy_of_its_own() -> Result<()> {
    let api = with_cluster().await?;
    let front = TlsFront::start(api.address()).await?;
    let proxy = Proxy::start(Speech::Connect, &front.address.replacen("https", "http", 1)).await?;
    let given = js!({
        "host": format!("https://{KNOWN}"), "cluster_ca_certificate": front.authority,
        "client_certificate": front.client_certificate, "client_key": front.client_key,
    });
    let change = |command: &mut tokio::process::Command| {
        command.env("HTTPS_PROXY", &proxy.url).env("HTTP_PROXY", AWAY).env("NO_PROXY", "");
    };
    let host = Host::configured_in(change, &given).await?;
    assert_eq!(primary(&host).await?, "orders-0");
    assert!(!proxy.asked().is_empty());
    Ok(())
}

#[tokio::test]
async fn a_socks_proxy_is_asked_as_the_user_of_its_url() -> Result<()> {
    let api = with_cluster().await?;
    let proxy = Proxy::start(Speech::Socks5OfUser, api.address()).await?;
    let through = |who: &'static str| {
        let url = proxy.url.replace("://", &format!("://{who}"));
        let given = js!({ "host": format!("http://{KNOWN}"), "proxy_url": url });
        async move { Host::configured(&given).await }
    };
    assert_eq!(primary(&through("me:hunter2%40%3A@").await?).await?, "orders-0");
    let asked = proxy.asked().len();
    assert!(asked > 0);
    for stranger in ["me:hunter3@", "you:hunter2%40%3A@", ""] {
        let told = problem(&through(stranger).await?).await?;
        assert_says(&told, &[KNOWN, "proxy socks5://127.0.0.1"]);
        assert!(!told.contains("hunter"), "{told}");
    }
    assert_eq!(proxy.asked().len(), asked);
    Ok(())
}

#[tokio::test]
async fn a_variable_that_is_no_url_does_not_matter_where_none_is_asked() -> Result<()> {
    let api = with_cluster().await?;
    let folder = kubeconfig(api.address(), &js!({}), &js!({ "token": "t" }))?;
    let given = js!({ "config_path": folder.path().join("config") });
    let change = |command: &mut tokio::process::Command| {
        command.env("HTTPS_PROXY", "http://no url");
    };
    assert_eq!(primary(&Host::configured_in(change, &given).await?).await?, "orders-0");
    Ok(())
}

#[tokio::test]
async fn a_proxy_that_is_away_is_named_without_its_password() -> Result<()> {
    let given = js!({ "host": format!("http://{KNOWN}"), "proxy_url": "http://me:hunter2@127.0.0.1:1" });
    let told = problem(&Host::configured(&given).await?).await?;
    assert_says(
        &told,
        &[KNOWN, "can't be reached", "host of the provider block", "proxy http://127.0.0.1:1)"],
    );
    assert!(!told.contains("hunter2"), "{told}");
    Ok(())
}

#[tokio::test]
async fn a_client_certificate_lets_in() -> Result<()> {
    let api = with_cluster().await?;
    let front = TlsFront::start(api.address()).await?;
    let mut given = js!({
        "host": front.address, "tls_server_name": NAME, "cluster_ca_certificate": front.authority,
        "client_certificate": front.client_certificate, "client_key": front.client_key,
    });
    assert_eq!(primary(&Host::configured(&given).await?).await?, "orders-0");
    given["client_certificate"] = Json::Null;
    given["client_key"] = Json::Null;
    let asked = api.requests().len();
    let told = problem(&Host::configured(&given).await?).await?;
    assert_says(&told, &[&front.address]);
    assert!(!told.contains("cluster_ca_certificate"), "{told}");
    assert_eq!(api.requests().len(), asked);
    Ok(())
}

#[tokio::test]
async fn a_server_that_is_not_to_be_trusted_is_not_asked() -> Result<()> {
    let api = with_cluster().await?;
    let (front, other) = (TlsFront::start(api.address()).await?, TlsFront::start(api.address()).await?);
    for (authority, name) in [(&other.authority, Some(NAME)), (&front.authority, None)] {
        let given =
            js!({ "host": front.address, "cluster_ca_certificate": authority, "tls_server_name": name });
        let told = problem(&Host::configured(&given).await?).await?;
        assert_says(&told, &["No trusted connection", &front.address, "cluster_ca_certificate"]);
    }
    // Nobody there speaks TLS, so no certificate is at fault.
    let address = api.address().replacen("http", "https", 1);
    let plain = js!({ "host": address, "cluster_ca_certificate": front.authority });
    assert_says(&problem(&Host::configured(&plain).await?).await?, &["can't be reached"]);
    assert_eq!(api.requests(), [""; 0]);
    Ok(())
}

#[tokio::test]
async fn a_program_gives_the_token_and_runs_once() -> Result<()> {
    let (api, folder) = (with_cluster().await?, tempfile::tempdir()?);
    let runs = folder.path().join("runs");
    std::fs::write(folder.path().join("runs.more"), r#","expirationTimestamp":"2999-01-01T00:00:00Z""#)?;
    let host = Host::configured(&js!({ "host": api.address(), "exec": program(&runs) })).await?;
    for _ in 0..2 {
        assert_eq!(primary(&host).await?, "orders-0");
    }
    assert_eq!(api.tokens().into_iter().collect::<Vec<_>>(), ["run-1"]);
    assert_eq!(ran(&runs), 1);
    Ok(())
}

#[tokio::test]
async fn a_program_gives_a_certificate_and_runs_once() -> Result<()> {
    let (api, folder) = (with_cluster().await?, tempfile::tempdir()?);
    let front = TlsFront::start(api.address()).await?;
    let runs = folder.path().join("runs");
    let status =
        js!({ "clientCertificateData": front.client_certificate, "clientKeyData": front.client_key });
    std::fs::write(folder.path().join("runs.given"), js!({ "status": status }).to_string())?;
    let mut exec = program(&runs);
    exec["args"][1] = js!(r#"echo run >>"$RUNS"; cat "$RUNS.given""#);
    let given = js!({
        "host": front.address, "tls_server_name": NAME, "cluster_ca_certificate": front.authority,
        "exec": exec,
    });
    assert_eq!(primary(&Host::configured(&given).await?).await?, "orders-0");
    assert_eq!(ran(&runs), 1);
    Ok(())
}

#[tokio::test]
async fn a_program_runs_again_before_its_token_expires() -> Result<()> {
    let (api, folder) = (with_cluster().await?, tempfile::tempdir()?);
    let runs = folder.path().join("runs");
    let host = Host::configured(&js!({ "host": api.address(), "exec": program(&runs) })).await?;
    let expires = Timestamp::now() + SignedDuration::from_secs(3);
    let more = format!(r#","expirationTimestamp":"{expires}""#);
    std::fs::write(folder.path().join("runs.more"), more)?;
    let asked = || async {
        assert_eq!(primary(&host).await?, "orders-0");
        let tokens = api.tokens();
        anyhow::Ok(Seen::when(tokens.contains("run-2"), format!("{tokens:?}")))
    };
    poll::until("a request with the second token", Duration::from_secs(30), asked).await?;
    assert_eq!(ran(&runs), 2);
    Ok(())
}

#[tokio::test]
async fn a_program_that_fails_is_quoted() -> Result<()> {
    let api = with_cluster().await?;
    let exec = js!({
        "api_version": "client.authentication.k8s.io/v1", "command": "sh",
        "args": ["-c", "echo please log in >&2; exit 3"], "env": { "PASSWORD": "hunter2" },
    });
    let host = Host::configured(&js!({ "host": api.address(), "exec": exec })).await?;
    let told = problem(&host).await?;
    assert_says(&told, &["please log in", "exit status: 3", "host of the provider block"]);
    assert!(!told.contains("hunter2"), "{told}");
    assert_eq!(api.requests(), [""; 0]);
    Ok(())
}

#[tokio::test]
async fn a_token_that_has_expired_is_had_anew_from_its_program_once_for_all_requests() -> Result<()> {
    let (api, folder) = (with_cluster().await?, tempfile::tempdir()?);
    api.gate(|asked| (asked.token == Some("run-1")).then_some(StatusCode::UNAUTHORIZED));
    let runs = folder.path().join("runs");
    let host = Host::configured(&js!({ "host": api.address(), "exec": program(&runs) })).await?;
    assert_eq!(primary(&host).await?, "orders-0");
    // The requests of the snapshot were refused together; a client for each of them would have brought a token each.
    assert_eq!(api.tokens().into_iter().collect::<Vec<_>>(), ["run-1", "run-2"]);
    assert_eq!(ran(&runs), 2);
    let asked = times(&api);
    assert!(asked.values().all(|times| *times <= 2), "{asked:?}");
    assert!(asked.values().any(|times| *times == 2), "{asked:?}");
    Ok(())
}

#[tokio::test]
async fn a_token_that_has_expired_is_read_anew_from_its_file() -> Result<()> {
    let api = with_cluster().await?;
    let folder = kubeconfig(api.address(), &js!({}), &js!({ "tokenFile": "token" }))?;
    let token = folder.path().join("token");
    std::fs::write(&token, "first\n")?;
    let host = configured_by(&folder).await?;
    assert_eq!(primary(&host).await?, "orders-0");
    std::fs::write(&token, "second\n")?;
    api.gate(|asked| (asked.token == Some("first")).then_some(StatusCode::UNAUTHORIZED));
    assert_eq!(primary(&host).await?, "orders-0");
    assert_eq!(api.tokens().into_iter().collect::<Vec<_>>(), ["first", "second"]);
    Ok(())
}

#[tokio::test]
async fn credentials_that_are_refused_twice_are_an_error() -> Result<()> {
    let (api, folder) = (with_cluster().await?, tempfile::tempdir()?);
    api.gate(|_| Some(StatusCode::UNAUTHORIZED));
    let runs = folder.path().join("runs");
    let host = Host::configured(&js!({ "host": api.address(), "exec": program(&runs) })).await?;
    let told = problem(&host).await?;
    assert_says(&told, &["does not accept the credentials", api.address(), "host of the provider block"]);
    let asked = times(&api);
    assert!(asked.values().all(|times| *times <= 2), "{asked:?}");
    assert_eq!(ran(&runs), 2);
    Ok(())
}

#[tokio::test]
async fn a_fixed_token_that_is_refused_is_not_shown_again() -> Result<()> {
    let api = with_cluster().await?;
    api.gate(|_| Some(StatusCode::UNAUTHORIZED));
    let host = Host::configured(&js!({ "host": api.address(), "token": "fixed" })).await?;
    assert_says(&problem(&host).await?, &["does not accept the credentials"]);
    let asked = times(&api);
    assert!(asked.values().all(|times| *times == 1), "{asked:?}");
    Ok(())
}

#[tokio::test]
async fn a_program_that_fails_when_the_token_has_expired_is_quoted() -> Result<()> {
    let (api, folder) = (with_cluster().await?, tempfile::tempdir()?);
    let mut exec = program(&folder.path().join("runs"));
    exec["args"][1] = js!(format!(
        r#"[ ! -e "$RUNS.expired" ] || {{ echo the session is over >&2; exit 4; }}; {}"#,
        exec["args"][1].as_str().context("no script")?
    ));
    let host = Host::configured(&js!({ "host": api.address(), "exec": exec })).await?;
    assert_eq!(primary(&host).await?, "orders-0");
    std::fs::write(folder.path().join("runs.expired"), "")?;
    api.gate(|_| Some(StatusCode::UNAUTHORIZED));
    assert_says(&problem(&host).await?, &["the session is over", "exit status: 4"]);
    Ok(())
}

#[tokio::test]
async fn a_server_that_is_busy_for_a_moment_is_asked_again() -> Result<()> {
    for busy in [StatusCode::SERVICE_UNAVAILABLE, StatusCode::TOO_MANY_REQUESTS] {
        let api = with_cluster().await?;
        let mut seen = BTreeMap::<String, usize>::new();
        api.gate(move |asked| {
            let times = seen.entry(asked.path.to_owned()).or_default();
            *times += 1;
            (*times <= 2).then_some(busy)
        });
        let host = Host::configured(&js!({ "host": api.address() })).await?;
        assert_eq!(primary(&host).await?, "orders-0");
        let asked = times(&api);
        assert!(asked.values().all(|times| *times == 3), "{asked:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_server_that_says_for_how_long_it_is_busy_is_asked_after_that() -> Result<()> {
    let api = with_cluster().await?;
    api.ask_to_wait(1);
    let seen = Arc::new(Mutex::new(BTreeMap::<String, Vec<Instant>>::new()));
    let noted = seen.clone();
    api.gate(move |asked| {
        let mut seen = noted.lock().unwrap();
        let times = seen.entry(asked.path.to_owned()).or_default();
        times.push(Instant::now());
        (times.len() == 1).then_some(StatusCode::TOO_MANY_REQUESTS)
    });
    let host = Host::configured(&js!({ "host": api.address() })).await?;
    assert_eq!(primary(&host).await?, "orders-0");
    let seen = seen.lock().unwrap().clone();
    assert!(!seen.is_empty());
    for (path, times) in seen {
        assert_eq!(times.len(), 2, "{path}");
        assert!(times[1] - times[0] >= Duration::from_secs(1), "{path}: {:?}", times[1] - times[0]);
    }
    Ok(())
}

#[tokio::test]
async fn a_server_that_says_so_holds_nobody_up_beyond_the_timeout() -> Result<()> {
    let api = FakeApi::start_with(Agents::default().reaction()).await?;
    let host = Host::configured(&js!({ "host": api.address() })).await?;
    let core = host.core().await?;
    let given = js!({
        "name": "db", "namespace": "shop", "storage": { "size": "1Gi" }, "timeouts": { "create": "2s" },
    });
    let plan = core.plan(&Stored::nothing(), &given, &Ignored::Nothing).await?;
    api.ask_to_wait(25);
    api.gate(|asked| (asked.method == "PATCH").then_some(StatusCode::SERVICE_UNAVAILABLE));
    let began = Instant::now();
    let found = messages(&core.apply(&plan, &given).await?.diagnostics);
    assert!(found.len() == 1 && found[0].contains("503"), "{found:?}");
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    Ok(())
}

#[tokio::test]
async fn a_server_that_stays_busy_is_given_up_and_named() -> Result<()> {
    let api = with_cluster().await?;
    api.gate(|_| Some(StatusCode::SERVICE_UNAVAILABLE));
    let host = Host::configured(&js!({ "host": api.address() })).await?;
    assert_says(&problem(&host).await?, &["503", api.address(), "host of the provider block"]);
    let asked = times(&api);
    assert_eq!(asked.values().max(), Some(&ATTEMPTS), "{asked:?}");
    Ok(())
}

/// A create through `host` of the cluster `db`, where `gate` may refuse whoever makes ConfigMaps with this token; gives its
/// problems.
async fn create(
    api: &FakeApi,
    host: &Host,
    mut gate: impl FnMut(Option<&str>) -> Option<StatusCode> + Send + 'static,
) -> Result<Vec<String>> {
    let core = host.core().await?;
    let given = js!({ "name": "db", "namespace": "shop", "storage": { "size": "1Gi" } });
    let plan = core.plan(&Stored::nothing(), &given, &Ignored::Nothing).await?;
    api.gate(move |asked| {
        let creates = asked.method == "POST" && asked.path == CONFIG_MAPS;
        if creates { gate(asked.token) } else { None }
    });
    Ok(messages(&core.apply(&plan, &given).await?.diagnostics))
}

#[tokio::test]
async fn a_create_is_not_sent_again_to_a_server_that_is_busy() -> Result<()> {
    let api = FakeApi::start_with(Agents::default().reaction()).await?;
    let host = Host::configured(&js!({ "host": api.address() })).await?;
    let found = create(&api, &host, |_| Some(StatusCode::SERVICE_UNAVAILABLE)).await?;
    assert!(found.len() == 1 && found[0].contains("503"), "{found:?}");
    assert_eq!(times(&api)[&format!("POST {CONFIG_MAPS}")], 1);
    Ok(())
}

#[tokio::test]
async fn a_create_is_sent_again_with_new_credentials() -> Result<()> {
    let api = FakeApi::start_with(Agents::default().reaction()).await?;
    let folder = tempfile::tempdir()?;
    let exec = program(&folder.path().join("runs"));
    let host = Host::configured(&js!({ "host": api.address(), "exec": exec })).await?;
    let refused = Arc::new(Mutex::new(0));
    let counted = refused.clone();
    let found = create(&api, &host, move |token| {
        (token == Some("run-1")).then(|| {
            *counted.lock().unwrap() += 1;
            StatusCode::UNAUTHORIZED
        })
    })
    .await?;
    assert_eq!(found, [""; 0]);
    assert_eq!(*refused.lock().unwrap(), 1);
    assert!(api.object(&format!("{CONFIG_MAPS}/db-anchor")).is_some());
    Ok(())
}
