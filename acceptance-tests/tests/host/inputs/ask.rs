//! The calls of everything that is no managed resource, as something that can be stood in for.

use anyhow::{Context as _, Result};
use pgha_acceptance_tests::host::schema::{Attribute, Type, attributes, ty};
use pgha_acceptance_tests::proto_client::pb::tfplugin6 as pb;
use pgha_acceptance_tests::proto_client::pb::tfplugin6::provider_client::ProviderClient;
use pgha_acceptance_tests::proto_client::values::dynamic;
use rmpv::Value as Pack;
use tonic::transport::Channel;

/// What takes a configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The data source.
    Data,
    /// The ephemeral resource.
    Ephemeral,
    /// The list resource.
    List,
    /// An action.
    Action,
}

/// One of these.
#[derive(Debug, Clone)]
pub struct Surface {
    pub kind: Kind,
    pub name: String,
    pub attributes: Vec<Attribute>,
}

/// A function.
#[derive(Debug, Clone)]
pub struct Function {
    pub name: String,
    /// Names and types.
    pub parameters: Vec<(String, Type)>,
    /// Of each further argument.
    pub variadic: Option<Type>,
    pub returns: Type,
}

/// What a data source or an ephemeral resource gave.
#[derive(Debug, Clone, PartialEq)]
pub struct Looked {
    pub state: Option<pb::DynamicValue>,
    pub diagnostics: Vec<pb::Diagnostic>,
    pub deferred: Option<pb::Deferred>,
}

/// All that is served.
pub fn surfaces(schemas: &pb::get_provider_schema::Response) -> Result<Vec<Surface>> {
    let one = |kind: Kind, name: &String, schema: &pb::Schema| {
        Ok(Surface { kind, name: name.clone(), attributes: attributes(schema)? })
    };
    let data = schemas.data_source_schemas.iter().map(|(name, schema)| one(Kind::Data, name, schema));
    let ephemeral =
        schemas.ephemeral_resource_schemas.iter().map(|(name, schema)| one(Kind::Ephemeral, name, schema));
    let list = schemas.list_resource_schemas.iter().map(|(name, schema)| one(Kind::List, name, schema));
    let action = schemas.action_schemas.iter().map(|(name, action)| {
        one(Kind::Action, name, action.schema.as_ref().context("an action without a schema")?)
    });
    data.chain(ephemeral).chain(list).chain(action).collect()
}

