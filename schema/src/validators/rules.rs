//! The named rules for texts.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::{Problem, image};
use crate::duration::Duration;
use crate::names;
use crate::quantity::Quantity;
use crate::resource::{PostgresVersion, PostgresVersionError, SUPPORTED_MAJORS};
use crate::{ignored, parameters, pg_hba};

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
    /// A Kubernetes quantity above zero.
    Quantity,
    /// A duration above zero, in Go's grammar.
    Duration,
    /// A container image, with tag or digest or neither.
    ImageReference,
    /// A supported version of PostgreSQL.
    PostgresVersion,
    /// Name of a PostgreSQL setting that the user may set.
    ParameterName,
    /// A text without line breaks and control characters.
    OneLine,
    /// A line of pg_hba.conf.
    PgHbaLine,
    /// Name of a database.
    PgIdentifier,
    /// Name of a role, other than those of the cluster.
    PgRole,
    /// A password: printable ASCII, so that every client writes it the same way. Never shown.
    Password,
    /// An encoding that initdb knows.
    Encoding,
    /// A locale's name.
    Locale,
    /// A network in CIDR form.
    Cidr,
    /// A URL with scheme http, https or socks5.
    ProxyUrl,
    /// PEM text.
    Pem,
    /// A regular expression.
    Regex,
    /// What is left to others, in the words of the attributes.
    Ignored,
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
            Self::Quantity => quantity(text),
            Self::Duration => duration(text),
            Self::ImageReference => image::check(text),
            Self::PostgresVersion => postgres_version(text),
            Self::ParameterName => parameters::check_name(text),
            Self::OneLine => one_line(text),
            Self::PgHbaLine => pg_hba::check(text),
            Self::PgIdentifier => pg_identifier(text),
            Self::PgRole => pg_role(text),
            Self::Password => password(text),
            Self::Encoding => encoding(text),
            Self::Locale => locale(text),
            Self::Cidr => cidr(text),
            Self::ProxyUrl => proxy_url(text),
            Self::Pem => pem(text),
            Self::Regex => regex(text),
            Self::Ignored => ignored::check(text),
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
    if names::is_own_key(text) {
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
    text.len() <= 63 && text.bytes().all(inner) && edge(text.bytes().next()) && edge(text.bytes().next_back())
}

fn quantity(text: &str) -> Result<(), Problem> {
    let remedy = "Write a number above zero with a Kubernetes suffix, as 10Gi, 512Mi, 500m or 2.";
    match text.parse::<Quantity>() {
        Ok(quantity) if quantity.nanos() > 0 => Ok(()),
        Ok(_) => Err(Problem::new(format!("The quantity `{text}` is not above zero."), remedy)),
        Err(error) => Err(Problem::new(format!("{error}."), remedy)),
    }
}

fn duration(text: &str) -> Result<(), Problem> {
    let remedy = "Write numbers above zero with units ms, s, m or h, as 500ms, 10s or 1m30s.";
    match text.parse::<Duration>() {
        Ok(duration) if duration.as_nanos() > 0 => Ok(()),
        Ok(_) => Err(Problem::new(format!("The duration `{text}` is not above zero."), remedy)),
        Err(error) => Err(Problem::new(format!("{error}."), remedy)),
    }
}

fn postgres_version(text: &str) -> Result<(), Problem> {
    let Err(error) = text.parse::<PostgresVersion>() else { return Ok(()) };
    let remedy = match error {
        PostgresVersionError::Unsafe { major, .. } => {
            format!("Choose {major}.{} or later.", PostgresVersion::lowest_minor(major))
        }
        PostgresVersionError::Form(_) | PostgresVersionError::Unsupported(_) => format!(
            "Write a major version from {} to {}, or one with its minor, as 18.1.",
            SUPPORTED_MAJORS.start(),
            SUPPORTED_MAJORS.end()
        ),
    };
    Err(Problem::new(format!("{error}."), remedy))
}

fn one_line(text: &str) -> Result<(), Problem> {
    match text.chars().find(|c| c.is_control()) {
        None => Ok(()),
        Some(_) => {
            Err(Problem::new("The text holds a line break or control character.", "Write it on one line."))
        }
    }
}

fn is_pg_name(text: &str) -> bool {
    !text.is_empty() && text.len() <= 63 && !text.chars().any(char::is_control)
}

fn pg_identifier(text: &str) -> Result<(), Problem> {
    if !is_pg_name(text) {
        return Err(Problem::new(
            format!("`{text}` can't name a database."),
            "Write 1 to 63 bytes without control characters.",
        ));
    }
    if matches!(text, "template0" | "template1") {
        return Err(Problem::new(
            format!("`{text}` is PostgreSQL's template."),
            "Choose another name for the application's database.",
        ));
    }
    Ok(())
}

