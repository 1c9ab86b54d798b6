//! The ephemeral resource: one Secret, read when a run needs it. Nothing else in the provider reads Secrets.

use std::time::Duration;

use pgha_provider_core::credentials::{read, role, secret_name};
use pgha_provider_core::diagnostic::Diagnostic;
use pgha_provider_core::object::{Kind, ObjectKey};
use pgha_provider_core::value::Value;

use super::work::{Patience, Work};
use crate::engine::{Looked, ReadData};
use crate::live::config::Connector;
use crate::live::errors::LiveError;

/// A read that takes longer than this is given up.
const PATIENCE: Duration = Duration::from_secs(60);

pub(super) async fn open(request: ReadData, connector: &Connector) -> Looked {
    match find(&request, connector).await {
        Ok(state) => Looked { state, ..Looked::default() },
        Err(problem) => Looked { diagnostics: problem.into(), ..Looked::default() },
    }
}

async fn find(request: &ReadData, connector: &Connector) -> Result<Value, Diagnostic> {
    let config = &request.config;
    let text = |name: &str| config.get(name).as_str().unwrap_or_default().to_owned();
    let (namespace, cluster) = (text("namespace"), text("name"));
    let work =
        Work::new(connector, &namespace, &cluster, Patience::fixed(PATIENCE), request.stop.clone()).await?;
    let name = secret_name(&work.names, role(config));
    let key = ObjectKey::new(Kind::Secret, name.as_str());
    let secret =
        work.within(work.api.get(&key)).await?.map_err(|error| refused(&error, &namespace, &name))?;
    read(config, &work.names, &secret)
}

fn refused(error: &LiveError, namespace: &str, secret: &str) -> Diagnostic {
    if error.is_not_found() {
        return Diagnostic::error(
            format!("There is no Secret {secret} in namespace {namespace}"),
            "Every cluster has one, from the first apply on. Are name and namespace right? If this configuration makes the cluster, let the \
             ephemeral resource depend on it: depends_on = [postgres_ha_cluster.ADDRESS].",
        );
    }
    if error.is_forbidden() {
        return Diagnostic::error(
            format!("No right to read Secret {secret} in namespace {namespace}"),
            format!(
                "{error}. The credentials need the verb get on secrets, best of this one alone (resourceNames: [{secret}]); \
                 examples/rbac/credentials.yaml has such a Role. Roles that only read or apply clusters don't have it, on purpose."
            ),
        );
    }
    error.diagnostic()
}
