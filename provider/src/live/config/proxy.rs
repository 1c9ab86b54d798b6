//! Which proxy is on the way to the API server.

use http::Uri;
use http::uri::{Authority, InvalidUri};
use hyper_util::client::proxy::matcher::Matcher;

use super::ConfigError;
use super::settings::Surroundings;

/// What names a proxy in the settings.
pub const ATTRIBUTE: &str = "proxy_url";
/// The scheme of a SOCKS proxy's URL.
pub const SOCKS: &str = "socks5";

/// Why a proxy is not asked. Its URL may hold a password, and is not told.
#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    /// The text is no URL.
    #[error("its URL is none")]
    NoUrl(#[source] InvalidUri),
    /// Another scheme.
    #[error("its URL begins with none of http://, https:// and socks5://")]
    Scheme,
}

/// The proxy on the way to `server`. One that the settings name is always taken. The environment's is chosen as by kubectl, that is by Go's
/// `http.ProxyFromEnvironment`: `HTTPS_PROXY` for https, `HTTP_PROXY` for http, each in lower case too; for none of the servers that
/// `NO_PROXY` names, and never for this machine, where many a trial cluster is. `ALL_PROXY` is curl's: Go does not look at it, and a cluster is
/// to be reached here just as with kubectl.
///
/// # Errors
/// When the proxy that counts can't be asked.
pub fn on_the_way(
    named: Option<&str>,
    server: &Uri,
    around: &Surroundings<'_>,
) -> Result<Option<Uri>, ConfigError> {
    if let Some(url) = named.filter(|url| !url.is_empty()) {
        return usable(url).map(Some).map_err(|source| ConfigError::Proxy { named_by: ATTRIBUTE, source });
    }
    if is_here(server) || is_direct(server, around) {
        return Ok(None);
    }
    let names = match server.scheme_str() {
        Some("http") => ["HTTP_PROXY", "http_proxy"],
        _ => ["HTTPS_PROXY", "https_proxy"],
    };
    let Some((named_by, url)) = names.into_iter().find_map(|name| Some((name, around.set(name)?))) else {
        return Ok(None);
    };
    // In the environment a host and a port are enough.
    let url = if url.contains("://") { url } else { format!("http://{url}") };
    usable(&url).map(Some).map_err(|source| ConfigError::Proxy { named_by, source })
}

fn usable(url: &str) -> Result<Uri, ProxyError> {
    let proxy: Uri = url.parse().map_err(ProxyError::NoUrl)?;
    match proxy.scheme_str() {
        Some("http" | "https" | SOCKS) => Ok(proxy),
        _ => Err(ProxyError::Scheme),
    }
}

/// The server's URL with the port that a proxy is to connect with: the library asks for 443 where none stands, also of an http server.
pub fn with_port(server: Uri) -> Uri {
    if server.scheme_str() != Some("http") || server.port().is_some() {
        return server;
    }
    let place = server.authority().map(|place| format!("{place}:80").parse::<Authority>());
    let Some(Ok(place)) = place else { return server };
    let mut parts = server.clone().into_parts();
    parts.authority = Some(place);
    Uri::from_parts(parts).unwrap_or(server)
}

/// Whether `NO_PROXY` names the server.
fn is_direct(server: &Uri, around: &Surroundings<'_>) -> bool {
    let direct = ["NO_PROXY", "no_proxy"].into_iter().find_map(|name| around.set(name)).unwrap_or_default();
    Matcher::builder().all("http://proxy").no(direct).build().intercept(server).is_none()
}

/// The proxy for messages: who it is asked as is nobody's business.
pub fn shown(proxy: &Uri) -> String {
    let authority = proxy.authority().map(ToString::to_string).unwrap_or_default();
    let place = authority.rsplit('@').next().unwrap_or_default();
    format!("{}://{place}", proxy.scheme_str().unwrap_or("http"))
}

