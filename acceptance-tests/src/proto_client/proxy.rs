//! Proxies that know one host, under a name that nobody can resolve: a request that arrives there came through them.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result, bail, ensure};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// The host and port that they know.
pub const KNOWN: &str = "kubernetes.invalid:6443";

/// How a proxy is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speech {
    /// `CONNECT` of HTTP.
    Connect,
    /// SOCKS, version 5, with names resolved by the proxy.
    Socks5,
    /// The same, for the user [`USER`] with [`PASSWORD`] alone.
    Socks5OfUser,
}

/// Whom [`Speech::Socks5OfUser`] lets through.
pub const USER: &str = "me";
/// With what; in a URL it has to be encoded.
pub const PASSWORD: &str = "hunter2@:";

/// A proxy on a port of its own; it ends with the test's runtime.
#[derive(Debug, Clone)]
pub struct Proxy {
    /// For the provider's `proxy_url`.
    pub url: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    /// Starts one that connects whoever asks for [`KNOWN`] with `to`, a URL of scheme http.
    ///
    /// # Errors
    /// When no port is to be had, or `to` is no such URL.
    pub async fn start(speech: Speech, to: &str) -> Result<Self> {
        let to: SocketAddr =
            to.trim_start_matches("http://").parse().context("no address to connect with")?;
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let scheme = match speech {
            Speech::Connect => "http",
            Speech::Socks5 | Speech::Socks5OfUser => "socks5",
        };
        let url = format!("{scheme}://{}", listener.local_addr()?);
        let proxy = Self { url, asked: Arc::default() };
        let serving = proxy.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let proxy = serving.clone();
                // A client that is refused sees its connection end, and tells of it.
                tokio::spawn(async move { proxy.serve(speech, BufReader::new(stream), to).await });
            }
        });
        Ok(proxy)
    }

    /// The hosts and ports that were asked for, one a connection.
    #[must_use]
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn serve(&self, speech: Speech, mut client: BufReader<TcpStream>, to: SocketAddr) -> Result<()> {
        let (wanted, yes): (_, &[u8]) = match speech {
            Speech::Connect => (connect(&mut client).await?, b"HTTP/1.1 200 OK\r\n\r\n"),
            Speech::Socks5 => (socks5(&mut client, None).await?, SOCKS_CONNECTED),
            Speech::Socks5OfUser => (socks5(&mut client, Some((USER, PASSWORD))).await?, SOCKS_CONNECTED),
        };
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).push(wanted.clone());
        ensure!(wanted == KNOWN, "nobody knows {wanted}");
        let mut server = TcpStream::connect(to).await?;
        client.write_all(yes).await?;
        tokio::io::copy_bidirectional(&mut client, &mut server).await?;
        Ok(())
    }
}

/// Whom `CONNECT` asks for.
async fn connect(client: &mut BufReader<TcpStream>) -> Result<String> {
    let mut first = String::new();
    client.read_line(&mut first).await?;
    let mut header = first.clone();
    while !header.trim_end().is_empty() {
        header.clear();
        client.read_line(&mut header).await?;
    }
    match first.split(' ').collect::<Vec<_>>().as_slice() {
        ["CONNECT", wanted, _] => Ok((*wanted).to_owned()),
        _ => bail!("no CONNECT: {first}"),
    }
}

/// That it is connected; after RFC 1928.
const SOCKS_CONNECTED: &[u8] = &[5, 0, 0, 1, 0, 0, 0, 0, 0, 0];

/// Whom SOCKS asks for; after RFC 1928, and 1929 for the user.
async fn socks5(client: &mut BufReader<TcpStream>, user: Option<(&str, &str)>) -> Result<String> {
    let [version, methods] = bytes(client).await?;
    ensure!(version == 5, "version {version}");
    let mut offered = vec![0; methods.into()];
    client.read_exact(&mut offered).await?;
    let method = if user.is_some() { 2 } else { 0 };
    if !offered.contains(&method) {
        client.write_all(&[5, 0xff]).await?;
        bail!("only {offered:?} are offered, not {method}");
    }
    client.write_all(&[5, method]).await?;
    if let Some(user) = user {
        let [_] = bytes(client).await?;
        let (name, password) = (text(client).await?, text(client).await?);
        let known = (name.as_str(), password.as_str()) == user;
        client.write_all(&[1, u8::from(!known)]).await?;
        ensure!(known, "nobody knows {name}");
    }
    let [_, command, _, kind] = bytes(client).await?;
    ensure!((command, kind) == (1, 3), "no connection to a name is asked for: {command}, {kind}");
    Ok(format!("{}:{}", text(client).await?, client.read_u16().await?))
}

/// A text after its length.
async fn text(client: &mut BufReader<TcpStream>) -> Result<String> {
    let [length] = bytes(client).await?;
    let mut text = vec![0; length.into()];
    client.read_exact(&mut text).await?;
    Ok(String::from_utf8(text)?)
}

async fn bytes<const N: usize>(client: &mut BufReader<TcpStream>) -> Result<[u8; N]> {
    let mut bytes = [0; N];
    client.read_exact(&mut bytes).await?;
    Ok(bytes)
}
