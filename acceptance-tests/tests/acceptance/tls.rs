//! Encryption of a running cluster: a Secret that is missing, the roll, a requirement by reload, a renewal, and the way back.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Result, ensure};
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Patch, PatchParams};
use pgha_acceptance_tests::cluster::Output;
use pgha_acceptance_tests::poll::{Seen, until};
use serde_json::json;

use crate::cases;
use crate::group::{Group, Site, WHOLE};
use crate::online::nothing_restarted;
use crate::runner::Case;

pub fn cases() -> Vec<Case> {
    cases![
        => encryption_comes_is_renewed_and_goes,
    ]
}

/// Name of the Secret.
pub const SECRET: &str = "certificate";
/// The kubelet brings a changed Secret within its sync period and that of its cache.
const RENEWAL: Duration = Duration::from_secs(240);

async fn encryption_comes_is_renewed_and_goes(group: &mut Group) -> Result<()> {
    let site = group.fresh_site().await?;
    // The sandbox's builds of the newer ones know no encryption.
    let before = site.config.clone().set("postgres_version", "15").set("replicas", 1);
    site.apply(before.clone()).await?;
    site.cluster.until_whole(1, WHOLE).await?;
    let load = site.load("encrypted").await?;
    let config = before.clone().set("tls", json!({ "secret": SECRET }));
    site.write(config.clone())?;
    site.tf.try_apply(&[]).await?.failed_saying(&["waits for a volume", SECRET, "not found"])?;
    load.until_more(20).await?;

    let first = self_signed(site)?;
    put_secret(site, &first).await?;
    site.apply(config).await?;
    site.cluster.until_whole(1, WHOLE).await?;
    site.tf.plan_is_empty("encryption").await?;
    replication_is_encrypted(site).await?;
    let seen = ask(site, "verify-full", &first).await?;
    ensure!(seen.success && seen.stdout.trim() == "t", "expected an encrypted session, got {seen:?}");
    let seen = ask(site, "disable", &first).await?;
    ensure!(seen.success && seen.stdout.trim() == "f", "expected a plain session to be let in, got {seen:?}");

    let started = site.cluster.start_times().await?;
    site.apply_with("tls.required", true).await?;
    let seen = ask(site, "disable", &first).await?;
    ensure!(
        !seen.success && seen.stderr.contains("no encryption"),
        "expected a plain session to be refused, got {seen:?}"
    );
    load.until_more(20).await?;
    let second = self_signed(site)?;
    put_secret(site, &second).await?;
    until("the renewed certificate to be served", RENEWAL, || async {
        let seen = ask(site, "verify-full", &second).await?;
        Ok(Seen::when(seen.success, seen.stderr))
    })
    .await?;
    nothing_restarted(site, &started).await?;
    site.cluster.until_whole(1, WHOLE).await?;

    site.apply(before).await?;
    site.cluster.until_whole(1, WHOLE).await?;
    site.tf.plan_is_empty("no encryption").await?;
    let seen = ask(site, "require", &second).await?;
    ensure!(!seen.success, "expected no encryption to be offered any more, got {seen:?}");
    let outcome = load.finish().await?;
    site.nothing_lost(&outcome).await
}

/// A certificate that names the rw Service and is its own authority, with its key.
pub fn self_signed(site: &Site) -> Result<BTreeMap<&'static str, String>> {
    let key = rcgen::KeyPair::generate()?;
    let host = site.cluster.names.rw_host(&site.namespace);
    let certificate = rcgen::CertificateParams::new(vec![host])?.self_signed(&key)?.pem();
    Ok(BTreeMap::from([
        ("tls.crt", certificate.clone()),
        ("tls.key", key.serialize_pem()),
        ("ca.crt", certificate),
    ]))
}

/// Brings the pair into the Secret.
pub async fn put_secret(site: &Site, pair: &BTreeMap<&'static str, String>) -> Result<()> {
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": { "name": SECRET },
        "type": "kubernetes.io/tls", "stringData": pair,
    });
    let force = PatchParams::apply("acceptance").force();
    site.cluster.api::<Secret>().patch(SECRET, &force, &Patch::Apply(secret)).await?;
    Ok(())
}

/// Asks through the rw Service, from inside a standby's pod, whether the session is encrypted.
async fn ask(site: &Site, mode: &str, pair: &BTreeMap<&'static str, String>) -> Result<Output> {
    let cluster = &site.cluster;
    let password = cluster.secret_value(&cluster.names.secret_app(), "password").await?;
    let script = format!(
        "cat > /tmp/authority.crt <<'END'\n{authority}END\n\
         PGPASSWORD='{password}' psql -X -A -t -c 'select ssl from pg_stat_ssl where pid = pg_backend_pid()' \
         'host={host} dbname=app user=app sslmode={mode} sslrootcert=/tmp/authority.crt connect_timeout=5'",
        authority = pair["ca.crt"],
        host = cluster.names.rw_host(&site.namespace),
    );
    let standby = cluster.standby().await?;
    cluster.exec(&standby, &["sh", "-c", &script]).await
}

/// Every stream is, and every standby insists on it.
async fn replication_is_encrypted(site: &Site) -> Result<()> {
    let streams = "select count(*) filter (where ssl) || ' of ' || count(*) from pg_stat_replication join pg_stat_ssl using (pid)";
    until("the stream to be encrypted", WHOLE, || async {
        let seen = site.cluster.sql_on_primary(streams).await?;
        Ok(Seen::when(seen == "1 of 1", seen))
    })
    .await?;
    let primary = site.cluster.primary().await?;
    for pod in site.cluster.pods().await?.into_keys().filter(|pod| *pod != primary) {
        until(&format!("{pod} to insist on encryption"), WHOLE, || async {
            let conninfo = site.cluster.sql(&pod, "postgres", "show primary_conninfo").await?;
            Ok(Seen::when(conninfo.contains("sslmode=require channel_binding=require"), conninfo))
        })
        .await?;
    }
    Ok(())
}
