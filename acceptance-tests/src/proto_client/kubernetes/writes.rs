//! Writes, as far as the provider makes them: create, server-side apply, merge patches, delete; each with its preconditions.

use hyper::{Method, StatusCode};
use serde_json::{Value as Json, json};

use super::{Contested, Held, failure, merge};

type Answer = (StatusCode, Json);

impl Held {
    pub(super) fn write(
        &mut self,
        method: &Method,
        path: &str,
        query: &str,
        applies: bool,
        body: &Json,
    ) -> Answer {
        let dry = query.contains("dryRun=All");
        if dry && self.refuses_dry_runs {
            return failure(StatusCode::UNPROCESSABLE_ENTITY, "Invalid", "a dry run is refused by a test");
        }
        let forced = query.contains("force=true");
        if let Some(contested) =
            self.contested.as_ref().filter(|one| one.path == path && applies && !dry && !forced)
        {
            return conflict(contested);
        }
        let path = if *method == Method::POST { named(path, body) } else { path.to_owned() };
        let before = self.objects.get(&path).cloned();
        if let Some(before) = &before
            && other_uid(method, before, body)
        {
            return failure(StatusCode::CONFLICT, "Conflict", "the UID in the precondition is another one");
        }
        let after = match (method, before) {
            (&Method::POST, Some(_)) => {
                return failure(StatusCode::CONFLICT, "AlreadyExists", &format!("{path} already exists"));
            }
            (&Method::POST, None) => Some(body.clone()),
            (&Method::DELETE, Some(_)) => None,
            (&Method::PATCH, Some(mut object)) if applies => {
                apply(&mut object, body);
                Some(object)
            }
            (&Method::PATCH, None) if applies && body["metadata"]["uid"].is_null() => Some(body.clone()),
            (&Method::PATCH, None) if applies => {
                return failure(StatusCode::CONFLICT, "Conflict", "the object with this UID is gone");
            }
            (&Method::PATCH, Some(mut object)) => {
                merge(&mut object, body);
                Some(object)
            }
            _ => return failure(StatusCode::NOT_FOUND, "NotFound", &format!("{path} not found")),
        };
        let answer = after.map(|object| self.as_a_server_would(object));
        if !dry {
            match &answer {
                Some(object) => self.objects.insert(path, object.clone()),
                None => self.objects.remove(&path),
            };
            if let Some(reaction) = &self.reaction {
                reaction(&mut self.objects);
            }
        }
        let gone = json!({ "kind": "Status", "apiVersion": "v1", "status": "Success" });
        (StatusCode::OK, answer.unwrap_or(gone))
    }

    /// With what an API server adds that nobody asked for (P12).
    fn as_a_server_would(&mut self, mut object: Json) -> Json {
        if object["metadata"]["uid"].is_null() {
            self.uids += 1;
            object["metadata"]["uid"] = json!(format!("uid-{}", self.uids));
        }
        object["metadata"]["resourceVersion"] = json!(self.uids.to_string());
        match object["kind"].as_str() {
            Some("Service") => {
                object["spec"]["sessionAffinity"] = json!("None");
                object["spec"]["internalTrafficPolicy"] = json!("Cluster");
            }
            Some("StatefulSet") => {
                object["spec"]["template"]["spec"]["dnsPolicy"] = json!("ClusterFirst");
                object["spec"]["template"]["spec"]["containers"][0]["terminationMessagePolicy"] =
                    json!("File");
            }
            _ => {}
        }
        object
    }
}

fn conflict(contested: &Contested) -> Answer {
    let Contested { field, manager, .. } = contested;
    let (code, mut status) = failure(StatusCode::CONFLICT, "Conflict", "Apply failed with 1 conflict");
    let message = format!("conflict with \"{manager}\" using v1");
    status["details"] =
        json!({ "causes": [{ "reason": "FieldManagerConflict", "message": message, "field": field }] });
    (code, status)
}

/// The path of an object that is created in a collection.
fn named(path: &str, body: &Json) -> String {
    format!("{path}/{}", body["metadata"]["name"].as_str().unwrap_or_default())
}

fn other_uid(method: &Method, before: &Json, body: &Json) -> bool {
    let wanted =
        if *method == Method::DELETE { &body["preconditions"]["uid"] } else { &body["metadata"]["uid"] };
    *method != Method::POST && wanted.is_string() && *wanted != before["metadata"]["uid"]
}

/// Server-side apply, crudely: maps are merged, everything else is replaced.
fn apply(into: &mut Json, from: &Json) {
    let (Json::Object(into), Json::Object(from)) = (&mut *into, from) else {
        *into = from.clone();
        return;
    };
    for (key, value) in from {
        // Atomic, as an API server has it.
        if key == "selector" {
            into.insert(key.clone(), value.clone());
        } else {
            apply(into.entry(key.clone()).or_insert(Json::Null), value);
        }
    }
}
