//! The service around an engine that misbehaves.

use super::Provider;
use crate::engine::{
    Answer, Apply, Configure, Engine, Event, Import, Invoke, LIST_TYPE, List, Listed, Looked, Plan, Planned,
    RESOURCE_TYPE, Read, ReadData, Schemas,
};
use crate::proto::tfplugin6 as pb;
use crate::proto::tfplugin6::provider_server::Provider as _;
use crate::wire;
use futures::StreamExt as _;
use futures::stream::{self, BoxStream};
use pgha_provider_core::diagnostic::Diagnostics;
use pgha_provider_core::value::Value;
use pgha_schema::actions::Action;
use std::sync::Arc;
use tokio::sync::Notify;
use tonic::Request;

/// Panics while validating, answers nonsense to plans, and reads until it is stopped.
#[derive(Default)]
struct Awkward {
    reading: Arc<Notify>,
}

#[tonic::async_trait]
impl Engine for Awkward {
    fn schemas(&self) -> Schemas {
        Schemas {
            provider: pgha_schema::provider_block::schema(),
            cluster: pgha_schema::resource::schema(),
            view: pgha_schema::data_source::schema(),
            credentials: pgha_schema::credentials::schema(),
            list: pgha_schema::list::schema(),
        }
    }

    async fn validate_provider(&self, _config: Value) -> Diagnostics {
        Diagnostics::new()
    }

    async fn configure(&self, _request: Configure) -> Diagnostics {
        Diagnostics::new()
    }

    async fn validate_resource(&self, _config: Value) -> Diagnostics {
        tokio::task::yield_now().await;
        panic!("the engine broke")
    }

    async fn upgrade(&self, _from_version: i64, _json: &[u8]) -> Result<Value, Diagnostics> {
        Ok(Value::Null)
    }

    async fn read(&self, request: Read) -> Answer {
        self.reading.notify_one();
        request.stop.cancelled().await;
        Answer { state: request.state, ..Answer::default() }
    }

    async fn plan(&self, _request: Plan) -> Planned {
        Planned { state: Value::object([("name", "only".into())]), ..Planned::default() }
    }

    async fn apply(&self, request: Apply) -> Answer {
        Answer { state: request.prior, ..Answer::default() }
    }

    async fn import(&self, _request: Import) -> Answer {
        Answer::default()
    }

    async fn validate_data(&self, _config: Value) -> Diagnostics {
        Diagnostics::new()
    }

    async fn read_data(&self, _request: ReadData) -> Looked {
        Looked::default()
    }

    async fn validate_credentials(&self, _config: Value) -> Diagnostics {
        Diagnostics::new()
    }

    async fn open_credentials(&self, _request: ReadData) -> Looked {
        Looked::default()
    }

    async fn validate_list(&self, _config: Value) -> Diagnostics {
        Diagnostics::new()
    }

    async fn list(&self, _request: List) -> BoxStream<'static, Listed> {
        let named = |name: &str| Listed { display_name: name.to_owned(), ..Listed::default() };
        let second = async { panic!("the list broke") };
        stream::iter([named("first")]).chain(stream::once(second)).boxed()
    }

    async fn validate_action(&self, _action: Action, _config: Value) -> Diagnostics {
        Diagnostics::new()
    }

    async fn plan_action(&self, _action: Action, _config: Value) -> Diagnostics {
        Diagnostics::new()
    }

    async fn invoke(&self, _request: Invoke) -> BoxStream<'static, Event> {
        let second = async { panic!("the action broke") };
        stream::iter([Event::Progress("begun".to_owned())]).chain(stream::once(second)).boxed()
    }

    fn generate(&self, state: &Value) -> Value {
        state.clone()
    }
}

fn texts(diagnostics: &[pb::Diagnostic]) -> Vec<String> {
    diagnostics.iter().map(|one| format!("{}: {}", one.summary, one.detail)).collect()
}

#[tokio::test]
async fn a_panic_in_a_call_becomes_a_diagnostic_and_the_next_call_is_served() {
    let provider = Provider::new(Arc::new(Awkward::default()));
    for _ in 0..2 {
        let request = pb::validate_resource_config::Request {
            type_name: RESOURCE_TYPE.to_owned(),
            ..Default::default()
        };
        let answer = provider.validate_resource_config(Request::new(request)).await.unwrap().into_inner();
        let texts = texts(&answer.diagnostics);
        assert!(texts[0].contains("the engine broke") && texts[0].contains("report"), "{texts:?}");
        assert!(texts[0].contains("ValidateResourceConfig"), "{texts:?}");
    }
}

#[tokio::test]
async fn a_panic_in_a_stream_ends_it_with_a_diagnostic() {
    let provider = Provider::new(Arc::new(Awkward::default()));
    let request = pb::list_resource::Request { type_name: LIST_TYPE.to_owned(), ..Default::default() };
    let events = provider.list_resource(Request::new(request)).await.unwrap().into_inner();
    let events: Vec<_> = events.map(Result::unwrap).collect().await;
    let names: Vec<_> = events.iter().map(|event| event.display_name.as_str()).collect();
    assert_eq!(names, ["first", ""]);
    let texts = texts(&events[1].diagnostic);
    assert!(texts[0].contains("the list broke") && texts[0].contains("ListResource"), "{texts:?}");
}

#[tokio::test]
async fn a_panic_in_an_action_ends_it_with_a_diagnostic() {
    use pb::invoke_action::event::Type;
    let provider = Provider::new(Arc::new(Awkward::default()));
    let action_type = Action::Switchover.type_name().to_owned();
    let request = pb::invoke_action::Request { action_type, ..Default::default() };
    let events = provider.invoke_action(Request::new(request)).await.unwrap().into_inner();
    let events: Vec<_> = events.filter_map(|event| async { event.unwrap().r#type }).collect().await;
    let [Type::Progress(begun), Type::Completed(ended)] = &events[..] else { panic!("{events:?}") };
    assert_eq!(begun.message, "begun");
    let texts = texts(&ended.diagnostics);
    assert!(texts[0].contains("the action broke") && texts[0].contains("InvokeAction"), "{texts:?}");
}

#[tokio::test]
async fn an_answer_that_does_not_fit_the_schema_asks_for_a_report() {
    let provider = Provider::new(Arc::new(Awkward::default()));
    let request =
        pb::plan_resource_change::Request { type_name: RESOURCE_TYPE.to_owned(), ..Default::default() };
    let answer = provider.plan_resource_change(Request::new(request)).await.unwrap().into_inner();
    let texts = texts(&answer.diagnostics);
    assert!(texts[0].contains("is missing") && texts[0].contains("bug"), "{texts:?}");
    assert_eq!(answer.planned_state, None);
}

#[tokio::test]
async fn a_stop_cuts_calls_under_way_short() {
    let engine = Awkward::default();
    let reading = engine.reading.clone();
    let provider = Provider::new(Arc::new(engine));
    let request = pb::read_resource::Request { type_name: RESOURCE_TYPE.to_owned(), ..Default::default() };
    let stop = async {
        reading.notified().await;
        provider.stop_provider(Request::new(pb::stop_provider::Request {})).await.unwrap().into_inner()
    };
    let (answer, stopped) = tokio::join!(provider.read_resource(Request::new(request)), stop);
    assert_eq!(stopped.error, "");
    let state = answer.unwrap().into_inner().new_state;
    assert_eq!(wire::decode(state.as_ref(), &provider.cluster_type), Ok(Value::Null));
}
