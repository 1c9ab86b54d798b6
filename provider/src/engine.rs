//! What the wire asks of the provider behind it, in the core's words. The protocol's types end before this line.

use crate::private::Private;
use futures::stream::BoxStream;
use pgha_provider_core::diagnostic::Diagnostics;
use pgha_provider_core::path::Path;
use pgha_provider_core::value::Value;
use pgha_schema::actions::Action;
use pgha_schema::identity::ClusterIdentity;
use pgha_schema::tf::Schema;
use tokio_util::sync::CancellationToken;

/// The resource type served.
pub const RESOURCE_TYPE: &str = pgha_schema::resource::TYPE_NAME;

/// The data source served.
pub const DATA_SOURCE_TYPE: &str = pgha_schema::data_source::TYPE_NAME;

/// The ephemeral resource served.
pub const EPHEMERAL_TYPE: &str = pgha_schema::credentials::TYPE_NAME;

/// The list resource served.
pub const LIST_TYPE: &str = pgha_schema::list::TYPE_NAME;

/// The schemas served.
#[derive(Debug, Clone, Copy)]
pub struct Schemas {
    /// The provider block.
    pub provider: &'static Schema,
    /// [`RESOURCE_TYPE`].
    pub cluster: &'static Schema,
    /// [`DATA_SOURCE_TYPE`].
    pub view: &'static Schema,
    /// [`EPHEMERAL_TYPE`].
    pub credentials: &'static Schema,
    /// The `config` block of [`LIST_TYPE`].
    pub list: &'static Schema,
}

/// ConfigureProvider.
#[derive(Debug)]
pub struct Configure {
    /// The provider block; may hold unknowns while planning.
    pub config: Value,
    /// For the User-Agent.
    pub terraform_version: String,
}

/// ReadResource.
#[derive(Debug)]
pub struct Read {
    /// The state as last known.
    pub state: Value,
    /// Its private part.
    pub private: Private,
    /// Cancelled by StopProvider.
    pub stop: CancellationToken,
}

/// A state that exists, or that was read, applied or imported.
#[derive(Debug, Default)]
pub struct Answer {
    /// The state; null when there is nothing (left).
    pub state: Value,
    /// Its private part.
    pub private: Private,
    /// What the user must hear.
    pub diagnostics: Diagnostics,
}

/// PlanResourceChange. A null `config` is the plan of a destroy, a null `prior` that of a create.
#[derive(Debug)]
pub struct Plan {
    /// What the user wrote.
    pub config: Value,
    /// The refreshed state.
    pub prior: Value,
    /// The host's own merge of both; null for a destroy.
    pub proposed: Value,
    /// Private part of the state, or, in the second plan of a replacement, of the first plan.
    pub prior_private: Private,
    /// Cancelled by StopProvider.
    pub stop: CancellationToken,
}

/// What is planned.
#[derive(Debug, Default)]
pub struct Planned {
    /// The state after apply; unknown where only apply can tell.
    pub state: Value,
    /// Attributes whose change needs a new cluster.
    pub requires_replace: Vec<Path>,
    /// Goes to apply (before Terraform 1.16 that of the plan during apply).
    pub private: Private,
    /// What the user must hear.
    pub diagnostics: Diagnostics,
}

/// ApplyResourceChange. A null `planned` is a destroy, a null `prior` a create.
#[derive(Debug)]
pub struct Apply {
    /// What the user wrote, wholly known; null for a destroy.
    pub config: Value,
    /// The state before.
    pub prior: Value,
    /// What was planned.
    pub planned: Value,
    /// As [`Planned::private`].
    pub private: Private,
    /// Cancelled by StopProvider.
    pub stop: CancellationToken,
}

/// ImportResourceState.
#[derive(Debug)]
pub struct Import {
    /// Which cluster.
    pub cluster: ClusterIdentity,
    /// Cancelled by StopProvider.
    pub stop: CancellationToken,
}

/// ReadDataSource and OpenEphemeralResource.
#[derive(Debug)]
pub struct ReadData {
    /// What the user wrote.
    pub config: Value,
    /// The host can go on without an answer.
    pub deferral_allowed: bool,
    /// Cancelled by StopProvider.
    pub stop: CancellationToken,
}

