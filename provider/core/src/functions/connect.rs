//! From arguments to a [`Connection`].

use std::collections::BTreeMap;
use std::net::IpAddr;

use pgha_schema::functions::{Access, ClusterAddress};
use pgha_schema::names::Names;

use super::FunctionError;
use crate::connection::{Connection, JDBC_PRIMARY, JDBC_SETTINGS, LIBPQ_PRIMARY, LIBPQ_SETTINGS};
use crate::value::Value;

const CLUSTER: usize = 0;
const ACCESS: usize = 1;
const DATABASE: usize = 2;
const USER: usize = 3;
const OPTIONS: usize = 4;

/// libpq's keywords that the other arguments speak for.
const LIBPQ_TAKEN: [&str; 5] = ["host", "hostaddr", "port", "dbname", "user"];
/// libpq's keywords, those of PostgreSQL 18 included: an unknown one makes it refuse the whole string.
const LIBPQ_KEYWORDS: [&str; 47] = [
    "application_name",
    "channel_binding",
    "client_encoding",
    "connect_timeout",
    "fallback_application_name",
    "gssdelegation",
    "gssencmode",
    "gsslib",
    "keepalives",
    "keepalives_count",
    "keepalives_idle",
    "keepalives_interval",
    "krbsrvname",
    "load_balance_hosts",
    "max_protocol_version",
    "min_protocol_version",
    "oauth_client_id",
    "oauth_client_secret",
    "oauth_issuer",
    "oauth_scope",
    "options",
    "passfile",
    "password",
    "replication",
    "require_auth",
    "requirepeer",
    "requiressl",
    "scram_client_key",
    "scram_server_key",
    "service",
    "servicefile",
    "ssl_max_protocol_version",
    "ssl_min_protocol_version",
    "sslcert",
    "sslcertmode",
    "sslcompression",
    "sslcrl",
    "sslcrldir",
    "sslkey",
    "sslkeylogfile",
    "sslmode",
    "sslnegotiation",
    "sslpassword",
    "sslrootcert",
    "sslsni",
    "target_session_attrs",
    "tcp_user_timeout",
];
/// pgJDBC's properties that the other arguments speak for.
const JDBC_TAKEN: [&str; 4] = ["user", "PGHOST", "PGPORT", "PGDBNAME"];

/// A connection in libpq's words.
pub(super) fn libpq(arguments: &[Value]) -> Result<Connection, FunctionError> {
    let mut connection = connection(arguments)?;
    let kind = match access(arguments)? {
        Access::Rw | Access::All => LIBPQ_PRIMARY,
        Access::Ro => (LIBPQ_PRIMARY.0, "prefer-standby"),
    };
    let chosen = LIBPQ_SETTINGS.into_iter().chain([kind]);
    connection.settings = settings(arguments, chosen, |name| {
        if LIBPQ_TAKEN.contains(&name) {
            return Err(format!("`{name}` is said by another argument."));
        }
        if !LIBPQ_KEYWORDS.contains(&name) {
            return Err(format!("libpq has no keyword `{name}`, and would refuse the whole connection."));
        }
        Ok(())
    })?;
    Ok(connection)
}

/// A connection in pgJDBC's words.
pub(super) fn jdbc(arguments: &[Value]) -> Result<Connection, FunctionError> {
    let mut connection = connection(arguments)?;
    let access = access(arguments)?;
    let kind = if access == Access::Ro { (JDBC_PRIMARY.0, "preferSecondary") } else { JDBC_PRIMARY };
    // How long it keeps to what it knew of a host: 10 s without it.
    let recheck = (access == Access::All).then_some(("hostRecheckSeconds", "1"));
    let chosen = JDBC_SETTINGS.into_iter().chain([kind]).chain(recheck);
    connection.settings = settings(arguments, chosen, |name| {
        if JDBC_TAKEN.contains(&name) {
            return Err(format!("`{name}` is said by another argument."));
        }
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Err(format!(
                "`{name}` is no property of pgJDBC: write letters and digits, as in `socketTimeout`."
            ));
        }
        Ok(())
    })?;
    Ok(connection)
}

