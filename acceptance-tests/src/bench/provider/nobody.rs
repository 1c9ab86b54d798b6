//! The very objects of clusters that were applied, made again by nobody: written as fast as the API server takes them, with nothing read,
//! tried, planned or waited for but that the pods are ready. How fast this Kubernetes can start these pods.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use futures::future::try_join_all;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::ListParams;
use pgha_schema::desired::SyncMode;
use pgha_schema::names::{
    ANNOTATION_RECORD, ANNOTATION_SYSTEM_IDENTIFIER, LABEL_INSTANCE, Names, agent_head,
};
use pgha_schema::record::Record;
use serde_json::{Value as Json, json};

use super::objects::{KINDS, Object, Place, SECRETS, copy, name};
use crate::poll::{Seen, until};

/// Until the pods are ready.
const ALL: Duration = Duration::from_secs(180);

/// Objects as they were found.
pub struct Found {
    place: Place,
    clusters: Vec<(Names, Vec<Object>)>,
    agents: Vec<Object>,
}

impl Found {
    /// Those of these clusters, and the agent's parts that they share.
    ///
    /// # Errors
    /// When they can't be read.
    pub async fn read(place: Place, clusters: &[String]) -> Result<Self> {
        let kinds: Vec<_> = KINDS.into_iter().chain([SECRETS]).collect();
        let all = place.read(&kinds).await?;
        let of = |cluster: &String| {
            let mine = |object: &Json| object["metadata"]["labels"][LABEL_INSTANCE] == cluster.as_str();
            (Names::new(cluster), all.iter().filter(|(_, object)| mine(object)).cloned().collect())
        };
        let agents =
            all.iter().filter(|(_, object)| name(object).starts_with(&agent_head(""))).cloned().collect();
        Ok(Self { clusters: clusters.iter().map(of).collect(), agents, place })
    }

    /// Makes them all in another place, and tells how many seconds it took until every pod was ready.
    ///
    /// # Errors
    /// When an object is refused, or a pod does not become ready.
    pub async fn make(&self, there: &Place) -> Result<f64> {
        let began = Instant::now();
        let moved = [(self.place.namespace.as_str(), there.namespace.as_str())];
        let agents = self
            .agents
            .iter()
            .map(|(resource, object)| async { there.create(resource, copy(object, &moved)?).await });
        try_join_all(agents).await?;
        try_join_all(self.clusters.iter().map(|(names, objects)| self.cluster(names, objects, there)))
            .await?;
        let pods: Api<Pod> = Api::namespaced(there.client.clone(), &there.namespace);
        until("all pods that nobody manages to be ready", ALL, || async {
            let listed = pods.list(&ListParams::default()).await?;
            let ready = listed.iter().filter(|pod| is_ready(pod)).count();
            let count = self.clusters.len();
            Ok(Seen::when(ready == count, format!("{ready} of {count}")))
        })
        .await?;
        Ok(began.elapsed().as_secs_f64())
    }

    async fn cluster(&self, names: &Names, objects: &[Object], there: &Place) -> Result<()> {
        let anchor = names.anchor();
        let (anchors, others): (Vec<_>, Vec<_>) =
            objects.iter().partition(|(_, object)| name(object) == anchor);
        let (resource, object) = anchors.first().context("the cluster has an anchor")?;
        let old = object["metadata"]["uid"].as_str().context("the anchor has a uid")?;
        let moved = (self.place.namespace.as_str(), there.namespace.as_str());
        let new = there.create(resource, copy(object, &[moved])?).await?;
        let new = new.metadata.uid.context("the copied anchor has a uid")?;
        for (resource, object) in others {
            let mut object = copy(object, &[moved, (old, &new)])?;
            as_new(names, &new, &resource.kind, &mut object);
            there.create(resource, object).await?;
        }
        Ok(())
    }
}

/// Without what the agents made of it.
fn as_new(names: &Names, anchor_uid: &str, kind: &str, object: &mut Json) {
    if kind == "Lease" {
        let record = Record::initial(anchor_uid, SyncMode::Sync);
        object["spec"] = json!({});
        object["metadata"]["annotations"][ANNOTATION_RECORD] =
            json!(serde_json::to_string(&record).unwrap_or_default());
    }
    if name(object) == names.status() {
        object["data"] = Json::Null;
    }
    if let Some(annotations) = object["metadata"]["annotations"].as_object_mut() {
        annotations.remove(ANNOTATION_SYSTEM_IDENTIFIER);
    }
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_and_a_status_are_as_they_were_before_any_agent() {
        let names = Names::new("pg0");
        let mut lease = json!({"spec": {"holderIdentity": "pg0-0"}, "metadata": {"annotations": {ANNOTATION_RECORD: "old"}}});
        as_new(&names, "new", "Lease", &mut lease);
        let record: Record =
            serde_json::from_str(lease["metadata"]["annotations"][ANNOTATION_RECORD].as_str().unwrap())
                .unwrap();
        assert_eq!((lease["spec"].clone(), record), (json!({}), Record::initial("new", SyncMode::Sync)));
        let mut status = json!({"metadata": {"name": "pg0-status"}, "data": {"status.json": "{}"}});
        as_new(&names, "new", "ConfigMap", &mut status);
        assert_eq!(status["data"], Json::Null);
    }
}
