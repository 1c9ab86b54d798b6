//! The way to one API server: a client, and how it is made anew when its credentials expire or are no longer accepted.

use std::sync::Arc;

use http::HeaderValue;
use jiff::Timestamp;
use kube::client::{AuthError, ClientBuilder};
use kube::config::AuthInfo;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::Mutex;

use super::{program, proxy, retry_after, socks};
use crate::live::recent::{Recent, Turns};

/// A client, and words about it for messages. Clones share the client: what one of them renews, all have.
#[derive(Clone)]
pub struct Connection {
    /// Address of the API server.
    pub server: String,
    /// Where the settings come from.
    pub source: String,
    /// Lists that were just answered.
    pub recent: Recent,
    /// Whose turn it is with what clusters share.
    pub turns: Turns,
    /// What the client is made of. Not the files that these settings came from: whoever chooses another context in a
    /// kubeconfig must not send a running apply to another cluster.
    config: Arc<kube::Config>,
    current: Arc<Mutex<Current>>,
}

struct Current {
    made: Made,
    /// How often it was made anew, or tried to be.
    renewals: u64,
}

/// A client with credentials.
struct Made {
    client: kube::Client,
    /// When they are to be had anew, as far as is known.
    renewal: Option<Timestamp>,
}

impl Connection {
    /// Makes the client; credential programs run and token files are read here, and nothing is sent.
    ///
    /// # Errors
    /// When a program fails, a file can't be read or a certificate is none.
    pub async fn new(config: kube::Config, source: String) -> Result<Self, kube::Error> {
        let server = address(&config);
        let made = build(config.clone()).await?;
        let current = Arc::new(Mutex::new(Current { made, renewals: 0 }));
        Ok(Self {
            server,
            source,
            recent: Recent::default(),
            turns: Turns::default(),
            config: Arc::new(config),
            current,
        })
    }

    /// Sends a request, and once more with renewed credentials if the server does not accept those that it came with. A
    /// create too: what is answered with 401 was not carried out.
    ///
    /// # Errors
    /// What the server answers, why no answer came, or why there are no new credentials.
    pub async fn send(&self, request: http::Request<Vec<u8>>) -> Result<String, kube::Error> {
        let (client, renewals) = self.ready().await;
        let answer = match retry_after::send(&client, request.clone()).await {
            Err(kube::Error::Api(status)) if status.code == 401 && may_change(&self.config.auth_info) => {
                tracing::info!(server = self.server, "the credentials are not accepted: renewing them");
                retry_after::send(&self.renewed(renewals).await?, request).await
            }
            answer => answer,
        };
        // The program of an auth provider runs before a request.
        answer.map_err(discreet)
    }

    /// The client, with credentials that have not expired as far as is known, and after how many renewals it was made.
    async fn ready(&self) -> (kube::Client, u64) {
        let mut current = self.current.lock().await;
        if current.made.renewal.is_some_and(|at| at <= Timestamp::now())
            && let Err(error) = self.renew(&mut current).await
        {
            // Those that there are may be good for a while. Once they are refused the program runs again, and its failure is told.
            let causes = crate::live::errors::causes(&error);
            tracing::warn!(server = self.server, causes, "the credentials expire and can't be renewed");
        }
        (current.made.client.clone(), current.renewals)
    }

    /// A client that was made after so many renewals. Requests of a snapshot are refused together, and one renewal serves them
    /// all; those that come meanwhile wait for it.
    async fn renewed(&self, renewals: u64) -> Result<kube::Client, kube::Error> {
        let mut current = self.current.lock().await;
        if current.renewals == renewals {
            self.renew(&mut current).await?;
        }
        Ok(current.made.client.clone())
    }

    async fn renew(&self, current: &mut Current) -> Result<(), kube::Error> {
        // Noted first: if the program fails, it does not run again for each of the others.
        current.renewals += 1;
        current.made.renewal = None;
        current.made = build((*self.config).clone()).await?;
        Ok(())
    }
}

/// The API server's address, as messages have it.
pub fn address(config: &kube::Config) -> String {
    config.cluster_url.to_string().trim_end_matches('/').to_owned()
}

/// Credential programs run here, and block.
async fn build(mut config: kube::Config) -> Result<Made, kube::Error> {
    let built = tokio::task::spawn_blocking(move || {
        let renewal = identify(&mut config.auth_info).map_err(kube::Error::Auth)?;
        let client = match &config.proxy_url {
            Some(proxy) if proxy.scheme_str() == Some(proxy::SOCKS) => socks::client(&config, proxy)?,
            _ => ClientBuilder::try_from(config)?.with_layer(&retry_after::Listen).build(),
        };
        Ok(Made { client, renewal })
    })
    .await;
    built.map_err(|crash| kube::Error::Service(crash.into()))?.map_err(discreet)
}

/// Puts what programs and files say in their place; gives the time at which they are to be asked again.
fn identify(user: &mut AuthInfo) -> Result<Option<Timestamp>, AuthError> {
    read_token_file(user)?;
    let renewal = program::replace(user)?;
    if let Some(token) = &user.token {
        // The library panics over one that no header can hold.
        HeaderValue::try_from(format!("Bearer {}", token.expose_secret()))
            .map_err(AuthError::InvalidBearerToken)?;
    }
    Ok(renewal)
}

/// The token in the place of the file that it is in: the client itself would send a line's end with it, which no header may
/// have, and kubectl does not. It would read the file each minute; we do when the token is refused.
fn read_token_file(user: &mut AuthInfo) -> Result<(), AuthError> {
    if let (None, Some(path)) = (&user.token, &user.token_file) {
        let text =
            std::fs::read_to_string(path).map_err(|error| AuthError::ReadTokenFile(error, path.into()))?;
        user.token = Some(SecretString::from(text.trim()));
    }
    Ok(())
}

/// A failure as it may be told and logged: the library quotes what the program of an auth provider printed.
fn discreet(error: kube::Error) -> kube::Error {
    let failure = match error {
        kube::Error::Auth(failure) => failure,
        kube::Error::Service(boxed) => match boxed.downcast() {
            Ok(failure) => *failure,
            Err(other) => return kube::Error::Service(other),
        },
        other => return other,
    };
    kube::Error::Auth(match failure {
        AuthError::AuthExecRun { cmd, mut out } => {
            out.stdout.clear();
            AuthError::AuthExecRun { cmd, out }
        }
        failure => failure,
    })
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
    use serde_json::json;

    use super::*;

    fn user(yaml: serde_json::Value) -> AuthInfo {
        serde_json::from_value(yaml).unwrap()
    }

    #[test]
    fn only_what_comes_from_programs_and_files_is_renewed() {
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
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "first\n").unwrap();
        let mut found = user(json!({ "tokenFile": file.path() }));
        assert_eq!(identify(&mut found).unwrap(), None);
        assert_eq!(found.token.unwrap().expose_secret(), "first");
        let error = identify(&mut user(json!({ "tokenFile": "/nowhere/token" }))).unwrap_err();
        assert!(error.to_string().contains("/nowhere/token"), "{error}");
    }

    #[test]
    fn a_token_that_no_header_can_hold_is_refused_and_not_shown() {
        let error = identify(&mut user(json!({ "token": "hunter2\n" }))).unwrap_err();
        assert!(matches!(error, AuthError::InvalidBearerToken(_)), "{error}");
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }
}
