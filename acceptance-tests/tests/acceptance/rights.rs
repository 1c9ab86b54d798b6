//! The rights of the examples' Roles: what is missing is said before anything is done, and nothing is there that nobody uses.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::authorization::v1::{ResourceRule, SelfSubjectRulesReview};
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::api::rbac::v1::{PolicyRule, Role};
use kube::api::{Api, PostParams};
use pgha_acceptance_tests::cluster::Cluster;
use pgha_acceptance_tests::poll::{Seen, until};
use pgha_acceptance_tests::sandbox::{Sandbox, client_of};
use pgha_acceptance_tests::terraform::{Run, Terraform};
use pgha_schema::names::KEY_DESIRED;
use serde_json::json;

use crate::cases;
use crate::create::doomed;
use crate::group::{Group, Site, WHOLE};
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

/// What a create does without, so that the lack of it is told when something else needs it, or never.
const NOT_FOR_A_CREATE: &[(&str, &str)] = &[
    // One request for all Services; without it there is one for each.
    ("list", "services"),
    // A plan tries a pod and a claim, and leaves that out where it may not.
    ("create", "pods"),
    ("create", "persistentvolumeclaims"),
    // Why a pod does not come up: without them a failure tells less.
    ("get", "pods/log"),
    ("list", "events"),
    // A password is changed, an anchor is made again: told by those updates, before they write.
    ("update", "secrets"),
    ("patch", "leases"),
];
/// How long the API server may take to judge by a Role that was changed.
const JUDGED: Duration = Duration::from_secs(20);

pub fn cases() -> Vec<Case> {
    cases![
        => each_missing_right_is_said_before_anything_is_done,
        => the_role_of_the_examples_is_enough_and_all_of_it_is_used,
    ]
}

async fn the_role_of_the_examples_is_enough_and_all_of_it_is_used(group: &mut Group) -> Result<()> {
    let sandbox = group.bed.sandbox.clone();
    let site = doomed(group).await?;
    let rules = writer()?;
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

async fn each_missing_right_is_said_before_anything_is_done(group: &mut Group) -> Result<()> {
    let sandbox = group.bed.sandbox.clone();
    let site = doomed(group).await?;
    let restricted = Restricted::new(&sandbox, site, writer()?).await?;
    let config = site.config.clone().set("replicas", 1).set("network_policy", json!({}));
    let config = config.set("storage.retain", false);
    site.write(config.clone())?;
    let anchor = site.cluster.names.anchor();
    let for_create: Vec<Right> =
        restricted.all.iter().filter(|right| right.is_for_a_create()).cloned().collect();
    ensure!(for_create.len() > 30, "expected most rights to be for a create, got {for_create:?}");
    for right in &for_create {
        restricted.take(right).await?;
        right.refused("create", restricted.tf.try_apply(&[]).await?)?;
        let made = site.cluster.api::<ConfigMap>().get_opt(&anchor).await?;
        ensure!(made.is_none(), "expected nothing to be made without {right:?}");
    }

    // So that what is not looked for is really not needed.
    restricted.leave(Right::is_for_a_create).await?;
    restricted.tf.apply(&[]).await?;
    site.cluster.until_whole(1, WHOLE).await?;
    let before = fingerprint(&site.cluster).await?;
    for (resource, fewer) in [
        ("networkpolicies", config.clone().unset("network_policy")),
        ("poddisruptionbudgets", config.clone().set("replicas", 0)),
    ] {
        site.write(fewer)?;
        let right = restricted.right("delete", resource)?;
        restricted.take(&right).await?;
        right.refused("change", restricted.tf.try_apply(&[]).await?)?;
    }
    site.write(config)?;
    let deletes = restricted.all.iter().filter(|right| right.verb == "delete" && !right.is_for_a_create());
    let deletes: Vec<Right> = deletes.cloned().collect();
    ensure!(deletes.len() > 9, "expected every kind to be deleted, got {deletes:?}");
    for right in &deletes {
        restricted.take(right).await?;
        right.refused("destroy", restricted.tf.try_destroy().await?)?;
    }
    let now = fingerprint(&site.cluster).await?;
    ensure!(now == before, "expected nothing to be changed or deleted, it was {before:?} and is {now:?}");
    restricted.leave(|_| true).await?;
    restricted.tf.destroy().await?;
    Ok(())
}

/// One right of the examples' Role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Right {
    pub group: String,
    pub resource: String,
    pub verb: String,
}

