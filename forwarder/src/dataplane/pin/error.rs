//! What stands against pinning, and what to do about it.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

/// The pin directory cannot be used.
#[derive(Debug, Error)]
pub enum PinError {
    /// The place is no BPF filesystem.
    #[error(
        "{}: there is no BPF filesystem, which keeps programs and maps while the daemon is away\n  \
         mount it:  mount -t bpf bpf /sys/fs/bpf", .0.display()
    )]
    NotBpf(PathBuf),
    /// Mounted read-only.
    #[error("{}: mounted read-only\n  make it writable:  mount -o remount,rw /sys/fs/bpf", .0.display())]
    ReadOnly(PathBuf),
    /// Somebody else's directory.
    #[error(
        "{} belongs to user {owner}, who could put other programs there; it must belong to user {wanted}",
        .path.display()
    )]
    ForeignOwner {
        /// The directory.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
        /// Whose it must be.
        wanted: u32,
    },
    /// Another daemon, or `uninstall`, uses it.
    #[error("another forwarder uses {}; stop it first", .0.display())]
    InUse(PathBuf),
    /// The system refused something.
    #[error("{}: {source}", .path.display())]
    Io {
        /// About what.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The record of ids is damaged.
    #[error("{}: the record of the daemon before is damaged: {reason}", .path.display())]
    Record {
        /// The record.
        path: PathBuf,
        /// How.
        reason: String,
    },
}

impl PinError {
    /// An error about a path; a read-only filesystem is told apart.
    pub fn io(path: impl Into<PathBuf>, source: io::Error) -> Self {
        let path = path.into();
        if source.kind() == io::ErrorKind::ReadOnlyFilesystem {
            return Self::ReadOnly(path);
        }
        Self::Io { path, source }
    }

    /// The same from aya's error about a pinned object.
    pub fn aya(
        path: impl Into<PathBuf>,
        error: impl std::error::Error + Send + Sync + 'static,
    ) -> Self {
        let mut cause: Option<&dyn std::error::Error> = Some(&error);
        let mut code = None;
        while let Some(error) = cause {
            code = code.or(error
                .downcast_ref::<io::Error>()
                .and_then(io::Error::raw_os_error));
            cause = error.source();
        }
        let source = code.map_or_else(|| io::Error::other(error), io::Error::from_raw_os_error);
        Self::io(path, source)
    }
}
