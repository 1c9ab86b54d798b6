//! What RBAC refuses, and what the server says of it before anybody tries; and refusals of its admission.

use hyper::{Method, StatusCode};
use serde_json::{Value as Json, json};

use super::{FakeApi, Held, failure, is_collection};

const REVIEWS: &str = "/apis/authorization.k8s.io/v1/";

/// A write that admission refuses, for real and when it is only tried.
pub(super) struct Refused {
    path: String,
    status: Json,
}

impl FakeApi {
    /// Refuses everything about a kind from now on.
    pub fn forbid(&self, plural: &str) {
        self.held().forbidden.insert(plural.to_owned());
    }

    /// The user lacks one right from now on, as `patch` on `configmaps`.
    pub fn deny(&self, verb: &str, plural: &str) {
        self.held().denied.insert((verb.to_owned(), plural.to_owned()));
    }

    /// The user has every right again.
    pub fn allow_all(&self) {
        let mut held = self.held();
        held.forbidden.clear();
        held.denied.clear();
    }

    /// From now on whatever writes to a path that ends so, or makes an object in it, is answered with this status.
    pub fn refuse(&self, path: &str, status: Json) {
        self.held().refused.push(Refused { path: path.to_owned(), status });
    }
}

impl Held {
    /// A question about the user's own rights: the answer to it.
    pub(super) fn review(&self, method: &Method, path: &str, body: &Json) -> Option<(StatusCode, Json)> {
        let review = path.strip_prefix(REVIEWS).filter(|_| *method == Method::POST)?;
        let mut answer = body.clone();
        if review == "selfsubjectrulesreviews" {
            let everything = json!([{ "apiGroups": ["*"], "resources": ["*"], "verbs": ["*"] }]);
            let limited = !self.forbidden.is_empty() || !self.denied.is_empty();
            answer["status"] = json!({ "resourceRules": if limited { json!([]) } else { everything } });
        } else {
            let asked = &body["spec"]["resourceAttributes"];
            let word = |field: &str| asked[field].as_str().unwrap_or_default().to_owned();
            let (verb, plural) = (word("verb"), word("resource"));
            let refused = self.forbidden.contains(&plural) || self.denied.contains(&(verb, plural));
            answer["status"] = json!({ "allowed": !refused });
        }
        Some((StatusCode::CREATED, answer))
    }

    /// The refusal of who lacks the right to this.
    pub(super) fn lacks_right(&self, method: &Method, words: &[&str]) -> Option<(StatusCode, Json)> {
        let verb = match *method {
            Method::GET if is_collection(words) => "list",
            Method::GET => "get",
            Method::POST => "create",
            Method::PUT => "update",
            Method::PATCH => "patch",
            _ => "delete",
        };
        let lacks = |word: &&&str| {
            self.forbidden.contains(**word) || self.denied.contains(&(verb.to_owned(), (**word).to_owned()))
        };
        let plural = words.iter().find(lacks)?;
        let message = format!("{plural} is forbidden: User \"test\" cannot {verb} resource \"{plural}\"");
        Some(failure(StatusCode::FORBIDDEN, "Forbidden", &message))
    }

    /// What admission says to this write.
    pub(super) fn unadmitted(&self, method: &Method, path: &str) -> Option<(StatusCode, Json)> {
        let refused =
            self.refused.iter().filter(|_| *method != Method::GET).find(|one| path.ends_with(&one.path))?;
        let code = refused.status["code"].as_u64().and_then(|code| u16::try_from(code).ok());
        let code = code.and_then(|code| StatusCode::from_u16(code).ok()).unwrap_or(StatusCode::FORBIDDEN);
        let (_, mut status) = failure(code, "", "");
        for (key, value) in refused.status.as_object().into_iter().flatten() {
            status[key] = value.clone();
        }
        Some((code, status))
    }
}
