//! `GET /metrics`: Prometheus' text format. Names that PostgreSQL dashboards expect where such names exist, `pgha_` for what
//! is the agent's own (A32).

mod database;
mod own;
mod replication;
mod text;

use super::server::Board;
use crate::postgres::session::Local;
use text::Page;

/// The page: what the loop saw last, and what postgres answers now.
pub async fn page(board: &Board, local: Option<&Local>) -> String {
    let mut page = Page::default();
    own::write(&mut page, board);
    if let Some(seen) = &board.seen {
        replication::write(&mut page, seen);
    }
    match local {
        Some(local) if board.seen.as_ref().is_some_and(|seen| runs(seen)) => {
            database::write(&mut page, local).await;
        }
        Some(_) | None => {}
    }
    page.finish()
}

fn runs(seen: &pgha_agent_core::Observation) -> bool {
    seen.primary().is_some() || seen.standby().is_some()
}
