//! Handles for people: `pgha-agent status`, `switchover` and the others, through the agent of the same pod (A31).

mod ask;
mod break_glass;
pub(crate) mod words;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, bail};
use http::Method;
use pgha_schema::names::{self, env};
use serde_json::json;

pub use ask::{Finished, pause, reinit, restart, restart_all, resume, switchover};
pub use break_glass::break_glass;

use crate::rest::client::{Lines, Reply};
use crate::rest::view::View;

const DEADLINE: Duration = Duration::from_secs(3);

fn port() -> u16 {
    std::env::var("PGHA_REST_PORT").ok().and_then(|text| text.parse().ok()).unwrap_or(names::REST_PORT)
}

fn own_address() -> IpAddr {
    std::env::var(env::POD_IP)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST))
}

fn own_pod() -> anyhow::Result<String> {
    std::env::var(env::POD_NAME).with_context(|| format!("environment variable {} is not set", env::POD_NAME))
}

async fn get(address: IpAddr, path: &str) -> anyhow::Result<Vec<u8>> {
    let agent = SocketAddr::new(address, port());
    let Reply { status, body, .. } = Lines::default()
        .request(agent, Method::GET, path, &[], Vec::new(), DEADLINE)
        .await
        .with_context(|| format!("the agent at {address} does not answer"))?;
    if !status.is_success() {
        bail!("the agent at {address}: {status} {}", String::from_utf8_lossy(&body).trim());
    }
    Ok(body.to_vec())
}

async fn view() -> anyhow::Result<View> {
    Ok(serde_json::from_slice(&get(own_address(), "/cluster").await?)?)
}

/// What is known of the cluster here, in plain words or as JSON.
pub async fn status(as_json: bool) -> anyhow::Result<String> {
    let mut view = view().await?;
    // The holder knows since when it is degraded; everybody else is content without.
    let holder = view.record.as_ref().and_then(|record| record.holder.as_ref());
    if let Some(address) = holder.and_then(|holder| holder.address.parse::<IpAddr>().ok())
        && address != own_address()
        && let Ok(body) = get(address, "/cluster").await
        && let Ok(theirs) = serde_json::from_slice::<View>(&body)
    {
        view.degraded_since = theirs.degraded_since;
    }
    if as_json { Ok(serde_json::to_string_pretty(&json!(view))?) } else { Ok(words::in_words(&view)) }
}