impl Right {
    /// Without it a create is refused: the provider uses it, or gives it on to the agents.
    fn is_for_a_create(&self) -> bool {
        let given = self.resource == "pods";
        (self.verb != "delete" || given)
            && !NOT_FOR_A_CREATE.contains(&(self.verb.as_str(), self.resource.as_str()))
    }

    /// Its lack, and nothing else's, is why this run failed.
    fn refused(&self, operation: &str, run: Run) -> Result<()> {
        let group = if self.group.is_empty() { "the core API group" } else { &self.group };
        let operation = format!("have not all rights to {operation}");
        let lacking = format!("they lack: {} on {} ({group}) This Role adds", self.verb, self.resource);
        run.failed_saying(&[&operation, "Nothing was changed.", &lacking]).map(drop)
    }
}

/// A user whose Role is changed again and again, and the CLI with that user's credentials.
pub struct Restricted {
    pub all: Vec<Right>,
    role: String,
    user: kube::Client,
    cluster: Cluster,
    namespace: String,
    pub tf: Terraform,
}

impl Restricted {
    pub async fn new(sandbox: &Sandbox, site: &Site, rules: Vec<PolicyRule>) -> Result<Self> {
        let kubeconfig = sandbox.restricted_kubeconfig(&site.namespace, &rules).await?;
        let role = kubeconfig.file_stem().context("a kubeconfig has a name")?.to_string_lossy().into_owned();
        Ok(Self {
            all: rules.iter().flat_map(each).collect(),
            role,
            user: client_of(&kubeconfig).await?,
            cluster: site.cluster.clone(),
            namespace: site.namespace.clone(),
            tf: site.tf.with_kubeconfig(&kubeconfig),
        })
    }

    fn right(&self, verb: &str, resource: &str) -> Result<Right> {
        let found = self.all.iter().find(|right| right.verb == verb && right.resource == resource);
        found.cloned().with_context(|| format!("the Role has no {verb} on {resource}"))
    }

    /// The whole Role but for one right.
    pub async fn take(&self, right: &Right) -> Result<()> {
        self.leave(|held| held != right).await
    }

    /// Only these; returns once the API server judges by them.
    async fn leave(&self, stays: impl Fn(&Right) -> bool) -> Result<()> {
        let rule = |right: &Right| json!({ "apiGroups": [right.group], "resources": [right.resource], "verbs": [right.verb] });
        let rules: Vec<_> = self.all.iter().filter(|right| stays(right)).map(rule).collect();
        self.cluster.patch::<Role>(&self.role, json!({ "rules": rules })).await?;
        until("the API server to judge by the changed Role", JUDGED, || async {
            let held = self.held().await?;
            let other = self.all.iter().find(|right| held.contains(right) != stays(right));
            Ok(Seen::when(other.is_none(), format!("not yet judged so: {other:?}")))
        })
        .await
    }

    /// What the API server lets the user do.
    async fn held(&self) -> Result<Vec<Right>> {
        let review = serde_json::from_value::<SelfSubjectRulesReview>(
            json!({ "metadata": {}, "spec": { "namespace": self.namespace } }),
        )?;
        let answer = Api::all(self.user.clone()).create(&PostParams::default(), &review).await?;
        let rules = answer.status.context("a review without an answer")?.resource_rules;
        let rule = |rule: ResourceRule| PolicyRule {
            api_groups: rule.api_groups,
            resources: rule.resources,
            verbs: rule.verbs,
            ..PolicyRule::default()
        };
        Ok(rules.into_iter().flat_map(|one| each(&rule(one))).collect())
    }
}

/// What any change of the cluster would change: its pods, and what they are told.
async fn fingerprint(cluster: &Cluster) -> Result<(BTreeMap<String, String>, Option<String>)> {
    let desired = cluster.api::<ConfigMap>().get(&cluster.names.desired()).await?;
    Ok((cluster.pod_uids().await?, desired.data.and_then(|mut data| data.remove(KEY_DESIRED))))
}

fn writer() -> Result<Vec<PolicyRule>> {
    let writer: Role = serde_yaml_ng::from_str(include_str!("../../../examples/rbac/writer.yaml"))?;
    writer.rules.context("a Role without rules")
}

/// The rights of a rule, one by one.
pub fn each(rule: &PolicyRule) -> Vec<Right> {
    let mut all = Vec::new();
    for group in rule.api_groups.iter().flatten() {
        for resource in rule.resources.iter().flatten() {
            all.extend(rule.verbs.iter().map(|verb| Right {
                group: group.clone(),
                resource: resource.clone(),
                verb: verb.clone(),
            }));
        }
    }
    all
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
