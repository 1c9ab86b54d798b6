//! Handles for people, from inside the pods as `kubectl exec` gives them (A31, A32): each answered with its outcome.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::ConfigMap;
use pgha_acceptance_tests::cluster::Cluster;
use pgha_acceptance_tests::poll::{Seen, until};
use pgha_acceptance_tests::sandbox::{Cut, Target};
use pgha_schema::desired::Desired;
use pgha_schema::names::KEY_DESIRED;
use pgha_schema::record::Record;
use pgha_schema::request::{Asked, Outcome, Request};
use serde_json::json;

use crate::cases;
use crate::group::{Group, WHOLE, WRITES};
use crate::runner::Case;
use crate::scene::held_past_the_lease;

/// What the command waits for by itself, and the way there and back.
const COMMAND: Duration = Duration::from_secs(180);

pub fn cases() -> Vec<Case> {
    cases![
        => switchover_from_a_standby_under_load,
        => a_target_that_does_not_fit_keeps_the_writer,
        => switchover_by_desired_state_once,
        => a_pause_holds,
        => restarts_in_order,
        => a_standby_is_cloned_anew,
        => events_status_and_metrics,
        exclusive => a_third_leads_by_a_persons_word_alone,
    ]
}

/// `pgha-agent` in a pod: its exit code and what it said.
async fn agent(cluster: &Cluster, pod: &str, arguments: &str) -> Result<(i32, String)> {
    let line = format!("pgha-agent {arguments} 2>&1; echo \"exit $?\"");
    let output = cluster.exec_within(pod, &["sh", "-c", &line], COMMAND).await?;
    let (text, code) = output
        .stdout
        .trim_end()
        .rsplit_once("exit ")
        .with_context(|| format!("`pgha-agent {arguments}` in {pod}: {output:?}"))?;
    Ok((code.parse()?, text.trim_end().to_owned()))
}

/// The same, which has to succeed.
async fn done(cluster: &Cluster, pod: &str, arguments: &str) -> Result<String> {
    let (code, text) = agent(cluster, pod, arguments).await?;
    ensure!(code == 0, "expected `pgha-agent {arguments}` in {pod} to succeed, it ended with {code}: {text}");
    Ok(text)
}

/// The same, which has to be refused for this reason.
async fn refused(cluster: &Cluster, pod: &str, arguments: &str, why: &str) -> Result<()> {
    let (code, text) = agent(cluster, pod, arguments).await?;
    ensure!(
        code == 3 && text.contains(why),
        "expected `pgha-agent {arguments}` in {pod} to be refused (3) for `{why}`, got {code}: {text}"
    );
    Ok(())
}

async fn other_than(cluster: &Cluster, primary: &str) -> Result<Vec<String>> {
    Ok(cluster.pods().await?.into_keys().filter(|pod| pod != primary).collect())
}

fn member_of(record: &Record, pod: &str) -> Option<String> {
    record.members.iter().find(|(_, entry)| entry.pod == pod).map(|(member, _)| member.to_string())
}

async fn switchover_from_a_standby_under_load(group: &mut Group) -> Result<()> {
    let site = group.cluster_with(2).await?;
    let cluster = site.cluster.clone();
    let primary = cluster.primary().await?;
    let standbys = other_than(&cluster, &primary).await?;
    let load = site.load("handed_over").await?;
    load.until_more(50).await?;
    let began = Instant::now();
    let said = done(&cluster, &standbys[0], &format!("switchover --to {}", standbys[1])).await?;
    ensure!(
        said.starts_with("done in ") && said.contains(&format!("{} is the primary now", standbys[1])),
        "expected to be told who leads and how long it took, got: {said}"
    );
    load.until_acknowledged_after(Instant::now(), WRITES).await?;
    let now = cluster.until_whole(2, WHOLE).await?;
    ensure!(now == standbys[1], "expected {} to lead, {now} does", standbys[1]);
    let gap = load.gap_since(began);
    // Nobody named: one of the two that are left, and back again.
    done(&cluster, &now, "switchover").await?;
    let again = cluster.until_whole(2, WHOLE).await?;
    ensure!(again != now, "expected {now} to have handed over");
    let outcome = load.finish().await?;
    site.nothing_lost(&outcome).await?;
    group.bed.record_gap("switchover by exec", gap);
    Ok(())
}

