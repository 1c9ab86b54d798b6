//! Which rights the credentials lack, asked of the API server before an operation starts.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::future::try_join_all;
use pgha_provider_core::rights::{Needs, Right, is_covered};
use serde_json::{Value as Json, json};

use super::api::Api;
use super::errors::causes;

/// An API server that does not tell within this lets the operation find out.
const LIMIT: Duration = Duration::from_secs(5);

/// The rights that are needed and missing. Empty too when the API server does not tell.
pub async fn missing(api: &Api, needs: &Needs) -> BTreeSet<Right> {
    match tokio::time::timeout(LIMIT, ask(api, needs)).await {
        Ok(Ok(missing)) => missing,
        Ok(Err(error)) => {
            tracing::info!(causes = causes(&error), "the rights could not be looked at");
            BTreeSet::new()
        }
        Err(_) => {
            tracing::info!("the rights could not be looked at in time");
            BTreeSet::new()
        }
    }
}

async fn ask(api: &Api, needs: &Needs) -> Result<BTreeSet<Right>, kube::Error> {
    let review = json!({
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectRulesReview",
        "spec": {"namespace": api.namespace()},
    });
    let answer = api.review("selfsubjectrulesreviews", &review).await?;
    let rules = answer.pointer("/status/resourceRules").and_then(Json::as_array).cloned().unwrap_or_default();
    let doubtful = |rights: &BTreeSet<Right>| -> Vec<Right> {
        rights.iter().copied().filter(|right| !is_covered(&rules, *right)).collect()
    };
    let mut missing = refused(api, doubtful(&needs.used)).await?;
    let given = doubtful(&needs.given);
    if !given.is_empty() && !may(api, "rbac.authorization.k8s.io", "roles", "escalate").await? {
        missing.extend(refused(api, given).await?);
    }
    Ok(missing)
}

/// Those that the API server refuses. The list of rules leaves out what other authorizers than RBAC allow.
async fn refused(api: &Api, doubtful: Vec<Right>) -> Result<BTreeSet<Right>, kube::Error> {
    let looks = doubtful.into_iter().map(|right| async move {
        let allowed = may(api, right.kind.group(), right.kind.plural(), right.verb).await?;
        Ok::<_, kube::Error>((!allowed).then_some(right))
    });
    Ok(try_join_all(looks).await?.into_iter().flatten().collect())
}

async fn may(api: &Api, group: &str, resource: &str, verb: &str) -> Result<bool, kube::Error> {
    let review = json!({
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": {
            "namespace": api.namespace(), "group": group, "resource": resource, "verb": verb,
        }},
    });
    let answer = api.review("selfsubjectaccessreviews", &review).await?;
    Ok(answer.pointer("/status/allowed").and_then(Json::as_bool) == Some(true))
}