/// Every function that is served.
pub fn functions(schemas: &pb::get_provider_schema::Response) -> Result<Vec<Function>> {
    let parsed = |json: &[u8]| -> Result<Type> { ty(&serde_json::from_slice(json)?) };
    let one = |(name, served): (&String, &pb::Function)| {
        let parameter = |one: &pb::function::Parameter| Ok((one.name.clone(), parsed(&one.r#type)?));
        Ok(Function {
            name: name.clone(),
            parameters: served.parameters.iter().map(parameter).collect::<Result<_>>()?,
            variadic: served.variadic_parameter.as_ref().map(|one| parsed(&one.r#type)).transpose()?,
            returns: parsed(&served.r#return.as_ref().context("a function that gives nothing")?.r#type)?,
        })
    };
    schemas.functions.iter().map(one).collect()
}

/// Who answers. The host of these tests has one thread.
#[allow(async_fn_in_trait)]
pub trait Ask {
    /// Validates.
    async fn validate(&self, surface: &Surface, config: &Pack) -> Result<Vec<pb::Diagnostic>>;

    /// Reads the data source, opens the ephemeral resource.
    async fn look(&self, surface: &Surface, config: &Pack, deferral: bool) -> Result<Looked>;

    /// Lists to the end.
    async fn list(
        &self,
        surface: &Surface,
        config: &Pack,
        whole: bool,
        limit: i64,
    ) -> Result<Vec<pb::list_resource::Event>>;

    /// Plans an action.
    async fn plan(&self, surface: &Surface, config: &Pack) -> Result<pb::plan_action::Response>;

    /// Invokes an action, to the end.
    async fn invoke(&self, surface: &Surface, config: &Pack) -> Result<Vec<pb::invoke_action::Event>>;

    /// Calls a function.
    async fn call(&self, function: &Function, arguments: &[Pack]) -> Result<pb::call_function::Response>;
}

fn host(deferral: bool) -> Option<pb::ClientCapabilities> {
    Some(pb::ClientCapabilities { deferral_allowed: deferral, ..Default::default() })
}

/// The provider itself.
impl Ask for ProviderClient<Channel> {
    async fn validate(&self, surface: &Surface, config: &Pack) -> Result<Vec<pb::Diagnostic>> {
        let (mut rpc, name, config) = (self.clone(), surface.name.clone(), Some(dynamic(config)?));
        Ok(match surface.kind {
            Kind::Data => {
                let request = pb::validate_data_resource_config::Request { type_name: name, config };
                rpc.validate_data_resource_config(request).await?.into_inner().diagnostics
            }
            Kind::Ephemeral => {
                let request = pb::validate_ephemeral_resource_config::Request { type_name: name, config };
                rpc.validate_ephemeral_resource_config(request).await?.into_inner().diagnostics
            }
            Kind::List => {
                let request = pb::validate_list_resource_config::Request {
                    type_name: name,
                    config,
                    ..Default::default()
                };
                rpc.validate_list_resource_config(request).await?.into_inner().diagnostics
            }
            Kind::Action => {
                let request = pb::validate_action_config::Request { action_type: name, config };
                rpc.validate_action_config(request).await?.into_inner().diagnostics
            }
        })
    }

    async fn look(&self, surface: &Surface, config: &Pack, deferral: bool) -> Result<Looked> {
        let (mut rpc, name, config) = (self.clone(), surface.name.clone(), Some(dynamic(config)?));
        if surface.kind == Kind::Data {
            let request = pb::read_data_source::Request {
                type_name: name,
                config,
                client_capabilities: host(deferral),
                ..Default::default()
            };
            let answer = rpc.read_data_source(request).await?.into_inner();
            let (state, diagnostics) = (answer.state, answer.diagnostics);
            return Ok(Looked { state, diagnostics, deferred: answer.deferred });
        }
        let request = pb::open_ephemeral_resource::Request {
            type_name: name,
            config,
            client_capabilities: host(deferral),
        };
        let answer = rpc.open_ephemeral_resource(request).await?.into_inner();
        let (state, diagnostics) = (answer.result, answer.diagnostics);
        Ok(Looked { state, diagnostics, deferred: answer.deferred })
    }

    async fn list(
        &self,
        surface: &Surface,
        config: &Pack,
        whole: bool,
        limit: i64,
    ) -> Result<Vec<pb::list_resource::Event>> {
        let request = pb::list_resource::Request {
            type_name: surface.name.clone(),
            config: Some(dynamic(config)?),
            include_resource_object: whole,
            limit,
        };
        let mut stream = self.clone().list_resource(request).await?.into_inner();
        let mut events = Vec::new();
        while let Some(event) = stream.message().await? {
            events.push(event);
        }
        Ok(events)
    }

    async fn plan(&self, surface: &Surface, config: &Pack) -> Result<pb::plan_action::Response> {
        let request = pb::plan_action::Request {
            action_type: surface.name.clone(),
            config: Some(dynamic(config)?),
            client_capabilities: host(true),
        };
        Ok(self.clone().plan_action(request).await?.into_inner())
    }

    async fn invoke(&self, surface: &Surface, config: &Pack) -> Result<Vec<pb::invoke_action::Event>> {
        let request = pb::invoke_action::Request {
            action_type: surface.name.clone(),
            config: Some(dynamic(config)?),
            client_capabilities: None,
        };
        let mut stream = self.clone().invoke_action(request).await?.into_inner();
        let mut events = Vec::new();
        while let Some(event) = stream.message().await? {
            events.push(event);
        }
        Ok(events)
    }

    async fn call(&self, function: &Function, arguments: &[Pack]) -> Result<pb::call_function::Response> {
        let arguments = arguments.iter().map(dynamic).collect::<Result<_>>()?;
        let request = pb::call_function::Request { name: function.name.clone(), arguments };
        Ok(self.clone().call_function(request).await?.into_inner())
    }
}
