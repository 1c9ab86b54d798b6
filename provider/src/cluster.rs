//! The real engine: the pure core's decisions, and Kubernetes for what must be looked at or done.

mod action;
mod apply;
mod carried;
mod credentials;
mod failure;
mod import;
mod list;
mod plan;
mod read;
mod view;
mod work;

pub use carried::write_agent;

use crate::engine::{
    Answer, Apply, Configure, Deferred, Engine, Event, Import, Invoke, List, Listed, Looked, Plan, Planned,
    Read, ReadData, Schemas,
};
use crate::live::config::{self, Connector, unknown_attributes};
use futures::StreamExt as _;
use futures::stream::{self, BoxStream};
use pgha_provider_core::action as core;
use pgha_provider_core::diagnostic::{Diagnostic, Diagnostics};
use pgha_provider_core::generate;
use pgha_provider_core::validate;
use pgha_provider_core::value::Value;
use pgha_schema::actions::Action;
use pgha_schema::tf::{Schema, Type};
use std::sync::{Arc, PoisonError, RwLock};

/// The provider behind the wire.
pub struct ClusterEngine {
    schemas: Schemas,
    cluster_type: Type,
    link: RwLock<Link>,
}

/// How the cluster can be reached.
#[derive(Clone, Default)]
enum Link {
    /// Nobody said yet.
    #[default]
    NotConfigured,
    /// The configuration depends on what only an apply will tell: these attributes of it.
    Unknown(Vec<String>),
    /// By this.
    Ready(Arc<Connector>),
}

impl ClusterEngine {
    /// An engine that was not configured yet.
    #[must_use]
    pub fn new() -> Self {
        let schemas = Schemas {
            provider: pgha_schema::provider_block::schema(),
            cluster: pgha_schema::resource::schema(),
            view: pgha_schema::data_source::schema(),
            credentials: pgha_schema::credentials::schema(),
            list: pgha_schema::list::schema(),
        };
        Self { schemas, cluster_type: schemas.cluster.ty(), link: RwLock::default() }
    }

    fn link(&self) -> Link {
        self.link.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What to connect with, for calls that can't do without.
    fn connector(&self) -> Result<Arc<Connector>, Diagnostic> {
        match self.link() {
            Link::Ready(connector) => Ok(connector),
            Link::Unknown(attributes) => Err(Diagnostic::error(
                "The provider's configuration is not known yet",
                format!(
                    "{} depend on values that are known only after another resource was applied. Apply that one first \
                     (with -target), or put the two into separate configurations.",
                    attributes.join(", ")
                ),
            )),
            Link::NotConfigured => Err(Diagnostic::error(
                "The provider was not configured",
                "The host asked for work without ConfigureProvider. Please report this.",
            )),
        }
    }
}

impl ClusterEngine {
    /// What to connect with, or the answer when something is not known yet: later, where the host can wait.
    fn ready_to_read(&self, schema: &Schema, request: &ReadData) -> Result<Arc<Connector>, Box<Looked>> {
        let config_known = request.config.is_wholly_known();
        let missing = match self.link() {
            Link::Unknown(_) => Some(Deferred::ProviderUnknown),
            Link::Ready(_) | Link::NotConfigured => (!config_known).then_some(Deferred::ConfigUnknown),
        };
        if let Some(missing) = missing.filter(|_| request.deferral_allowed) {
            let state = with_unknown_outputs(schema, &request.config);
            return Err(Box::new(Looked { state, deferred: Some(missing), ..Looked::default() }));
        }
        let connector = self.connector().and_then(|connector| {
            if config_known {
                return Ok(connector);
            }
            let detail = "The host asked to read with arguments that are not known yet. Please report this.";
            Err(Diagnostic::error("Arguments are not known", detail))
        });
        connector.map_err(|problem| Box::new(Looked { diagnostics: problem.into(), ..Looked::default() }))
    }
}

impl Default for ClusterEngine {
    fn default() -> Self {
        Self::new()
    }
}

#[tonic::async_trait]
impl Engine for ClusterEngine {
    fn schemas(&self) -> Schemas {
        self.schemas
    }

    async fn validate_provider(&self, config: Value) -> Diagnostics {
        let mut found = validate::attributes(&self.schemas.provider.attributes, &config);
        found.extend(config::validate(&config));
        found
    }

    async fn configure(&self, request: Configure) -> Diagnostics {
        let unknown = unknown_attributes(&request.config);
        let link = if unknown.is_empty() {
            Link::Ready(Arc::new(Connector::new(&request.config, &request.terraform_version)))
        } else {
            Link::Unknown(unknown)
        };
        *self.link.write().unwrap_or_else(PoisonError::into_inner) = link;
        Diagnostics::new()
    }