async fn a_target_that_does_not_fit_keeps_the_writer(group: &mut Group) -> Result<()> {
    let site = group.cluster_with(2).await?;
    let cluster = site.cluster.clone();
    let primary = cluster.primary().await?;
    let standby = other_than(&cluster, &primary).await?.remove(0);
    let era = cluster.record().await?.era();
    refused(&cluster, &standby, "switchover --to pg-9", "there is no instance pg-9").await?;
    refused(&cluster, &standby, &format!("switchover --to {primary}"), "is the primary already").await?;
    refused(&cluster, &standby, &format!("reinit --pod {primary}"), "is the primary").await?;
    ensure!(cluster.primary().await? == primary, "expected {primary} to stay the primary");
    let now = cluster.record().await?.era();
    ensure!(now == era, "expected era {era} to go on, it is {now}");
    cluster.sql_on_primary("CREATE TABLE after_refusals (id int); DROP TABLE after_refusals").await?;
    Ok(())
}

async fn switchover_by_desired_state_once(group: &mut Group) -> Result<()> {
    let site = group.cluster_with(2).await?;
    let cluster = site.cluster.clone();
    let primary = cluster.primary().await?;
    let target = other_than(&cluster, &primary).await?.remove(0);
    let era = cluster.record().await?.era().0;
    let before = desired_text(&cluster).await?;
    let mut desired: Desired = serde_json::from_str(&before)?;
    let asked = Asked::Switchover { to: Some(target.clone()) };
    desired.requests = vec![Request { id: "by-desired-state".into(), asked }];
    write_desired(&cluster, &desired.to_text()).await?;
    let answer = until("the desired hand-over to be answered", WHOLE, || async {
        let status = cluster.status().await?;
        let answer = status.answers.iter().find(|answer| answer.id == "by-desired-state");
        Ok(answer.map_or_else(
            || Seen::NotYet(format!("the status says {:?}", status.answers)),
            |answer| Seen::Yes(answer.clone()),
        ))
    })
    .await?;
    ensure!(answer.outcome == Outcome::Done, "expected it to be done, got {answer:?}");
    let now = cluster.until_whole(2, WHOLE).await?;
    ensure!(now == target, "expected {target} to lead, {now} does");
    // The wish still stands, and whoever leads next reads it anew: it is not carried out again.
    done(&cluster, &now, &format!("switchover --to {primary}")).await?;
    cluster.until_whole(2, WHOLE).await?;
    let last = cluster.record().await?.era().0;
    ensure!(last == era + 2, "expected two changes of the primary since era {era}, it is era {last}");
    write_desired(&cluster, &before).await
}

async fn desired_text(cluster: &Cluster) -> Result<String> {
    let map = cluster.api::<ConfigMap>().get(&cluster.names.desired()).await?;
    map.data.and_then(|mut data| data.remove(KEY_DESIRED)).context("the desired ConfigMap has no document")
}

async fn write_desired(cluster: &Cluster, text: &str) -> Result<()> {
    cluster.patch::<ConfigMap>(&cluster.names.desired(), json!({"data": {KEY_DESIRED: text}})).await
}

async fn a_pause_holds(group: &mut Group) -> Result<()> {
    let sandbox = group.bed.sandbox.clone();
    let site = group.cluster_with(2).await?;
    let cluster = site.cluster.clone();
    let primary = cluster.primary().await?;
    let standby = other_than(&cluster, &primary).await?.remove(0);
    let era = cluster.record().await?.era();
    let load = site.load("paused").await?;
    done(&cluster, &standby, "pause").await?;
    let status = done(&cluster, &standby, "status").await?;
    ensure!(status.contains("paused: nobody takes over"), "expected the status to tell it, got\n{status}");
    refused(&cluster, &standby, "switchover", "the cluster is paused").await?;
    refused(&cluster, &standby, "restart", "the cluster is paused").await?;
    // The whole container of the primary: without the pause its voter takes over within a second.
    sandbox.kill_in_pod(&cluster.namespace, &primary, Target::Init)?;
    load.until_acknowledged_after(Instant::now(), WRITES).await?;
    cluster.until_whole(2, WHOLE).await?;
    let record = cluster.record().await?;
    ensure!(
        record.era() == era && record.holder.as_ref().is_some_and(|holder| holder.pod == primary),
        "expected {primary} to lead again in era {era}, the record says {record:?}"
    );
    done(&cluster, &standby, "resume").await?;
    ensure!(cluster.record().await?.pause.is_none(), "expected the pause to be over");
    let outcome = load.finish().await?;
    site.nothing_lost(&outcome).await
}

