//! Patroni from its manifests (beside this file, in `patroni/`), and what is asked of it through its REST port.

use std::io::Write as _;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::{Value, json};

use super::subject::{APP, CLUSTER};
use crate::cluster::Cluster;
use crate::poll::{Seen, until};
use crate::process::run;
use crate::sandbox::Sandbox;

const MANIFESTS: [&str; 4] = [
    include_str!("patroni/rights.yaml"),
    include_str!("patroni/services.yaml"),
    include_str!("patroni/config.yaml"),
    include_str!("patroni/statefulset.yaml"),
];
const IMAGE: &str = "PATRONI_IMAGE";
const PASSWORD: &str = "benchmark";
const START: Duration = Duration::from_secs(180);
/// One request to the agent of the pod it runs in: method, path, body.
const REQUEST: &str = "import sys, urllib.request as u\n\
    r = u.Request('http://127.0.0.1:8008' + sys.argv[2], method=sys.argv[1], data=sys.argv[3].encode())\n\
    print(u.urlopen(r, timeout=60).read().decode())";

/// Applies the manifests and makes the application's database; gives its user's password.
///
/// # Errors
/// When no primary takes writes.
pub async fn deploy(sandbox: &Sandbox, cluster: &Cluster, image: &str) -> Result<String> {
    let mut file = tempfile::NamedTempFile::with_suffix(".yaml")?;
    file.write_all(MANIFESTS.join("\n---\n").replace(IMAGE, image).as_bytes())?;
    let mut kubectl = sandbox.kubectl();
    kubectl.args(["--namespace", &cluster.namespace, "apply", "--filename"]).arg(file.path());
    run(&mut kubectl).context("apply Patroni's manifests")?;
    let primary = cluster.until_writable(START).await?;
    for statement in [
        format!("CREATE ROLE {APP} LOGIN PASSWORD '{PASSWORD}'"),
        format!("CREATE DATABASE {APP} OWNER {APP}"),
    ] {
        cluster.sql(&primary, "postgres", &statement).await?;
    }
    Ok(PASSWORD.to_owned())
}

/// The times of a setting: Patroni's defaults, or the shortest that make sense.
fn times(fast: bool) -> Value {
    if fast {
        json!({ "ttl": 20, "loop_wait": 1, "retry_timeout": 3, "primary_start_timeout": 0 })
    } else {
        json!({ "ttl": 30, "loop_wait": 10, "retry_timeout": 10, "primary_start_timeout": 300 })
    }
}

/// Sets the times, and waits until the leader and everybody else keep to them.
///
/// # Errors
/// When they are refused or not taken over.
pub async fn configure(cluster: &Cluster, fast: bool) -> Result<()> {
    let wanted = times(fast);
    let primary = cluster.primary().await?;
    let before = leader(cluster).await?;
    request(cluster, &primary, "PATCH", "/config", &wanted).await?;
    let ttl = wanted["ttl"].to_string();
    until("Patroni's leader to keep to its new times", START, || async {
        let seen = leader(cluster).await?;
        Ok(Seen::when(seen == ttl, format!("ttl {seen}, wanted {ttl}")))
    })
    .await?;
    if before != ttl {
        // The others read it in their next loop, which still has the old length.
        tokio::time::sleep(Duration::from_secs(11)).await;
    }
    Ok(())
}

/// The time to live in the leader's record.
async fn leader(cluster: &Cluster) -> Result<String> {
    let name = format!("{CLUSTER}-leader");
    let map = cluster.api::<ConfigMap>().get(&name).await.with_context(|| format!("read {name}"))?;
    map.metadata.annotations.and_then(|mut all| all.remove("ttl")).context("the leader's record has no ttl")
}

/// What hands the lead over when it is run in a pod.
pub fn switchover_command(from: &str, to: &str) -> Vec<String> {
    request_command("POST", "/switchover", &json!({ "leader": from, "candidate": to }))
}

fn request_command(method: &str, path: &str, body: &Value) -> Vec<String> {
    ["python3", "-c", REQUEST, method, path, &body.to_string()].map(str::to_owned).to_vec()
}

async fn request(cluster: &Cluster, pod: &str, method: &str, path: &str, body: &Value) -> Result<()> {
    let command = request_command(method, path, body);
    let words: Vec<&str> = command.iter().map(String::as_str).collect();
    let output = cluster.exec(pod, &words).await?;
    ensure!(output.success, "{method} {path} in {pod}: {}{}", output.stdout, output.stderr);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manifests_are_yaml_and_name_the_image_once() {
        let all = MANIFESTS.join("\n---\n");
        let documents: Vec<Value> = all
            .split("\n---\n")
            .map(|text| serde_yaml_ng::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}")))
            .collect();
        let kinds: Vec<&str> = documents.iter().filter_map(|document| document["kind"].as_str()).collect();
        assert_eq!(
            kinds,
            ["ServiceAccount", "Role", "RoleBinding", "Service", "Service", "ConfigMap", "StatefulSet"]
        );
        assert_eq!(all.matches(IMAGE).count(), 1);
        let inner: Value =
            serde_yaml_ng::from_str(documents[5]["data"]["patroni.yaml"].as_str().unwrap()).unwrap();
        assert_eq!(inner["scope"], CLUSTER);
        assert_eq!(inner["bootstrap"]["dcs"]["synchronous_mode"], true);
    }

    #[test]
    fn the_fast_times_keep_patronis_law() {
        for fast in [true, false] {
            let times = times(fast);
            let number = |name: &str| times[name].as_i64().unwrap();
            assert!(number("loop_wait") + 2 * number("retry_timeout") <= number("ttl"));
        }
    }
}
