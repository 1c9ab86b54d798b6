//! A host with one resource type, and those of its calls that give a state. Planning is in `turn.rs`, apply in `apply.rs`.

use anyhow::{Context as _, Result, ensure};
use serde_json::Value as Json;

use super::Calls;
use super::judged::{Seen, Stored, has_errors};
use super::rules::conform::{conforms, wholly_known};
use super::rules::identity::settled;
use super::schema::{Attribute, attributes, identity};
use crate::proto_client::pb::tfplugin6 as pb;
use crate::proto_client::values::{argument, config, json, null, stored};

/// A host with one resource type.
#[derive(Debug, Clone)]
pub struct Core<C> {
    /// Who answers.
    pub calls: C,
    /// The resource's type.
    pub type_name: String,
    /// Its attributes.
    pub attributes: Vec<Attribute>,
    /// The parts of its identity.
    pub identity: Vec<Attribute>,
    served: pb::Schema,
    identity_version: i64,
}

impl<C: Calls> Core<C> {
    /// A host for a served type.
    ///
    /// # Errors
    /// When a schema can't be read.
    pub fn new(
        calls: C,
        type_name: &str,
        served: &pb::Schema,
        identified: &pb::ResourceIdentitySchema,
    ) -> Result<Self> {
        Ok(Self {
            calls,
            type_name: type_name.to_owned(),
            attributes: attributes(served)?,
            identity: identity(identified)?,
            served: served.clone(),
            identity_version: identified.version,
        })
    }

    /// The same with somebody between.
    pub fn with<D: Calls>(&self, wrap: impl FnOnce(C) -> D) -> Core<D>
    where
        C: Clone,
    {
        Core {
            calls: wrap(self.calls.clone()),
            type_name: self.type_name.clone(),
            attributes: self.attributes.clone(),
            identity: self.identity.clone(),
            served: self.served.clone(),
            identity_version: self.identity_version,
        }
    }

    /// ValidateResourceConfig: what is wrong, unknowns allowed.
    ///
    /// # Errors
    /// When the call itself fails.
    pub async fn validate(&self, given: &Json) -> Result<Vec<pb::Diagnostic>> {
        let request = pb::validate_resource_config::Request {
            type_name: self.type_name.clone(),
            config: Some(self.encode(given)?),
            client_capabilities: Some(pb::ClientCapabilities {
                write_only_attributes_allowed: true,
                ..Default::default()
            }),
        };
        Ok(self.calls.validate(request).await?.diagnostics)
    }

    /// UpgradeResourceState, and UpgradeResourceIdentity, of a state of this version, as at the begin of every run.
    ///
    /// # Errors
    /// When the call itself fails.
    pub async fn upgrade(&self, stored: &Stored) -> Result<Seen> {
        let request = pb::upgrade_resource_state::Request {
            type_name: self.type_name.clone(),
            version: self.served.version,
            raw_state: Some(pb::RawState {
                json: stored.state.to_string().into_bytes(),
                ..Default::default()
            }),
        };
        let mut answer = self.calls.upgrade(request).await?;
        let mut upgraded = None;
        if !stored.identity.is_null() {
            let request = pb::upgrade_resource_identity::Request {
                type_name: self.type_name.clone(),
                version: self.identity_version,
                raw_identity: Some(pb::RawState {
                    json: stored.identity.to_string().into_bytes(),
                    ..Default::default()
                }),
            };
            let identity = self.calls.upgrade_identity(request).await?;
            answer.diagnostics.extend(identity.diagnostics);
            upgraded = identity.upgraded_identity;
        }
        let state = answer.upgraded_state.as_ref();
        let mut seen = self.seen(state, stored.private.clone(), answer.diagnostics)?;
        if !stored.identity.is_null() {
            self.identified(&stored.identity, upgraded.as_ref(), &mut seen)?;
        }
        Ok(seen)
    }

    /// ReadResource.
    ///
    /// # Errors
    /// When the call itself fails.
    pub async fn read(&self, before: &Stored) -> Result<Seen> {
        let request = pb::read_resource::Request {
            type_name: self.type_name.clone(),
            current_state: Some(self.encode(&before.state)?),
            private: before.private.clone(),
            current_identity: Self::encode_identity(&before.identity)?,
            ..Default::default()
        };
        let answer = self.calls.read(request).await?;
        let mut seen = self.seen(answer.new_state.as_ref(), answer.private, answer.diagnostics)?;
        self.identified(&before.identity, answer.new_identity.as_ref(), &mut seen)?;
        Ok(seen)
    }

