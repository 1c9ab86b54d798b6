//! `pgha-agent break-glass`: what a person has to write when the primary and its voters are lost for good. It is only
//! printed: the agents may not write the desired state, and nobody loses data by a slip of the hand.

use std::fmt::Write as _;

use anyhow::{Context, bail};
use pgha_agent_core::words::bytes;
use pgha_schema::desired::{BreakGlass, Desired};
use pgha_schema::names::{KEY_DESIRED, Names, env};
use pgha_schema::record::Record;
use pgha_schema::status::AgentReport;
use serde_json::json;

use super::{own_pod, view};
use crate::api::Api;
use crate::api::objects::Paths;
use crate::rest::view::View;
use crate::settings::AgentSettings;

const DEADLINE: std::time::Duration = std::time::Duration::from_secs(5);

/// For the member in this pod, or in the one that is named.
pub async fn break_glass(pod: Option<String>) -> anyhow::Result<String> {
    let pod = pod.map_or_else(own_pod, Ok)?;
    let view = view().await?;
    let settings = AgentSettings::from_env()?;
    let names = Names::new(&std::env::var(env::CLUSTER).context("PGHA_CLUSTER")?);
    let paths = Paths::new(&names, &settings.namespace);
    let map = Api::new(settings.api.clone()).get(&paths.config_map(&names.desired()), DEADLINE).await?;
    let text = map["data"][KEY_DESIRED].as_str().context("the desired state has no document")?;
    let desired: Desired = serde_json::from_str(text).context("the desired state")?;
    advice(&view, &pod, desired, &names, &settings.namespace)
}

fn advice(
    view: &View,
    pod: &str,
    mut desired: Desired,
    names: &Names,
    namespace: &str,
) -> anyhow::Result<String> {
    let record = view.record.as_ref().context("the record was not read yet")?;
    let report = view.instances().get(pod).and_then(|(_, report)| *report);
    let report = report.with_context(|| format!("nothing was ever heard from {pod}"))?;
    let member = report.member.clone().with_context(|| format!("{pod} has no data"))?;
    let mut told = danger(view, record, pod, report)?;
    desired.break_glass = Some(BreakGlass { member, era: record.era(), accept_data_loss: true });
    let patch = json!({"data": {KEY_DESIRED: desired.to_text()}}).to_string();
    let quoted = patch.replace('\'', "'\\''");
    let _ = write!(
        told,
        "\nTo go on with {pod} nevertheless, and lose what only the others have:\n\n\
         kubectl -n {namespace} patch configmap {} --type merge -p '{quoted}'\n\n\
         It counts for this member in era {} only, and once the Lease has expired. The next `apply` takes it out again.\n",
        names.desired(),
        record.era()
    );
    Ok(told)
}

/// What would be lost, and whether anybody who has it is still heard.
fn danger(view: &View, record: &Record, pod: &str, report: &AgentReport) -> anyhow::Result<String> {
    let holder = record.holder.as_ref().and_then(|holder| holder.member.as_ref());
    let heard = view.instances().into_iter().find(|(_, (silent, report))| {
        let member = report.and_then(|report| report.member.as_ref());
        silent.is_none()
            && member.is_some_and(|member| Some(member) == holder || record.voters.contains(member))
    });
    if let Some((other, _)) = heard {
        bail!("{other} answers, and has every commit: it is not lost, and leads again by itself");
    }
    let last = record.position.max(record.confirmed);
    let mut told = format!(
        "The last recorded position is {last}, confirmed by the voters up to {}.\n",
        record.confirmed
    );
    match report.position {
        Some(position) => {
            let risk = bytes(position.behind(last).0);
            let _ = writeln!(told, "{pod} has {position}: at least {risk} of WAL are at risk.");
        }
        None => {
            let _ = writeln!(told, "Where {pod} stands is not known yet.");
        }
    }
    for (other, (_, report)) in view.instances() {
        let ahead = report.and_then(|other| other.position) > report_position(view, pod);
        if other != pod && ahead {
            let _ = writeln!(told, "{other} is ahead of it, and loses less.");
        }
    }
    told.push_str("What the primary wrote after its last record is not counted.\n");
    Ok(told)
}

fn report_position(view: &View, pod: &str) -> Option<pgha_schema::lsn::Lsn> {
    view.instances().get(pod).and_then(|(_, report)| report.and_then(|report| report.position))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::words::tests::{desired, lost};
    use pgha_schema::lsn::Lsn;

    #[test]
    fn the_advice_can_be_pasted_and_names_member_era_and_loss() {
        let mut view = lost();
        view.instance.position = Some(Lsn(0x1000));
        let names = Names::new("orders");
        let text = advice(&view, "orders-1", desired(), &names, "shop").unwrap();
        assert!(text.contains("orders-1 has 0/1000: at least 4.0 KiB of WAL are at risk"), "{text}");
        let patch = text.split(" -p '").nth(1).and_then(|rest| rest.split("'\n").next()).unwrap();
        let patch = patch.replace("'\\''", "'");
        let patch: serde_json::Value = serde_json::from_str(&patch).unwrap();
        let document: Desired = serde_json::from_str(patch["data"][KEY_DESIRED].as_str().unwrap()).unwrap();
        let wanted = BreakGlass {
            member: view.instance.member.clone().unwrap(),
            era: view.record.as_ref().unwrap().era(),
            accept_data_loss: true,
        };
        assert_eq!(document, Desired { break_glass: Some(wanted), ..desired() });
        assert!(text.contains("kubectl -n shop patch configmap orders-desired"), "{text}");
    }

    #[test]
    fn nothing_is_given_up_that_answers() {
        let mut view = lost();
        if let Some(heard) = view.peers.get_mut("orders-0") {
            heard.silent_ms = None;
        }
        let error = advice(&view, "orders-1", desired(), &Names::new("orders"), "shop").unwrap_err();
        assert!(error.to_string().starts_with("orders-0 answers"), "{error}");
    }
}
