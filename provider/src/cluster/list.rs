//! Listing: the Leases first, then, when it is asked for, each cluster as an import would find it.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::{self, BoxStream};
use pgha_provider_core::diagnostic::{Diagnostic, Diagnostics};
use pgha_provider_core::listing;
use pgha_provider_core::object::Kind;
use pgha_schema::identity::ClusterIdentity;
use tokio_util::sync::CancellationToken;

use super::import;
use crate::engine::{Answer, Import, List, Listed};
use crate::live::api::Api;
use crate::live::config::Connector;

/// How many clusters are read at once.
const READ_AT_ONCE: usize = 8;
/// A list that takes longer than this is given up.
const PATIENCE: Duration = Duration::from_secs(60);

pub(super) async fn list(request: List, connector: Arc<Connector>) -> BoxStream<'static, Listed> {
    let found = match find(&request, &connector).await {
        Ok(found) => found,
        Err(problem) => return super::only(problem),
    };
    let wanted = usize::try_from(request.limit).ok().filter(|limit| *limit > 0).unwrap_or(usize::MAX);
    let (whole, stop) = (request.include_resource, request.stop);
    let each = stream::iter(found.into_iter().take(wanted))
        .map(move |cluster| one(cluster, whole, connector.clone(), stop.clone()));
    each.buffered(READ_AT_ONCE).boxed()
}

async fn find(request: &List, connector: &Connector) -> Result<Vec<ClusterIdentity>, Diagnostic> {
    let namespace = request.config.get("namespace").as_str();
    let asked = async {
        let connection = connector.connection().await?;
        let api = namespace.map_or_else(|| Api::everywhere(connection), |name| Api::new(connection, name));
        api.list(Kind::Lease, Some(&listing::selector()), None).await.map_err(|error| match namespace {
            None if error.is_forbidden() => everywhere_forbidden(&error.to_string()),
            _ => error.diagnostic(),
        })
    };
    tokio::select! {
        leases = tokio::time::timeout(PATIENCE, asked) => match leases {
            Ok(leases) => Ok(listing::clusters(&leases?)),
            Err(_) => Err(Diagnostic::error("The Kubernetes API is too slow", format!("It did not list the clusters within {PATIENCE:?}."))),
        },
        () = request.stop.cancelled() => Err(Diagnostic::error("The list was interrupted", "The run was stopped.")),
    }
}

fn everywhere_forbidden(tried: &str) -> Diagnostic {
    Diagnostic::error(
        "No right to list clusters in all namespaces",
        format!(
            "{tried}. Say which one is meant (config {{ namespace = \"...\" }}), or give the credentials a ClusterRole with the verb list \
             on leases of API group coordination.k8s.io."
        ),
    )
}

async fn one(
    cluster: ClusterIdentity,
    whole: bool,
    connector: Arc<Connector>,
    stop: CancellationToken,
) -> Listed {
    let mut listed = Listed {
        identity: Some(listing::identity(&cluster)),
        display_name: listing::display_name(&cluster),
        ..Listed::default()
    };
    if whole {
        let Answer { state, diagnostics, .. } = import::import(Import { cluster, stop }, &connector).await;
        if diagnostics.has_errors() {
            listed.diagnostics = as_warnings(&listed.display_name, &diagnostics);
        } else {
            listed.state = Some(state);
        }
    }
    listed
}

/// One cluster that can't be read is no reason to list no other.
fn as_warnings(cluster: &str, problems: &Diagnostics) -> Diagnostics {
    let warning = |problem: &Diagnostic| {
        Diagnostic::warning(
            format!("Cluster {cluster} is listed without its configuration"),
            problem.to_string(),
        )
    };
    problems.iter().map(warning).collect()
}
