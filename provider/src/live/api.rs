//! The Kubernetes API of one namespace, in JSON: what server-side apply sends and owns is exactly what core rendered.

use std::sync::Arc;
use std::time::Duration;

use kube::api::{DeleteParams, ListParams, LogParams, Patch, PatchParams, PostParams, Preconditions};
use kube::core::Request;
use pgha_provider_core::object::{Kind, ObjectKey};
use pgha_schema::names::MANAGER;
use serde_json::Value as Json;
use tokio::time::Instant;

use super::config::Connection;
use super::errors::{EVERYWHERE, LiveError, Verb};
use super::pace::Pace;

/// How often a request is sent again that the server was too busy for, or that found no server.
const ATTEMPTS: u32 = 4;
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// How long a server may make one request wait by asking for it: as long as it may be silent.
const PATIENCE: Duration = Duration::from_secs(30);
/// How old an answer may be that several clusters share.
const RECENT: Duration = Duration::from_secs(1);
/// A page of a list.
const PAGE: u32 = 500;

/// Whether a write happens, or is only tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// It happens.
    Real,
    /// The server goes through everything but storing it.
    DryRun,
}

/// One namespace of one Kubernetes cluster, or all of them, where objects can only be listed.
#[derive(Clone)]
pub struct Api {
    connection: Connection,
    namespace: String,
    deadline: Option<Instant>,
    pace: Option<Pace>,
}

type Answer<T> = Result<T, LiveError>;

impl Api {
    /// The namespace `namespace` through `connection`.
    pub fn new(connection: &Connection, namespace: &str) -> Self {
        Self { connection: connection.clone(), namespace: namespace.to_owned(), deadline: None, pace: None }
    }

    /// The same for an operation with a deadline: no server can make its requests wait beyond it.
    pub fn until(self, deadline: Instant) -> Self {
        Self { deadline: Some(deadline), ..self }
    }

    /// The same with its answers timed.
    pub fn timed(self, pace: &Pace) -> Self {
        Self { pace: Some(pace.clone()), ..self }
    }

    /// All namespaces through `connection`.
    pub fn everywhere(connection: &Connection) -> Self {
        Self::new(connection, EVERYWHERE)
    }

    /// Its name.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// What these credentials may do here: `SelfSubjectRulesReview` and its like, answered with a status.
    pub async fn review(&self, resource: &str, review: &Json) -> Result<Json, kube::Error> {
        let request = Request::new(format!("/apis/authorization.k8s.io/v1/{resource}"));
        self.json(request.create(&PostParams::default(), bytes(review))).await
    }

    /// Reads one object.
    pub async fn get(&self, key: &ObjectKey) -> Answer<Json> {
        let request = || self.kind(key.kind).get(&key.name, &kube::api::GetParams::default());
        self.patiently(Verb::Get, key.kind, &key.name, request).await
    }

    /// Reads the metadata of one object.
    pub async fn get_metadata(&self, key: &ObjectKey) -> Answer<Json> {
        let request = || self.kind(key.kind).get_metadata(&key.name, &kube::api::GetParams::default());
        self.patiently(Verb::Get, key.kind, &key.name, request).await
    }

    /// Reads all objects of a kind that the selectors let through.
    pub async fn list(&self, kind: Kind, labels: Option<&str>, fields: Option<&str>) -> Answer<Vec<Json>> {
        self.pages(kind, labels, fields, |params| self.kind(kind).list(params)).await
    }

    /// The metadata of all objects of a kind that the selector lets through.
    pub async fn list_metadata(&self, kind: Kind, labels: &str) -> Answer<Vec<Json>> {
        self.pages(kind, Some(labels), None, |params| self.kind(kind).list_metadata(params)).await
    }

    /// The same as it was a moment ago: as the API server remembers it, which need not go through all that is stored, and for [`RECENT`] as
    /// it answered to the last who asked. All clusters of a namespace ask for the same.
    pub async fn list_recent_metadata(&self, kind: Kind, labels: &str) -> Answer<Arc<Vec<Json>>> {
        let asked = async {
            let params = ListParams::default().labels(labels).match_any();
            let request = || self.kind(kind).list_metadata(&params);
            let mut list: Json = self.patiently(Verb::List, kind, "", request).await?;
            let items = list.get_mut("items").map(Json::take).unwrap_or_default();
            Ok(serde_json::from_value::<Vec<Json>>(items).unwrap_or_default())
        };
        self.recently(&format!("{}/{labels}", kind.plural()), asked).await
    }

    /// All events of the namespace, as they were for [`RECENT`]: clusters that wait at the same time ask for the same.
    pub async fn list_recent_events(&self) -> Answer<Arc<Vec<Json>>> {
        self.recently(Kind::Event.plural(), self.list(Kind::Event, None, None)).await
    }

    /// What the last who asked for it got, or else what is asked for now.
    async fn recently(
        &self,
        what: &str,
        asked: impl Future<Output = Answer<Vec<Json>>>,
    ) -> Answer<Arc<Vec<Json>>> {
        let place = self.connection.recent.of(format!("{}/{what}", self.namespace));
        let mut place = place.lock().await;
        if let Some((items, _)) = place.as_ref().filter(|(_, at)| at.elapsed() < RECENT) {
            return Ok(Arc::clone(items));
        }
        let items = Arc::new(asked.await?);
        *place = Some((Arc::clone(&items), Instant::now()));
        Ok(items)
    }