    /// ImportResourceState by id, and the read that follows it.
    ///
    /// # Errors
    /// When the call itself fails, or gives several resources.
    pub async fn import(&self, id: &str) -> Result<Seen> {
        let request = pb::import_resource_state::Request {
            type_name: self.type_name.clone(),
            id: id.to_owned(),
            ..Default::default()
        };
        let mut answer = self.calls.import(request).await?;
        ensure!(answer.imported_resources.len() <= 1, "an id names one resource");
        let Some(imported) = answer.imported_resources.pop() else {
            return Ok(Seen { diagnostics: answer.diagnostics, ..Seen::default() });
        };
        let mut first = self.seen(imported.state.as_ref(), imported.private, answer.diagnostics)?;
        self.identified(&Json::Null, imported.identity.as_ref(), &mut first)?;
        if first.is_unusable() {
            return Ok(first);
        }
        self.read(&first.stored).await
    }

    /// MoveResourceState from another provider's address.
    ///
    /// # Errors
    /// When the call itself fails.
    pub async fn move_from(&self, provider: &str, source_type: &str, stored: &Stored) -> Result<Seen> {
        let request = pb::move_resource_state::Request {
            source_provider_address: provider.to_owned(),
            source_type_name: source_type.to_owned(),
            source_schema_version: self.served.version,
            source_state: Some(pb::RawState {
                json: stored.state.to_string().into_bytes(),
                ..Default::default()
            }),
            target_type_name: self.type_name.clone(),
            source_private: stored.private.clone(),
            ..Default::default()
        };
        let answer = self.calls.move_state(request).await?;
        let mut seen = self.seen(answer.target_state.as_ref(), answer.target_private, answer.diagnostics)?;
        self.identified(&Json::Null, answer.target_identity.as_ref(), &mut seen)?;
        Ok(seen)
    }

    /// GenerateResourceConfig: the configuration of a state.
    ///
    /// # Errors
    /// When the call fails or gives errors.
    pub async fn generate(&self, state: &Json) -> Result<Json> {
        let request = pb::generate_resource_config::Request {
            type_name: self.type_name.clone(),
            state: Some(self.encode(state)?),
        };
        let answer = self.calls.generate(request).await?;
        ensure!(!has_errors(&answer.diagnostics), "{:?}", answer.diagnostics);
        self.decode(answer.config.as_ref())
    }

    fn seen(
        &self,
        answer: Option<&pb::DynamicValue>,
        private: Vec<u8>,
        diagnostics: Vec<pb::Diagnostic>,
    ) -> Result<Seen> {
        let wire = answer.map(|value| value.msgpack.clone()).unwrap_or_default();
        let state = self.decode(answer)?;
        let mut violations = Vec::new();
        if !has_errors(&diagnostics) {
            violations.extend(conforms(&self.attributes, &state));
            violations.extend(wholly_known(&state));
        }
        let stored = Stored { state, private, identity: Json::Null };
        Ok(Seen { stored, wire, diagnostics, violations })
    }

    /// Judges the identity that came with what was seen. What is gone needs none.
    fn identified(
        &self,
        before: &Json,
        answer: Option<&pb::ResourceIdentityData>,
        seen: &mut Seen,
    ) -> Result<()> {
        seen.stored.identity = Self::decode_identity(answer)?;
        if !has_errors(&seen.diagnostics) && !seen.stored.state.is_null() {
            seen.violations.extend(settled(&self.identity, before, &seen.stored.identity));
        }
        Ok(())
    }

    /// An identity as the host sends it; none where it knows none.
    pub(super) fn encode_identity(identity: &Json) -> Result<Option<pb::ResourceIdentityData>> {
        if identity.is_null() {
            return Ok(None);
        }
        Ok(Some(pb::ResourceIdentityData { identity_data: Some(argument(identity)?) }))
    }

    /// The identity that an answer holds.
    pub(super) fn decode_identity(answer: Option<&pb::ResourceIdentityData>) -> Result<Json> {
        json(answer.and_then(|data| data.identity_data.as_ref())).context("an identity that is no value")
    }

    /// A value as the host sends it.
    ///
    /// # Errors
    /// When it has parts that the schema lacks.
    pub fn encode(&self, value: &Json) -> Result<pb::DynamicValue> {
        if value.is_null() { null() } else { config(&self.served, value) }
    }

    /// What an answer holds.
    ///
    /// # Errors
    /// When it is no value.
    pub fn decode(&self, value: Option<&pb::DynamicValue>) -> Result<Json> {
        // Without a value there is nothing: a host reads it so.
        let Some(value) = value.filter(|value| !value.msgpack.is_empty()) else { return json(None) };
        stored(&self.served, Some(value)).context("an answer that is no value")
    }
}
