//! The way to one API server: a client, and how it is made anew when its credentials are no longer accepted.

use std::sync::Arc;

use kube::client::AuthError;
use kube::config::AuthInfo;
use secrecy::SecretString;
use tokio::sync::Mutex;

/// A client, and words about it for messages. Clones share the client: what one of them renews, all have.
#[derive(Clone)]
pub struct Connection {
    /// Address of the API server.
    pub server: String,
    /// Where the settings come from.
    pub source: String,
    /// What the client is made of. Not the files that these settings came from: whoever chooses another context in a
    /// kubeconfig must not send a running apply to another cluster.
    config: Arc<kube::Config>,
    current: Arc<Mutex<Current>>,
}

struct Current {
    client: kube::Client,
    /// How often it was made anew, or tried to be.
    renewals: u64,
}

impl Connection {
    /// Makes the client; credential programs run and token files are read here, and nothing is sent.
    ///
    /// # Errors
    /// When a program fails, a file can't be read or a certificate is none.
    pub async fn new(config: kube::Config, source: String) -> Result<Self, kube::Error> {
        let server = address(&config);
        let client = build(config.clone()).await?;
        let current = Arc::new(Mutex::new(Current { client, renewals: 0 }));
        Ok(Self { server, source, config: Arc::new(config), current })
    }

    /// Sends a request, and once more with renewed credentials if the server does not accept those that it came with. A
    /// create too: what is answered with 401 was not carried out.
    ///
    /// # Errors
    /// What the server answers, why no answer came, or why there are no new credentials.
    pub async fn send(&self, request: http::Request<Vec<u8>>) -> Result<String, kube::Error> {
        let (client, renewals) = {
            let current = self.current.lock().await;
            (current.client.clone(), current.renewals)
        };
        let user = &self.config.auth_info;
        let answer = match client.request_text(request.clone()).await {
            Err(kube::Error::Api(status)) if status.code == 401 && may_change(user) => {
                tracing::info!(server = self.server, "the credentials are not accepted: renewing them");
                self.renewed(renewals).await?.request_text(request).await
            }
            answer => answer,
        };
        // A program runs before a request too, when it told when its token expires.
        answer.map_err(|error| discreet(error, user))
    }

    /// A client that was made after so many renewals. Requests of a snapshot are refused together, and one renewal serves them
    /// all; those that come meanwhile wait for it.
    async fn renewed(&self, renewals: u64) -> Result<kube::Client, kube::Error> {
        let mut current = self.current.lock().await;
        if current.renewals == renewals {
            // Counted first: if the program fails, it does not run again for each of the others.
            current.renewals += 1;
            current.client = build((*self.config).clone()).await?;
        }
        Ok(current.client.clone())
    }
}

/// The API server's address, as messages have it.
pub fn address(config: &kube::Config) -> String {
    config.cluster_url.to_string().trim_end_matches('/').to_owned()
}

/// Credential programs run here, and block.
async fn build(config: kube::Config) -> Result<kube::Client, kube::Error> {
    let user = config.auth_info.clone();
    let built =
        tokio::task::spawn_blocking(move || kube::Client::try_from(with_token_of_file(config)?)).await;
    let built = built.map_err(|crash| kube::Error::Service(crash.into()))?;
    built.map_err(|error| discreet(error, &user))
}

/// A program's failure as it may be told and logged. The library quotes what the program printed, and the environment that it
/// was given, secrets and all.
fn discreet(error: kube::Error, user: &AuthInfo) -> kube::Error {
    let failure = match error {
        kube::Error::Auth(failure) => failure,
        kube::Error::Service(boxed) => match boxed.downcast() {
            Ok(failure) => *failure,
            Err(other) => return kube::Error::Service(other),
        },
        other => return other,
    };
    kube::Error::Auth(match (failure, &user.exec) {
        (AuthError::AuthExecRun { mut out, .. }, Some(exec)) => {
            out.stdout.clear();
            let words = exec.command.iter().chain(exec.args.iter().flatten());
            AuthError::AuthExecRun { cmd: words.map(String::as_str).collect::<Vec<_>>().join(" "), out }
        }
        (failure, _) => failure,
    })
}

/// The token in the place of the file that it is in: the client itself would send a line's end with it, which no header may
/// have, and kubectl does not. It would read the file each minute; we do when the token is refused.
fn with_token_of_file(mut config: kube::Config) -> Result<kube::Config, kube::Error> {
    let user = &mut config.auth_info;
    if let (None, Some(path)) = (&user.token, &user.token_file) {
        let text = std::fs::read_to_string(path)
            .map_err(|error| kube::Error::Auth(AuthError::ReadTokenFile(error, path.into())))?;
        user.token = Some(SecretString::from(text.trim()));
    }
    Ok(config)
}

/// Whether credentials that are looked for again may be others: those of programs and files. Which of several count is the
/// client's order.
fn may_change(user: &AuthInfo) -> bool {
    let named = (user.username.is_some() && user.password.is_some()) || user.token.is_some();
    let looked_for = user.token_file.is_some() || user.exec.is_some();
    let certificate = user.client_certificate.is_some() && user.client_certificate_data.is_none();
    let key = user.client_key.is_some() && user.client_key_data.is_none();
    (looked_for && !named) || certificate || key
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(yaml: serde_json::Value) -> AuthInfo {
        serde_json::from_value(yaml).unwrap()
    }

    #[test]
    fn only_what_comes_from_programs_and_files_is_renewed() {
        use serde_json::json;
        let program = json!({ "command": "login" });
        for changes in [
            json!({ "exec": program }),
            json!({ "tokenFile": "/token" }),
            json!({ "client-certificate": "/c.pem", "client-key": "/k.pem" }),
            json!({ "client-certificate-data": "Yw==", "client-key": "/k.pem" }),
        ] {
            assert!(may_change(&user(changes.clone())), "{changes}");
        }
        for stays in [
            json!({}),
            json!({ "token": "t" }),
            json!({ "token": "t", "exec": program }),
            json!({ "username": "me", "password": "pw", "tokenFile": "/token" }),
            json!({ "client-certificate-data": "Yw==", "client-key-data": "aw==" }),
            json!({ "client-certificate-data": "Yw==", "client-certificate": "/c.pem", "client-key-data": "aw==" }),
        ] {
            assert!(!may_change(&user(stays.clone())), "{stays}");
        }
    }

    #[test]
    fn a_token_file_is_read_without_its_line_end_and_a_missing_one_is_named() {
        use secrecy::ExposeSecret as _;
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "first\n").unwrap();
        let mut config = kube::Config::new("https://k:6443".parse().unwrap());
        config.auth_info.token_file = Some(file.path().to_str().unwrap().to_owned());
        let token = with_token_of_file(config.clone()).unwrap().auth_info.token.unwrap();
        assert_eq!(token.expose_secret(), "first");
        config.auth_info.token_file = Some("/nowhere/token".to_owned());
        let error = with_token_of_file(config).unwrap_err();
        assert!(error.to_string().contains("/nowhere/token"), "{error}");
    }
}
