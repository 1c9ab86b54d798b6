//! The named rules for texts.

use serde::{Deserialize, Serialize};

use super::Problem;

/// A named rule for a text; each says in its message what is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// A DNS-1123 label of at most 63 characters: a namespace.
    DnsLabel,
    /// A cluster's name: a DNS-1035 label (it names Services) of at most 40 characters.
    ClusterName,
    /// A DNS-1123 subdomain: a storage class, a priority class, a Secret.
    DnsSubdomain,
    /// The key of a label or annotation, `prefix/name`; `pgha/` and `app.kubernetes.io/` are ours.
    MetadataKey,
    /// The key of a label that is looked up (a node's); any prefix.
    LookupKey,
    /// The value of a label.
    LabelValue,
}

impl Rule {
    /// Runs the rule.
    pub fn check(self, text: &str) -> Result<(), Problem> {
        match self {
            Self::DnsLabel => dns_label(text, 63),
            Self::ClusterName => cluster_name(text),
            Self::DnsSubdomain => dns_subdomain(text),
            Self::MetadataKey => metadata_key(text),
            Self::LookupKey => qualified_name(text),
            Self::LabelValue => label_value(text),
        }
    }
}

fn dns_label(text: &str, longest: usize) -> Result<(), Problem> {
    if is_dns_label(text) && text.len() <= longest {
        return Ok(());
    }
    Err(Problem::new(
        format!("`{text}` is not a DNS label."),
        format!(
            "Write at most {longest} lower-case letters, digits and hyphens, with a letter or digit at both ends."
        ),
    ))
}

fn cluster_name(text: &str) -> Result<(), Problem> {
    if is_dns_label(text) && text.len() <= 40 && text.starts_with(|first: char| first.is_ascii_lowercase()) {
        return Ok(());
    }
    Err(Problem::new(
        format!("`{text}` can't name a cluster."),
        "Write at most 40 lower-case letters, digits and hyphens, with a letter first and a letter or digit last \
         (Services and pods are named after it).",
    ))
}

fn is_dns_label(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !text.is_empty()
        && text.len() <= 63
        && text.bytes().all(inner)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

fn is_dns_subdomain(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(is_dns_label)
}

fn dns_subdomain(text: &str) -> Result<(), Problem> {
    if is_dns_subdomain(text) {
        return Ok(());
    }
    Err(Problem::new(
        format!("`{text}` can't name a Kubernetes object."),
        "Write lower-case letters, digits, hyphens and dots, each part with a letter or digit at both ends.",
    ))
}

fn metadata_key(text: &str) -> Result<(), Problem> {
    qualified_name(text)?;
    let prefix = text.split_once('/').map(|(prefix, _)| prefix);
    if text == "role" || matches!(prefix, Some("pgha" | "app.kubernetes.io")) {
        return Err(Problem::new(
            format!("The key `{text}` is the cluster's own."),
            "Choose another key; `role` and those with the prefixes `pgha/` and `app.kubernetes.io/` are taken.",
        ));
    }
    Ok(())
}

fn qualified_name(text: &str) -> Result<(), Problem> {
    let (prefix, name) = text.split_once('/').map_or((None, text), |(prefix, name)| (Some(prefix), name));
    if prefix.is_none_or(is_dns_subdomain) && !name.is_empty() && is_label_word(name) {
        return Ok(());
    }
    Err(Problem::new(
        format!("`{text}` is not a valid key."),
        "Write `name` or `prefix/name`: the prefix a DNS name, the name at most 63 letters, digits, `-`, `_` and `.` \
         with a letter or digit at both ends.",
    ))
}

fn label_value(text: &str) -> Result<(), Problem> {
    if is_label_word(text) {
        return Ok(());
    }
    Err(Problem::new(
        format!("`{text}` is not a label value."),
        "Write at most 63 letters, digits, `-`, `_` and `.` with a letter or digit at both ends, or nothing.",
    ))
}

fn is_label_word(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let edge = |byte: Option<u8>| byte.is_none_or(|byte| byte.is_ascii_alphanumeric());
    text.len() <= 63
        && text.bytes().all(inner)
        && edge(text.bytes().next())
        && edge(text.bytes().next_back())
}