fn is_here(server: &Uri) -> bool {
    let host = server.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENVIRONMENT: [(&str, &str); 2] =
        [("HTTPS_PROXY", "http://proxy:3128"), ("NO_PROXY", "10.0.0.0/8, .corp.example,")];

    fn way(named: Option<&str>, server: &str, variables: &[(&str, &str)]) -> Option<String> {
        tried(named, server, variables).unwrap().map(|proxy| shown(&proxy))
    }

    fn tried(
        named: Option<&str>,
        server: &str,
        variables: &[(&str, &str)],
    ) -> Result<Option<Uri>, ConfigError> {
        let var = |wanted: &str| {
            variables.iter().find(|(name, _)| *name == wanted).map(|(_, value)| (*value).to_owned())
        };
        let around = Surroundings { var: &var, exists: &|_| false };
        on_the_way(named, &server.parse().unwrap(), &around)
    }

    #[test]
    fn the_environments_proxy_is_for_servers_that_no_proxy_does_not_name() {
        let from_environment = |server| way(None, server, &ENVIRONMENT);
        assert_eq!(from_environment("https://k.example:6443").as_deref(), Some("http://proxy:3128"));
        for direct in ["https://10.1.2.3:6443", "https://k.corp.example:6443"] {
            assert_eq!(from_environment(direct), None, "{direct}");
        }
        for here in ["https://127.0.0.1:6443", "https://localhost:6443", "https://[::1]:6443"] {
            assert_eq!(from_environment(here), None, "{here}");
        }
        let lower = [("https_proxy", "http://low:1"), ("no_proxy", "*")];
        assert_eq!(way(None, "https://k.example", &lower[..1]).as_deref(), Some("http://low:1"));
        assert_eq!(way(None, "https://k.example", &lower), None);
        assert_eq!(way(None, "https://k.example", &[]), None);
    }

    #[test]
    fn the_servers_scheme_chooses_the_variable_and_all_proxy_is_none() {
        let both = [("HTTPS_PROXY", "http://secure:1"), ("HTTP_PROXY", "http://plain:1")];
        assert_eq!(way(None, "https://k.example", &both).as_deref(), Some("http://secure:1"));
        assert_eq!(way(None, "http://k.example", &both).as_deref(), Some("http://plain:1"));
        assert_eq!(way(None, "http://k.example", &both[..1]), None);
        assert_eq!(way(None, "https://k.example", &both[1..]), None);
        let lower = [("http_proxy", "low:1")];
        assert_eq!(way(None, "http://k.example", &lower).as_deref(), Some("http://low:1"));
        let all = [("ALL_PROXY", "http://all:1"), ("all_proxy", "http://all:1")];
        assert_eq!((way(None, "https://k.example", &all), way(None, "http://k.example", &all)), (None, None));
    }

    #[test]
    fn a_proxy_that_cant_be_asked_is_refused_without_its_password() {
        let refused = |named: Option<&str>, variables: &[(&str, &str)]| {
            let error = tried(named, "https://k.example", variables).unwrap_err();
            let text = error.diagnostic().to_string();
            assert!(!text.contains("hunter2"), "{text}");
            text
        };
        let named = refused(Some("ftp://me:hunter2@jump"), &[]);
        assert!(named.contains("proxy_url") && named.contains("begins with none of"), "{named}");
        let by_variable = refused(None, &[("https_proxy", "ftp://me:hunter2@jump")]);
        assert!(by_variable.contains("https_proxy") && !by_variable.contains("proxy_url"), "{by_variable}");
        assert!(refused(Some("http://me:hunter2@ju mp"), &[]).contains("its URL is none"));
    }

    #[test]
    fn a_proxy_is_asked_for_the_schemes_port() {
        for (server, port) in [
            ("http://k.example", "http://k.example:80/"),
            ("http://k.example/clusters/c", "http://k.example:80/clusters/c"),
            ("http://k.example:8080", "http://k.example:8080/"),
            ("https://k.example", "https://k.example/"),
        ] {
            assert_eq!(with_port(server.parse().unwrap()).to_string(), port);
        }
    }

    #[test]
    fn a_proxy_that_is_named_is_always_taken() {
        let named = |server| way(Some("socks5://jump:1080"), server, &ENVIRONMENT);
        for server in ["https://10.1.2.3:6443", "https://127.0.0.1:6443", "https://k.example:6443"] {
            assert_eq!(named(server).as_deref(), Some("socks5://jump:1080"), "{server}");
        }
        assert_eq!(way(Some(""), "https://k.example", &ENVIRONMENT).as_deref(), Some("http://proxy:3128"));
    }

    #[test]
    fn a_proxys_password_is_not_shown() {
        assert_eq!(shown(&"http://me:hunter2@proxy:3128".parse().unwrap()), "http://proxy:3128");
    }
}
