//! The three Secrets: made once, in the cluster's words; their random content is the shell's (P24).

use pgha_schema::names::{POSTGRES_PORT, secret_key};
use serde_json::{Value as Json, json};

use super::{Component, Inputs, object};
use crate::connection::{LIBPQ_SETTINGS, query};
use crate::object::Kind;
use crate::step::{Random, Step};

/// Steps that make them.
pub fn secrets(inputs: &Inputs<'_>) -> Vec<Step> {
    let names = inputs.names();
    let bootstrap = &inputs.spec.bootstrap;
    let host = names.rw_host(&inputs.spec.namespace);
    let password = || vec![(secret_key::PASSWORD.to_owned(), Random::Password)];
    let uri = format!(
        "postgresql://{{{}}}:{{{}}}@{host}:{POSTGRES_PORT}/{{{}}}{}",
        secret_key::USERNAME,
        secret_key::PASSWORD,
        secret_key::DBNAME,
        query(LIBPQ_SETTINGS.into_iter())
    );
    vec![
        Step::CreateSecret {
            object: secret(inputs, &names.secret_superuser(), json!({secret_key::USERNAME: "postgres"})),
            random: password(),
            derived: Vec::new(),
        },
        Step::CreateSecret {
            object: secret(
                inputs,
                &names.secret_app(),
                json!({
                    secret_key::USERNAME: bootstrap.owner,
                    secret_key::HOST: host,
                    secret_key::PORT: POSTGRES_PORT.to_string(),
                    secret_key::DBNAME: bootstrap.database,
                }),
            ),
            random: password(),
            derived: vec![(secret_key::URI.to_owned(), uri)],
        },
        Step::CreateSecret {
            object: secret(inputs, &names.secret_internal(), json!({})),
            random: vec![
                (secret_key::REPLICATION_PASSWORD.to_owned(), Random::Password),
                (secret_key::AGENT_KEY.to_owned(), Random::Key),
            ],
            derived: Vec::new(),
        },
    ]
}

fn secret(inputs: &Inputs<'_>, name: &str, known: Json) -> Json {
    let metadata = inputs.metadata(name, Component::Credentials);
    object(Kind::Secret, metadata, json!({"type": "Opaque", "stringData": known}))
}
