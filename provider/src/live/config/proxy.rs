//! Which proxy is on the way to the API server.

use http::Uri;
use http::uri::InvalidUri;
use hyper_util::client::proxy::matcher::Matcher;

use super::settings::Surroundings;

/// The proxy on the way to `server`. One that the settings name is always taken. The environment's is, as in kubectl, for none of the
/// servers that `NO_PROXY` names, and never for this machine, where many a trial cluster is.
///
/// # Errors
/// When it is no URL.
pub fn on_the_way(
    named: Option<&str>,
    server: &Uri,
    around: &Surroundings<'_>,
) -> Result<Option<Uri>, InvalidUri> {
    let first = |names: [&str; 2]| names.into_iter().find_map(|name| around.set(name));
    let url = match named.filter(|url| !url.is_empty()) {
        Some(url) => Some(url.to_owned()),
        None if is_here(server) => None,
        None => {
            let direct = first(["NO_PROXY", "no_proxy"]).unwrap_or_default();
            let proxied = Matcher::builder().all("http://proxy").no(direct).build().intercept(server);
            first(["HTTPS_PROXY", "https_proxy"]).filter(|_| proxied.is_some())
        }
    };
    url.map(|url| url.parse()).transpose()
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
        let var = |wanted: &str| {
            variables.iter().find(|(name, _)| *name == wanted).map(|(_, value)| (*value).to_owned())
        };
        let around = Surroundings { var: &var, exists: &|_| false };
        on_the_way(named, &server.parse().unwrap(), &around).unwrap().map(|proxy| shown(&proxy))
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