    /// The lock of something in the namespace that several clusters share.
    pub fn turn(&self, name: &str) -> Arc<tokio::sync::Mutex<()>> {
        self.connection.turns.of(format!("{}/{name}", self.namespace))
    }

    /// Has lists asked for anew that were had from [`Api::list_recent_metadata`].
    pub fn forget_recent(&self) {
        self.connection.recent.forget();
    }

    async fn pages(
        &self,
        kind: Kind,
        labels: Option<&str>,
        fields: Option<&str>,
        request: impl Fn(&ListParams) -> Result<http::Request<Vec<u8>>, kube::core::request::Error>,
    ) -> Answer<Vec<Json>> {
        let mut all = Vec::new();
        let mut params = ListParams {
            label_selector: labels.map(str::to_owned),
            field_selector: fields.map(str::to_owned),
            limit: Some(PAGE),
            ..ListParams::default()
        };
        loop {
            let request = || request(&params);
            let mut page: Json = self.patiently(Verb::List, kind, "", request).await?;
            let next = page.pointer("/metadata/continue").and_then(Json::as_str).unwrap_or_default();
            params.continue_token = Some(next.to_owned()).filter(|token| !token.is_empty());
            if let Some(Json::Array(items)) = page.get_mut("items").map(Json::take) {
                all.extend(items);
            }
            if params.continue_token.is_none() {
                return Ok(all);
            }
        }
    }

    /// Makes an object; one that is there already is an error. Sent once: a reply that got lost can't be told from
    /// somebody else's object.
    pub async fn create(&self, key: &ObjectKey, object: &Json, mode: Mode) -> Answer<Json> {
        let params = PostParams { dry_run: mode == Mode::DryRun, field_manager: Some(MANAGER.to_owned()) };
        let request = || self.kind(key.kind).create(&params, bytes(object));
        self.once(Verb::Create, key.kind, &key.name, request).await
    }

    /// Server-side apply. `force` takes fields over from other managers.
    pub async fn apply(&self, key: &ObjectKey, object: &Json, force: bool, mode: Mode) -> Answer<Json> {
        let params = apply_params(force, mode);
        let request = || self.kind(key.kind).patch(&key.name, &params, &Patch::Apply(object));
        self.patiently(Verb::Patch, key.kind, &key.name, request).await
    }

    /// The same, without sending it again.
    pub async fn apply_once(&self, key: &ObjectKey, object: &Json, force: bool, mode: Mode) -> Answer<Json> {
        let params = apply_params(force, mode);
        let request = || self.kind(key.kind).patch(&key.name, &params, &Patch::Apply(object));
        self.once(Verb::Patch, key.kind, &key.name, request).await
    }

    /// Puts an object in the place of the one that is there, whole, whatever that holds.
    pub async fn replace(&self, key: &ObjectKey, object: &Json) -> Answer<Json> {
        let params = PostParams { dry_run: false, field_manager: Some(MANAGER.to_owned()) };
        let request = || self.kind(key.kind).replace(&key.name, &params, bytes(object));
        self.patiently(Verb::Update, key.kind, &key.name, request).await
    }

    /// JSON merge patch.
    pub async fn merge(&self, key: &ObjectKey, patch: &Json, mode: Mode) -> Answer<Json> {
        let params = PatchParams {
            dry_run: mode == Mode::DryRun,
            field_manager: Some(MANAGER.to_owned()),
            ..PatchParams::default()
        };
        let request = || self.kind(key.kind).patch(&key.name, &params, &Patch::Merge(patch));
        self.patiently(Verb::Patch, key.kind, &key.name, request).await
    }

    /// Strategic merge patch of metadata: lists with keys are merged by them. The answer leaves out the rest, which may be megabytes.
    pub async fn merge_metadata(&self, key: &ObjectKey, patch: &Json) -> Answer<Json> {
        let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
        let request = || self.kind(key.kind).patch_metadata(&key.name, &params, &Patch::Strategic(patch));
        self.patiently(Verb::Patch, key.kind, &key.name, request).await
    }

