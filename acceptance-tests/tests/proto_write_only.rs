//! The write-only password on the real binary: in no plan, in no state, and refused for hosts that would keep it.

use anyhow::Result;
use pgha_acceptance_tests::proto_client::host::Host;
use pgha_acceptance_tests::proto_client::pb::tfplugin6 as pb;
use pgha_acceptance_tests::proto_client::values::{config, json, messages, null};
use serde_json::{Value as Json, json as js};

const TYPE: &str = "postgres_ha_cluster";
const PASSWORD: &str = "hunter2-hunter2";

fn orders() -> Json {
    js!({
        "name": "orders", "namespace": "shop", "storage": { "size": "1Gi" }, "superuser_password_wo": PASSWORD,
        "superuser_password_wo_version": 1,
    })
}

async fn validated(host: &Host, allowed: Option<bool>) -> Result<Vec<String>> {
    let capabilities = |write_only_attributes_allowed| pb::ClientCapabilities {
        write_only_attributes_allowed,
        ..Default::default()
    };
    let request = pb::validate_resource_config::Request {
        type_name: TYPE.to_owned(),
        config: Some(config(host.resource()?, &orders())?),
        client_capabilities: allowed.map(capabilities),
    };
    Ok(messages(&host.rpc().validate_resource_config(request).await?.into_inner().diagnostics))
}

#[tokio::test]
async fn a_host_that_would_keep_it_is_refused_by_name() -> Result<()> {
    let host = Host::start().await?;
    for host_says in [None, Some(false)] {
        let found = validated(&host, host_says).await?;
        assert!(found.len() == 1 && found[0].starts_with("error superuser_password_wo: "), "{found:?}");
        assert!(found[0].contains("Terraform 1.11") && !found[0].contains(PASSWORD), "{found:?}");
    }
    assert_eq!(validated(&host, Some(true)).await?, [""; 0]);
    Ok(())
}

#[tokio::test]
async fn a_plan_holds_its_number_alone() -> Result<()> {
    let host = Host::start().await?;
    let given = config(host.resource()?, &orders())?;
    let request = pb::plan_resource_change::Request {
        type_name: TYPE.to_owned(),
        prior_state: Some(null()?),
        proposed_new_state: Some(given.clone()),
        config: Some(given),
        ..Default::default()
    };
    let answer = host.rpc().plan_resource_change(request).await?.into_inner();
    assert_eq!(messages(&answer.diagnostics), [""; 0]);
    let planned = json(answer.planned_state.as_ref())?;
    assert_eq!(
        (&planned["superuser_password_wo"], &planned["superuser_password_wo_version"]),
        (&Json::Null, &js!(1))
    );
    assert!(!format!("{answer:?}").contains(PASSWORD) && !planned.to_string().contains(PASSWORD));
    Ok(())
}
