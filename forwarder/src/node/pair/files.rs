//! What the pair keeps on disk, beside the admin socket, for the next daemon.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use super::PairError;
use crate::core::pair::secret::Secret;

/// The files of a daemon.
#[derive(Clone, Debug)]
pub struct Files {
    socket: PathBuf,
}

impl Files {
    /// Those of the daemon with this admin socket.
    pub fn of(socket: &Path) -> Self {
        Self {
            socket: socket.to_owned(),
        }
    }

    fn path(&self, extension: &str) -> PathBuf {
        let mut path = self.socket.as_os_str().to_owned();
        path.push(extension);
        PathBuf::from(path)
    }

    /// The highest epochs of the daemon before, by group; the peer knows them too.
    pub fn epochs(&self) -> BTreeMap<u16, u64> {
        let text = fs::read_to_string(self.path(".epoch")).unwrap_or_default();
        let epoch = |line: &str| {
            let (group, epoch) = line.split_once(' ')?;
            Some((group.parse().ok()?, epoch.parse().ok()?))
        };
        text.lines().filter_map(epoch).collect()
    }

    /// Keeps the epochs.
    pub fn set_epochs(&self, epochs: &BTreeMap<u16, u64>) -> io::Result<()> {
        let new = self.path(".epoch.new");
        let lines = epochs.iter();
        let text: String = lines.map(|(id, epoch)| format!("{id} {epoch}\n")).collect();
        fs::write(&new, text)?;
        fs::set_permissions(&new, Permissions::from_mode(0o600))?;
        fs::rename(&new, self.path(".epoch"))
    }

    /// Whether the node was in maintenance.
    pub fn maintenance(&self) -> bool {
        self.path(".maintenance").exists()
    }

    /// Keeps whether it is.
    pub fn set_maintenance(&self, on: bool) -> io::Result<()> {
        let path = self.path(".maintenance");
        if on {
            return fs::write(path, "on\n");
        }
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

/// The secret that both nodes share.
pub fn secret(path: &Path) -> Result<Secret, PairError> {
    let failed = |source| PairError::Key {
        path: path.to_owned(),
        source,
    };
    let text = fs::read_to_string(path).map_err(failed)?;
    if fs::metadata(path).map_err(failed)?.mode() & 0o077 != 0 {
        return Err(PairError::Readable(path.to_owned()));
    }
    Secret::parse(&text).map_err(|error| PairError::Bad(path.to_owned(), error))
}
