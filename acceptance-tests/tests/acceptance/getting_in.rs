//! Those who only read: each right of theirs, and service accounts by their tokens and in a pod.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::core::v1::{ConfigMap, Service, ServiceAccount};
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::Resource;
use kube::api::{Api, PostParams};
use kube::core::NamespaceResourceScope;
use pgha_acceptance_tests::sandbox::Sandbox;
use pgha_acceptance_tests::terraform::{Run, Terraform};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::cases;
use crate::drift::{drift_names, drifting, reader_rules, repaired};
use crate::group::{Group, Site};
use crate::rights::Restricted;
use crate::runner::Case;

/// Name of the account, its Role and its binding.
const ACCOUNT: &str = "drift-job";
/// Where a pod finds its account, in a mount namespace of its own that has nothing else there: `/var/run` leads to `/run`.
const IN_A_POD: &str = r#"exec unshare --mount sh -eu -c '
mount -t tmpfs tmpfs /run
mkdir -p /var/run/secrets/kubernetes.io/serviceaccount
cp account/* /var/run/secrets/kubernetes.io/serviceaccount/
exec "$TERRAFORM" plan -no-color -detailed-exitcode -out=test.plan'
"#;

/// What a plan over a whole cluster does without, and why.
const NOT_FOR_A_PLAN: &[(&str, &str, &str)] = &[
    ("list", "configmaps", "each part of the agent is asked for by itself then"),
    ("get", "services", "one request lists them all while they are there"),
    ("list", "services", "each is asked for by itself then"),
    ("list", "leases", "only a query lists clusters"),
    ("get", "networkpolicies", "the cluster has none, and nobody asked for one"),
];

pub fn cases() -> Vec<Case> {
    cases![
        => each_right_of_a_reader_is_used_and_its_lack_is_said,
        => a_service_account_gets_in_by_its_token_and_in_a_pod,
    ]
}

/// A reader who lacks a right goes on with what is left, and is told what could not be looked at; nothing is guessed.
async fn each_right_of_a_reader_is_used_and_its_lack_is_said(group: &mut Group) -> Result<()> {
    let sandbox = group.bed.sandbox.clone();
    let site = drifting(group).await?;
    let restricted = Restricted::new(&sandbox, site, reader_rules()?).await?;
    restricted.tf.plan_is_empty("nothing was changed, seen with every right of a reader").await?;
    for right in &restricted.all {
        let said = NOT_FOR_A_PLAN
            .iter()
            .find(|(verb, resource, _)| (*verb, *resource) == (right.verb.as_str(), right.resource.as_str()));
        restricted.take(right).await?;
        let seen = restricted.tf.plan(&[]).await?;
        ensure!(!seen.changes, "expected nothing to be made up without {right:?}:\n{}", seen.text);
        let told = seen.text.split_whitespace().collect::<Vec<_>>().join(" ");
        let warned = told.contains("Drift was not looked for everywhere");
        let named = told.contains(&format!("cannot {} resource \"{}\"", right.verb, right.resource));
        let needless = said.map(|(_, _, why)| *why);
        ensure!(
            (warned && named) != needless.is_some(),
            "expected the lack of {right:?} to be said, unless it is needless ({needless:?}):\n{}",
            seen.text
        );
    }
    Ok(())
}

async fn a_service_account_gets_in_by_its_token_and_in_a_pod(group: &mut Group) -> Result<()> {
    let sandbox = group.bed.sandbox.clone();
    let site = drifting(group).await?;
    let account = Account::make(site).await?;
    let port = fs::read_to_string(sandbox.layout().api_port_file())?.trim().to_owned();
    let bare = nothing_else(&sandbox, &site.tf)?;

    let by_token = |token: &str| {
        bare.clone()
            .with_env("KUBE_HOST", &format!("https://127.0.0.1:{port}"))
            .with_env("KUBE_TOKEN", token)
            .with_env("KUBE_CLUSTER_CA_CERT_DATA", &account.certificate)
    };
    by_token(&account.token).plan_is_empty("nothing was changed, seen with a token").await?;
    let refused = by_token("not-a-token").try_plan(&[]).await?;
    refused.failed_saying(&["does not accept the credentials", &format!("127.0.0.1:{port}"), "KUBE_HOST"])?;

    account.mount(&bare)?;
    let pod = bare
        .clone()
        .with_env("KUBERNETES_SERVICE_HOST", "127.0.0.1")
        .with_env("KUBERNETES_SERVICE_PORT", &port);
    ensure!(in_a_pod(&pod).await?.code == Some(0), "expected an empty plan in a pod");
    let service = site.cluster.names.service_r();
    site.cluster.patch::<Service>(&service, json!({ "spec": { "selector": { "role": "primary" } } })).await?;
    let run = in_a_pod(&pod).await?;
    ensure!(run.code == Some(2), "expected the drift to be seen in a pod:\n{}", run.report());
    let planned = by_token(&account.token).plan(&[]).await?;
    drift_names(&planned, &[&service, "selector"])?;
    repaired(site).await
}

/// The CLI as it would be started by nobody who has any credentials.
fn nothing_else(sandbox: &Sandbox, tf: &Terraform) -> Result<Terraform> {
    let home = sandbox.layout().run().join("no-home");
    fs::create_dir_all(&home)?;
    let tf = tf.clone().without_env("KUBECONFIG").without_env("KUBE_CONFIG_PATH");
    Ok(tf.with_env("KUBECONFIG", "").with_env("HOME", &home.to_string_lossy()))
}

async fn in_a_pod(tf: &Terraform) -> Result<Run> {
    tf.write("in-a-pod.sh", IN_A_POD)?;
    tf.run_script(&tf.dir().join("in-a-pod.sh"), &[]).await
}

/// A service account with the rights of the examples' reader.
struct Account {
    token: String,
    certificate: String,
    namespace: String,
}

impl Account {
    async fn make(site: &Site) -> Result<Self> {
        let named = json!({ "metadata": { "name": ACCOUNT } });
        create::<ServiceAccount>(site, named.clone()).await?;
        create::<Role>(site, json!({ "metadata": { "name": ACCOUNT }, "rules": reader_rules()? })).await?;
        create::<RoleBinding>(
            site,
            json!({
                "metadata": { "name": ACCOUNT },
                "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": ACCOUNT },
                "subjects": [{ "kind": "ServiceAccount", "name": ACCOUNT, "namespace": site.namespace }],
            }),
        )
        .await?;
        let asked: TokenRequest = serde_json::from_value(json!({ "spec": { "audiences": [] } }))?;
        let accounts = site.cluster.api::<ServiceAccount>();
        let token = accounts.create_token_request(ACCOUNT, &PostParams::default(), &asked).await?;
        let root = site.cluster.api::<ConfigMap>().get("kube-root-ca.crt").await?;
        let certificate = root.data.and_then(|mut data| data.remove("ca.crt"));
        Ok(Self {
            token: token.status.context("a token that was made")?.token,
            certificate: certificate.context("the namespace's root certificate")?,
            namespace: site.namespace.clone(),
        })
    }

    /// What the kubelet mounts into a pod of the account.
    fn mount(&self, tf: &Terraform) -> Result<()> {
        fs::create_dir_all(tf.dir().join("account"))?;
        for (file, text) in
            [("token", &self.token), ("ca.crt", &self.certificate), ("namespace", &self.namespace)]
        {
            tf.write(&format!("account/{file}"), text)?;
        }
        Ok(())
    }
}

async fn create<K>(site: &Site, object: Value) -> Result<()>
where
    K: Resource<Scope = NamespaceResourceScope> + Clone + std::fmt::Debug + DeserializeOwned + Serialize,
    K::DynamicType: Default,
{
    let api: Api<K> = site.cluster.api();
    api.create(&PostParams::default(), &serde_json::from_value(object)?).await?;
    Ok(())
}
