//! The provider block: validated without a network, configured without one.

use super::{Provider, decode};
use crate::engine::Configure;
use crate::proto::tfplugin6 as pb;
use crate::wire::diagnostics::to_proto;
use pgha_provider_core::diagnostic::Diagnostics;

impl Provider {
    pub(super) async fn validate_provider(
        &self,
        request: pb::validate_provider_config::Request,
    ) -> Result<pb::validate_provider_config::Response, Diagnostics> {
        let config = decode(request.config.as_ref(), &self.provider_type, "provider configuration")?;
        let found = self.engine.validate_provider(config).await;
        Ok(pb::validate_provider_config::Response { diagnostics: to_proto(&found) })
    }

    pub(super) async fn configure(
        &self,
        request: pb::configure_provider::Request,
    ) -> Result<pb::configure_provider::Response, Diagnostics> {
        let config = decode(request.config.as_ref(), &self.provider_type, "provider configuration")?;
        let request = Configure { config, terraform_version: request.terraform_version };
        let found = self.engine.configure(request).await;
        Ok(pb::configure_provider::Response { diagnostics: to_proto(&found) })
    }
}