    async fn validate_resource(&self, config: Value) -> Diagnostics {
        validate::resource(&config)
    }

    async fn upgrade(&self, from_version: i64, json: &[u8]) -> Result<Value, Diagnostics> {
        if from_version != self.schemas.cluster.version {
            let detail = format!(
                "It has schema version {from_version}; this version of the provider ({}) knows {}. Use the version that \
                 wrote it, or a newer one.",
                env!("CARGO_PKG_VERSION"),
                self.schemas.cluster.version
            );
            return Err(Diagnostic::error("The state was written by another version", detail).into());
        }
        crate::wire::json::decode(json, &self.cluster_type)
            .map_err(|error| crate::wire::diagnostics::unreadable("state", &error).into())
    }

    async fn read(&self, request: Read) -> Answer {
        // P11: a plan whose provider depends on another resource of the same run goes on with what is known.
        if let Link::Unknown(attributes) = self.link() {
            let detail = format!(
                "{} of the provider's configuration are not known before apply, so the cluster was not looked at: the \
                 plan goes by the last known state.",
                attributes.join(", ")
            );
            let diagnostics = Diagnostic::warning("The cluster was not refreshed", detail).into();
            return Answer { state: request.state, private: request.private, diagnostics };
        }
        match self.connector() {
            Ok(connector) => read::read(request, &connector).await,
            Err(problem) => {
                Answer { state: request.state, private: request.private, diagnostics: problem.into() }
            }
        }
    }

    async fn plan(&self, request: Plan) -> Planned {
        let connector = match self.link() {
            Link::Ready(connector) => Some(connector),
            Link::Unknown(_) | Link::NotConfigured => None,
        };
        plan::plan(request, connector.as_deref()).await
    }

    async fn apply(&self, request: Apply) -> Answer {
        match self.connector() {
            Ok(connector) => apply::apply(request, &connector).await,
            Err(problem) => {
                Answer { state: request.prior, private: request.private, diagnostics: problem.into() }
            }
        }
    }

    async fn import(&self, request: Import) -> Answer {
        match self.connector() {
            Ok(connector) => import::import(request, &connector).await,
            Err(problem) => Answer { diagnostics: problem.into(), ..Answer::default() },
        }
    }

    async fn validate_data(&self, config: Value) -> Diagnostics {
        validate::attributes(&self.schemas.view.attributes, &config)
    }

    async fn read_data(&self, request: ReadData) -> Looked {
        match self.ready_to_read(self.schemas.view, &request) {
            Ok(connector) => view::read(request, &connector).await,
            Err(answer) => *answer,
        }
    }

    async fn validate_credentials(&self, config: Value) -> Diagnostics {
        validate::attributes(&self.schemas.credentials.attributes, &config)
    }

    async fn open_credentials(&self, request: ReadData) -> Looked {
        match self.ready_to_read(self.schemas.credentials, &request) {
            Ok(connector) => credentials::open(request, &connector).await,
            Err(answer) => *answer,
        }
    }

    async fn validate_list(&self, config: Value) -> Diagnostics {
        validate::attributes(&self.schemas.list.attributes, &config)
    }

    async fn list(&self, request: List) -> BoxStream<'static, Listed> {
        if !request.config.is_wholly_known() {
            // Without a namespace it would list those of all.
            let detail =
                "The host asked for a list with arguments that are not known yet. Please report this.";
            return only(Diagnostic::error("Arguments are not known", detail));
        }
        match self.connector() {
            Ok(connector) => list::list(request, connector).await,
            Err(problem) => only(problem),
        }
    }

    async fn validate_action(&self, action: Action, config: Value) -> Diagnostics {
        core::validate(action, &config)
    }

    async fn plan_action(&self, action: Action, config: Value) -> Diagnostics {
        core::warning(action, &config).into()
    }

    async fn invoke(&self, request: Invoke) -> BoxStream<'static, Event> {
        match self.connector() {
            Ok(connector) => action::invoke(request, connector),
            Err(problem) => stream::iter([Event::Completed(problem.into())]).boxed(),
        }
    }

    fn generate(&self, state: &Value) -> Value {
        generate::config(state)
    }
}

/// A list in which nothing is found.
fn only(problem: Diagnostic) -> BoxStream<'static, Listed> {
    stream::iter([Listed { diagnostics: problem.into(), ..Listed::default() }]).boxed()
}

/// The arguments, and what only a later look can tell.
fn with_unknown_outputs(schema: &Schema, config: &Value) -> Value {
    let mut state = config.clone();
    for attribute in schema.attributes.iter().filter(|attribute| attribute.is_output()) {
        state.set_at(&attribute.name, Value::Unknown);
    }
    state
}
