//! The whole service, call by call: which function answers.

use super::absent::{self, Answers};
use super::{Provider, schemas};
use crate::proto::tfplugin6 as pb;
use crate::proto::tfplugin6::provider_server::Provider as Service;
use tonic::{Request, Response, Status, Streaming};

type Reply<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl Service for Provider {
    async fn get_metadata(
        &self,
        _request: Request<pb::get_metadata::Request>,
    ) -> Reply<pb::get_metadata::Response> {
        self.answer("GetMetadata", "", async { schemas::metadata() }).await
    }

    async fn get_provider_schema(
        &self,
        _request: Request<pb::get_provider_schema::Request>,
    ) -> Reply<pb::get_provider_schema::Response> {
        self.answer("GetProviderSchema", "", async { self.schema_response() }).await
    }

    async fn get_resource_identity_schemas(
        &self,
        _request: Request<pb::get_resource_identity_schemas::Request>,
    ) -> Reply<pb::get_resource_identity_schemas::Response> {
        self.answer("GetResourceIdentitySchemas", "", async { Ok(Self::identity_schemas()) }).await
    }

    async fn validate_provider_config(
        &self,
        request: Request<pb::validate_provider_config::Request>,
    ) -> Reply<pb::validate_provider_config::Response> {
        self.answer("ValidateProviderConfig", "", self.validate_provider(request.into_inner())).await
    }

    async fn configure_provider(
        &self,
        request: Request<pb::configure_provider::Request>,
    ) -> Reply<pb::configure_provider::Response> {
        self.answer("ConfigureProvider", "", self.configure(request.into_inner())).await
    }

    async fn stop_provider(
        &self,
        _request: Request<pb::stop_provider::Request>,
    ) -> Reply<pb::stop_provider::Response> {
        tracing::info!("the user asked to stop: calls under way are cut short");
        self.stop.stop();
        Ok(Response::new(Default::default()))
    }

    async fn validate_resource_config(
        &self,
        request: Request<pb::validate_resource_config::Request>,
    ) -> Reply<pb::validate_resource_config::Response> {
        let request = request.into_inner();
        let subject = request.type_name.clone();
        self.answer("ValidateResourceConfig", &subject, self.validate_resource(request)).await
    }

    async fn upgrade_resource_state(
        &self,
        request: Request<pb::upgrade_resource_state::Request>,
    ) -> Reply<pb::upgrade_resource_state::Response> {
        let request = request.into_inner();
        let subject = request.type_name.clone();
        self.answer("UpgradeResourceState", &subject, self.upgrade(request)).await
    }

    async fn upgrade_resource_identity(
        &self,
        request: Request<pb::upgrade_resource_identity::Request>,
    ) -> Reply<pb::upgrade_resource_identity::Response> {
        let request = request.into_inner();
        let subject = request.type_name.clone();
        self.answer("UpgradeResourceIdentity", &subject, async { Self::upgrade_identity(request) }).await
    }

    async fn read_resource(
        &self,
        request: Request<pb::read_resource::Request>,
    ) -> Reply<pb::read_resource::Response> {
        let request = request.into_inner();
        let subject = request.type_name.clone();
        self.answer("ReadResource", &subject, self.read(request)).await
    }

    async fn plan_resource_change(
        &self,
        request: Request<pb::plan_resource_change::Request>,
    ) -> Reply<pb::plan_resource_change::Response> {
        let request = request.into_inner();
        let subject = request.type_name.clone();
        self.answer("PlanResourceChange", &subject, self.plan(request)).await
    }

    async fn apply_resource_change(
        &self,
        request: Request<pb::apply_resource_change::Request>,
    ) -> Reply<pb::apply_resource_change::Response> {
        let request = request.into_inner();
        let subject = request.type_name.clone();
        self.answer("ApplyResourceChange", &subject, self.apply(request)).await
    }

    async fn import_resource_state(
        &self,
        request: Request<pb::import_resource_state::Request>,
    ) -> Reply<pb::import_resource_state::Response> {
        let request = request.into_inner();
        let subject = request.type_name.clone();
        self.answer("ImportResourceState", &subject, self.import(request)).await
    }

    async fn move_resource_state(
        &self,
        request: Request<pb::move_resource_state::Request>,
    ) -> Reply<pb::move_resource_state::Response> {
        let request = request.into_inner();
        let subject = request.target_type_name.clone();
        self.answer("MoveResourceState", &subject, self.move_state(request)).await
    }

    async fn generate_resource_config(
        &self,
        request: Request<pb::generate_resource_config::Request>,
    ) -> Reply<pb::generate_resource_config::Response> {
        let request = request.get_ref();
        self.answer("GenerateResourceConfig", &request.type_name, async { self.generate(request) }).await
    }

    async fn validate_data_resource_config(
        &self,
        request: Request<pb::validate_data_resource_config::Request>,
    ) -> Reply<pb::validate_data_resource_config::Response> {
        let request = request.into_inner();
        let subject = request.type_name.clone();
        self.answer("ValidateDataResourceConfig", &subject, self.validate_data(request)).await
    }

    async fn read_data_source(
        &self,
        request: Request<pb::read_data_source::Request>,
    ) -> Reply<pb::read_data_source::Response> {
        let request = request.into_inner();
        let subject = request.type_name.clone();
        self.answer("ReadDataSource", &subject, self.read_data(request)).await
    }

    async fn get_functions(
        &self,
        _request: Request<pb::get_functions::Request>,
    ) -> Reply<pb::get_functions::Response> {
        self.answer("GetFunctions", "", async { Ok(Self::functions()) }).await
    }

    async fn call_function(
        &self,
        request: Request<pb::call_function::Request>,
    ) -> Reply<pb::call_function::Response> {
        let request = request.get_ref();
        self.answer("CallFunction", &request.name, async { Self::call(request) }).await
    }

    async fn validate_ephemeral_resource_config(
        &self,
        request: Request<pb::validate_ephemeral_resource_config::Request>,
    ) -> Reply<pb::validate_ephemeral_resource_config::Response> {
        let request = request.into_inner();
        let subject = request.type_name.clone();
        self.answer("ValidateEphemeralResourceConfig", &subject, self.validate_ephemeral(request)).await
    }

    async fn open_ephemeral_resource(
        &self,
        request: Request<pb::open_ephemeral_resource::Request>,
    ) -> Reply<pb::open_ephemeral_resource::Response> {
        let request = request.into_inner();
        let subject = request.type_name.clone();
        self.answer("OpenEphemeralResource", &subject, self.open_ephemeral(request)).await
    }

    async fn renew_ephemeral_resource(
        &self,
        request: Request<pb::renew_ephemeral_resource::Request>,
    ) -> Reply<pb::renew_ephemeral_resource::Response> {
        let request = request.get_ref();
        self.answer("RenewEphemeralResource", &request.type_name, async { Self::renew_ephemeral(request) })
            .await
    }

    async fn close_ephemeral_resource(
        &self,
        request: Request<pb::close_ephemeral_resource::Request>,
    ) -> Reply<pb::close_ephemeral_resource::Response> {
        let request = request.get_ref();
        self.answer("CloseEphemeralResource", &request.type_name, async { Self::close_ephemeral(request) })
            .await
    }

    async fn validate_list_resource_config(
        &self,
        request: Request<pb::validate_list_resource_config::Request>,
    ) -> Reply<pb::validate_list_resource_config::Response> {
        let request = request.into_inner();
        let subject = request.type_name.clone();
        self.answer("ValidateListResourceConfig", &subject, self.validate_list(request)).await
    }

    type ListResourceStream = Answers<pb::list_resource::Event>;

    async fn list_resource(
        &self,
        request: Request<pb::list_resource::Request>,
    ) -> Reply<Self::ListResourceStream> {
        let request = request.into_inner();
        let subject = request.type_name.clone();
        self.events("ListResource", &subject, self.list(request)).await
    }

    async fn validate_action_config(
        &self,
        request: Request<pb::validate_action_config::Request>,
    ) -> Reply<pb::validate_action_config::Response> {
        let request = request.into_inner();
        let subject = request.action_type.clone();
        self.answer("ValidateActionConfig", &subject, self.validate_action(request)).await
    }

    async fn plan_action(
        &self,
        request: Request<pb::plan_action::Request>,
    ) -> Reply<pb::plan_action::Response> {
        let request = request.into_inner();
        let subject = request.action_type.clone();
        self.answer("PlanAction", &subject, self.plan_action(request)).await
    }

    type InvokeActionStream = Answers<pb::invoke_action::Event>;

    async fn invoke_action(
        &self,
        request: Request<pb::invoke_action::Request>,
    ) -> Reply<Self::InvokeActionStream> {
        let request = request.into_inner();
        let subject = request.action_type.clone();
        self.events("InvokeAction", &subject, self.invoke(request)).await
    }

    async fn validate_state_store_config(
        &self,
        request: Request<pb::validate_state_store_config::Request>,
    ) -> Reply<pb::validate_state_store_config::Response> {
        absent::answer("state store", &request.get_ref().type_name)
    }

    async fn configure_state_store(
        &self,
        request: Request<pb::configure_state_store::Request>,
    ) -> Reply<pb::configure_state_store::Response> {
        absent::answer("state store", &request.get_ref().type_name)
    }

    type ReadStateBytesStream = Answers<pb::read_state_bytes::ResponseChunk>;

    async fn read_state_bytes(
        &self,
        request: Request<pb::read_state_bytes::Request>,
    ) -> Reply<Self::ReadStateBytesStream> {
        absent::events("state store", &request.get_ref().type_name)
    }

    async fn write_state_bytes(
        &self,
        request: Request<Streaming<pb::write_state_bytes::RequestChunk>>,
    ) -> Reply<pb::write_state_bytes::Response> {
        let mut chunks = request.into_inner();
        let mut name = String::new();
        // Read to the end: a client that is still sending when the answer comes may take it for a broken stream.
        while let Ok(Some(chunk)) = chunks.message().await {
            name = chunk.meta.map_or(name, |meta| meta.type_name);
        }
        absent::answer("state store", &name)
    }

    async fn lock_state(&self, request: Request<pb::lock_state::Request>) -> Reply<pb::lock_state::Response> {
        absent::answer("state store", &request.get_ref().type_name)
    }

    async fn unlock_state(
        &self,
        request: Request<pb::unlock_state::Request>,
    ) -> Reply<pb::unlock_state::Response> {
        absent::answer("state store", &request.get_ref().type_name)
    }

    async fn get_states(&self, request: Request<pb::get_states::Request>) -> Reply<pb::get_states::Response> {
        absent::answer("state store", &request.get_ref().type_name)
    }

    async fn delete_state(
        &self,
        request: Request<pb::delete_state::Request>,
    ) -> Reply<pb::delete_state::Response> {
        absent::answer("state store", &request.get_ref().type_name)
    }
}
