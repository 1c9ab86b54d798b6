//! The real engine: the pure core's decisions, and Kubernetes for what must be looked at or done.

use crate::engine::{Answer, Apply, Configure, Engine, Import, Plan, Planned, Read, Schemas};
use pgha_provider_core::diagnostic::{Diagnostic, Diagnostics};
use pgha_provider_core::value::Value;

/// The provider behind the wire.
#[derive(Debug)]
pub struct ClusterEngine {
    schemas: Schemas,
}

impl ClusterEngine {
    /// An engine that was not configured yet.
    #[must_use]
    pub fn new() -> Self {
        let schemas =
            Schemas { provider: pgha_schema::provider_block::schema(), cluster: pgha_schema::resource::schema() };
        Self { schemas }
    }
}

impl Default for ClusterEngine {
    fn default() -> Self {
        Self::new()
    }
}

fn missing() -> Diagnostics {
    Diagnostic::error("Not built yet", "This build of the provider lacks that part.").into()
}

#[tonic::async_trait]
impl Engine for ClusterEngine {
    fn schemas(&self) -> Schemas {
        self.schemas
    }

    async fn validate_provider(&self, _config: Value) -> Diagnostics {
        Diagnostics::new()
    }

    async fn configure(&self, _request: Configure) -> Diagnostics {
        Diagnostics::new()
    }

    async fn validate_resource(&self, _config: Value) -> Diagnostics {
        Diagnostics::new()
    }

    async fn upgrade(&self, _from_version: i64, json: &[u8]) -> Result<Value, Diagnostics> {
        crate::wire::json::decode(json, &self.schemas.cluster.ty())
            .map_err(|error| crate::wire::diagnostics::unreadable("state", &error).into())
    }

    async fn read(&self, request: Read) -> Answer {
        Answer { state: request.state, private: request.private, diagnostics: missing() }
    }

    async fn plan(&self, request: Plan) -> Planned {
        Planned { state: request.proposed, diagnostics: missing(), ..Planned::default() }
    }

    async fn apply(&self, request: Apply) -> Answer {
        Answer { state: request.prior, private: request.private, diagnostics: missing() }
    }

    async fn import(&self, _request: Import) -> Answer {
        Answer { diagnostics: missing(), ..Answer::default() }
    }
}