fn pg_role(text: &str) -> Result<(), Problem> {
    let remedy = "Choose another name for the application's role, of 1 to 63 bytes; `postgres` and names that begin with \
                  `pg_` or `pgha_` are taken.";
    if !is_pg_name(text) {
        return Err(Problem::new(format!("`{text}` can't name a role."), remedy));
    }
    let owned = text.starts_with("pg_") || text.starts_with("pgha_") || text == names::ROLE_REPLICATION;
    if owned || matches!(text, "postgres" | "public" | "none") {
        return Err(Problem::new(format!("The role `{text}` is PostgreSQL's or the cluster's own."), remedy));
    }
    Ok(())
}

/// The text itself is in no message.
fn password(text: &str) -> Result<(), Problem> {
    let printable = |byte: u8| byte.is_ascii_graphic() || byte == b' ';
    if (1..=256).contains(&text.len()) && text.bytes().all(printable) {
        return Ok(());
    }
    Err(Problem::new(
        "This is no password that every client writes the same way.",
        "Use 1 to 256 printable ASCII characters: letters, digits, punctuation, spaces.",
    ))
}

/// PostgreSQL's server encodings, from its documentation's table of character sets, in upper case.
const ENCODINGS: [&str; 36] = [
    "EUC_CN",
    "EUC_JP",
    "EUC_JIS_2004",
    "EUC_KR",
    "EUC_TW",
    "ISO_8859_5",
    "ISO_8859_6",
    "ISO_8859_7",
    "ISO_8859_8",
    "KOI8R",
    "KOI8U",
    "LATIN1",
    "LATIN2",
    "LATIN3",
    "LATIN4",
    "LATIN5",
    "LATIN6",
    "LATIN7",
    "LATIN8",
    "LATIN9",
    "LATIN10",
    "MULE_INTERNAL",
    "SQL_ASCII",
    "UTF8",
    "UNICODE",
    "UTF-8",
    "WIN866",
    "WIN874",
    "WIN1250",
    "WIN1251",
    "WIN1252",
    "WIN1253",
    "WIN1254",
    "WIN1255",
    "WIN1256",
    "WIN1257",
];

fn encoding(text: &str) -> Result<(), Problem> {
    let upper = text.to_ascii_uppercase();
    if upper == "WIN1258" || ENCODINGS.contains(&upper.as_str()) {
        return Ok(());
    }
    Err(Problem::new(
        format!("`{text}` is not an encoding that a PostgreSQL server can have."),
        "Choose UTF8, or another server encoding of PostgreSQL's documentation, such as LATIN1 or SQL_ASCII.",
    ))
}

fn locale(text: &str) -> Result<(), Problem> {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'@');
    if !text.is_empty() && text.len() <= 63 && !text.starts_with('-') && text.bytes().all(inner) {
        return Ok(());
    }
    Err(Problem::new(
        format!("`{text}` is not a locale's name."),
        "Write one that `locale -a` lists in the image, as C.UTF-8 or en_US.utf8.",
    ))
}

fn cidr(text: &str) -> Result<(), Problem> {
    if is_cidr(text) {
        return Ok(());
    }
    Err(Problem::new(
        format!("`{text}` is not a network in CIDR form."),
        "Write address/length, as 10.0.0.0/8 or 2001:db8::/32.",
    ))
}

/// Whether the text is an address with a prefix length.
pub(crate) fn is_cidr(text: &str) -> bool {
    let Some((address, length)) = text.split_once('/') else { return false };
    let plain = !length.is_empty() && length.len() <= 3 && length.bytes().all(|b| b.is_ascii_digit());
    let (Ok(address), true, Ok(length)) = (address.parse::<IpAddr>(), plain, length.parse::<u16>()) else {
        return false;
    };
    length <= if address.is_ipv4() { 32 } else { 128 }
}

fn proxy_url(text: &str) -> Result<(), Problem> {
    let rest = ["http://", "https://", "socks5://"].iter().find_map(|scheme| text.strip_prefix(scheme));
    let ends = |c: char| c.is_whitespace() || c.is_control();
    // The text may hold a password: it is not shown.
    match rest {
        Some(rest) if !rest.is_empty() && !rest.starts_with('/') && !rest.contains(ends) => Ok(()),
        _ => Err(Problem::new(
            "The text is not a proxy's URL.",
            "Write scheme://host:port with scheme http, https or socks5.",
        )),
    }
}

fn pem(text: &str) -> Result<(), Problem> {
    if text.contains("-----BEGIN ") && text.contains("-----END ") {
        return Ok(());
    }
    // The text may be a key: it is not shown.
    Err(Problem::new(
        "The text is not PEM.",
        "Write the file's content, from -----BEGIN to -----END, for example with file().",
    ))
}

fn regex(text: &str) -> Result<(), Problem> {
    match regex_lite::Regex::new(text) {
        Ok(_) => Ok(()),
        Err(error) => Err(Problem::new(
            format!("`{text}` is not a regular expression: {error}."),
            "Write one that matches the whole key or a part of it, as ^example\\.com/.",
        )),
    }
}
