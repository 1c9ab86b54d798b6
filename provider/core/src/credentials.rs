//! Credentials: from a Secret of the cluster to what a configuration uses.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use pgha_schema::credentials::{Credentials, CredentialsRole, schema};
use pgha_schema::names::{Names, POSTGRES_PORT, secret_key};
use serde_json::Value as Json;

use crate::connection::{Connection, LIBPQ_PRIMARY, LIBPQ_SETTINGS};
use crate::diagnostic::Diagnostic;
use crate::object;
use crate::value::Value;

/// The superuser's own database.
const SUPERUSER_DATABASE: &str = "postgres";

/// Whose credentials a configuration asks for.
pub fn role(config: &Value) -> CredentialsRole {
    let role = config.get("role").to_json().and_then(|json| serde_json::from_value(json).ok());
    role.unwrap_or_default()
}

/// The Secret that holds them.
pub fn secret_name(names: &Names, role: CredentialsRole) -> String {
    match role {
        CredentialsRole::App => names.secret_app(),
        CredentialsRole::Superuser => names.secret_superuser(),
    }
}

/// What the Secret says, in the form of the ephemeral resource.
///
/// # Errors
/// When it is another's, or lacks what it must hold.
pub fn read(config: &Value, names: &Names, secret: &Json) -> Result<Value, Diagnostic> {
    let role = role(config);
    if !object::is_of(secret, names.cluster()) {
        return Err(Diagnostic::error(
            format!("Secret {} is not of cluster {}", object::name(secret), names.cluster()),
            "It does not carry the cluster's labels. Is the name right, or did somebody make a Secret of that name by hand?",
        ));
    }
    let namespace = config.get("namespace").as_str().unwrap_or_default();
    let database = match role {
        CredentialsRole::App => text(secret, secret_key::DBNAME)?,
        CredentialsRole::Superuser => SUPERUSER_DATABASE.to_owned(),
    };
    let (username, password) = (text(secret, secret_key::USERNAME)?, text(secret, secret_key::PASSWORD)?);
    let host = names.rw_host(namespace);
    let password_setting = [(secret_key::PASSWORD, password.as_str())];
    let settings: BTreeMap<_, _> = LIBPQ_SETTINGS
        .into_iter()
        .chain([LIBPQ_PRIMARY])
        .chain(password_setting)
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect();
    let connection = Connection {
        hosts: vec![host.clone()],
        port: POSTGRES_PORT,
        database: database.clone(),
        user: username.clone(),
        settings,
    };
    let told = Credentials {
        username: Some(username),
        password: Some(password),
        host: Some(host),
        port: Some(POSTGRES_PORT),
        database: Some(database),
        uri: Some(connection.uri()),
    };
    let told = Value::from_json(&serde_json::to_value(told).unwrap_or_default(), &schema().ty());
    let mut result = config.clone();
    for attribute in schema().attributes.iter().filter(|attribute| attribute.is_output()) {
        result.set_at(&attribute.name, told.get(&attribute.name).clone());
    }
    result.set_at("role", role_word(role).into());
    Ok(result)
}

fn role_word(role: CredentialsRole) -> &'static str {
    match role {
        CredentialsRole::App => "app",
        CredentialsRole::Superuser => "superuser",
    }
}

/// A text of the Secret. Never in a message: it may be the password.
fn text(secret: &Json, key: &str) -> Result<String, Diagnostic> {
    let encoded = secret.get("data").and_then(|data| data.get(key)?.as_str());
    let decoded =
        encoded.and_then(|text| STANDARD.decode(text).ok()).and_then(|bytes| String::from_utf8(bytes).ok());
    decoded.filter(|text| !text.is_empty()).ok_or_else(|| {
        Diagnostic::error(
            format!("Secret {} has no {key}", object::name(secret)),
            "The provider made it with one. Was it edited by hand? An apply of the cluster's resource does not write it again: put \
             the key back by hand.",
        )
    })
}

#[cfg(test)]
mod tests {
    use pgha_schema::names::{APP_NAME, LABEL_INSTANCE, LABEL_NAME};
    use serde_json::json;

    use super::*;

    fn config(role: Value) -> Value {
        let mut config = Value::empty_object(&schema().ty());
        config.set_at("name", "orders".into());
        config.set_at("namespace", "shop".into());
        config.set_at("role", role);
        config
    }

    fn secret(data: &[(&str, &str)]) -> Json {
        let data: serde_json::Map<_, _> =
            data.iter().map(|(key, text)| ((*key).to_owned(), STANDARD.encode(text).into())).collect();
        let labels = json!({LABEL_NAME: APP_NAME, LABEL_INSTANCE: "orders"});
        json!({"metadata": {"name": "orders-app", "labels": labels}, "data": data})
    }

    #[test]
    fn the_applications_are_told_with_a_uri_that_carries_them() {
        let secret = secret(&[("username", "web"), ("password", "a/b"), ("dbname", "shop db")]);
        let told = read(&config(Value::Null), &Names::new("orders"), &secret).unwrap();
        assert_eq!(told.get("role"), &"app".into());
        assert_eq!((told.get("username"), told.get("database")), (&"web".into(), &"shop db".into()));
        let uri = told.get("uri").as_str().unwrap();
        assert!(uri.starts_with("postgresql://web:a%2Fb@orders-rw.shop.svc:5432/shop%20db?"), "{uri}");
        assert!(
            uri.contains("tcp_user_timeout=10000") && uri.contains("target_session_attrs=read-write"),
            "{uri}"
        );
        assert!(told.is_wholly_known());
    }

    #[test]
    fn the_superusers_have_a_secret_of_their_own() {
        let config = config("superuser".into());
        assert_eq!(secret_name(&Names::new("orders"), role(&config)), "orders-superuser");
        let told =
            read(&config, &Names::new("orders"), &secret(&[("username", "postgres"), ("password", "p")]))
                .unwrap();
        assert_eq!((told.get("role"), told.get("database")), (&"superuser".into(), &"postgres".into()));
    }

    #[test]
    fn a_foreign_or_broken_secret_is_refused_without_its_content() {
        let names = Names::new("orders");
        let broken = secret(&[("username", "web"), ("dbname", "shop"), ("secret", "hunter2")]);
        let problem = read(&config(Value::Null), &names, &broken).unwrap_err();
        assert!(
            problem.summary.contains("has no password") && !problem.to_string().contains("hunter2"),
            "{problem}"
        );
        let problem = read(&config(Value::Null), &Names::new("other"), &broken).unwrap_err();
        assert!(problem.summary.contains("not of cluster other"), "{problem}");
    }
}