fn connection(arguments: &[Value]) -> Result<Connection, FunctionError> {
    let given = arguments[CLUSTER].to_json().unwrap_or_default();
    let address: ClusterAddress = serde_json::from_value(given)
        .map_err(|error| FunctionError::at(CLUSTER, format!("The cluster can't be read: {error}.")))?;
    let port = address.port.ok_or_else(|| lacks("port"))?;
    let hosts = hosts(&address, access(arguments)?)?;
    for host in &hosts {
        if host.parse::<IpAddr>().is_err() && !is_host_name(host) {
            return Err(FunctionError::at(
                CLUSTER,
                format!("`{host}` is neither the name nor the address of a host."),
            ));
        }
    }
    Ok(Connection {
        hosts,
        port,
        database: text(arguments, DATABASE, "database")?,
        user: text(arguments, USER, "user")?,
        settings: BTreeMap::new(),
    })
}

fn hosts(address: &ClusterAddress, access: Access) -> Result<Vec<String>, FunctionError> {
    let text = |value: Option<&String>, name| {
        value.filter(|text| !text.is_empty()).cloned().ok_or_else(|| lacks(name))
    };
    match access {
        Access::Rw => Ok(vec![text(address.rw_host.as_ref(), "rw_host")?]),
        Access::Ro => Ok(vec![text(address.ro_host.as_ref(), "ro_host")?]),
        Access::All => {
            let names = Names::new(&text(address.name.as_ref(), "name")?);
            let namespace = text(address.namespace.as_ref(), "namespace")?;
            let replicas = address.replicas.ok_or_else(|| lacks("replicas"))?;
            Ok((0..=replicas).map(|ordinal| names.pod_host(ordinal, &namespace)).collect())
        }
    }
}

fn lacks(name: &str) -> FunctionError {
    FunctionError::at(CLUSTER, format!("`{name}` of the cluster is not set, and this access needs it."))
}