async fn restarts_in_order(group: &mut Group) -> Result<()> {
    let site = group.cluster_with(2).await?;
    let cluster = site.cluster.clone();
    let primary = cluster.primary().await?;
    let (era, started) = (cluster.record().await?.era(), cluster.start_times().await?);
    let load = site.load("restarted").await?;
    load.until_more(20).await?;
    let said = done(&cluster, &primary, "restart --all").await?;
    ensure!(
        said.lines().count() == 3 && said.lines().last().is_some_and(|line| line.contains(&primary)),
        "expected three restarts, the primary's last, got\n{said}"
    );
    cluster.until_whole(2, WHOLE).await?;
    for (pod, time) in cluster.start_times().await? {
        ensure!(started.get(&pod) != Some(&time), "expected postgres in {pod} to have been restarted");
    }
    ensure!(cluster.record().await?.era() == era, "expected the restart to have been in place");
    let outcome = load.finish().await?;
    site.nothing_lost(&outcome).await
}

async fn a_standby_is_cloned_anew(group: &mut Group) -> Result<()> {
    let site = group.cluster_with(2).await?;
    let cluster = site.cluster.clone();
    let primary = cluster.primary().await?;
    // The one that confirms commits: it has to leave V first.
    let confirming = cluster.standby().await?;
    let before = member_of(&cluster.record().await?, &confirming);
    let load = site.load("reinit").await?;
    let said = done(&cluster, &primary, &format!("reinit --pod {confirming}")).await?;
    ensure!(said.contains("was cloned anew and streams"), "expected to be told, got: {said}");
    let after = member_of(&cluster.record().await?, &confirming);
    ensure!(
        after.is_some() && after != before,
        "expected new data in {confirming}, {before:?} before, {after:?} now"
    );
    cluster.until_whole(2, WHOLE).await?;
    ensure!(cluster.primary().await? == primary, "expected {primary} to stay the primary");
    let outcome = load.finish().await?;
    site.nothing_lost(&outcome).await
}

async fn events_status_and_metrics(group: &mut Group) -> Result<()> {
    let site = group.cluster_with(2).await?;
    let cluster = site.cluster.clone();
    let primary = cluster.primary().await?;
    let target = other_than(&cluster, &primary).await?.remove(0);
    done(&cluster, &primary, &format!("switchover --to {target}")).await?;
    cluster.until_whole(2, WHOLE).await?;
    until("events of the change on both pods", WHOLE, || async {
        let (new, old) = (reasons(&cluster, &target).await?, reasons(&cluster, &primary).await?);
        let wanted = ["TookOver", "Promoted", "SwitchoverDone"].iter().all(|reason| new.contains(*reason))
            && ["Demoted", "Following"].iter().all(|reason| old.contains(*reason));
        Ok(Seen::when(wanted, format!("{target}: {new:?}, {primary}: {old:?}")))
    })
    .await?;
    let json: serde_json::Value = serde_json::from_str(&done(&cluster, &primary, "status --json").await?)?;
    ensure!(
        json["record"]["holder"]["pod"] == json!(target),
        "expected the record in the status, got {json}"
    );
    for (pod, role, replica) in [(&target, "primary", "0"), (&primary, "standby", "1")] {
        let page = metrics(&cluster, pod).await?;
        let era = cluster.record().await?.era();
        for line in [
            "pg_up 1".to_owned(),
            format!("pg_replication_is_replica {replica}"),
            format!("pgha_role{{role=\"{role}\"}} 1"),
            format!("pgha_era {era}"),
            "pg_exporter_last_scrape_error 0".to_owned(),
            "pgha_paused 0".to_owned(),
        ] {
            ensure!(
                page.lines().any(|one| one == line),
                "expected `{line}` in the metrics of {pod}:\n{page}"
            );
        }
        for family in [
            "pg_settings_max_connections ",
            "pgha_volume_used_bytes ",
            "pg_database_size_bytes{datname=\"app\"}",
        ] {
            ensure!(
                page.lines().any(|one| one.starts_with(family)),
                "expected {family} in the metrics of {pod}"
            );
        }
    }
    let page = metrics(&cluster, &target).await?;
    let senders =
        page.lines().filter(|line| line.starts_with("pg_stat_replication_pg_wal_lsn_diff{")).count();
    ensure!(senders == 2, "expected the lag of two standbys, got {senders}");
    Ok(())
}

