//! What the provider carries with it (the agent), and what it keeps beside a resource (the facts).

use std::borrow::Cow;
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use pgha_agent_bundle as bundle;
use pgha_provider_core::facts::Facts;
use pgha_provider_core::render::Agent;
use sha2::{Digest as _, Sha256};

use crate::private::Private;

/// An agent and its gzipped binary.
#[derive(Debug)]
pub(super) struct Carried {
    /// Its facts.
    pub(super) agent: Agent,
    /// Its binary.
    pub(super) gzipped: Cow<'static, [u8]>,
}

/// The agent inside this binary. A debug build delivers another one when the environment names it, so that the exchange of
/// agents can be tried without building a second provider; a release does not look.
pub(super) fn carried() -> &'static Carried {
    static CARRIED: OnceLock<Carried> = OnceLock::new();
    CARRIED.get_or_init(|| {
        let another = if cfg!(debug_assertions) { another() } else { None };
        another.unwrap_or_else(|| Carried {
            agent: agent(bundle::version(), bundle::AGENT_SHA256, bundle::AGENT_GZIP.len()),
            gzipped: Cow::Borrowed(bundle::AGENT_GZIP),
        })
    })
}

/// Writes the binary of the agent, for an image that is to hold it (`agent_image`).
///
/// # Errors
/// When the file can't be written.
pub fn write_agent(path: &Path) -> io::Result<()> {
    let mut file = fs::File::create(path)?;
    io::copy(&mut flate2::read::GzDecoder::new(&*carried().gzipped), &mut file)?;
    file.set_permissions(fs::Permissions::from_mode(0o755))
}

fn agent(version: &str, sha256: &str, gzipped_bytes: usize) -> Agent {
    Agent::new(version, sha256, gzipped_bytes, &[bundle::ARCH])
}

/// The binary that `PGHA_DEBUG_AGENT` names, as version `PGHA_DEBUG_AGENT_VERSION`.
fn another() -> Option<Carried> {
    let path = std::env::var_os("PGHA_DEBUG_AGENT").map(PathBuf::from)?;
    let version = std::env::var("PGHA_DEBUG_AGENT_VERSION").ok()?;
    let packed = std::fs::read(&path).and_then(|binary| {
        // Not made smaller: without optimisation that would take longer than all the rest.
        let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::none());
        writer.write_all(&binary)?;
        Ok((hex::encode(Sha256::digest(&binary)), writer.finish()?))
    });
    match packed {
        Ok((sha256, gzipped)) => {
            Some(Carried { agent: agent(&version, &sha256, gzipped.len()), gzipped: gzipped.into() })
        }
        Err(error) => {
            tracing::error!(%error, path = %path.display(), "PGHA_DEBUG_AGENT can't be read: the agent inside is delivered");
            None
        }
    }
}

/// What private state says.
pub(super) fn facts(private: &Private) -> Facts {
    Facts::read(|key| private.text(key))
}

/// Private state that says this.
pub(super) fn private(facts: &Facts) -> Private {
    let mut private = Private::default();
    for (key, text) in facts.texts() {
        private.set(key, text);
    }
    private
}
