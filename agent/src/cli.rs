//! Handles for people: `pgha-agent status` and `pgha-agent switchover`, through the agent of the same pod (A31).

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, bail};
use http::{Method, StatusCode};
use pgha_schema::names::{self, env};
use pgha_schema::record::Record;
use pgha_schema::status::AgentReport;
use serde_json::{Value, json};

use crate::rest::server::SwitchoverBody;
use crate::rest::{auth, client};
use crate::secrets::Secrets;
use crate::settings::Layout;

const DEADLINE: Duration = Duration::from_secs(3);
/// A hand-over takes less than a second; one that is refused or stuck shows.
const SWITCHOVER_DEADLINE: Duration = Duration::from_secs(30);

fn port() -> u16 {
    std::env::var("PGHA_REST_PORT").ok().and_then(|text| text.parse().ok()).unwrap_or(names::REST_PORT)
}

fn own_address() -> IpAddr {
    std::env::var(env::POD_IP)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST))
}

async fn get(address: IpAddr, path: &str) -> anyhow::Result<Vec<u8>> {
    let (status, body) =
        client::request(SocketAddr::new(address, port()), Method::GET, path, &[], Vec::new(), DEADLINE)
            .await
            .with_context(|| format!("the agent at {address} does not answer"))?;
    if !status.is_success() {
        bail!("the agent at {address}: {status} {}", String::from_utf8_lossy(&body).trim());
    }
    Ok(body.to_vec())
}

/// What this instance's agent knows, in plain words or as JSON.
pub async fn status(as_json: bool) -> anyhow::Result<String> {
    let report: AgentReport = serde_json::from_slice(&get(own_address(), "/status").await?)?;
    let record: Option<Record> = serde_json::from_slice(&get(own_address(), "/record").await?)?;
    if as_json {
        return Ok(serde_json::to_string_pretty(&json!({"instance": report, "record": record}))?);
    }
    Ok(in_words(&report, record.as_ref()))
}

fn in_words(report: &AgentReport, record: Option<&Record>) -> String {
    let mut text = String::new();
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let role = word(&serde_json::to_value(report.role).unwrap_or_default());
    let state = word(&serde_json::to_value(report.state).unwrap_or_default());
    let _ = writeln!(text, "{}: {role}, {state}", report.pod);
    if let Some(position) = report.position {
        let timeline = report.timeline.map_or(0, |timeline| timeline.0);
        let _ = writeln!(text, "  position {position} on timeline {timeline}");
    }
    if report.pending_restart {
        let _ = writeln!(text, "  a changed parameter waits for a restart");
    }
    for activity in &report.activity {
        let _ = writeln!(text, "  {activity}");
    }
    let Some(record) = record else {
        let _ = writeln!(text, "the record was not read yet");
        return text;
    };
    match &record.holder {
        Some(holder) => {
            let _ = writeln!(text, "leader: {} on {}, era {}", holder.pod, holder.node, record.era());
        }
        None => {
            let _ = writeln!(text, "leader: none");
        }
    }
    let mode = word(&serde_json::to_value(record.mode).unwrap_or_default());
    let pods: Vec<&str> = record
        .voters
        .iter()
        .map(|voter| record.members.get(voter).map_or(voter.as_str(), |member| member.pod.as_str()))
        .collect();
    let degraded = if record.degraded { ", degraded: writes go on without a confirming standby" } else { "" };
    let _ = writeln!(text, "mode: {mode}{degraded}");
    let _ = writeln!(
        text,
        "may take over without loss: {}",
        if pods.is_empty() { "the leader alone".to_owned() } else { pods.join(", ") }
    );
    for entry in record.members.values() {
        let _ = writeln!(text, "member: {} on {}", entry.pod, entry.node);
    }
    if let Some(switchover) = &record.switchover {
        let target = switchover.target_pod.as_deref().unwrap_or("the best standby");
        let _ = writeln!(text, "switchover to {target} under way ({})", switchover.reason);
    }
    text
}

