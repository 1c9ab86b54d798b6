//! How clients reach a cluster: the hosts of each kind of access, and the settings with which they notice a lost node
//! (A28), in the words of libpq and of pgJDBC.

use std::collections::BTreeMap;
use std::net::Ipv6Addr;

/// What libpq needs to notice a server that vanished.
pub const LIBPQ_SETTINGS: [(&str, &str); 6] = [
    ("connect_timeout", "10"),
    ("keepalives", "1"),
    ("keepalives_idle", "5"),
    ("keepalives_interval", "2"),
    ("keepalives_count", "3"),
    ("tcp_user_timeout", "10000"),
];
/// The same for pgJDBC, as far as it has words for it.
pub const JDBC_SETTINGS: [(&str, &str); 2] = [("connectTimeout", "10"), ("tcpKeepAlive", "true")];
/// With this libpq takes no connection to a standby for one to the primary: where routes are late, the Service for writes may still
/// lead to an old primary, which answers reads as a standby, and a pool would keep that connection.
pub const LIBPQ_PRIMARY: (&str, &str) = ("target_session_attrs", "read-write");
/// The same for pgJDBC.
pub const JDBC_PRIMARY: (&str, &str) = ("targetServerType", "primary");

/// A connection to write down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connection {
    /// What to try, in this order.
    pub hosts: Vec<String>,
    /// On which port.
    pub port: u16,
    /// The database.
    pub database: String,
    /// The user.
    pub user: String,
    /// Everything else, by the client's own words.
    pub settings: BTreeMap<String, String>,
}

impl Connection {
    /// A libpq URI. A password among the settings goes where URIs have it.
    pub fn uri(&self) -> String {
        let mut settings = self.settings.clone();
        let password = settings.remove("password").map(|text| format!(":{}", percent_encoded(&text)));
        format!(
            "postgresql://{}{}@{}/{}{}",
            percent_encoded(&self.user),
            password.unwrap_or_default(),
            self.authority(),
            percent_encoded(&self.database),
            query(settings.iter())
        )
    }

    /// libpq's keywords and values.
    pub fn keywords(&self) -> String {
        let port = self.port.to_string();
        let hosts = self.hosts.join(",");
        let first = [("host", &*hosts), ("port", &*port), ("dbname", &*self.database), ("user", &*self.user)];
        let rest = self.settings.iter().map(|(key, value)| (&**key, &**value));
        let pairs: Vec<_> =
            first.into_iter().chain(rest).map(|(key, value)| format!("{key}={}", quoted(value))).collect();
        pairs.join(" ")
    }

    /// A URL for pgJDBC.
    pub fn jdbc(&self) -> String {
        let mut settings = self.settings.clone();
        settings.insert("user".to_owned(), self.user.clone());
        format!(
            "jdbc:postgresql://{}/{}{}",
            self.authority(),
            percent_encoded(&self.database),
            query(settings.iter())
        )
    }

    fn authority(&self) -> String {
        let one = |host: &String| match host.parse::<Ipv6Addr>() {
            Ok(address) => format!("[{address}]:{}", self.port),
            Err(_) => format!("{host}:{}", self.port),
        };
        self.hosts.iter().map(one).collect::<Vec<_>>().join(",")
    }
}

/// `?key=value&...`; nothing for no settings.
pub fn query<K: AsRef<str>, V: AsRef<str>>(settings: impl Iterator<Item = (K, V)>) -> String {
    let pairs: Vec<_> = settings
        .map(|(key, value)| format!("{}={}", percent_encoded(key.as_ref()), percent_encoded(value.as_ref())))
        .collect();
    if pairs.is_empty() { String::new() } else { format!("?{}", pairs.join("&")) }
}

/// A text as it may stand in any part of a URI: all but the unreserved characters of RFC 3986 encoded.
pub fn percent_encoded(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

/// A value of a libpq string: quoted when it is empty or holds more than plain characters.
fn quoted(value: &str) -> String {
    let plain = |c: char| !c.is_whitespace() && c != '\'' && c != '\\';
    if !value.is_empty() && value.chars().all(plain) {
        return value.to_owned();
    }
    format!("'{}'", value.replace('\\', "\\\\").replace('\'', "\\'"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connection(hosts: &[&str], settings: &[(&str, &str)]) -> Connection {
        Connection {
            hosts: hosts.iter().map(|host| (*host).to_owned()).collect(),
            port: 5432,
            database: "my db".to_owned(),
            user: "o'brien@x".to_owned(),
            settings: settings.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
        }
    }

    #[test]
    fn a_uri_encodes_each_part() {
        let one = connection(&["a.b.svc", "::1"], &[("password", "p:/?#[]@ü"), ("sslmode", "require")]);
        assert_eq!(
            one.uri(),
            "postgresql://o%27brien%40x:p%3A%2F%3F%23%5B%5D%40%C3%BC@a.b.svc:5432,[::1]:5432/my%20db?sslmode=require"
        );
        assert_eq!(connection(&["h"], &[]).uri(), "postgresql://o%27brien%40x@h:5432/my%20db");
    }

    #[test]
    fn keywords_are_quoted_where_they_must_be() {
        let one = connection(&["a", "::1"], &[("password", r"it's \ here"), ("passfile", "")]);
        assert_eq!(
            one.keywords(),
            r"host=a,::1 port=5432 dbname='my db' user='o\'brien@x' passfile='' password='it\'s \\ here'"
        );
    }

    #[test]
    fn a_jdbc_url_has_everything_in_its_query() {
        let one = connection(&["a", "b"], &[("password", "a+b c&d")]);
        assert_eq!(
            one.jdbc(),
            "jdbc:postgresql://a:5432,b:5432/my%20db?password=a%2Bb%20c%26d&user=o%27brien%40x"
        );
    }
}
