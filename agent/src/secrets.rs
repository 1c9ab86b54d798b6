//! The three Secrets as the kubelet mounts them: a file a key, replaced under the running agent.

use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use pgha_schema::names::{ROLE_REPLICATION, secret_key};

/// Reads Secrets when they are needed; nothing is kept.
#[derive(Clone, Debug)]
pub struct Secrets {
    root: PathBuf,
    passfile: PathBuf,
}

/// The roles' passwords.
#[derive(Clone, PartialEq, Eq)]
pub struct Passwords {
    /// Of the superuser.
    pub superuser: String,
    /// Of the application's user.
    pub app: String,
    /// Of the replication role.
    pub replication: String,
}

impl Secrets {
    /// Secrets mounted at `root`; the passfile is made in `sockets`, which is in memory or in the container.
    pub fn new(root: &Path, sockets: &Path) -> Self {
        Self { root: root.to_owned(), passfile: sockets.join(".pgha-pass") }
    }

    fn read(&self, secret: &str, key: &str) -> io::Result<String> {
        let path = self.root.join(secret).join(key);
        std::fs::read_to_string(&path)
            .map(|text| text.trim_end_matches('\n').to_owned())
            .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
    }

    /// Name of the superuser.
    pub fn superuser(&self) -> io::Result<String> {
        self.read("superuser", secret_key::USERNAME)
    }

    /// All passwords.
    pub fn passwords(&self) -> io::Result<Passwords> {
        Ok(Passwords {
            superuser: self.read("superuser", secret_key::PASSWORD)?,
            app: self.read("app", secret_key::PASSWORD)?,
            replication: self.read("internal", secret_key::REPLICATION_PASSWORD)?,
        })
    }

    /// The agents' common key.
    pub fn agent_key(&self) -> io::Result<Vec<u8>> {
        let text = self.read("internal", secret_key::AGENT_KEY)?;
        hex::decode(&text)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, format!("agent-key: {error}")))
    }

    /// The file with the replication role's password, written anew when it changed.
    pub fn passfile(&self) -> io::Result<&Path> {
        let password = self.read("internal", secret_key::REPLICATION_PASSWORD)?;
        let escaped = password.replace('\\', "\\\\").replace(':', "\\:");
        let line = format!("*:*:*:{ROLE_REPLICATION}:{escaped}\n");
        if std::fs::read_to_string(&self.passfile).ok().as_deref() != Some(&line) {
            // libpq refuses one that others may read; the rights come before the password.
            let mut file = std::fs::OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(&self.passfile)?;
            file.set_permissions(std::fs::Permissions::from_mode(0o600))?;
            file.write_all(line.as_bytes())?;
        }
        Ok(&self.passfile)
    }
}
