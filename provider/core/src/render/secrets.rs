//! The three Secrets: made once, in the cluster's words; their random content is the shell's (P24). Those with the roles' passwords
//! may be written again, whole, with the number of that writing in them.

use pgha_schema::credentials::CredentialsRole;
use pgha_schema::names::{POSTGRES_PORT, secret_key};
use serde_json::{Value as Json, json};

use super::{Component, Inputs, object};
use crate::connection::{JDBC_PRIMARY, JDBC_SETTINGS, LIBPQ_PRIMARY, LIBPQ_SETTINGS, query};
use crate::object::Kind;
use crate::step::{Random, Secret, Step};

/// Steps that make them. A password that was given is written over the one that is there.
pub fn secrets(inputs: &Inputs<'_>) -> Vec<Step> {
    let superuser = secret(inputs, CredentialsRole::Superuser);
    let superuser = match inputs.superuser_password {
        None => Step::CreateSecret(superuser),
        Some(given) => Step::WriteSecret(Secret {
            given: vec![(secret_key::PASSWORD.to_owned(), given.clone())],
            random: Vec::new(),
            ..superuser
        }),
    };
    vec![
        superuser,
        Step::CreateSecret(secret(inputs, CredentialsRole::App)),
        Step::CreateSecret(Secret {
            object: bare(inputs, &inputs.names().secret_internal(), json!({})),
            given: Vec::new(),
            random: vec![
                (secret_key::REPLICATION_PASSWORD.to_owned(), Random::Password),
                (secret_key::AGENT_KEY.to_owned(), Random::Key),
            ],
            derived: Vec::new(),
        }),
    ]
}

/// The Secret of a role, with a new random password.
pub fn secret(inputs: &Inputs<'_>, role: CredentialsRole) -> Secret {
    let (names, bootstrap) = (inputs.names(), &inputs.spec.bootstrap);
    let (name, mut known, derived, written) = match role {
        CredentialsRole::Superuser => (
            names.secret_superuser(),
            json!({secret_key::USERNAME: "postgres"}),
            Vec::new(),
            inputs.credentials.superuser,
        ),
        CredentialsRole::App => {
            let host = names.rw_host(&inputs.spec.namespace);
            let known = json!({
                secret_key::USERNAME: bootstrap.owner,
                secret_key::HOST: host,
                secret_key::PORT: POSTGRES_PORT.to_string(),
                secret_key::DBNAME: bootstrap.database,
            });
            (names.secret_app(), known, addresses(&host), inputs.credentials.app)
        }
    };
    if written > 0 {
        known[secret_key::ROTATION] = json!(written.to_string());
    }
    Secret {
        object: bare(inputs, &name, known),
        given: Vec::new(),
        random: vec![(secret_key::PASSWORD.to_owned(), Random::Password)],
        derived,
    }
}

/// What is made of the other texts: one address for each family of clients.
fn addresses(host: &str) -> Vec<(String, String)> {
    let (username, password) = (secret_key::USERNAME, secret_key::PASSWORD);
    let there = format!("{host}:{POSTGRES_PORT}/{{{}}}", secret_key::DBNAME);
    let uri = format!("postgresql://{{{username}}}:{{{password}}}@{there}");
    let jdbc = query(JDBC_SETTINGS.into_iter().chain([JDBC_PRIMARY]));
    // All drivers know this one; what they do not know some hand to the server, which refuses it.
    let plain = query(LIBPQ_SETTINGS.into_iter().filter(|(name, _)| *name == "connect_timeout"));
    [
        (secret_key::URI, format!("{uri}{}", query(LIBPQ_SETTINGS.into_iter().chain([LIBPQ_PRIMARY])))),
        (secret_key::PLAIN_URI, format!("{uri}{plain}")),
        (
            secret_key::JDBC_URL,
            format!("jdbc:postgresql://{there}{jdbc}&user={{{username}}}&password={{{password}}}"),
        ),
    ]
    .map(|(key, template)| (key.to_owned(), template))
    .to_vec()
}

fn bare(inputs: &Inputs<'_>, name: &str, known: Json) -> Json {
    let metadata = inputs.metadata(name, Component::Credentials);
    object(Kind::Secret, metadata, json!({"type": "Opaque", "stringData": known}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_family_of_clients_has_an_address_that_it_understands() {
        let all: Vec<String> =
            addresses("db-rw.shop.svc").into_iter().map(|(_, template)| template).collect();
        assert!(all[0].starts_with("postgresql://{username}:{password}@db-rw.shop.svc:5432/{dbname}?"));
        assert!(all[0].contains("keepalives_idle=5"), "{}", all[0]);
        assert!(all[0].ends_with("&target_session_attrs=read-write"), "{}", all[0]);
        assert_eq!(
            all[1],
            "postgresql://{username}:{password}@db-rw.shop.svc:5432/{dbname}?connect_timeout=10"
        );
        assert_eq!(
            all[2],
            "jdbc:postgresql://db-rw.shop.svc:5432/{dbname}?connectTimeout=10&tcpKeepAlive=true&targetServerType=primary&user={username}&password={password}"
        );
    }
}
