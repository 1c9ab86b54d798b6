//! Programs that give credentials. The library runs one three times for each client that it makes: for the token, for the certificate, and
//! for the time when that expires. Here one runs once, and the library sees only what it gave.

use std::process::{Command, Output, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::{SignedDuration, Timestamp};
use kube::client::AuthError;
use kube::config::{AuthInfo, ExecConfig};
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::json;

/// Credentials are had anew so long before they expire: a request takes its time too.
const MARGIN: SignedDuration = SignedDuration::from_secs(60);

/// What a program prints, as far as it matters here.
#[derive(Deserialize)]
struct Printed {
    status: Option<Given>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Given {
    token: Option<String>,
    client_certificate_data: Option<String>,
    client_key_data: Option<String>,
    expiration_timestamp: Option<String>,
}

/// The program that counts; none where the user says in another way who it is. Which of several ways counts is the library's order.
pub fn of(user: &AuthInfo) -> Option<&ExecConfig> {
    let named = (user.username.is_some() && user.password.is_some()) || user.token.is_some();
    let otherwise = named || user.auth_provider.is_some() || user.token_file.is_some();
    user.exec.as_ref().filter(|_| !otherwise)
}

/// Runs the user's program, if one counts, and puts what it gives in its place; blocks meanwhile. Gives the time at which it is to run again:
/// none when it does not say how long its credentials last.
///
/// # Errors
/// When it can't be started or fails, or what it prints holds no credentials.
pub fn replace(user: &mut AuthInfo) -> Result<Option<Timestamp>, AuthError> {
    let Some(exec) = of(user) else { return Ok(None) };
    let given = parsed(&output(exec)?.stdout)?;
    let expires = given.expiration_timestamp.as_deref().map(str::parse::<Timestamp>).transpose();
    let expires = expires.map_err(AuthError::MalformedTokenExpirationDate)?;
    let token = given.token.filter(|token| !token.is_empty());
    let pair = match (given.client_certificate_data, given.client_key_data) {
        (Some(certificate), Some(key)) => Some((certificate, key)),
        (None, None) if token.is_some() => None,
        (None, None) => return Err(useless("neither a token nor a certificate")),
        (Some(_), None) => return Err(useless("a certificate without its key")),
        (None, Some(_)) => return Err(useless("a key without its certificate")),
    };
    user.exec = None;
    user.token = token.map(SecretString::from);
    if let Some((certificate, key)) = pair {
        user.client_certificate_data = Some(STANDARD.encode(certificate));
        user.client_key_data = Some(SecretString::from(STANDARD.encode(key)));
    }
    Ok(expires.and_then(|expires| renewal(Timestamp::now(), expires)))
}

/// When others are to be had: a minute before these expire, or a tenth of a shorter life. Credentials that are given as expired say nothing about
/// it: the clocks differ, and the server knows.
fn renewal(now: Timestamp, expires: Timestamp) -> Option<Timestamp> {
    let life = expires.duration_since(now);
    if !life.is_positive() {
        return None;
    }
    expires.checked_sub((life / 10).min(MARGIN)).ok()
}

/// JSON, or YAML, which kubectl takes too.
fn parsed(printed: &[u8]) -> Result<Given, AuthError> {
    let printed: Option<Printed> =
        serde_json::from_slice(printed).ok().or_else(|| serde_yaml_ng::from_slice(printed).ok());
    // Why it can't be read is not told: that may quote a token.
    printed.ok_or_else(|| useless("no ExecCredential"))?.status.ok_or(AuthError::ExecPluginFailed)
}

fn useless(what: &str) -> AuthError {
    AuthError::AuthExec(format!("the program printed {what}"))
}

/// What a run gave. A failure is told with the program's arguments, but without its environment and without what it printed, secrets both.
fn output(exec: &ExecConfig) -> Result<Output, AuthError> {
    let name = exec.command.as_ref().ok_or(AuthError::MissingCommand)?;
    let mut command = Command::new(name);
    command.args(exec.args.iter().flatten()).env("KUBERNETES_EXEC_INFO", asked(exec)?);
    for entry in exec.env.iter().flatten() {
        if let (Some(name), Some(value)) = (entry.get("name"), entry.get("value")) {
            command.env(name, value);
        }
    }
    // The host's standard input is not ours to hand on, and what the program says belongs into our error.
    let run = command.stdin(Stdio::null()).output();
    let mut output = run.map_err(|error| {
        AuthError::AuthExecStart(std::io::Error::new(error.kind(), format!("{name}: {error}")))
    })?;
    if output.status.success() {
        return Ok(output);
    }
    output.stdout.clear();
    let words = std::iter::once(name).chain(exec.args.iter().flatten());
    let cmd = words.map(String::as_str).collect::<Vec<_>>().join(" ");
    Err(AuthError::AuthExecRun { cmd, out: Box::new(output) })
}

/// What the program is told: that nobody is there to be asked, and about the cluster if it wants that.
fn asked(exec: &ExecConfig) -> Result<String, AuthError> {
    let mut spec = json!({ "interactive": false });
    if exec.provide_cluster_info {
        let cluster = exec.cluster.as_ref().ok_or(AuthError::ExecMissingClusterInfo)?;
        spec["cluster"] = serde_json::to_value(cluster).map_err(AuthError::AuthExecSerialize)?;
    }
    Ok(json!({ "kind": "ExecCredential", "apiVersion": exec.api_version, "spec": spec }).to_string())
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;
    use serde_json::Value as Json;

    use super::*;

    fn user(given: Json) -> AuthInfo {
        serde_json::from_value(given).unwrap()
    }

    /// A user with a program that does what the script says.
    fn script(script: &str) -> AuthInfo {
        let api_version = "client.authentication.k8s.io/v1";
        user(json!({ "exec": { "apiVersion": api_version, "command": "sh", "args": ["-c", script] } }))
    }

    fn printing(text: &str) -> AuthInfo {
        let mut user = script(r#"printf %s "$TEXT""#);
        let entry = [("name".to_owned(), "TEXT".to_owned()), ("value".to_owned(), text.to_owned())];
        user.exec.as_mut().unwrap().env = Some(vec![entry.into()]);
        user
    }

    fn token(user: &AuthInfo) -> Option<&str> {
        Some(user.token.as_ref()?.expose_secret())
    }

    #[test]
    fn a_program_counts_where_nothing_else_says_who_the_user_is() {
        let exec = json!({ "command": "login" });
        assert!(of(&user(json!({ "exec": exec }))).is_some());
        assert!(of(&user(json!({ "exec": exec, "username": "me" }))).is_some());
        for otherwise in [
            json!({}),
            json!({ "exec": exec, "token": "t" }),
            json!({ "exec": exec, "tokenFile": "/token" }),
            json!({ "exec": exec, "username": "me", "password": "pw" }),
            json!({ "exec": exec, "auth-provider": { "name": "oidc" } }),
        ] {
            assert!(of(&user(otherwise.clone())).is_none(), "{otherwise}");
        }
    }

    #[test]
    fn what_it_gives_stands_in_its_place() {
        let mut user = printing(r#"{"status": {"token": "t"}}"#);
        assert_eq!(replace(&mut user).unwrap(), None);
        assert!(user.exec.is_none() && user.client_key_data.is_none());
        assert_eq!(token(&user), Some("t"));
        let mut user = printing("status:\n  clientCertificateData: c\n  clientKeyData: k\n");
        replace(&mut user).unwrap();
        assert_eq!((token(&user), user.client_certificate_data.as_deref()), (None, Some("Yw==")));
        assert_eq!(user.client_key_data.unwrap().expose_secret(), "aw==");
    }

    #[test]
    fn it_runs_again_before_its_credentials_expire() {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let after = |expires: &str| renewal(now, expires.parse().unwrap()).map(|at| at.to_string());
        assert_eq!(after("2026-01-01T01:00:00Z").as_deref(), Some("2026-01-01T00:59:00Z"));
        assert_eq!(after("2026-01-01T00:00:20Z").as_deref(), Some("2026-01-01T00:00:18Z"));
        assert_eq!((after("2026-01-01T00:00:00Z"), after("2025-01-01T00:00:00Z")), (None, None));
        let mut user =
            printing(r#"{"status": {"token": "t", "expirationTimestamp": "2999-01-01T00:00:00+01:00"}}"#);
        assert_eq!(replace(&mut user).unwrap().unwrap().to_string(), "2998-12-31T22:59:00Z");
    }

    #[test]
    fn it_is_told_that_nobody_can_be_asked_and_of_the_cluster_if_it_wants() {
        let mut user = script(r#"cat; printf '{"status": {"token": %s}}' "'$KUBERNETES_EXEC_INFO'""#);
        let told = |user: &mut AuthInfo| {
            replace(user).unwrap();
            serde_json::from_str::<Json>(token(user).unwrap()).unwrap()
        };
        let api_version = "client.authentication.k8s.io/v1";
        let plain =
            json!({ "kind": "ExecCredential", "apiVersion": api_version, "spec": { "interactive": false } });
        assert_eq!(told(&mut user.clone()), plain);
        let exec = user.exec.as_mut().unwrap();
        exec.provide_cluster_info = true;
        exec.cluster = Some(serde_json::from_value(json!({ "server": "https://k" })).unwrap());
        assert_eq!(told(&mut user)["spec"]["cluster"]["server"], "https://k");
    }

    #[test]
    fn what_is_no_credential_is_told_and_not_shown() {
        for (printed, why) in [
            ("hunter2", "no ExecCredential"),
            ("{}", "status"),
            (r#"{"status": {}}"#, "neither a token nor a certificate"),
            (r#"{"status": {"token": ""}}"#, "neither a token nor a certificate"),
            (r#"{"status": {"token": "hunter2", "clientKeyData": "k"}}"#, "a key without its certificate"),
            (r#"{"status": {"token": "hunter2", "expirationTimestamp": "soon"}}"#, "expiration"),
        ] {
            let error = replace(&mut printing(printed)).unwrap_err().to_string();
            assert!(error.contains(why) && !error.contains("hunter2"), "{printed}: {error}");
        }
    }

    #[test]
    fn a_program_that_is_missing_or_fails_is_named() {
        let error = replace(&mut user(json!({ "exec": { "command": "/nowhere/login" } }))).unwrap_err();
        assert!(error.to_string().contains("/nowhere/login"), "{error}");
        let error = replace(&mut script("echo hunter2; echo please log in >&2; exit 3")).unwrap_err();
        let AuthError::AuthExecRun { cmd, out } = error else { panic!("{error}") };
        assert!(cmd.starts_with("sh -c echo") && out.stdout.is_empty());
        assert_eq!(out.stderr, b"please log in\n");
    }
}
