//! What an apply and a read do in the cluster, beside what they answer: rights, owners of fields, volumes, passwords, budgets.

use pgha_acceptance_tests::host::{Calls, Plan, Stored, has_errors};
use pgha_acceptance_tests::proto_client::kubernetes::Objects;
use pgha_acceptance_tests::proto_client::values::messages;
use pgha_schema::names::{ANNOTATION_RECORD, APP_NAME, LABEL_INSTANCE, LABEL_NAME};
use serde_json::{Value as Json, json};

use crate::laws::{Kept, Law, ensure};
use crate::live::{LiveWorld, RW};

/// Where the cluster's volume claims are, and what their names begin with.
pub const CLAIMS: &str = "/api/v1/namespaces/shop/persistentvolumeclaims/data-orders-";
/// Where the cluster's Secrets are, and what their names begin with.
pub const SECRETS: &str = "/api/v1/namespaces/shop/secrets/orders-";
pub const BUDGET: &str = "/apis/policy/v1/namespaces/shop/poddisruptionbudgets/orders";
/// A field that the provider never sets, so that no plan shows it.
const FIELD: &str = ".spec.sessionAffinity";
/// What a read of one cluster may ask of the API server, whatever its configuration and number of instances.
const READ_REQUESTS: usize = 15;

impl<C: Calls> LiveWorld<'_, C> {
    /// P14: what was asked since the requests were forgotten takes rights to read, and none to a Secret or into a pod; and it is
    /// no more than [`READ_REQUESTS`].
    pub fn reads_little(&self) -> Kept {
        let asked = self.api.requests();
        ensure(asked.len() <= READ_REQUESTS, Law::ReadsLittle, || {
            format!("a read asked {} times: {asked:#?}", asked.len())
        })?;
        self.only_reads()
    }

    /// P14: the same of one that lacks rights, and asks more often: for each object of a kind that it may not list.
    pub fn only_reads(&self) -> Kept {
        let more = self.api.requests().into_iter().find(|request| {
            !request.starts_with("GET ") || request.contains("/secrets") || request.ends_with("/proxy")
        });
        ensure(more.is_none(), Law::ReadsLittle, || format!("a read asked {more:?}"))
    }

    /// P17: what somebody else owns, and no plan showed, is not taken.
    pub async fn contested(&self, stored: &Stored, plan: &Plan) -> Kept {
        if plan.planned["last_change"] == stored.state["last_change"] {
            // Nothing is written.
            return Ok(());
        }
        self.api.contest(RW, FIELD, "somebody-else");
        let applied = self.try_apply(plan).await;
        self.api.yield_fields();
        let applied = applied?;
        let told = messages(&applied.diagnostics).join("\n");
        let named = told.contains(FIELD.trim_start_matches('.')) && told.contains("somebody-else");
        ensure(has_errors(&applied.diagnostics) && named, Law::TakesNoFields, || format!("told: {told}"))
    }

    /// The Secrets as they are.
    pub fn secrets(&self) -> Objects {
        let mut found = Objects::new();
        self.api.edit(|objects| {
            found = objects.iter().filter(|(path, _)| path.starts_with(SECRETS)).map(owned).collect();
        });
        found
    }

    /// P24: passwords are made once; only the one that a user numbers anew is written again.
    pub fn same_secrets(&self, before: &Objects, prior: &Json, planned: &Json) -> Kept {
        let number = "superuser_password_wo_version";
        let given = !planned[number].is_null() && prior[number] != planned[number];
        let after = self.secrets();
        ensure(after.len() == 3, Law::Passwords, || format!("Secrets {:?}", after.keys()))?;
        for (path, secret) in &after {
            let excepted = given && path.ends_with("-superuser");
            ensure(excepted || before.get(path) == Some(secret), Law::Passwords, || {
                format!("{path} is another")
            })?;
        }
        Ok(())
    }

    /// P24: a budget would only stand in the way of a cluster of one.
    pub fn budgeted(&self, state: &Json) -> Kept {
        let wanted = state["replicas"] != 0;
        ensure(self.api.object(BUDGET).is_some() == wanted, Law::Budget, || {
            format!("replicas {}, and a budget is wanted: {wanted}", state["replicas"])
        })
    }

    /// Volumes of two instances, as a StatefulSet makes them.
    pub fn give_volumes(&self) {
        self.api.edit(|objects| {
            for ordinal in 0..2 {
                let labels = json!({ LABEL_NAME: APP_NAME, LABEL_INSTANCE: "orders" });
                let metadata =
                    json!({ "name": format!("data-orders-{ordinal}"), "uid": format!("v-{ordinal}"), "labels": labels });
                let claim = json!({ "kind": "PersistentVolumeClaim", "apiVersion": "v1", "metadata": metadata,
                    "spec": { "volumeName": format!("pv-{ordinal}") }, "status": { "phase": "Bound" } });
                objects.insert(format!("{CLAIMS}{ordinal}"), claim);
            }
        });
    }

    /// P21: volumes that are kept carry the record of whose data they hold; others go with the cluster.
    pub fn volumes_after_the_end(&self, state: &Json) -> Kept {
        let retains = state["storage"]["retain"] != false;
        for ordinal in 0..2 {
            let claim = self.api.object(&format!("{CLAIMS}{ordinal}"));
            let record = claim.as_ref().map(|claim| &claim["metadata"]["annotations"][ANNOTATION_RECORD]);
            let right = match record {
                Some(record) => retains && record.is_string(),
                None => !retains,
            };
            ensure(right, Law::Volumes, || format!("retain is {retains}, and the claim is {claim:?}"))?;
        }
        Ok(())
    }
}

fn owned((path, object): (&String, &Json)) -> (String, Json) {
    (path.clone(), object.clone())
}
