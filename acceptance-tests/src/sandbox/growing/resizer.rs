//! The controller's part in growth: it grants what a claim asks for, and leaves the rest to the node.

use std::time::Duration;

use anyhow::{Context as _, Result};
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, Client};
use serde_json::json;

/// It goes on beside other tests: the kubelet takes a minute anyway.
const PERIOD: Duration = Duration::from_secs(2);

/// Works until it is ended; what fails is tried again.
pub async fn run(client: Client, class: &'static str) -> Result<()> {
    loop {
        let _ = grant(&client, class).await;
        tokio::time::sleep(PERIOD).await;
    }
}

async fn grant(client: &Client, class: &str) -> Result<()> {
    let claims: Api<PersistentVolumeClaim> = Api::all(client.clone());
    for claim in claims.list(&ListParams::default()).await?.items {
        let Some(spec) = claim.spec.filter(|spec| spec.storage_class_name.as_deref() == Some(class)) else {
            continue;
        };
        let requested = spec.resources.and_then(|resources| resources.requests?.remove("storage"));
        let (Some(volume), Some(requested)) = (spec.volume_name, requested) else { continue };
        let name = claim.metadata.name.context("a claim has a name")?;
        let namespace = claim.metadata.namespace.context("a claim has a namespace")?;
        let own: Api<PersistentVolumeClaim> = Api::namespaced(client.clone(), &namespace);
        grow(client, &own, &name, &volume, &requested).await?;
    }
    Ok(())
}

/// The volume last: the kubelet sets to work once that has more than the claim.
async fn grow(
    client: &Client,
    claims: &Api<PersistentVolumeClaim>,
    claim: &str,
    volume: &str,
    requested: &Quantity,
) -> Result<()> {
    let volumes: Api<PersistentVolume> = Api::all(client.clone());
    let has = volumes.get(volume).await?.spec.and_then(|spec| spec.capacity?.remove("storage"));
    let bytes = |quantity: &Quantity| quantity.0.parse::<pgha_schema::quantity::Quantity>();
    if has.as_ref().is_some_and(|has| bytes(has).ok() >= bytes(requested).ok()) {
        return Ok(());
    }
    let pending = json!({ "status": {
        "allocatedResources": { "storage": requested },
        "allocatedResourceStatuses": { "storage": "NodeResizePending" },
        "conditions": [{
            "type": "FileSystemResizePending", "status": "True",
            "lastTransitionTime": jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        }],
    }});
    claims.patch_status(claim, &PatchParams::default(), &Patch::Merge(&pending)).await?;
    let capacity = json!({ "spec": { "capacity": { "storage": requested } } });
    volumes.patch(volume, &PatchParams::default(), &Patch::Merge(&capacity)).await?;
    Ok(())
}