/// What a data source or an ephemeral resource tells.
#[derive(Debug, Default)]
pub struct Looked {
    /// Config with the outputs filled in; null when there is nothing to tell.
    pub state: Value,
    /// What the user must hear.
    pub diagnostics: Diagnostics,
    /// The answer comes later; the outputs are unknown.
    pub deferred: Option<Deferred>,
}

/// What an answer waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deferred {
    /// The block's own arguments.
    ConfigUnknown,
    /// The provider's configuration.
    ProviderUnknown,
}

/// ListResource.
#[derive(Debug)]
pub struct List {
    /// The `config` block.
    pub config: Value,
    /// Each cluster's state is wanted too.
    pub include_resource: bool,
    /// How many are wanted at most; 0: all.
    pub limit: i64,
    /// Cancelled by StopProvider.
    pub stop: CancellationToken,
}

/// One cluster that was found; without an identity only what went wrong.
#[derive(Debug, Default)]
pub struct Listed {
    /// What it is imported by.
    pub identity: Option<Value>,
    /// For people.
    pub display_name: String,
    /// Its state, when it is wanted and could be read.
    pub state: Option<Value>,
    /// What the user must hear.
    pub diagnostics: Diagnostics,
}

/// InvokeAction.
#[derive(Debug)]
pub struct Invoke {
    /// Which.
    pub action: Action,
    /// The `config` block, wholly known.
    pub config: Value,
    /// Cancelled by StopProvider.
    pub stop: CancellationToken,
}

/// What an action tells.
#[derive(Debug)]
pub enum Event {
    /// It goes on.
    Progress(String),
    /// It is over; nothing follows.
    Completed(Diagnostics),
}

/// The provider. Calls come concurrently, and every one but `configure` also before or without `configure`.
#[tonic::async_trait]
pub trait Engine: Send + Sync + 'static {
    /// The schemas served.
    fn schemas(&self) -> Schemas;

    /// Checks the provider block, unknowns included, without a network.
    async fn validate_provider(&self, config: Value) -> Diagnostics;

    /// Takes the provider block. Must not talk to the cluster yet.
    async fn configure(&self, request: Configure) -> Diagnostics;

    /// Checks a resource block, unknowns included, without a network.
    async fn validate_resource(&self, config: Value) -> Diagnostics;

    /// Brings a state of an older schema version up to date. `json` is as stored.
    async fn upgrade(&self, from_version: i64, json: &[u8]) -> Result<Value, Diagnostics>;

    /// Looks what is there.
    async fn read(&self, request: Read) -> Answer;

    /// Plans; a function of the request alone.
    async fn plan(&self, request: Plan) -> Planned;

    /// Makes it so. With errors the answer holds what is really in force.
    async fn apply(&self, request: Apply) -> Answer;

    /// Finds an existing cluster.
    async fn import(&self, request: Import) -> Answer;

    /// Checks a data source's block, unknowns included, without a network.
    async fn validate_data(&self, config: Value) -> Diagnostics;

    /// Looks what there is to tell.
    async fn read_data(&self, request: ReadData) -> Looked;

    /// Checks an ephemeral resource's block, unknowns included, without a network.
    async fn validate_credentials(&self, config: Value) -> Diagnostics;

    /// Reads credentials.
    async fn open_credentials(&self, request: ReadData) -> Looked;

    /// Checks a list's `config` block, unknowns included, without a network.
    async fn validate_list(&self, config: Value) -> Diagnostics;

    /// Finds clusters, each told as soon as it is known.
    async fn list(&self, request: List) -> BoxStream<'static, Listed>;

    /// Checks an action's `config` block, unknowns included, without a network.
    async fn validate_action(&self, action: Action, config: Value) -> Diagnostics;

    /// Warns of what an action will do; asks nobody.
    async fn plan_action(&self, action: Action, config: Value) -> Diagnostics;

    /// Does it, and tells how it goes.
    async fn invoke(&self, request: Invoke) -> BoxStream<'static, Event>;

    /// What a user would write to get this state.
    fn generate(&self, state: &Value) -> Value;
}
