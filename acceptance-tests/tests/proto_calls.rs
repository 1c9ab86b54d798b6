//! Every call of the protocol on the real binary, without a cluster.

use anyhow::{Context as _, Result, ensure};
use futures::future::try_join_all;
use pgha_acceptance_tests::proto_client::Connection;
use pgha_acceptance_tests::proto_client::pb::tfplugin6 as pb;
use pgha_acceptance_tests::proto_client::pb::tfplugin6::provider_client::ProviderClient;
use pgha_acceptance_tests::proto_client::process::Plugin;
use pgha_acceptance_tests::proto_client::values::{self, UNKNOWN, config, json, messages, null};
use serde_json::{Value as Json, json as js};
use tonic::transport::Channel;

const TYPE: &str = "postgres_ha_cluster";

/// A process, a connection to it, and what it serves.
struct Host {
    _plugin: Plugin,
    connection: Connection,
    provider: pb::Schema,
    cluster: pb::Schema,
    view: pb::Schema,
}

impl Host {
    async fn start() -> Result<Self> {
        let plugin = Plugin::start().await?;
        let connection = plugin.connect().await?;
        let answer = connection.provider().get_provider_schema(pb::get_provider_schema::Request {}).await?;
        let mut schemas = answer.into_inner();
        Ok(Self {
            _plugin: plugin,
            connection,
            provider: schemas.provider.take().context("no provider schema")?,
            cluster: schemas.resource_schemas.remove(TYPE).context("no resource schema")?,
            view: schemas.data_source_schemas.remove(TYPE).context("no data source schema")?,
        })
    }

    fn rpc(&self) -> ProviderClient<Channel> {
        self.connection.provider()
    }

    async fn validate(&self, given: Json) -> Result<Vec<String>> {
        let request = pb::validate_resource_config::Request {
            type_name: TYPE.to_owned(),
            config: Some(config(&self.cluster, &given)?),
            client_capabilities: None,
        };
        Ok(messages(&self.rpc().validate_resource_config(request).await?.into_inner().diagnostics))
    }

    async fn validate_provider(&self, given: Json) -> Result<Vec<String>> {
        let request = pb::validate_provider_config::Request { config: Some(config(&self.provider, &given)?) };
        Ok(messages(&self.rpc().validate_provider_config(request).await?.into_inner().diagnostics))
    }

    async fn plan(
        &self,
        prior: pb::DynamicValue,
        given: pb::DynamicValue,
    ) -> Result<pb::plan_resource_change::Response> {
        let request = pb::plan_resource_change::Request {
            type_name: TYPE.to_owned(),
            prior_state: Some(prior),
            proposed_new_state: Some(given.clone()),
            config: Some(given),
            ..Default::default()
        };
        Ok(self.rpc().plan_resource_change(request).await?.into_inner())
    }
}

fn minimal() -> Json {
    js!({ "name": "db", "namespace": "shop", "storage": { "size": "1Gi" } })
}

#[tokio::test]
async fn metadata_and_capabilities() -> Result<()> {
    let host = Host::start().await?;
    let metadata = host.rpc().get_metadata(pb::get_metadata::Request {}).await?.into_inner();
    let schemas = host.rpc().get_provider_schema(pb::get_provider_schema::Request {}).await?.into_inner();
    let expected = pb::ServerCapabilities {
        plan_destroy: true,
        get_provider_schema_optional: true,
        move_resource_state: true,
        generate_resource_config: true,
    };
    assert_eq!(metadata.server_capabilities, Some(expected));
    assert_eq!(schemas.server_capabilities, Some(expected));
    let types: Vec<_> = metadata.resources.into_iter().map(|resource| resource.type_name).collect();
    assert_eq!(types, schemas.resource_schemas.keys().cloned().collect::<Vec<_>>());
    assert_eq!(types, [TYPE]);
    let views: Vec<_> = metadata.data_sources.into_iter().map(|one| one.type_name).collect();
    assert_eq!(views, schemas.data_source_schemas.keys().cloned().collect::<Vec<_>>());
    Ok(())
}

