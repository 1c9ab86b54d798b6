//! Import: from what the anchor remembers (P22).

use pgha_provider_core::diagnostic::Diagnostic;
use pgha_provider_core::import::import as core_import;
use pgha_schema::resource::Timeouts;

use super::carried::{carried, private};
use super::work::{Patience, Work};
use crate::engine::{Answer, Import};
use crate::live::config::Connector;

pub(super) async fn import(request: Import, connector: &Connector) -> Answer {
    match find(request, connector).await {
        Ok(answer) => answer,
        Err(problem) => Answer { diagnostics: problem.into(), ..Answer::default() },
    }
}

async fn find(request: Import, connector: &Connector) -> Result<Answer, Diagnostic> {
    let patience = Patience::fixed(Timeouts::default().read());
    let work =
        Work::new(connector, &request.cluster.namespace, &request.cluster.name, patience, request.stop)
            .await?;
    let (state, facts) = core_import(&work.objects().await?, &carried().agent.version)?;
    Ok(Answer { state, private: private(&facts), ..Answer::default() })
}