async fn reasons(cluster: &Cluster, pod: &str) -> Result<BTreeSet<String>> {
    Ok(cluster.events_about(pod).await?.into_iter().map(|(reason, _)| reason).collect())
}

/// The primary and whoever confirmed its commits are lost for good, as far as anybody can tell.
async fn a_third_leads_by_a_persons_word_alone(group: &mut Group) -> Result<()> {
    let sandbox = group.bed.sandbox.clone();
    let site = group.cluster_with(2).await?;
    let cluster = site.cluster.clone();
    let (primary, voter) = (cluster.primary().await?, cluster.standby().await?);
    let third = other_than(&cluster, &primary).await?.into_iter().find(|pod| *pod != voter);
    let third = third.context("expected a third instance")?;
    cluster.sql_on_primary("CREATE TABLE before_the_loss AS SELECT 1 AS id").await?;
    until(&format!("{third} to have replayed it"), WHOLE, || async {
        let found = cluster.sql(&third, "postgres", "SELECT to_regclass('before_the_loss')").await?;
        Ok(Seen::when(found == "before_the_loss", found))
    })
    .await?;
    let nodes = [
        sandbox.node_of(&cluster.namespace, &primary).await?,
        sandbox.node_of(&cluster.namespace, &voter).await?,
    ];
    for node in nodes {
        sandbox.cut(node, Cut::All)?;
    }
    let outcome = give_up(&cluster, &primary, &third).await;
    for node in nodes {
        sandbox.heal(node)?;
    }
    outcome?;
    let now = cluster.until_whole(2, WHOLE).await?;
    ensure!(now == third, "expected {third} to lead, {now} does");
    let kept = cluster.sql_on_primary("SELECT count(*) FROM before_the_loss").await?;
    ensure!(kept == "1", "expected what {third} had to be kept, got {kept}");
    site.tf.apply(&[]).await?;
    let desired: Desired = serde_json::from_str(&desired_text(&cluster).await?)?;
    ensure!(desired.break_glass.is_none(), "expected an apply to take the permission out, got {desired:?}");
    site.tf.plan_is_empty("the permission was taken out").await
}

/// Nobody leads until somebody runs what `break-glass` prints.
async fn give_up(cluster: &Cluster, primary: &str, third: &str) -> Result<()> {
    let advice = until("break-glass to say what can be done", WHOLE, || async {
        let (code, text) = agent(cluster, third, "break-glass").await?;
        Ok(if code == 0 { Seen::Yes(text) } else { Seen::NotYet(text) })
    })
    .await?;
    held_past_the_lease(cluster, primary).await?;
    let patch = advice.split(" -p '").nth(1).and_then(|rest| rest.split("'\n").next());
    let patch = patch.with_context(|| format!("no command in: {advice}"))?.replace("'\\''", "'");
    cluster.patch::<ConfigMap>(&cluster.names.desired(), serde_json::from_str(&patch)?).await?;
    until(&format!("{third} to lead"), WHOLE, || async {
        let holder = cluster.record().await?.holder.map(|holder| holder.pod);
        Ok(Seen::when(holder.as_deref() == Some(third), format!("{holder:?} holds it")))
    })
    .await?;
    until(&format!("{third} to take writes"), WRITES, || async {
        let written =
            cluster.sql(third, "postgres", "CREATE TABLE IF NOT EXISTS after_the_loss (id int)").await;
        Ok(Seen::when(written.is_ok(), format!("{written:?}")))
    })
    .await?;
    ensure!(reasons(cluster, third).await?.contains("TookOver"), "expected an event of the taking");
    Ok(())
}

/// The page as Prometheus gets it; the image has no HTTP client but its shell.
async fn metrics(cluster: &Cluster, pod: &str) -> Result<String> {
    let get = "exec 3<>/dev/tcp/127.0.0.1/8008; \
               printf 'GET /metrics HTTP/1.1\\r\\nHost: x\\r\\nConnection: close\\r\\n\\r\\n' >&3; cat <&3";
    let output = cluster.exec(pod, &["bash", "-c", get]).await?;
    let (head, body) =
        output.stdout.split_once("\r\n\r\n").with_context(|| format!("no answer: {output:?}"))?;
    ensure!(head.starts_with("HTTP/1.1 200"), "expected the page, got {head}");
    Ok(body.to_owned())
}
