//! The rights of the examples' Roles: what is missing is said before anything is done, and nothing is there that nobody uses.

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::api::rbac::v1::{PolicyRule, Role};
use serde_json::json;

use crate::cases;
use crate::create::doomed;
use crate::group::{Group, WHOLE};
use crate::runner::Case;

/// What the life of the cluster here does not need.
const USED_ELSEWHERE: &[(&str, &str)] = &[
    // A password is changed: `actions::a_given_password_is_kept_nowhere`.
    ("update", "secrets"),
    // An anchor that was deleted is made again, and the Lease told of it.
    ("patch", "leases"),
    // What a container that does not come up printed.
    ("get", "pods/log"),
];

pub fn cases() -> Vec<Case> {
    cases![=> missing_rights_are_listed_and_the_role_of_the_examples_is_enough]
}

async fn missing_rights_are_listed_and_the_role_of_the_examples_is_enough(group: &mut Group) -> Result<()> {
    let sandbox = group.bed.sandbox.clone();
    let site = doomed(group).await?;
    let writer: Role = serde_yaml_ng::from_str(include_str!("../../../examples/rbac/writer.yaml"))?;
    let rules = writer.rules.context("a Role without rules")?;
    let without = |resource: &str, verb: &str| {
        let mut fewer = rules.clone();
        for rule in &mut fewer {
            if rule.resources.iter().flatten().any(|name| name == resource) {
                rule.verbs.retain(|held| held != verb);
            }
        }
        fewer
    };

    // One that the provider itself uses, and one that it only gives on to the agents.
    for (resource, verb, group) in
        [("statefulsets", "create", "apps"), ("leases", "watch", "coordination.k8s.io")]
    {
        let fewer = sandbox.restricted_kubeconfig(&site.namespace, &without(resource, verb)).await?;
        let said = site.tf.with_kubeconfig(&fewer).try_apply(&[]).await?;
        said.failed_saying(&[
            "have not all rights to create",
            &format!("{verb} on {resource} ({group})"),
            "kind: Role",
        ])?;
        let anchor = site.cluster.api::<ConfigMap>().get_opt(&site.cluster.names.anchor()).await?;
        ensure!(anchor.is_none(), "expected nothing to be made without {verb} on {resource}");
    }

    let user = sandbox.restricted_kubeconfig(&site.namespace, &rules).await?;
    let writer = site.tf.with_kubeconfig(&user);
    let all = site.config.clone().set("replicas", 1).set("network_policy", json!({}));
    site.write(all.set("storage.retain", false))?;
    writer.apply(&[]).await?;
    site.cluster.until_whole(1, WHOLE).await?;
    site.write(site.config.clone().set("parameters", json!({ "work_mem": "8MB" })))?;
    writer.apply(&[]).await?;
    writer.plan_is_empty("a change with the rights of the examples").await?;
    let agents = site.cluster.api::<Role>().get(site.cluster.names.cluster()).await?.rules;

    let fewer = sandbox.restricted_kubeconfig(&site.namespace, &without("statefulsets", "delete")).await?;
    site.tf
        .with_kubeconfig(&fewer)
        .try_destroy()
        .await?
        .failed_saying(&["have not all rights to destroy", "delete on statefulsets (apps)"])?;
    site.cluster.until_whole(1, WHOLE).await?;
    writer.destroy().await?;

    // Who gives the agents a right has to hold it, so these are used too.
    let given = rights(&agents.unwrap_or_default());
    let asked = sandbox.requests_with(&user)?;
    let refused: Vec<_> = asked.iter().filter(|request| !request.allowed).collect();
    ensure!(refused.is_empty(), "expected nothing to be asked for that the Role does not allow: {refused:?}");
    let is_used = |(verb, resource): &(String, String)| {
        given.contains(&(verb.clone(), resource.clone()))
            || USED_ELSEWHERE.contains(&(verb.as_str(), resource.as_str()))
            // A server-side apply of what is not there yet is a patch that takes both rights.
            || asked.iter().any(|request| {
                request.resource == *resource
                    && (request.verb == *verb || verb == "create" && request.verb == "patch")
            })
    };
    let idle: Vec<_> = rights(&rules).into_iter().filter(|right| !is_used(right)).collect();
    ensure!(idle.is_empty(), "expected every right of the Role to be used, these were not: {idle:?}");
    Ok(())
}

/// Verb and resource of each right.
fn rights(rules: &[PolicyRule]) -> Vec<(String, String)> {
    let of = |rule: &PolicyRule| {
        let resources = rule.resources.clone().unwrap_or_default();
        let verbs = rule.verbs.clone();
        resources
            .into_iter()
            .flat_map(move |at| verbs.clone().into_iter().map(move |verb| (verb, at.clone())))
    };
    rules.iter().flat_map(of).collect::<Vec<_>>()
}
