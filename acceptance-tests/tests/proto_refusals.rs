//! What the API server refuses: told at plan by a warning and at apply by an error, in the same words, with the way out. And that it is slow.

use std::time::Duration;

use anyhow::{Result, ensure};
use hyper::StatusCode;
use pgha_acceptance_tests::host::{Applied, Ignored, Plan, Stored, has_errors};
use pgha_acceptance_tests::proto_client::agents::Agents;
use pgha_acceptance_tests::proto_client::host::Host;
use pgha_acceptance_tests::proto_client::kubernetes::FakeApi;
use pgha_acceptance_tests::proto_client::values::messages;
use serde_json::{Value as Json, json as js};

const SERVICES: &str = "/api/v1/namespaces/shop/services/";

fn given() -> Json {
    js!({ "name": "db", "namespace": "shop", "storage": { "size": "1Gi" } })
}

async fn scene() -> Result<(FakeApi, Host)> {
    let api = FakeApi::start_with(Agents::default().reaction()).await?;
    let host = Host::configured(&js!({ "host": api.address() })).await?;
    Ok((api, host))
}

/// A create's plan and apply, where a path is refused with this status.
async fn refused(path: &str, status: Json) -> Result<(Plan, Applied)> {
    let (api, host) = scene().await?;
    api.refuse(path, status);
    let core = host.core().await?;
    let plan = core.plan(&Stored::nothing(), &given(), &Ignored::Nothing).await?;
    let made = core.apply(&plan, &given()).await?;
    Ok((plan, made))
}

/// All of the parts are told at plan, as a warning, and those of an error at apply too.
fn both_say(plan: &Plan, made: &Applied, parts: &[&str]) -> Result<()> {
    ensure!(!has_errors(&plan.diagnostics), "a plan only warns: {:?}", messages(&plan.diagnostics));
    let (foretold, told) = (messages(&plan.diagnostics).join("\n"), messages(&made.diagnostics).join("\n"));
    ensure!(foretold.contains("Kubernetes would refuse parts of this plan now"), "{foretold}");
    ensure!(has_errors(&made.diagnostics), "an apply fails: {told}");
    for part in parts {
        ensure!(foretold.contains(part), "{part:?} is missing at plan: {foretold}");
        ensure!(told.contains(part), "{part:?} is missing at apply: {told}");
    }
    Ok(())
}

#[tokio::test]
async fn a_quota_is_named_with_what_to_lower() -> Result<()> {
    let message =
        "services \"db-rw\" is forbidden: exceeded quota: small, requested: services=1, used: services=3";
    let status = js!({ "code": 403, "reason": "Forbidden", "message": message });
    let (plan, made) = refused(&format!("{SERVICES}db-rw"), status).await?;
    both_say(
        &plan,
        &made,
        &["requested: services=1", "Raise ResourceQuota small of namespace shop", "storage.size"],
    )
}

#[tokio::test]
async fn a_policy_is_named_with_what_to_change() -> Result<()> {
    let message = "admission webhook \"team.example.org\" denied the request: label team is missing";
    let status = js!({ "code": 400, "reason": "BadRequest", "message": message });
    let (plan, made) = refused("/serviceaccounts/db", status).await?;
    both_say(&plan, &made, &["label team is missing", "The admission webhook team.example.org says so"])
}

#[tokio::test]
async fn pod_security_is_named_at_plan_since_an_apply_makes_no_pod_itself() -> Result<()> {
    let message =
        "pods \"db-dry-run\" is forbidden: violates PodSecurity \"restricted:latest\": runAsNonRoot != true";
    let (api, host) = scene().await?;
    api.refuse("/namespaces/shop/pods", js!({ "code": 403, "reason": "Forbidden", "message": message }));
    let core = host.core().await?;
    let plan = core.plan(&Stored::nothing(), &given(), &Ignored::Nothing).await?;
    let told = messages(&plan.diagnostics).join("\n");
    ensure!(
        !has_errors(&plan.diagnostics) && told.contains("Pod Security level restricted:latest"),
        "{told}"
    );
    Ok(())
}

#[tokio::test]
async fn fields_that_stay_as_they_are_come_with_the_command_that_makes_the_object_anew() -> Result<()> {
    let status = js!({
        "code": 422, "reason": "Invalid", "message": "StatefulSet.apps \"db\" is invalid", "details": { "causes": [
            { "reason": "FieldValueInvalid", "field": "spec.selector", "message": "field is immutable" },
            { "reason": "FieldValueForbidden", "field": "spec", "message": "Forbidden: updates to statefulset spec for fields other than 'replicas' are forbidden" },
        ] },
    });
    let (plan, made) = refused("/statefulsets/db", status).await?;
    let parts = [
        "spec.selector: field is immutable\n",
        "spec: Forbidden: updates to statefulset spec",
        "kubectl delete statefulset db --namespace shop --cascade=orphan",
        "apply again",
    ];
    both_say(&plan, &made, &parts)
}

/// At a create too, where the whole of the dry run takes longer than a plan waits.
#[tokio::test]
async fn a_server_that_is_too_slow_for_the_lease_is_told_of_at_a_create() -> Result<()> {
    let (api, host) = scene().await?;
    let core = host.core().await?;
    let mut given = given();
    given["failover"] = js!({ "lease_duration": "6s", "fence_after": "4s", "renew_interval": "1s" });
    let plan = core.plan(&Stored::nothing(), &given, &Ignored::Nothing).await?;
    ensure!(!has_errors(&plan.diagnostics), "{:?}", messages(&plan.diagnostics));
    api.slow_down(Duration::from_millis(1_900));
    let plan = core.plan(&Stored::nothing(), &given, &Ignored::Nothing).await?;
    let told = messages(&plan.diagnostics).join("\n");
    ensure!(
        !has_errors(&plan.diagnostics) && told.contains("The lease is short for this API server"),
        "no warning, only {told:?}"
    );
    Ok(())
}

/// How the API server is told to refuse.
type Refuse = fn(&FakeApi);

/// What may not be read is not gone.
#[tokio::test]
async fn a_refresh_that_is_refused_altogether_is_an_error_and_changes_nothing() -> Result<()> {
    let (api, host) = scene().await?;
    let core = host.core().await?;
    let plan = core.plan(&Stored::nothing(), &given(), &Ignored::Nothing).await?;
    let made = core.apply(&plan, &given()).await?;
    ensure!(made.diagnostics.is_empty(), "{:?}", messages(&made.diagnostics));
    let refusals: [(&str, Refuse); 3] = [
        ("does not accept the credentials", |api| api.gate(|_| Some(StatusCode::UNAUTHORIZED))),
        ("Forbidden, says a test", |api| api.gate(|_| Some(StatusCode::FORBIDDEN))),
        // Every path has this word in it.
        ("No right to", |api| {
            api.gate(|_| None);
            api.forbid("namespaces");
        }),
    ];
    for (said, refuse) in refusals {
        refuse(&api);
        let seen = core.read(&made.stored).await?;
        let told = messages(&seen.diagnostics).join("\n");
        ensure!(has_errors(&seen.diagnostics) && told.contains(said), "{said:?} is missing in {told:?}");
        ensure!(seen.stored == made.stored, "{said}: state or private changed: {:?}", seen.stored);
    }
    Ok(())
}