/// Asks the leader to hand over, and waits until another leads.
pub async fn switchover(to: Option<String>) -> anyhow::Result<String> {
    let layout = Layout::from_env();
    let key = Secrets::new(&layout.secrets, &layout.sockets).agent_key().context("the agents' key")?;
    let record: Option<Record> = serde_json::from_slice(&get(own_address(), "/record").await?)?;
    let holder = record.and_then(|record| record.holder).context("nobody leads")?;
    let address: IpAddr = holder.address.parse().context("the leader's address")?;
    let body = serde_json::to_vec(&SwitchoverBody { to: to.clone() })?;
    let header = auth::sign(&key, jiff::Timestamp::now().as_second(), "POST", "/switchover", &body);
    let (status, answer) = client::request(
        SocketAddr::new(address, port()),
        Method::POST,
        "/switchover",
        &[(auth::HEADER, header)],
        body,
        DEADLINE,
    )
    .await
    .with_context(|| format!("the leader {} does not answer", holder.pod))?;
    if status != StatusCode::ACCEPTED {
        bail!("the leader {} refuses: {}", holder.pod, String::from_utf8_lossy(&answer).trim());
    }
    await_other_leader(&holder.pod, to.as_deref()).await
}

async fn await_other_leader(from: &str, to: Option<&str>) -> anyhow::Result<String> {
    let until = tokio::time::Instant::now() + SWITCHOVER_DEADLINE;
    loop {
        // The agent here may be restarting its postgres; it answers all the same.
        if let Ok(body) = get(own_address(), "/record").await
            && let Ok(Some(record)) = serde_json::from_slice::<Option<Record>>(&body)
            && let Some(holder) = &record.holder
            && record.release.is_none()
            && holder.pod != from
            && record.current().is_some_and(pgha_schema::record::EraEntry::is_complete)
        {
            if to.is_some_and(|to| to != holder.pod) {
                bail!("{} could not lead; {} leads now", to.unwrap_or_default(), holder.pod);
            }
            return Ok(format!("{} leads now, {from} follows", holder.pod));
        }
        if tokio::time::Instant::now() > until {
            bail!(
                "{from} has not handed over within {SWITCHOVER_DEADLINE:?}; `pgha-agent status` says what it waits for"
            );
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pgha_schema::desired::SyncMode;
    use pgha_schema::ids::{ContainerNonce, MemberId};
    use pgha_schema::record::MemberEntry;
    use pgha_schema::status::{InstanceState, Role, STATUS_FORMAT};

    #[test]
    fn status_names_pods_and_not_only_identities() {
        let mut record = Record::initial("a", SyncMode::Sync);
        let voter = MemberId::new("m1");
        record.voters.insert(voter.clone());
        record.members.insert(voter, MemberEntry { pod: "orders-1".into(), node: "node-b".into() });
        let report = AgentReport {
            format: STATUS_FORMAT,
            anchor_uid: "a".into(),
            pod: "orders-0".into(),
            nonce: ContainerNonce::new("n"),
            node: String::new(),
            boot_id: None,
            rewind_source: false,
            serving: true,
            member: None,
            unfinished: false,
            promise: None,
            system_identifier: None,
            era: None,
            role: Role::Primary,
            state: InstanceState::Serving,
            timeline: None,
            position: None,
            replayed: None,
            streams_from: None,
            stopping: false,
            disk_full: false,
            applied: None,
            pending_restart: false,
            template_hash: String::new(),
            activity: vec!["Leading".into()],
            agent_version: "1".into(),
            agent_sha256: String::new(),
            agent_refused: None,
            reads_record: 1,
        };
        let text = in_words(&report, Some(&record));
        assert!(text.starts_with("orders-0: primary, serving\n"), "{text}");
        assert!(text.contains("may take over without loss: orders-1\n"), "{text}");
    }
}