    /// Deletes an object if it is still the one with this uid, and in this version if one is given. One that is gone counts as
    /// deleted.
    pub async fn delete(&self, key: &ObjectKey, uid: Option<&str>, version: Option<&str>) -> Answer<()> {
        let params = DeleteParams {
            preconditions: uid.map(|uid| Preconditions {
                uid: Some(uid.to_owned()),
                resource_version: version.map(str::to_owned),
            }),
            propagation_policy: Some(kube::api::PropagationPolicy::Background),
            ..DeleteParams::default()
        };
        let request = || self.kind(key.kind).delete(&key.name, &params);
        match self.patiently(Verb::Delete, key.kind, &key.name, request).await {
            Ok(_) => Ok(()),
            Err(error) if error.is_not_found() => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// The last lines of a container's log; of its life before when `previous`.
    pub async fn log(&self, pod: &str, container: &str, previous: bool, lines: i64) -> Answer<String> {
        let params = LogParams {
            container: Some(container.to_owned()),
            previous,
            tail_lines: Some(lines),
            ..LogParams::default()
        };
        let request = self
            .kind(Kind::Pod)
            .logs(pod, &params)
            .map_err(kube::Error::BuildRequest)
            .map_err(|error| self.failed(Verb::Log, Kind::Pod, pod, error))?;
        self.connection.send(request).await.map_err(|error| self.failed(Verb::Log, Kind::Pod, pod, error))
    }

    fn kind(&self, kind: Kind) -> Request {
        let prefix = match kind.group() {
            "" => "/api".to_owned(),
            _ => "/apis".to_owned(),
        };
        let place = match self.namespace.as_str() {
            EVERYWHERE => String::new(),
            namespace => format!("namespaces/{namespace}/"),
        };
        Request::new(format!("{prefix}/{}/{place}{}", kind.api_version(), kind.plural()))
    }

    /// Sends a request that may be repeated, after a while: ours, or what a busy server asks for, if that is longer.
    async fn patiently(
        &self,
        verb: Verb,
        kind: Kind,
        name: &str,
        request: impl Fn() -> Result<http::Request<Vec<u8>>, kube::core::request::Error>,
    ) -> Answer<Json> {
        let (mut ours, mut patience) = (FIRST_PAUSE, PATIENCE);
        for _ in 1..ATTEMPTS {
            match self.once(verb, kind, name, &request).await {
                Err(error) if error.is_passing() => {
                    let limit = self.time_left().min(patience);
                    let pause = pause(ours, error.retry_after(), limit);
                    let causes = super::errors::causes(&error);
                    tracing::debug!(%error, causes, pause_ms = pause.as_millis() as u64, "sent again after a pause");
                    tokio::time::sleep(pause).await;
                    patience = patience.saturating_sub(pause);
                    ours *= 2;
                }
                answer => return answer,
            }
        }
        self.once(verb, kind, name, &request).await
    }

    fn time_left(&self) -> Duration {
        self.deadline.map_or(Duration::MAX, |deadline| deadline.saturating_duration_since(Instant::now()))
    }

    async fn once(
        &self,
        verb: Verb,
        kind: Kind,
        name: &str,
        request: impl Fn() -> Result<http::Request<Vec<u8>>, kube::core::request::Error>,
    ) -> Answer<Json> {
        tracing::trace!(?verb, kind = kind.name(), name, namespace = self.namespace, "request to Kubernetes");
        let began = Instant::now();
        let answer = self.json(request()).await.map_err(|error| self.failed(verb, kind, name, error));
        if let Some(pace) = self.pace.as_ref().filter(|_| is_of_the_store(&answer)) {
            pace.took(verb, began.elapsed());
        }
        answer
    }

    async fn json(
        &self,
        request: Result<http::Request<Vec<u8>>, kube::core::request::Error>,
    ) -> Result<Json, kube::Error> {
        let text = self.connection.send(request.map_err(kube::Error::BuildRequest)?).await?;
        serde_json::from_str(&text).map_err(kube::Error::SerdeError)
    }

    fn failed(&self, verb: Verb, kind: Kind, name: &str, error: kube::Error) -> LiveError {
        LiveError {
            verb,
            kind,
            name: name.to_owned(),
            namespace: self.namespace.clone(),
            server: self.connection.server.clone(),
            configured_by: self.connection.source.clone(),
            error,
        }
    }
}

/// Whoever is sent away at the door did not wait for what is behind it.
fn is_of_the_store(answer: &Answer<Json>) -> bool {
    match answer {
        Ok(_) => true,
        Err(error) => error.status().is_some() && !error.is_passing() && !error.is_forbidden(),
    }
}

/// What the server asks for counts up to the limit, and never makes a pause shorter than it would be.
fn pause(ours: Duration, asked: Option<Duration>, limit: Duration) -> Duration {
    ours.max(asked.unwrap_or_default().min(limit))
}

fn apply_params(force: bool, mode: Mode) -> PatchParams {
    PatchParams {
        dry_run: mode == Mode::DryRun,
        force,
        field_manager: Some(MANAGER.to_owned()),
        field_validation: None,
    }
}

fn bytes(object: &Json) -> Vec<u8> {
    object.to_string().into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_is_as_long_as_the_server_asks_within_the_limit() {
        let seconds = Duration::from_secs;
        assert_eq!(pause(FIRST_PAUSE, None, PATIENCE), FIRST_PAUSE);
        assert_eq!(pause(FIRST_PAUSE, Some(seconds(7)), PATIENCE), seconds(7));
        assert_eq!(pause(seconds(1), Some(seconds(0)), PATIENCE), seconds(1));
        assert_eq!(pause(FIRST_PAUSE, Some(seconds(3600)), seconds(4)), seconds(4));
        // At the deadline, and when patience is used up, there are the pauses that there always were.
        assert_eq!(pause(FIRST_PAUSE, Some(seconds(7)), Duration::ZERO), FIRST_PAUSE);
    }
}
