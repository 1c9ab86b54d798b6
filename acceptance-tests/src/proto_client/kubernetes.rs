//! A Kubernetes API server that holds objects and no cluster: enough for calls that read or patch, and it keeps what was asked.
//! With somebody who answers the provider's writes as agents would ([`FakeApi::start_with`]) it takes every write.

mod delay;
mod gate;
mod rights;
mod writes;

pub use gate::{Asked, Gate};

use anyhow::Result;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Value as Json, json};
use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::net::TcpListener;

/// Objects by path, as `/api/v1/namespaces/shop/configmaps/orders-status`.
pub type Objects = BTreeMap<String, Json>;

/// What happens to the objects after a write.
pub type Reaction = Box<dyn Fn(&mut Objects) + Send>;

/// An API server on a port of its own; it ends with the test's runtime.
#[derive(Clone, Default)]
pub struct FakeApi {
    address: String,
    held: Arc<Mutex<Held>>,
}

#[derive(Default)]
struct Held {
    /// Objects by path.
    objects: Objects,
    /// Follows each write; without it, nothing can be made or deleted.
    reaction: Option<Reaction>,
    /// Dry runs are refused.
    refuses_dry_runs: bool,
    /// A field that another manager owns.
    contested: Option<Contested>,
    /// Uids given so far.
    uids: u64,
    /// Plural names that RBAC refuses.
    forbidden: BTreeSet<String>,
    /// Verbs that it refuses, and on what.
    denied: BTreeSet<(String, String)>,
    /// What admission refuses.
    refused: Vec<rights::Refused>,
    /// How long answers take.
    delay: delay::Delay,
    /// Requests that will never be answered.
    hanging: usize,
    /// Refuses some before anything else is looked at.
    gate: Option<Gate>,
    /// What `Retry-After` says while it is too busy.
    retry_after: Option<u32>,
    /// `GET /api/...`, as they came.
    requests: Vec<String>,
    /// Bearer tokens that came with them.
    tokens: BTreeSet<String>,
}

/// A field of an object that can't be applied without force.
struct Contested {
    path: String,
    field: String,
    manager: String,
}

impl FakeApi {
    /// Starts to serve.
    ///
    /// # Errors
    /// When no port is to be had.
    pub async fn start() -> Result<Self> {
        Self::serve(None).await
    }

    /// Starts to serve, with every kind of write, each followed by `reaction`.
    ///
    /// # Errors
    /// When no port is to be had.
    pub async fn start_with(reaction: Reaction) -> Result<Self> {
        Self::serve(Some(reaction)).await
    }

    async fn serve(reaction: Option<Reaction>) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = format!("http://{}", listener.local_addr()?);
        let held = Held { reaction, ..Held::default() };
        let api = Self { address, held: Arc::new(Mutex::new(held)) };
        let serving = api.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let api = serving.clone();
                let service = service_fn(move |request| {
                    let api = api.clone();
                    async move { Ok::<_, Infallible>(api.answer(request).await) }
                });
                let connection = hyper::server::conn::http1::Builder::new();
                tokio::spawn(connection.serve_connection(TokioIo::new(stream), service));
            }
        });
        Ok(api)
    }

    /// Where it is, for the provider's `host`.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Puts an object in place. `group` is `api/v1` or `apis/apps/v1`.
    pub fn put(&self, group: &str, namespace: &str, plural: &str, object: Json) {
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        let path = format!("/{group}/namespaces/{namespace}/{plural}/{name}");
        self.held().objects.insert(path, object);
    }

    /// The object at a path.
    #[must_use]
    pub fn object(&self, path: &str) -> Option<Json> {
        self.held().objects.get(path).cloned()
    }

    /// Changes the objects by hand; nobody reacts.
    pub fn edit(&self, change: impl FnOnce(&mut Objects)) {
        change(&mut self.held().objects);
    }

    /// From now on dry runs are refused, or not.
    pub fn refuse_dry_runs(&self, refuses: bool) {
        self.held().refuses_dry_runs = refuses;
    }

    /// From now on another manager owns a field of the object at a path: who applies it without force hears of it.
    pub fn contest(&self, path: &str, field: &str, manager: &str) {
        let [path, field, manager] = [path, field, manager].map(str::to_owned);
        self.held().contested = Some(Contested { path, field, manager });
    }

    /// Nobody else owns anything any more.
    pub fn yield_fields(&self) {
        self.held().contested = None;
    }

    /// Answers a GET as if it had come over the wire.
    #[must_use]
    pub fn get(&self, path: &str) -> Json {
        self.held().asked(&Method::GET, path, None, "", false, &Json::Null).1
    }

    /// Forgets what was asked so far.
    pub fn forget_requests(&self) {
        self.held().requests.clear();
    }

    /// What was asked, as `GET /api/v1/...` without queries.
    #[must_use]
    pub fn requests(&self) -> Vec<String> {
        self.held().requests.clone()
    }

    /// The bearer tokens that were shown to it.
    #[must_use]
    pub fn tokens(&self) -> BTreeSet<String> {
        self.held().tokens.clone()
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (method, uri) = (request.method().clone(), request.uri().clone());
        let shown = request.headers().get("authorization").and_then(|value| value.to_str().ok());
        let token = shown.and_then(|text| text.strip_prefix("Bearer ")).map(str::to_owned);
        self.held().tokens.extend(token.clone());
        let content = request.headers().get("content-type").and_then(|value| value.to_str().ok());
        let applies = content.is_some_and(|content| content.starts_with("application/apply-patch"));
        let body = request.into_body().collect().await.map(http_body_util::Collected::to_bytes);
        let body = body.ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or(Json::Null);
        let query = uri.query().unwrap_or_default();
        self.take_time().await;
        let (code, json) = self.held().asked(&method, uri.path(), token.as_deref(), query, applies, &body);
        let mut response = Response::new(Full::new(Bytes::from(json.to_string())));
        *response.status_mut() = code;
        let busy = [StatusCode::TOO_MANY_REQUESTS, StatusCode::SERVICE_UNAVAILABLE].contains(&code);
        if let Some(seconds) = self.held().retry_after.filter(|_| busy) {
            response.headers_mut().insert("retry-after", seconds.into());
        }
        response
            .headers_mut()
            .insert("content-type", hyper::header::HeaderValue::from_static("application/json"));
        response
    }
}

