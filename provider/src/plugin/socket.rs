//! The unix socket: made where the host wants it, reachable only by those who must, removed at the end.

use nix::unistd::{Gid, Group};
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use thiserror::Error;
use tokio::net::UnixListener;

/// Longest path that fits into a socket address on Linux and macOS.
const SOCKET_PATH_MAX_BYTES: usize = 103;

/// Why there is no socket.
#[derive(Debug, Error)]
pub enum SocketError {
    /// The directory could not be made or the socket not bound in it.
    #[error("create a unix socket in {dir}")]
    Create {
        /// Where it was tried.
        dir: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The group asked for doesn't exist, or may not be given the socket.
    #[error("give the unix socket to the group {group:?}")]
    Group {
        /// Name or number, as in the environment.
        group: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// A listening socket in a directory of its own. Dropping it removes both.
#[derive(Debug)]
pub struct Socket {
    path: PathBuf,
    dir: PathBuf,
}

impl Socket {
    /// Binds in `dir`, or in the system's directory for temporary files. With `group`, that group may connect too.
    ///
    /// # Errors
    /// When the directory can't be written, or the group is unknown.
    pub fn bind(dir: Option<&Path>, group: Option<&str>) -> Result<(Self, UnixListener), SocketError> {
        let parent = dir.map_or_else(std::env::temp_dir, Path::to_path_buf);
        let create = |source| SocketError::Create { dir: parent.clone(), source };
        let own_dir = own_dir(&parent).or_else(|error| match dir {
            // A long TMPDIR must not make the provider unusable.
            None => own_dir(Path::new("/tmp")),
            Some(_) => Err(error),
        });
        let own_dir = own_dir.map_err(create)?;
        let socket = Self { path: own_dir.join("plugin.sock"), dir: own_dir };
        let listener = UnixListener::bind(&socket.path).map_err(create)?;
        // Until here the directory's mode (0700) keeps everyone else out.
        fs::set_permissions(&socket.path, Permissions::from_mode(0o600)).map_err(create)?;
        if let Some(group) = group {
            socket.open_to(group).map_err(|source| SocketError::Group { group: group.to_owned(), source })?;
        }
        Ok((socket, listener))
    }

    /// Where clients connect.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn open_to(&self, group: &str) -> io::Result<()> {
        let gid = find_group(group)?;
        for (path, mode) in [(&self.path, 0o660), (&self.dir, 0o750)] {
            nix::unistd::chown(path.as_path(), None, Some(gid))?;
            fs::set_permissions(path, Permissions::from_mode(mode))?;
        }
        Ok(())
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // Nothing to report to: the process ends, and a leftover is an empty file in a temporary directory.
        let _ = fs::remove_file(&self.path);
        let _ = fs::remove_dir(&self.dir);
    }
}

fn own_dir(parent: &Path) -> io::Result<PathBuf> {
    let dir = tempfile::Builder::new()
        .prefix("tfpg-")
        .permissions(Permissions::from_mode(0o700))
        .tempdir_in(parent)?
        .keep();
    if dir.as_os_str().len() + "/plugin.sock".len() > SOCKET_PATH_MAX_BYTES {
        fs::remove_dir(&dir)?;
        return Err(io::Error::new(io::ErrorKind::InvalidFilename, "the path is too long for a socket"));
    }
    Ok(dir)
}

fn find_group(group: &str) -> io::Result<Gid> {
    if let Ok(number) = group.parse() {
        return Ok(Gid::from_raw(number));
    }
    let found = Group::from_name(group)?;
    found
        .map(|entry| entry.gid)
        .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "there is no such group"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_owner_may_connect_and_nothing_is_left_behind() {
        let parent = tempfile::tempdir().unwrap();
        let (socket, listener) = Socket::bind(Some(parent.path()), None).unwrap();
        let path = socket.path().to_path_buf();
        assert!(path.starts_with(parent.path()));
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o600);
        assert_eq!(mode(path.parent().unwrap()), 0o700);
        drop((socket, listener));
        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn a_group_gets_the_socket() {
        let parent = tempfile::tempdir().unwrap();
        let own = nix::unistd::getegid().to_string();
        let (socket, _listener) = Socket::bind(Some(parent.path()), Some(&own)).unwrap();
        assert_eq!(fs::metadata(socket.path()).unwrap().permissions().mode() & 0o777, 0o660);
        let unknown = Socket::bind(Some(parent.path()), Some("no-such-group-anywhere"));
        assert!(matches!(unknown, Err(SocketError::Group { .. })));
    }

    #[tokio::test]
    async fn a_directory_whose_path_is_too_long_is_named() {
        let parent = tempfile::tempdir().unwrap();
        let long = parent.path().join("x".repeat(SOCKET_PATH_MAX_BYTES));
        fs::create_dir(&long).unwrap();
        let error = Socket::bind(Some(&long), None).unwrap_err();
        assert!(matches!(error, SocketError::Create { ref dir, .. } if *dir == long));
        assert_eq!(fs::read_dir(&long).unwrap().count(), 0);
    }
}
