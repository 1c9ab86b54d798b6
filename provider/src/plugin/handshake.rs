//! The first exchange with the host: what it asks for in the environment, and the one line that answers it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Proves that a plugin host started us. It is no secret: it keeps people from running the binary by mistake.
pub const COOKIE_NAME: &str = "TF_PLUGIN_MAGIC_COOKIE";
/// The value that Terraform and OpenTofu set [`COOKIE_NAME`] to.
pub const COOKIE_VALUE: &str = "d602bf8f470bc67ca7faa0386276bbdd4330efaf76d1a219cb4d6991ca9872b2";
/// The only major version of the provider protocol that is served.
pub const PROTOCOL_VERSION: u32 = 6;

/// Version of go-plugin's own conventions, which never changed.
const CORE_PROTOCOL_VERSION: u32 = 1;

/// What the host asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostRequest {
    /// Certificate (PEM) that the host will present. Without one the connection is plain text.
    pub client_certificate_pem: Option<String>,
    /// Directory for the socket, where the host cares.
    pub socket_dir: Option<PathBuf>,
    /// Group (name or number) that must be able to connect.
    pub socket_group: Option<String>,
    /// The host knows the seventh field of the line (multiplexed broker connections).
    pub asks_for_multiplexing: bool,
    /// The host's list of protocol versions has ours, or there was no list.
    pub host_speaks_our_version: bool,
}

/// Why this process can't be a plugin.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum HandshakeError {
    /// A person (or a script) started the binary.
    #[error("no plugin host started this program")]
    NotAPlugin,
    /// A host of another kind started the binary.
    #[error("the plugin host presented another {COOKIE_NAME}: it is neither Terraform nor OpenTofu")]
    OtherHost,
    /// A variable does not hold text.
    #[error("the environment variable {0} is not valid UTF-8")]
    NotText(&'static str),
}

impl HostRequest {
    /// Reads the request with `var` as the environment.
    ///
    /// # Errors
    /// When the magic cookie is missing or wrong, or a variable is not text.
    pub fn from_env(var: impl Fn(&str) -> Option<OsString>) -> Result<Self, HandshakeError> {
        let text = |name: &'static str| match var(name).filter(|value| !value.is_empty()) {
            Some(value) => value.into_string().map(Some).map_err(|_| HandshakeError::NotText(name)),
            None => Ok(None),
        };
        match text(COOKIE_NAME)? {
            None => return Err(HandshakeError::NotAPlugin),
            Some(cookie) if cookie != COOKIE_VALUE => return Err(HandshakeError::OtherHost),
            Some(_) => {}
        }
        // A certificate may have been inherited from an outer host; the switch is the inner host's own word.
        let tls_is_off = text("TF_DISABLE_PLUGIN_TLS")?.is_some();
        let versions = text("PLUGIN_PROTOCOL_VERSIONS")?;
        Ok(Self {
            client_certificate_pem: text("PLUGIN_CLIENT_CERT")?.filter(|_| !tls_is_off),
            socket_dir: text("PLUGIN_UNIX_SOCKET_DIR")?.map(PathBuf::from),
            socket_group: text("PLUGIN_UNIX_SOCKET_GROUP")?,
            asks_for_multiplexing: text("PLUGIN_MULTIPLEX_GRPC")?.is_some(),
            host_speaks_our_version: versions.is_none_or(|list| speaks(&list, PROTOCOL_VERSION)),
        })
    }

    /// The line that tells the host where to connect. `server_certificate_der` is what it then pins.
    ///
    /// Where the host does not speak version 6 the line still says 6: only the host can explain that to the user.
    #[must_use]
    pub fn answer(&self, socket: &Path, server_certificate_der: Option<&[u8]>) -> String {
        let certificate = server_certificate_der.map(|der| STANDARD_NO_PAD.encode(der)).unwrap_or_default();
        let mut line = format!(
            "{CORE_PROTOCOL_VERSION}|{PROTOCOL_VERSION}|unix|{}|grpc|{certificate}",
            socket.display()
        );
        // A host that doesn't know the field takes it for part of the certificate.
        if self.asks_for_multiplexing {
            line.push_str("|false");
        }
        line
    }
}

fn speaks(list: &str, version: u32) -> bool {
    list.split(',').any(|entry| entry.trim().parse() == Ok(version))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(vars: &[(&str, &str)]) -> Result<HostRequest, HandshakeError> {
        HostRequest::from_env(|name| vars.iter().find(|(key, _)| *key == name).map(|(_, value)| value.into()))
    }

    const COOKIE: (&str, &str) = (COOKIE_NAME, COOKIE_VALUE);

    #[test]
    fn a_person_and_a_foreign_host_are_told_apart() {
        assert_eq!(request(&[]), Err(HandshakeError::NotAPlugin));
        assert_eq!(request(&[(COOKIE_NAME, "")]), Err(HandshakeError::NotAPlugin));
        assert_eq!(request(&[(COOKIE_NAME, "other")]), Err(HandshakeError::OtherHost));
    }

    #[test]
    fn disabled_tls_outweighs_an_inherited_certificate() {
        let on = request(&[COOKIE, ("PLUGIN_CLIENT_CERT", "pem")]).unwrap();
        assert_eq!(on.client_certificate_pem.as_deref(), Some("pem"));
        let off = request(&[COOKIE, ("PLUGIN_CLIENT_CERT", "pem"), ("TF_DISABLE_PLUGIN_TLS", "1")]).unwrap();
        assert_eq!(off.client_certificate_pem, None);
    }

    #[test]
    fn the_line_has_a_seventh_field_only_on_request() {
        let plain = request(&[COOKIE]).unwrap();
        assert_eq!(plain.answer(Path::new("/s"), None), "1|6|unix|/s|grpc|");
        assert_eq!(plain.answer(Path::new("/s"), Some(b"der!")), "1|6|unix|/s|grpc|ZGVyIQ");
        let multiplex = request(&[COOKIE, ("PLUGIN_MULTIPLEX_GRPC", "true")]).unwrap();
        assert_eq!(multiplex.answer(Path::new("/s"), None), "1|6|unix|/s|grpc||false");
    }

    #[test]
    fn the_list_of_versions_is_read_in_any_order() {
        for (list, spoken) in [("6,5", true), ("5, 6", true), ("5", false), ("16", false)] {
            let seen = request(&[COOKIE, ("PLUGIN_PROTOCOL_VERSIONS", list)]).unwrap();
            assert_eq!(seen.host_speaks_our_version, spoken, "{list}");
        }
    }
}
