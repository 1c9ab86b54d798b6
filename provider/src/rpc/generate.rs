//! Configuration from state, for `query` and `plan -generate-config-out`.

use super::{Provider, decode, encode, known_type};
use crate::proto::tfplugin6 as pb;
use pgha_provider_core::diagnostic::{Diagnostic, Diagnostics};

impl Provider {
    pub(super) fn generate(
        &self,
        request: &pb::generate_resource_config::Request,
    ) -> Result<pb::generate_resource_config::Response, Diagnostics> {
        known_type(&request.type_name)?;
        let state = decode(request.state.as_ref(), &self.cluster_type, "state")?;
        if state.is_null() || !state.is_wholly_known() {
            let detail = "Configuration can be made only of the state of a resource that exists.";
            return Err(Diagnostic::error("No state to make configuration of", detail).into());
        }
        let config = encode(&self.engine.generate(&state), &self.cluster_type, "configuration")?;
        Ok(pb::generate_resource_config::Response { config: Some(config), diagnostics: Vec::new() })
    }
}
