//! The data source: one small snapshot, put into words by the core.

use pgha_provider_core::diagnostic::{Diagnostic, Diagnostics};
use pgha_provider_core::value::Value;
use pgha_provider_core::view::view;
use pgha_schema::data_source::ReadTimeout;

use super::work::{Patience, Work};
use crate::engine::{Looked, ReadData};
use crate::live::config::Connector;

pub(super) async fn read(request: ReadData, connector: &Connector) -> Looked {
    let answer = look(&request, connector).await;
    let (state, diagnostics) = answer.unwrap_or_else(|problem| (Value::Null, problem.into()));
    Looked { state, diagnostics, deferred: None }
}

async fn look(request: &ReadData, connector: &Connector) -> Result<(Value, Diagnostics), Diagnostic> {
    let config = &request.config;
    let text = |name: &str| config.get(name).as_str().unwrap_or_default().to_owned();
    let timeouts =
        config.get("timeouts").to_json().and_then(|json| serde_json::from_value::<ReadTimeout>(json).ok());
    let patience = Patience::said_in("timeouts.read", timeouts.unwrap_or_default().read());
    let (namespace, name) = (text("namespace"), text("name"));
    let work = Work::new(connector, &namespace, &name, patience, request.stop.clone()).await?;
    view(config, &namespace, &work.overview().await?)
}