fn is_host_name(text: &str) -> bool {
    let label = |label: &str| {
        !label.is_empty()
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    text.len() <= 253 && text.trim_end_matches('.').split('.').all(label)
}

fn access(arguments: &[Value]) -> Result<Access, FunctionError> {
    let word = arguments[ACCESS].as_str().unwrap_or_default();
    Access::parse(word).ok_or_else(|| {
        FunctionError::at(ACCESS, format!("`{word}` is no access: write `rw`, `ro` or `all`."))
    })
}

fn text(arguments: &[Value], index: usize, name: &str) -> Result<String, FunctionError> {
    let text = arguments[index].as_str().unwrap_or_default();
    if text.is_empty() || text.contains('\0') {
        return Err(FunctionError::at(index, format!("`{name}` is empty or holds a zero byte.")));
    }
    Ok(text.to_owned())
}

/// What the function chooses, with the user's options over it. `fits` says what is wrong with a name.
fn settings<'a>(
    arguments: &[Value],
    chosen: impl Iterator<Item = (&'a str, &'a str)>,
    fits: impl Fn(&str) -> Result<(), String>,
) -> Result<BTreeMap<String, String>, FunctionError> {
    if arguments.len() > OPTIONS + 1 {
        return Err(FunctionError::at(OPTIONS + 1, "There is one map of options at most: merge them."));
    }
    let mut settings: BTreeMap<_, _> =
        chosen.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
    let options = arguments.get(OPTIONS).and_then(Value::as_entries);
    for (name, value) in options.into_iter().flatten() {
        fits(name).map_err(|text| FunctionError::at(OPTIONS, text))?;
        match value.as_str() {
            // Never the value: it may be a password.
            Some(text) if text.contains('\0') => {
                return Err(FunctionError::at(OPTIONS, format!("The value of `{name}` holds a zero byte.")));
            }
            Some(text) => {
                settings.insert(name.clone(), text.to_owned());
            }
            None => {
                settings.remove(name);
            }
        }
    }
    Ok(settings)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cluster() -> Value {
        Value::object([
            ("name", "orders".into()),
            ("namespace", "shop".into()),
            ("replicas", Value::int(2)),
            ("rw_host", "orders-rw.shop.svc".into()),
            ("ro_host", "10.0.0.9".into()),
            ("port", Value::int(5432)),
        ])
    }

    fn arguments(access: &str, options: Option<&[(&str, Value)]>) -> Vec<Value> {
        let mut all = vec![cluster(), access.into(), "app".into(), "app".into()];
        all.extend(options.map(|options| Value::map(options.iter().cloned())));
        all
    }

    #[test]
    fn each_access_has_its_hosts_and_its_kind_of_server() {
        let of = |word| {
            let connection = libpq(&arguments(word, None)).unwrap();
            (connection.hosts.join(","), connection.settings["target_session_attrs"].clone())
        };
        let (pods, own) = ("orders-pods.shop.svc", |text: &str| text.to_owned());
        assert_eq!(of("rw"), (own("orders-rw.shop.svc"), own("read-write")));
        assert_eq!(of("ro"), (own("10.0.0.9"), own("prefer-standby")));
        assert_eq!(
            of("all"),
            (format!("orders-0.{pods},orders-1.{pods},orders-2.{pods}"), own("read-write"))
        );
    }

    #[test]
    fn a_lost_node_is_noticed_in_each_clients_words() {
        let libpq = libpq(&arguments("rw", None)).unwrap().uri();
        assert_eq!(
            libpq,
            "postgresql://app@orders-rw.shop.svc:5432/app?connect_timeout=10&keepalives=1&keepalives_count=3\
             &keepalives_idle=5&keepalives_interval=2&target_session_attrs=read-write&tcp_user_timeout=10000"
        );
        let jdbc = jdbc(&arguments("ro", None)).unwrap().jdbc();
        assert_eq!(
            jdbc,
            "jdbc:postgresql://10.0.0.9:5432/app?connectTimeout=10&targetServerType=preferSecondary&tcpKeepAlive=true&user=app"
        );
    }

    #[test]
    fn options_go_over_what_is_chosen_and_null_leaves_it_out() {
        let options = [
            ("tcp_user_timeout", Value::Null),
            ("connect_timeout", "3".into()),
            ("sslmode", "require".into()),
        ];
        let settings = libpq(&arguments("rw", Some(&options))).unwrap().settings;
        assert_eq!(settings.get("tcp_user_timeout"), None);
        assert_eq!((&*settings["connect_timeout"], &*settings["sslmode"]), ("3", "require"));
    }

    #[test]
    fn each_mistake_is_told_at_its_argument() {
        let check = |arguments: &[Value], argument, saying: &str| {
            for error in [libpq(arguments).unwrap_err(), jdbc(arguments).unwrap_err()] {
                assert!(error.argument == Some(argument) && error.text.contains(saying), "{error:?}");
            }
        };
        check(&arguments("write", None), ACCESS, "`rw`, `ro` or `all`");
        check(&arguments("rw", Some(&[("user", "x".into())])), OPTIONS, "another argument");
        check(&arguments("rw", Some(&[("no keyword", "x".into())])), OPTIONS, "`no keyword`");
        let mut bad = arguments("rw", None);
        bad[USER] = "".into();
        check(&bad, USER, "`user` is empty");
        for (name, access, value, saying) in [
            ("rw_host", "rw", Value::Null, "`rw_host` of the cluster"),
            ("rw_host", "rw", "a,b".into(), "neither the name nor the address"),
            ("replicas", "all", Value::Null, "`replicas` of the cluster"),
            ("port", "rw", Value::int(70_000), "can't be read"),
        ] {
            let mut bad = arguments(access, None);
            bad[CLUSTER].set_at(name, value);
            check(&bad, CLUSTER, saying);
        }
        let mut two = arguments("rw", Some(&[]));
        two.push(Value::map::<&str>([]));
        check(&two, OPTIONS + 1, "one map");
    }
}
