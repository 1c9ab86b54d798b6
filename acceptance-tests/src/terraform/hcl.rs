//! Writes configurations as users write them: HCL, from a small builder.

use serde_json::{Map, Value, json};

/// Where the provider comes from, as configurations say it.
pub const VERSIONS: &str = "terraform {\n  required_providers {\n    postgres = {\n      source = \"pgha/postgres\"\n    }\n  }\n}\n";

/// Address of the cluster that [`Config`] declares.
pub const ADDRESS: &str = "postgres_ha_cluster.this";

/// A configuration with one cluster.
#[derive(Debug, Clone)]
pub struct Config {
    attributes: Map<String, Value>,
    provider: String,
    extra: String,
    lifecycle: String,
}

impl Config {
    /// A cluster with the required attributes alone, unprotected, so that tests can destroy it.
    pub fn new(namespace: &str, name: &str) -> Self {
        let Value::Object(attributes) = json!({
            "name": name,
            "namespace": namespace,
            "storage": { "size": "1Gi" },
            "deletion_protection": false,
        }) else {
            unreachable!("an object literal is an object")
        };
        Self { attributes, provider: String::new(), extra: String::new(), lifecycle: String::new() }
    }

    /// Sets an attribute; a dotted path sets one inside a nested object. A string `${...}` is an expression.
    pub fn set(mut self, path: &str, value: impl Into<Value>) -> Self {
        let mut place = &mut self.attributes;
        let mut steps: Vec<&str> = path.split('.').collect();
        let last = steps.pop().unwrap_or_default();
        for step in steps {
            let inner = place.entry(step).or_insert_with(|| json!({}));
            if !inner.is_object() {
                *inner = json!({});
            }
            let Value::Object(object) = inner else { return self };
            place = object;
        }
        place.insert(last.to_owned(), value.into());
        self
    }

    /// Takes an attribute away.
    pub fn unset(mut self, attribute: &str) -> Self {
        self.attributes.remove(attribute);
        self
    }

    /// Replaces the body of the provider block.
    pub fn provider(mut self, body: &str) -> Self {
        body.clone_into(&mut self.provider);
        self
    }

    /// Adds text beside the cluster.
    pub fn extra(mut self, text: &str) -> Self {
        self.extra.push_str(text);
        self.extra.push('\n');
        self
    }

    /// Sets the body of the cluster's lifecycle block.
    pub fn lifecycle(mut self, body: &str) -> Self {
        body.clone_into(&mut self.lifecycle);
        self
    }

    /// What the cluster's block holds.
    pub fn attributes(&self) -> &Map<String, Value> {
        &self.attributes
    }

    /// The configuration without the cluster: what a plan to remove it starts from.
    pub fn without_cluster(&self) -> String {
        format!("{}\n{}", self.header(), self.extra)
    }

    /// The whole file.
    pub fn text(&self) -> String {
        let mut body: String =
            self.attributes.iter().map(|(name, value)| format!("  {name} = {}\n", hcl(value, 1))).collect();
        if !self.lifecycle.is_empty() {
            body.push_str(&format!("  lifecycle {{\n    {}\n  }}\n", self.lifecycle));
        }
        let outputs: String = ["rw_host", "ro_host", "port", "app_secret", "superuser_secret"]
            .map(|name| format!("output \"{name}\" {{\n  value = {ADDRESS}.{name}\n}}\n"))
            .concat();
        format!(
            "{}\nresource \"postgres_ha_cluster\" \"this\" {{\n{body}}}\n\n{outputs}\n{}",
            self.header(),
            self.extra
        )
    }

    fn header(&self) -> String {
        format!("{VERSIONS}\nprovider \"postgres\" {{\n{}\n}}\n", self.provider)
    }
}

/// A value in HCL's syntax.
pub fn hcl(value: &Value, depth: usize) -> String {
    let inner = "  ".repeat(depth + 1);
    let outer = "  ".repeat(depth);
    match value {
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(|item| hcl(item, depth + 1)).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Object(object) if object.is_empty() => "{}".to_owned(),
        Value::Object(object) => {
            let lines: String = object
                .iter()
                .map(|(key, item)| format!("{inner}{} = {}\n", key_text(key), hcl(item, depth + 1)))
                .collect();
            format!("{{\n{lines}{outer}}}")
        }
        Value::String(text) => {
            // A whole expression stands bare; anything else is JSON's string, which HCL reads the same way.
            match text.strip_prefix("${").and_then(|rest| rest.strip_suffix('}')) {
                Some(expression) => expression.to_owned(),
                None => value.to_string(),
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => value.to_string(),
    }
}

fn key_text(key: &str) -> String {
    let plain = key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        && !key.starts_with(|c: char| c.is_ascii_digit());
    if plain { key.to_owned() } else { format!("\"{key}\"") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_reads_as_a_user_would_write_it() {
        let text = Config::new("apps", "orders")
            .set("replicas", 1)
            .set("parameters.max_connections", "50")
            .set("pod.labels", json!({ "team/name": "a" }))
            .set("storage.size", "${terraform_data.size.output}")
            .text();
        for line in [
            "  replicas = 1\n",
            "  parameters = {\n    max_connections = \"50\"\n  }\n",
            "      \"team/name\" = \"a\"\n",
            "    size = terraform_data.size.output\n",
        ] {
            assert!(text.contains(line), "{line:?} in {text}");
        }
    }
}
