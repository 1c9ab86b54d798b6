//! The agents' port as somebody finds it who is on the same network and has no credential of the cluster: nothing secret is told, and
//! nothing can be asked for.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use pgha_acceptance_tests::cluster::Cluster;
use pgha_acceptance_tests::sandbox::dial;
use pgha_schema::names::REST_PORT;
use pgha_schema::peer::{PATH_HEARTBEAT, PATH_PROMISE};
use pgha_schema::record::Record;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::actions::secret_texts;
use crate::cases;
use crate::group::Group;
use crate::runner::Case;

/// Everything that answers a GET.
const READ: [&str; 10] = [
    "/status",
    "/status?fresh",
    "/record",
    "/cluster",
    "/metrics",
    "/primary",
    "/standby",
    "/readiness",
    "/liveness",
    "/requests/r0",
];
/// Everything that changes something: what people ask for, and what agents ask of one another.
const WRITTEN: [&str; 7] =
    ["/switchover", "/restart", "/reinit", "/pause", "/resume", PATH_HEARTBEAT, PATH_PROMISE];
/// An agent answers at once or not at all.
const ANSWER: Duration = Duration::from_secs(10);

pub fn cases() -> Vec<Case> {
    cases![=> strangers_learn_no_secret_and_change_nothing]
}

async fn strangers_learn_no_secret_and_change_nothing(group: &mut Group) -> Result<()> {
    let site = group.cluster_with(2).await?;
    let cluster = site.cluster.clone();
    let secrets = secret_texts(site).await?;
    ensure!(secrets.len() >= 4, "expected passwords and a key in the Secrets, got {} texts", secrets.len());
    let (record, started) = (cluster.record().await?, cluster.start_times().await?);
    let mut said = Vec::new();
    for (pod, found) in cluster.pods().await? {
        let address = found.status.and_then(|status| status.pod_ip);
        let address = address.with_context(|| format!("{pod} has no address"))?;
        for path in READ {
            let (code, text) = ask(&address, "GET", path, None, "").await?;
            ensure!(
                [200, 404, 503].contains(&code),
                "expected GET {path} of {pod} to be answered, got {code}: {text}"
            );
            ensure!(!text.is_empty(), "expected GET {path} of {pod} to tell something");
            said.push((format!("GET {path} of {pod}"), text));
        }
        for path in WRITTEN {
            // What would be carried out at once, were it signed.
            let body = json!({ "pod": pod }).to_string();
            for header in forged() {
                let what = format!("POST {path} of {pod} with {header:?}");
                let (code, text) = ask(&address, "POST", path, header.as_deref(), &body).await?;
                ensure!(code == 401 || code == 403, "expected {what} to be refused, got {code}: {text}");
                said.push((what, text));
            }
        }
    }
    let telling = |(_, text): &&(String, String)| secrets.iter().any(|secret| text.contains(secret.as_str()));
    // The answer itself is not shown: it would be in the log then.
    let told: Vec<&str> = said.iter().filter(telling).map(|(what, _)| what.as_str()).collect();
    ensure!(told.is_empty(), "expected no secret text in any answer, it is in those to {told:?}");
    ensure!(
        said.iter().any(|(_, text)| text.contains("pg_up 1")),
        "expected the metrics to be among the answers"
    );
    same(&cluster, &record).await?;
    let now = cluster.start_times().await?;
    ensure!(now == started, "expected every postgres to go on, started {started:?} before and {now:?} now");
    Ok(())
}

/// Headers of people without the key: none, none of its form, a code from the past, and one made now with another key.
fn forged() -> [Option<String>; 4] {
    let now = jiff::Timestamp::now().as_second();
    let code = "5e".repeat(32);
    [None, Some("let me in".to_owned()), Some(format!("0:{code}")), Some(format!("{now}:{code}"))]
}

/// Nobody leads, waits or is held that was not before.
async fn same(cluster: &Cluster, before: &Record) -> Result<()> {
    let now = cluster.record().await?;
    let told = |record: &Record| {
        let holder = record.holder.as_ref().map(|holder| holder.pod.clone());
        (record.era(), holder, record.members.clone(), record.answers.clone())
    };
    ensure!(told(&now) == told(before), "expected the record to stay {before:?}, it is {now:?}");
    ensure!(
        now.pause.is_none() && now.switchover.is_none() && now.restart.is_none() && now.reinit.is_none(),
        "expected nothing to be under way, the record is {now:?}"
    );
    Ok(())
}

/// One request from the client's place in the network: the answer's code, and all of it with its headers.
async fn ask(
    address: &str,
    method: &str,
    path: &str,
    header: Option<&str>,
    body: &str,
) -> Result<(u16, String)> {
    let signed = header.map(|value| format!("x-pgha-auth: {value}\r\n")).unwrap_or_default();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n{signed}content-length: {}\r\n\r\n{body}",
        body.len()
    );
    let exchange = async {
        let mut stream = dial(address, REST_PORT).await?;
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        Ok::<_, anyhow::Error>(String::from_utf8_lossy(&answer).into_owned())
    };
    let what = || format!("{method} {path} of {address}");
    let answer = tokio::time::timeout(ANSWER, exchange).await.with_context(what)?.with_context(what)?;
    let code = answer.split(' ').nth(1).and_then(|code| code.parse().ok());
    Ok((code.with_context(|| format!("{}: no answer of HTTP: {answer}", what()))?, answer))
}
