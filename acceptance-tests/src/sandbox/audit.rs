//! What pods ask of the API server, from its audit log: so that rights which nobody uses are found.

use std::fs;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde_json::Value as Json;

use super::layout::Layout;

/// Users whose requests are written down are in this group; it gives no rights.
pub const AUDITED: &str = "pgha:audited";
/// Requests of service accounts alone, and of those not the controllers', and of such users.
const POLICY: &str = r#"apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
  - level: None
    userGroups: ["system:serviceaccounts:kube-system"]
  - level: Metadata
    userGroups: ["system:serviceaccounts", "pgha:audited"]
  - level: None
"#;
/// Which pod a service account's token was made for.
const POD: &str = "authentication.kubernetes.io/pod-name";
/// What the authorizers said. The answer's code does not tell: admission refuses with that of a missing right too, as when a
/// namespace has no service account yet.
const DECISION: &str = "authorization.k8s.io/decision";

/// One request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// API group; empty for the core.
    pub group: String,
    /// As `configmaps`, or `pods/log`.
    pub resource: String,
    /// As RBAC speaks of it.
    pub verb: String,
    /// Of one object, or of a collection that is selected by this name.
    pub name: Option<String>,
    /// The pod whose credentials it carried; none for a user's.
    pub pod: Option<String>,
    /// Whether the rights were enough.
    pub allowed: bool,
}

fn log(layout: &Layout) -> PathBuf {
    layout.run().join("audit.log")
}

/// Writes the policy; gives the API server's arguments for it.
///
/// # Errors
/// When it can't be written.
pub fn arguments(layout: &Layout) -> Result<[String; 3]> {
    let policy = layout.run().join("audit-policy.yaml");
    fs::write(&policy, POLICY).context("write the audit policy")?;
    Ok([
        format!("--audit-policy-file={}", policy.display()),
        format!("--audit-log-path={}", log(layout).display()),
        // MiB; what is older goes.
        "--audit-log-maxsize=200".to_owned(),
    ])
}

/// How many bytes the log has: what is asked from now on comes after them.
///
/// # Errors
/// When there is no log.
pub fn end(layout: &Layout) -> Result<u64> {
    Ok(fs::metadata(log(layout)).context("look at the audit log")?.len())
}

/// What a user has asked for, oldest first, from a place in the log on.
///
/// # Errors
/// When there is no log.
pub fn requests_of(layout: &Layout, user: &str, from: u64) -> Result<Vec<Request>> {
    let bytes = since(&log(layout), from).context("read the audit log")?;
    Ok(String::from_utf8_lossy(&bytes).lines().filter_map(|line| request(line, user)).collect())
}

/// A file from a place on; all of one that is shorter, since it was begun anew.
fn since(file: &Path, from: u64) -> io::Result<Vec<u8>> {
    let mut file = fs::File::open(file)?;
    if file.metadata()?.len() >= from {
        file.seek(SeekFrom::Start(from))?;
    }
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// `None` for another user's, and for a line that is being written.
fn request(line: &str, user: &str) -> Option<Request> {
    let event: Json = serde_json::from_str(line).ok()?;
    if event["user"]["username"] != user {
        return None;
    }
    let at = &event["objectRef"];
    let word = |field: &str| at[field].as_str().map(str::to_owned);
    let resource = word("resource")?;
    Some(Request {
        group: word("apiGroup").unwrap_or_default(),
        resource: word("subresource").map_or(resource.clone(), |part| format!("{resource}/{part}")),
        verb: event["verb"].as_str()?.to_owned(),
        name: word("name"),
        pod: event["user"]["extra"][POD][0].as_str().map(str::to_owned),
        allowed: event["annotations"][DECISION] == "allow",
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_line_is_told_by_user_object_and_answer() {
        let line = |user: &str, decision: &str| {
            json!({
                "verb": "list", "user": { "username": user, "extra": { POD: ["pg-1"] } }, "annotations": { DECISION: decision },
                "objectRef": { "resource": "leases", "apiGroup": "coordination.k8s.io", "name": "pg" },
            })
            .to_string()
        };
        let asked = request(&line("a", "allow"), "a").unwrap();
        assert_eq!((asked.group.as_str(), asked.resource.as_str()), ("coordination.k8s.io", "leases"));
        assert_eq!((asked.verb.as_str(), asked.name.as_deref()), ("list", Some("pg")));
        assert_eq!(asked.pod.as_deref(), Some("pg-1"));
        assert!(asked.allowed);
        assert!(!request(&line("a", "forbid"), "a").unwrap().allowed);
        assert_eq!(request(&line("b", "allow"), "a"), None);
        assert_eq!(request(&line("a", "allow")[..20], "a"), None);
    }

    #[test]
    fn a_log_is_read_from_a_place_on_and_all_of_it_when_it_was_begun_anew() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "one\ntwo\n").unwrap();
        assert_eq!(since(file.path(), 4).unwrap(), b"two\n");
        assert_eq!(since(file.path(), 8).unwrap(), b"");
        assert_eq!(since(file.path(), 9).unwrap(), b"one\ntwo\n");
    }
}
