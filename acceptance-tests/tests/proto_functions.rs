//! Functions on the real binary, which nobody configured.

use anyhow::{Context as _, Result};
use pgha_acceptance_tests::proto_client::pb::tfplugin6 as pb;
use pgha_acceptance_tests::proto_client::pb::tfplugin6::provider_client::ProviderClient;
use pgha_acceptance_tests::proto_client::process::Plugin;
use pgha_acceptance_tests::proto_client::values::{UNKNOWN, argument, json};
use serde_json::{Value as Json, json as js};
use tonic::transport::Channel;

/// A process and a connection to it.
struct Host {
    _plugin: Plugin,
    rpc: ProviderClient<Channel>,
}

impl Host {
    async fn start() -> Result<Self> {
        let plugin = Plugin::start().await?;
        let rpc = plugin.connect().await?.provider();
        Ok(Self { _plugin: plugin, rpc })
    }

    async fn call(&mut self, name: &str, arguments: &[Json]) -> Result<pb::call_function::Response> {
        let arguments = arguments.iter().map(argument).collect::<Result<_>>()?;
        let request = pb::call_function::Request { name: name.to_owned(), arguments };
        Ok(self.rpc.call_function(request).await?.into_inner())
    }

    async fn result(&mut self, name: &str, arguments: &[Json]) -> Result<Json> {
        let answer = self.call(name, arguments).await?;
        assert_eq!(answer.error, None, "{name}");
        json(answer.result.as_ref())
    }

    async fn error(&mut self, name: &str, arguments: &[Json]) -> Result<pb::FunctionError> {
        let answer = self.call(name, arguments).await?;
        assert!(answer.result.is_none(), "{name}");
        answer.error.with_context(|| format!("{name} gave no error"))
    }
}

/// As a host converts the whole resource to the parameter's type.
fn cluster() -> Json {
    js!({
        "name": "orders", "namespace": "shop", "replicas": 1, "port": 5432,
        "rw_host": "orders-rw.shop.svc", "ro_host": "orders-ro.shop.svc",
    })
}

#[tokio::test]
async fn they_are_announced_in_the_schema_and_by_themselves() -> Result<()> {
    let mut host = Host::start().await?;
    let schemas = host.rpc.get_provider_schema(pb::get_provider_schema::Request {}).await?.into_inner();
    let functions = host.rpc.get_functions(pb::get_functions::Request {}).await?.into_inner();
    assert!(functions.diagnostics.is_empty());
    assert_eq!(functions.functions, schemas.functions);
    let metadata = host.rpc.get_metadata(pb::get_metadata::Request {}).await?.into_inner();
    let names: Vec<_> = metadata.functions.into_iter().map(|one| one.name).collect();
    assert_eq!(names, functions.functions.keys().cloned().collect::<Vec<_>>());
    for (name, function) in &functions.functions {
        let returned = function.r#return.as_ref().context("no return")?;
        serde_json::from_slice::<Json>(&returned.r#type).with_context(|| format!("{name}: what it gives"))?;
        for parameter in function.parameters.iter().chain(&function.variadic_parameter) {
            serde_json::from_slice::<Json>(&parameter.r#type)
                .with_context(|| format!("{name}: {}", parameter.name))?;
            assert!(!parameter.description.is_empty(), "{name}: {}", parameter.name);
        }
    }
    Ok(())
}

#[tokio::test]
async fn they_compute() -> Result<()> {
    let mut host = Host::start().await?;
    let uri = host.result("connection_uri", &[cluster(), js!("all"), js!("a/b"), js!("app")]).await?;
    assert_eq!(
        uri,
        "postgresql://app@orders-0.orders-pods.shop.svc:5432,orders-1.orders-pods.shop.svc:5432/a%2Fb?connect_timeout=10\
         &keepalives=1&keepalives_count=3&keepalives_idle=5&keepalives_interval=2&target_session_attrs=read-write\
         &tcp_user_timeout=10000"
    );
    let options = js!({ "password": "p w", "connect_timeout": null, "tcp_user_timeout": null });
    let arguments = [cluster(), js!("ro"), js!("app"), js!("app"), options];
    let string = host.result("connection_string", &arguments).await?;
    assert_eq!(
        string,
        "host=orders-ro.shop.svc port=5432 dbname=app user=app keepalives=1 keepalives_count=3 keepalives_idle=5 \
         keepalives_interval=2 password='p w' target_session_attrs=prefer-standby"
    );
    let url = host.result("jdbc_url", &[cluster(), js!("rw"), js!("app"), js!("app")]).await?;
    assert_eq!(
        url,
        "jdbc:postgresql://orders-rw.shop.svc:5432/app?connectTimeout=10&targetServerType=primary&tcpKeepAlive=true&user=app"
    );
    assert_eq!(host.result("lsn_diff", &[js!("1/0"), js!("0/FFFFFFFF")]).await?, 1);
    assert_eq!(host.result("lsn_diff", &[js!("0/0"), js!("0/10")]).await?, -16);
    assert_eq!(host.result("failover_bound_seconds", &[js!({})]).await?, 15);
    Ok(())
}

#[tokio::test]
async fn of_unknown_arguments_they_give_an_unknown_value() -> Result<()> {
    let mut host = Host::start().await?;
    let mut unknown = cluster();
    unknown["rw_host"] = js!(UNKNOWN);
    let uri = host.result("connection_uri", &[unknown, js!("rw"), js!("app"), js!("app")]).await?;
    assert_eq!(uri, UNKNOWN);
    assert_eq!(host.result("lsn_diff", &[js!(UNKNOWN), js!("0/0")]).await?, UNKNOWN);
    Ok(())
}

#[tokio::test]
async fn mistakes_are_told_at_their_argument() -> Result<()> {
    let mut host = Host::start().await?;
    let uri = |access: &str| [cluster(), js!(access), js!("app"), js!("app")];
    for (name, arguments, at, saying) in [
        ("connection_uri", uri("primary").to_vec(), Some(1), "`rw`, `ro` or `all`"),
        ("lsn_diff", vec![js!("0/0"), js!("nothing")], Some(1), "`nothing`"),
        ("lsn_diff", vec![js!("0/0"), js!([])], Some(1), "expected a string"),
        ("lsn_diff", vec![js!("0/0")], None, "takes 2 arguments"),
        ("failover_bound_seconds", vec![js!({ "lease_duration": "1s" })], Some(0), "fence_after"),
    ] {
        let error = host.error(name, &arguments).await?;
        assert!(error.function_argument == at && error.text.contains(saying), "{name}: {error:?}");
    }
    Ok(())
}