impl Held {
    /// A request: it is remembered, the gate may refuse it, else it is answered.
    fn asked(
        &mut self,
        method: &Method,
        path: &str,
        token: Option<&str>,
        query: &str,
        applies: bool,
        body: &Json,
    ) -> (StatusCode, Json) {
        self.requests.push(format!("{method} {path}"));
        let asked = Asked { method: method.as_str(), path, token };
        match self.refusal(&asked) {
            Some(refusal) => refusal,
            None => self.answer(method, path, query, applies, body),
        }
    }

    fn answer(
        &mut self,
        method: &Method,
        path: &str,
        query: &str,
        applies: bool,
        body: &Json,
    ) -> (StatusCode, Json) {
        let words: Vec<&str> = path.split('/').collect();
        let answered = self.review(method, path, body);
        let answered = answered.or_else(|| self.lacks_right(method, &words));
        if let Some(answer) = answered.or_else(|| self.unadmitted(method, path)) {
            return answer;
        }
        match *method {
            Method::GET if self.objects.contains_key(path) => (StatusCode::OK, self.objects[path].clone()),
            Method::GET if is_collection(&words) => (StatusCode::OK, self.list(path, query)),
            Method::POST | Method::PATCH | Method::DELETE if self.reaction.is_some() => {
                self.write(method, path, query, applies, body)
            }
            Method::POST => {
                let path = format!("{path}/{}", body["metadata"]["name"].as_str().unwrap_or_default());
                if self.objects.contains_key(&path) {
                    return failure(StatusCode::CONFLICT, "AlreadyExists", &format!("{path} already exists"));
                }
                self.objects.insert(path, body.clone());
                (StatusCode::CREATED, body.clone())
            }
            Method::PUT if self.objects.contains_key(path) => {
                self.objects.insert(path.to_owned(), body.clone());
                (StatusCode::OK, body.clone())
            }
            Method::PATCH if self.objects.contains_key(path) => {
                let object = self.objects.entry(path.to_owned()).or_default();
                merge(object, body);
                (StatusCode::OK, object.clone())
            }
            _ => failure(StatusCode::NOT_FOUND, "NotFound", &format!("{path} not found")),
        }
    }

    /// Objects below a collection of one namespace, or of all.
    fn list(&self, path: &str, query: &str) -> Json {
        let wanted = selector(query);
        let plural = path.rsplit('/').next().unwrap_or_default();
        let group = path.trim_end_matches(plural).trim_end_matches('/');
        let here = |place: &str| {
            let parts: Vec<&str> = place.rsplitn(3, '/').collect();
            let same_kind = parts.get(1) == Some(&plural);
            let parent = parts.get(2).copied().unwrap_or_default();
            same_kind && (parent == group || parent.starts_with(&format!("{group}/namespaces/")))
        };
        let fits = |object: &Json| {
            let labels = &object["metadata"]["labels"];
            wanted.iter().all(|(key, value)| labels[key].as_str() == Some(value))
        };
        let found = self.objects.iter().filter(|(place, object)| here(place) && fits(object));
        let items: Vec<_> = found.map(|(_, object)| object.clone()).collect();
        json!({ "kind": "List", "apiVersion": "v1", "metadata": { "resourceVersion": "1" }, "items": items })
    }
}

fn failure(code: StatusCode, reason: &str, message: &str) -> (StatusCode, Json) {
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code.as_u16(), "reason": reason,
        "message": message, "metadata": {},
    });
    (code, status)
}

/// `.../namespaces/shop/pods`, or `/api/v1/pods` for all namespaces.
fn is_collection(words: &[&str]) -> bool {
    let from_namespaces = words.iter().position(|word| *word == "namespaces").map(|at| words.len() - at);
    match from_namespaces {
        Some(words) => words == 3,
        None => true,
    }
}

/// The labels that `labelSelector=a%3Db%2Cc%3Dd` wants.
fn selector(query: &str) -> Vec<(String, String)> {
    let text = query.split('&').find_map(|part| part.strip_prefix("labelSelector=")).unwrap_or_default();
    let text = text.replace("%3D", "=").replace("%2C", ",").replace("%2F", "/");
    text.split(',')
        .filter_map(|pair| pair.split_once('='))
        .map(|(k, v)| (k.to_owned(), v.to_owned()))
        .collect()
}

/// JSON merge patch.
fn merge(target: &mut Json, patch: &Json) {
    let Json::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (key, value) in patch {
        if value.is_null() {
            if let Some(target) = target.as_object_mut() {
                target.remove(key);
            }
        } else {
            merge(&mut target[key], value);
        }
    }
}
