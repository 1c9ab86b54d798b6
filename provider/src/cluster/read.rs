//! Refresh: one snapshot, judged by the core.

use pgha_provider_core::refresh::{Refreshed, refresh};
use pgha_schema::resource::Timeouts;

use super::carried::{facts, private};
use super::work::{Patience, Work};
use crate::engine::{Answer, Read};
use crate::live::config::Connector;

pub(super) async fn read(request: Read, connector: &Connector) -> Answer {
    let Read { state, private: kept, stop } = request;
    let text = |name: &str| state.get(name).as_str().unwrap_or_default().to_owned();
    let timeouts =
        state.get("timeouts").to_json().and_then(|json| serde_json::from_value::<Timeouts>(json).ok());
    let patience = Patience::said_in("timeouts.read", timeouts.unwrap_or_default().read());
    let facts = facts(&kept);
    let work = Work::new(connector, &text("namespace"), &text("name"), patience, stop).await;
    let looked = match &work {
        Ok(work) => work.objects().await,
        Err(problem) => Err(problem.clone()),
    };
    match looked.map(|live| (refresh(&state, &facts, &live, connector.ignore()), live)) {
        Ok((Refreshed::Present { state, diagnostics }, live)) => {
            // Known from now on, so that a later absence can be proven (P15).
            let mut facts = facts;
            if facts.cluster_id.is_none() {
                facts.cluster_id = live.cluster_id;
            }
            Answer { state, private: private(&facts), diagnostics }
        }
        Ok((Refreshed::Gone, _)) => Answer::default(),
        Ok((Refreshed::Refused(problem), _)) | Err(problem) => {
            Answer { state, private: kept, diagnostics: problem.into() }
        }
    }
}
