//! The three Secrets: made once, in the cluster's words; their random content is the shell's (P24). Those with the roles' passwords
//! may be written again, whole, with the number of that writing in them.

use pgha_schema::credentials::CredentialsRole;
use pgha_schema::names::{POSTGRES_PORT, secret_key};
use serde_json::{Value as Json, json};

use super::{Component, Inputs, object};
use crate::connection::{LIBPQ_SETTINGS, query};
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
            let uri = format!(
                "postgresql://{{{}}}:{{{}}}@{host}:{POSTGRES_PORT}/{{{}}}{}",
                secret_key::USERNAME,
                secret_key::PASSWORD,
                secret_key::DBNAME,
                query(LIBPQ_SETTINGS.into_iter())
            );
            let known = json!({
                secret_key::USERNAME: bootstrap.owner,
                secret_key::HOST: host,
                secret_key::PORT: POSTGRES_PORT.to_string(),
                secret_key::DBNAME: bootstrap.database,
            });
            (names.secret_app(), known, vec![(secret_key::URI.to_owned(), uri)], inputs.credentials.app)
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

fn bare(inputs: &Inputs<'_>, name: &str, known: Json) -> Json {
    let metadata = inputs.metadata(name, Component::Credentials);
    object(Kind::Secret, metadata, json!({"type": "Opaque", "stringData": known}))
}
