//! The data source, and a cluster for it to tell of: the least that a provider asks of an API server.

use super::host::Host;
use super::kubernetes::FakeApi;
use super::pb::tfplugin6 as pb;
use super::values::config;
use anyhow::Result;
use pgha_schema::desired::SyncMode;
use pgha_schema::ids::Era;
use pgha_schema::lsn::{Lsn, TimelineId};
use pgha_schema::names::{ANNOTATION_RECORD, KEY_STATUS};
use pgha_schema::record::{EraEntry, Record};
use serde_json::{Value as Json, json as js};

/// The one data source.
pub const TYPE: &str = "postgres_ha_cluster";

/// What the configuration of the data source is for [`put_cluster`]'s.
#[must_use]
pub fn orders() -> Json {
    js!({ "name": "orders", "namespace": "shop" })
}

/// Puts the cluster `orders` into the namespace `shop`, with one pod, which leads.
pub fn put_cluster(api: &FakeApi) {
    let mut record = Record::initial("uid", SyncMode::Sync);
    record.eras =
        vec![EraEntry { era: Era(2), parent: None, timeline: Some(TimelineId(2)), start: Some(Lsn(1)) }];
    let annotations = js!({ ANNOTATION_RECORD: js!(record).to_string() });
    let lease = js!({ "metadata": { "name": "orders", "annotations": annotations } });
    api.put("apis/coordination.k8s.io/v1", "shop", "leases", lease);
    let status = js!({
        "format": 1, "accepts_writes": true, "primary": "orders-0", "era": 2, "mode": "sync", "degraded": false,
        "agent_version": "0.1.0",
        "instances": { "orders-0": { "role": "primary", "state": "serving", "node": "a" } },
    });
    let status = js!({ "metadata": { "name": "orders-status" }, "data": { KEY_STATUS: status.to_string() } });
    api.put("api/v1", "shop", "configmaps", status);
    let labels = js!({ "app.kubernetes.io/name": "postgres-ha", "app.kubernetes.io/instance": "orders" });
    let pod = js!({ "metadata": { "name": "orders-0", "labels": labels }, "spec": { "nodeName": "a" } });
    api.put("api/v1", "shop", "pods", pod);
    let secret = js!({ "metadata": { "name": "orders-app" }, "data": {} });
    api.put("api/v1", "shop", "secrets", secret);
}

/// Reads it.
///
/// # Errors
/// When the call itself fails, or `given` does not fit.
pub async fn read(host: &Host, given: &Json, deferral: bool) -> Result<pb::read_data_source::Response> {
    let capabilities = pb::ClientCapabilities { deferral_allowed: deferral, ..Default::default() };
    let request = pb::read_data_source::Request {
        type_name: TYPE.to_owned(),
        config: Some(config(host.data_source()?, given)?),
        provider_meta: None,
        client_capabilities: Some(capabilities),
    };
    Ok(host.rpc().read_data_source(request).await?.into_inner())
}