/// The checks with which hosts refuse a schema.
fn sane(path: &str, attributes: &[pb::schema::Attribute]) -> Result<()> {
    const RESERVED: [&str; 8] =
        ["count", "for_each", "provider", "depends_on", "lifecycle", "connection", "provisioner", "locals"];
    for attribute in attributes {
        let place = format!("{path}{}", attribute.name);
        let good = attribute.name.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'_');
        ensure!(good, "{place}: the name");
        ensure!(!path.is_empty() || !RESERVED.contains(&attribute.name.as_str()), "{place}: reserved");
        let (required, optional, computed) = (attribute.required, attribute.optional, attribute.computed);
        ensure!(required || optional || computed, "{place}: neither required nor optional nor computed");
        ensure!(!(required && (optional || computed)), "{place}: required and something else");
        ensure!(!attribute.description.is_empty(), "{place}: no description");
        match &attribute.nested_type {
            Some(nested) => {
                ensure!(attribute.r#type.is_empty(), "{place}: a type beside a nested type");
                sane(&format!("{place}."), &nested.attributes)?;
            }
            None => {
                serde_json::from_slice::<Json>(&attribute.r#type)
                    .with_context(|| format!("{place}: the type"))?;
            }
        }
    }
    Ok(())
}

#[tokio::test]
async fn hosts_accept_the_schemas() -> Result<()> {
    let host = Host::start().await?;
    for schema in [&host.provider, &host.cluster, &host.view] {
        let block = schema.block.as_ref().context("no block")?;
        assert!(!block.attributes.is_empty());
        sane("", &block.attributes)?;
    }
    Ok(())
}

#[tokio::test]
async fn the_provider_block_is_validated_with_unknowns() -> Result<()> {
    let host = Host::start().await?;
    assert_eq!(host.validate_provider(js!({})).await?, [""; 0]);
    assert_eq!(host.validate_provider(js!({ "host": UNKNOWN, "token": UNKNOWN })).await?, [""; 0]);
    let both = host.validate_provider(js!({ "config_path": "/a", "config_paths": ["/b"] })).await?;
    assert!(both.iter().any(|message| message.starts_with("error ")), "{both:?}");
    let bad = host.validate_provider(js!({ "ignore_labels": ["^a", "("] })).await?;
    assert!(bad.len() == 1 && bad[0].contains("`(` is not a regular expression"), "{bad:?}");
    assert!(bad[0].contains("ignore_labels"), "{bad:?}");
    Ok(())
}

#[tokio::test]
async fn the_provider_is_configured_without_a_network_and_as_often_as_asked() -> Result<()> {
    let host = Host::start().await?;
    for given in [
        js!({ "host": "https://127.0.0.1:1" }),
        js!({ "host": UNKNOWN }),
        js!({ "host": "https://127.0.0.1:1" }),
    ] {
        let request = pb::configure_provider::Request {
            terraform_version: "1.11.4".to_owned(),
            config: Some(config(&host.provider, &given)?),
            client_capabilities: None,
        };
        let answer = host.rpc().configure_provider(request).await?.into_inner();
        assert_eq!(messages(&answer.diagnostics), [""; 0], "{given}");
    }
    Ok(())
}

#[tokio::test]
async fn a_resource_is_validated_with_unknowns() -> Result<()> {
    let host = Host::start().await?;
    assert_eq!(host.validate(minimal()).await?, [""; 0]);
    let unknown = js!({
        "name": UNKNOWN, "namespace": UNKNOWN, "replicas": UNKNOWN, "sync_mode": UNKNOWN,
        "storage": { "size": UNKNOWN, "class": UNKNOWN },
        "parameters": { "work_mem": UNKNOWN }, "pg_hba": [UNKNOWN],
        "failover": { "lease_duration": UNKNOWN }, "bootstrap": UNKNOWN,
    });
    assert_eq!(host.validate(unknown).await?, [""; 0]);
    Ok(())
}

#[tokio::test]
async fn what_is_wrong_is_named_by_its_path() -> Result<()> {
    let host = Host::start().await?;
    let mut cases = vec![
        (js!({ "replicas": 10 }), "error replicas: "),
        (js!({ "storage": { "size": "much" } }), "error storage: Invalid storage.size: "),
        (js!({ "sync_mode": "maybe" }), "error sync_mode: "),
        (js!({ "pg_hba": ["host all all all md5", "no line"] }), "error pg_hba[1]: "),
        (js!({ "parameters": { "primary_conninfo": "x" } }), "error parameters[\"primary_conninfo\"]: "),
        (js!({ "name": "Not A Name" }), "error name: "),
        (js!({ "port": 5432 }), "error port: port can't be set: "),
        (js!({ "drift": UNKNOWN }), "error drift: drift can't be set: "),
    ];
    for (change, expected) in cases.drain(..) {
        let mut given = minimal();
        given.as_object_mut().context("no object")?.extend(change.as_object().context("no object")?.clone());
        let found = host.validate(given).await?;
        assert!(found.iter().any(|message| message.starts_with(expected)), "{expected}: {found:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_create_is_planned_from_config_alone() -> Result<()> {
    let host = Host::start().await?;
    let given = config(&host.cluster, &minimal())?;
    let first = host.plan(null()?, given.clone()).await?;
    assert_eq!(messages(&first.diagnostics), [""; 0]);
    let planned = json(first.planned_state.as_ref())?;
    assert_eq!(planned["name"], "db");
    assert_eq!(planned["replicas"], 2);
    assert_eq!(planned["sync_mode"], "sync");
    assert_eq!(planned["port"], 5432);
    assert_eq!(planned["rw_host"], "db-rw.shop.svc");
    assert_eq!(planned["app_secret"], "db-app");
    assert_eq!(planned["deletion_protection"], true);
    assert_eq!(planned["ready"], UNKNOWN);
    assert_eq!(planned["drift"], js!([]));
    // The host asks twice and compares.
    let second = host.plan(null()?, given).await?;
    assert_eq!(first.planned_state, second.planned_state);
    Ok(())
}

#[tokio::test]
async fn unknown_inputs_stay_unknown_in_the_plan() -> Result<()> {
    let host = Host::start().await?;
    let mut given = minimal();
    given["name"] = UNKNOWN.into();
    given["replicas"] = UNKNOWN.into();
    given["storage"]["size"] = UNKNOWN.into();
    let plan = host.plan(null()?, config(&host.cluster, &given)?).await?;
    assert_eq!(messages(&plan.diagnostics), [""; 0]);
    let planned = json(plan.planned_state.as_ref())?;
    for path in ["/name", "/replicas", "/storage/size", "/rw_host", "/app_secret"] {
        assert_eq!(planned.pointer(path), Some(&Json::from(UNKNOWN)), "{path}");
    }
    assert_eq!(planned["namespace"], "shop");
    Ok(())
}

/// A state as apply would leave it: the plan with its unknowns filled.
fn filled(mut planned: Json) -> Json {
    fn fill(value: &mut Json, name: &str) {
        match value {
            Json::Object(entries) => entries.iter_mut().for_each(|(name, value)| fill(value, name)),
            Json::String(text) if text == UNKNOWN => {
                *value = match name {
                    "ready" => true.into(),
                    "system_identifier" => "7312345678901234567".into(),
                    _ => Json::Null,
                }
            }
            _ => {}
        }
    }
    fill(&mut planned, "");
    planned
}

async fn existing(host: &Host, given: &Json) -> Result<Json> {
    let plan = host.plan(null()?, config(&host.cluster, given)?).await?;
    Ok(filled(json(plan.planned_state.as_ref())?))
}

#[tokio::test]
async fn nothing_changes_where_nothing_was_changed() -> Result<()> {
    let host = Host::start().await?;
    let state = existing(&host, &minimal()).await?;
    let prior = config(&host.cluster, &state)?;
    let plan = host.plan(prior, config(&host.cluster, &minimal())?).await?;
    assert_eq!(messages(&plan.diagnostics), [""; 0]);
    assert_eq!(json(plan.planned_state.as_ref())?, state);
    assert_eq!(plan.requires_replace, []);
    Ok(())
}

#[tokio::test]
async fn a_change_touches_what_it_says() -> Result<()> {
    let host = Host::start().await?;
    let state = existing(&host, &minimal()).await?;
    let mut given = minimal();
    given["replicas"] = 3.into();
    let plan = host.plan(config(&host.cluster, &state)?, config(&host.cluster, &given)?).await?;
    let planned = json(plan.planned_state.as_ref())?;
    assert_eq!(planned["replicas"], 3);
    assert_eq!(planned["system_identifier"], state["system_identifier"]);
    assert_eq!(plan.requires_replace, []);
    Ok(())
}

#[tokio::test]
async fn another_name_is_another_cluster_and_protection_refuses_it() -> Result<()> {
    let host = Host::start().await?;
    let mut protected = minimal();
    protected["deletion_protection"] = false.into();
    let state = existing(&host, &protected).await?;
    let mut given = protected.clone();
    given["name"] = "other".into();
    let plan = host.plan(config(&host.cluster, &state)?, config(&host.cluster, &given)?).await?;
    let paths: Vec<_> = plan.requires_replace.iter().map(values::path).collect();
    assert_eq!(paths, ["name"]);
    let found = messages(&plan.diagnostics);
    assert!(!found.iter().any(|message| message.starts_with("error")), "{found:?}");
    assert!(found.iter().any(|message| message.contains("is destroyed and a new one is made")), "{found:?}");

    let state = existing(&host, &minimal()).await?;
    let mut given = minimal();
    given["name"] = "other".into();
    let plan = host.plan(config(&host.cluster, &state)?, config(&host.cluster, &given)?).await?;
    let found = messages(&plan.diagnostics);
    assert!(found.iter().any(|message| message.contains("deletion_protection")), "{found:?}");
    Ok(())
}

#[tokio::test]
async fn a_destroy_is_planned_without_a_cluster() -> Result<()> {
    let host = Host::start().await?;
    let mut given = minimal();
    given["deletion_protection"] = false.into();
    let prior = config(&host.cluster, &existing(&host, &given).await?)?;
    let plan = host.plan(prior, null()?).await?;
    assert!(!messages(&plan.diagnostics).iter().any(|message| message.starts_with("error")));
    assert_eq!(json(plan.planned_state.as_ref())?, Json::Null);

    let prior = config(&host.cluster, &existing(&host, &minimal()).await?)?;
    let plan = host.plan(prior, null()?).await?;
    let found = messages(&plan.diagnostics);
    assert!(found.iter().any(|message| message.contains("deletion_protection")), "{found:?}");
    Ok(())
}

#[tokio::test]
async fn stored_state_is_read_with_tolerance_and_comes_back_as_it_was() -> Result<()> {
    let host = Host::start().await?;
    let upgrade = async |version: i64, stored: &Json| -> Result<_> {
        let request = pb::upgrade_resource_state::Request {
            type_name: TYPE.to_owned(),
            version,
            raw_state: Some(pb::RawState { json: stored.to_string().into_bytes(), ..Default::default() }),
        };
        Ok(host.rpc().upgrade_resource_state(request).await?.into_inner())
    };
    let state = existing(&host, &minimal()).await?;
    let answer = upgrade(0, &state).await?;
    assert_eq!(messages(&answer.diagnostics), [""; 0]);
    assert_eq!(json(answer.upgraded_state.as_ref())?, state);

    let older = js!({ "name": "db", "an_attribute_of_old": 1 });
    let answer = upgrade(0, &older).await?;
    assert_eq!(messages(&answer.diagnostics), [""; 0]);
    let upgraded = json(answer.upgraded_state.as_ref())?;
    assert_eq!((&upgraded["name"], &upgraded["namespace"]), (&js!("db"), &Json::Null));

    for (version, stored) in [(0, js!({ "replicas": "many" })), (99, state), (0, js!("text"))] {
        let answer = upgrade(version, &stored).await?;
        let found = messages(&answer.diagnostics);
        assert!(found.iter().any(|message| message.starts_with("error")), "{version} {stored}: {found:?}");
    }
    Ok(())
}

#[tokio::test]
async fn values_that_do_not_fit_are_diagnosed_and_not_crashed_on() -> Result<()> {
    let host = Host::start().await?;
    let broken = [
        vec![0xc0, 0xc0],
        vec![0xff; 10],
        vec![0x91; 5000],
        b"\x80".to_vec(),
        values::dynamic(&rmpv::Value::from("text"))?.msgpack,
    ];
    for msgpack in broken {
        let value = pb::DynamicValue { msgpack, json: Vec::new() };
        let request = pb::validate_resource_config::Request {
            type_name: TYPE.to_owned(),
            config: Some(value.clone()),
            client_capabilities: None,
        };
        let answer = host.rpc().validate_resource_config(request).await?.into_inner();
        assert!(messages(&answer.diagnostics)[0].starts_with("error"));
        let answer = host.plan(value.clone(), value).await?;
        assert!(messages(&answer.diagnostics)[0].starts_with("error"));
    }
    let request = pb::read_resource::Request {
        type_name: TYPE.to_owned(),
        current_state: Some(config(&host.cluster, &minimal())?),
        private: b"foreign".to_vec(),
        ..Default::default()
    };
    let answer = host.rpc().read_resource(request).await?.into_inner();
    assert!(messages(&answer.diagnostics)[0].contains("private state"));
    Ok(())
}

#[tokio::test]
async fn many_calls_go_side_by_side() -> Result<()> {
    let host = Host::start().await?;
    let found = try_join_all((0..50).map(|_| host.validate(minimal()))).await?;
    assert!(found.iter().all(Vec::is_empty));
    Ok(())
}

#[tokio::test]
async fn a_stop_is_answered_without_an_error() -> Result<()> {
    let host = Host::start().await?;
    let answer = host.rpc().stop_provider(pb::stop_provider::Request {}).await?.into_inner();
    assert_eq!(answer.error, "");
    assert_eq!(host.validate(minimal()).await?, [""; 0]);
    Ok(())
}
