//! The three Secrets as the kubelet mounts them: a file a key, replaced under the running agent.

use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use pgha_schema::desired::Credentials;
use pgha_schema::names::{ROLE_REPLICATION, secret_key};
use sha2::{Digest, Sha256};

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

/// What is mounted now: the passwords, and which writings of the Secrets they are of.
#[derive(Clone)]
pub struct Mounted {
    /// Which writings.
    pub writings: Credentials,
    /// The passwords.
    pub passwords: Passwords,
}

/// Tells one set of passwords from another, and nothing else; it never leaves the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint([u8; 32]);

impl Mounted {
    /// Of these passwords.
    pub fn fingerprint(&self) -> Fingerprint {
        let Passwords { superuser, app, replication } = &self.passwords;
        let parts = [superuser, app, replication].map(|password| Sha256::digest(password.as_bytes()));
        Fingerprint(Sha256::digest(parts.concat()).into())
    }
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

    /// All passwords, and which writings they are of.
    pub fn mounted(&self) -> io::Result<Mounted> {
        // The numbers first: should the kubelet exchange the files in between, a newer password goes by an older number, never an
        // older one by a newer.
        let writings = Credentials { superuser: self.writing("superuser")?, app: self.writing("app")? };
        Ok(Mounted { writings, passwords: self.passwords()? })
    }

    /// A Secret that was never written again has no number.
    fn writing(&self, secret: &str) -> io::Result<u64> {
        match self.read(secret, secret_key::ROTATION) {
            Ok(text) => text.trim().parse().map_err(|_| {
                io::Error::new(
                    io::ErrorKind::InvalidData,
                    format!("{secret}/{}: no number", secret_key::ROTATION),
                )
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
            Err(error) => Err(error),
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn secrets(files: &[(&str, &str)]) -> (tempfile::TempDir, Secrets) {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let secrets = Secrets::new(root.path(), root.path());
        (root, secrets)
    }

    const MADE: [(&str, &str); 3] =
        [("superuser/password", "s"), ("app/password", "a"), ("internal/replication-password", "r")];

    #[test]
    fn which_writing_is_mounted_is_told_by_its_number() {
        let (root, secrets) = secrets(&MADE);
        let first = secrets.mounted().unwrap();
        assert_eq!(first.writings, Credentials::default());
        std::fs::write(root.path().join("app/rotation"), "7").unwrap();
        assert_eq!(secrets.mounted().unwrap().writings, Credentials { superuser: 0, app: 7 });
        assert_eq!(secrets.mounted().unwrap().fingerprint(), first.fingerprint(), "the same passwords");
        std::fs::write(root.path().join("app/password"), "b").unwrap();
        assert_ne!(secrets.mounted().unwrap().fingerprint(), first.fingerprint());
        std::fs::write(root.path().join("app/rotation"), "seven").unwrap();
        assert!(secrets.mounted().is_err());
    }

    #[test]
    fn passwords_that_change_places_are_others() {
        let (_kept, one) = secrets(&MADE);
        let swapped = [("superuser/password", "a"), ("app/password", "s"), MADE[2]];
        let (_kept_too, other) = secrets(&swapped);
        assert_ne!(one.mounted().unwrap().fingerprint(), other.mounted().unwrap().fingerprint());
    }
}
