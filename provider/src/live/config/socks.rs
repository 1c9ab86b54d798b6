//! A client whose requests go through a SOCKS proxy: made as the library makes its own, which leave out the proxy's user and password.

use http::Uri;
use http::uri::{Authority, InvalidUri};
use hyper_timeout::TimeoutConnector;
use hyper_util::client::legacy::Builder;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::proxy::SocksV5;
use hyper_util::rt::TokioExecutor;
use kube::client::{Body, ClientBuilder, ConfigExt as _};
use percent_encoding::percent_decode_str;
use tower::{BoxError, ServiceBuilder};

use super::retry_after::Listen;

/// Where a SOCKS proxy listens whose URL names no port; as in Go, and so for kubectl.
const PORT: u16 = 1080;

/// The client of `config` behind `proxy`.
///
/// # Errors
/// When the proxy's port is none, or the configuration's certificates and credentials make no client.
pub fn client(config: &kube::Config, proxy: &Uri) -> Result<kube::Client, kube::Error> {
    let at = with_port(proxy).map_err(|error| kube::Error::Service(error.into()))?;
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    let socks = SocksV5::new(at, tcp);
    let socks = match user(proxy) {
        Some((user, password)) => socks.with_auth(user, password),
        None => socks,
    };
    let mut connector = TimeoutConnector::new(config.rustls_https_connector_with_connector(socks)?);
    connector.set_connect_timeout(config.connect_timeout);
    connector.set_read_timeout(config.read_timeout);
    connector.set_write_timeout(config.write_timeout);
    connector.set_reset_reader_on_write(config.reset_reader_on_write);
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .map_err(BoxError::from)
        .service(Builder::new(TokioExecutor::new()).build::<_, Body>(connector));
    Ok(ClientBuilder::new(service, config.default_namespace.clone()).with_layer(&Listen).build())
}

/// User and password that a proxy's URL names. In a URL they may be percent-encoded.
fn user(proxy: &Uri) -> Option<(String, String)> {
    let (who, _) = proxy.authority()?.as_str().rsplit_once('@')?;
    let (user, password) = who.split_once(':').unwrap_or((who, ""));
    let plain = |text| percent_decode_str(text).decode_utf8_lossy().into_owned();
    Some((plain(user), plain(password)))
}

/// The proxy's URL with a port, and without its user, which is nothing to connect with.
fn with_port(proxy: &Uri) -> Result<Uri, InvalidUri> {
    let port = proxy.port_u16().unwrap_or(PORT);
    let place: Authority = format!("{}:{port}", proxy.host().unwrap_or_default()).parse()?;
    format!("{}://{place}", super::proxy::SOCKS).parse()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxys_user_and_port_are_those_of_its_url() {
        let of = |url: &str| {
            let proxy: Uri = url.parse().unwrap();
            (with_port(&proxy).unwrap().to_string(), user(&proxy))
        };
        let known = |user: &str, password: &str| Some((user.to_owned(), password.to_owned()));
        assert_eq!(of("socks5://jump:7"), ("socks5://jump:7/".to_owned(), None));
        assert_eq!(of("socks5://jump"), ("socks5://jump:1080/".to_owned(), None));
        assert_eq!(
            of("socks5://me:a%40b%3Ac@[::1]:7"),
            ("socks5://[::1]:7/".to_owned(), known("me", "a@b:c"))
        );
        assert_eq!(of("socks5://me@jump"), ("socks5://jump:1080/".to_owned(), known("me", "")));
    }
}
