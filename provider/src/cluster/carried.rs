//! What the provider carries with it (the agent), and what it keeps beside a resource (the facts).

use pgha_agent_bundle as bundle;
use pgha_provider_core::facts::Facts;
use pgha_provider_core::render::Agent;

use crate::private::Private;

/// The agent inside this binary.
pub(super) fn agent() -> Agent {
    Agent::new(bundle::version(), bundle::AGENT_SHA256, bundle::AGENT_GZIP.len(), &[bundle::ARCH])
}

/// What private state says.
pub(super) fn facts(private: &Private) -> Facts {
    Facts::read(|key| private.text(key))
}

/// Private state that says this.
pub(super) fn private(facts: &Facts) -> Private {
    let mut private = Private::default();
    for (key, text) in facts.texts() {
        private.set(key, text);
    }
    private
}
