//! Import: the anchor holds every attribute as the user wrote it, so that the plan after it is empty (P22).

use pgha_schema::identity::ClusterIdentity;
use pgha_schema::resource::schema;

use crate::anchor::Anchor;
use crate::diagnostic::Diagnostic;
use crate::facts::Facts;
use crate::live::{LiveCluster, Seen};
use crate::object;
use crate::outcome;
use crate::plan::{Request, plan};
use crate::refresh::ready;
use crate::value::Value;

/// Which cluster `namespace/name` means.
///
/// # Errors
/// When it has another form.
pub fn parse_id(id: &str) -> Result<ClusterIdentity, Diagnostic> {
    let parts: Vec<&str> = id.trim().split('/').collect();
    match parts.as_slice() {
        [namespace, name] if !namespace.is_empty() && !name.is_empty() => {
            Ok(ClusterIdentity { namespace: (*namespace).to_owned(), name: (*name).to_owned() })
        }
        _ => Err(Diagnostic::error(
            "The import id has another form",
            format!(
                "It is `{id}`. Write namespace/name, as terraform import postgres_ha_cluster.orders shop/orders."
            ),
        )),
    }
}

/// The state and the private facts of a cluster that exists; the host refreshes it right after.
pub fn import(live: &LiveCluster, agent_version: &str) -> Result<(Value, Facts), Diagnostic> {
    let cluster = live.names.cluster();
    let config_map = match live.anchor() {
        Seen::Known(object) => object,
        Seen::Missing => {
            return Err(Diagnostic::error(
                format!("There is no cluster called {cluster}"),
                format!(
                    "ConfigMap {}, which every cluster of this provider has, does not exist in that namespace.",
                    live.names.anchor()
                ),
            ));
        }
        Seen::Forbidden(why) => {
            return Err(Diagnostic::error(
                format!("Cluster {cluster} may not be read"),
                format!("ConfigMap {}: {why}", live.names.anchor()),
            ));
        }
    };
    let anchor = Anchor::parse(config_map).map_err(|error| {
        Diagnostic::error(format!("ConfigMap {} can't be read", live.names.anchor()), error.to_string())
    })?;
    let config = Value::from_json(&anchor.config, &schema().ty());
    let running = live.status().map_or_else(|| agent_version.to_owned(), |status| status.agent_version);
    let none = Facts::default();
    let request = Request { config: &config, prior: &Value::Null, facts: &none, agent_version: &running };
    let planned = plan(&request).planned;
    let mut state = outcome::created(&planned, live, None).state;
    state.set_at("ready", Value::Bool(ready(live).unwrap_or(false)));
    let facts = Facts {
        anchor_uid: object::uid(config_map).map(str::to_owned),
        cluster_id: live.cluster_id.clone(),
        ..Facts::default()
    };
    Ok((state, facts))
}
