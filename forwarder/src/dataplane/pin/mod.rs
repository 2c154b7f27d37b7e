//! What outlives the daemon: programs, maps and links pinned in a BPF filesystem.
//!
//! ```text
//! /sys/fs/bpf/forwarder/      the pin directory, mode 0700, locked by whoever uses it
//!   v1/                       version of the map ABI
//!     links/<ifindex>         attachments; always the same link, whatever program it runs
//!     g3/                     a generation: what one loaded object uses
//!       RECORD                ids and places (see `record`)
//!       FLOWS4 …              maps; a generation takes over those of the one before that fit
//!       STAGES …              its own
//! ```
//! A generation is made as `g3-new` and renamed when it is whole, before any link runs its program;
//! older ones go when every link does. So whenever the daemon dies, what is needed is there.
//! (Names have no dots: the BPF filesystem refuses them.)

mod error;
pub mod record;
mod uninstall;

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use aya::programs::links::PinnedLink;
use forwarder_common::ABI_VERSION;

pub use error::PinError;
pub use uninstall::{Removed, uninstall, unlink};

/// Where pins are by default.
pub const DEFAULT: &str = "/sys/fs/bpf/forwarder";
const BPF_FS_MAGIC: u64 = 0xcafe_4a11;
const LINKS: &str = "links";
const UNFINISHED: &str = "-new";

/// The pin directory, held by this process alone.
#[derive(Debug)]
pub struct PinDirectory {
    root: PathBuf,
    /// Whether its owner is who we are: then we made it.
    own: bool,
    _lock: File,
}

/// A pinned attachment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its pin.
    pub path: PathBuf,
    /// The interface that it was made for.
    pub ifindex: u32,
    /// The program that it runs.
    pub program: u32,
}

/// Everything that one loaded object uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Generation {
    /// Its directory.
    pub path: PathBuf,
    number: u64,
}

impl PinDirectory {
    /// Makes the directory if it is not there, and takes it.
    pub fn open(root: &Path) -> Result<Self, PinError> {
        // A service manager may have made it, where this user can make nothing.
        if !root.is_dir() {
            let parent = match root.parent() {
                Some(parent) if !parent.as_os_str().is_empty() => parent,
                _ => Path::new("."),
            };
            if !is_bpf(parent)? {
                return Err(PinError::NotBpf(parent.to_owned()));
            }
            make(root)?;
        }
        let directory = Self::take(root, user())?;
        make(&directory.version())?;
        make(&directory.version().join(LINKS))?;
        Ok(directory)
    }

    /// Takes the directory if it is there, to remove what is in it: root may do that to any user's.
    pub fn existing(root: &Path) -> Result<Option<Self>, PinError> {
        match fs::symlink_metadata(root) {
            Ok(about) if user() == 0 => Self::take(root, about.uid()).map(Some),
            Ok(_) => Self::take(root, user()).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(PinError::io(root, error)),
        }
    }

    fn take(root: &Path, wanted: u32) -> Result<Self, PinError> {
        let failed = |error| PinError::io(root, error);
        let about = fs::symlink_metadata(root).map_err(failed)?;
        if !about.is_dir() || !is_bpf(root)? {
            return Err(PinError::NotBpf(root.to_owned()));
        }
        if about.uid() != wanted {
            return Err(PinError::ForeignOwner {
                path: root.to_owned(),
                owner: about.uid(),
                wanted,
            });
        }
        let lock = File::open(root).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => (),
            Err(TryLockError::WouldBlock) => return Err(PinError::InUse(root.to_owned())),
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        if about.mode() & 0o777 != 0o700 {
            fs::set_permissions(root, fs::Permissions::from_mode(0o700)).map_err(failed)?;
        }
        Ok(Self {
            root: root.to_owned(),
            own: about.uid() == user(),
            _lock: lock,
        })
    }

    fn version(&self) -> PathBuf {
        self.root.join(format!("v{ABI_VERSION}"))
    }

    /// Where the link of an interface belongs.
    pub fn link(&self, ifindex: u32) -> PathBuf {
        self.version().join(LINKS).join(ifindex.to_string())
    }

    /// Every pinned attachment, of every version.
    pub fn links(&self) -> Result<Vec<Link>, PinError> {
        let mut links = Vec::new();
        for version in versions(&self.root)? {
            for (path, ifindex) in numbered(&version.join(LINKS), "")? {
                let (Ok(ifindex), Ok(link)) = (u32::try_from(ifindex), PinnedLink::from_pin(&path))
                else {
                    continue;
                };
                let link: aya::programs::links::FdLink = link.into();
                let info = link.info().map_err(|error| PinError::aya(&path, error))?;
                links.push(Link {
                    path,
                    ifindex,
                    program: info.program_id(),
                });
            }
        }
        Ok(links)
    }

    /// The last whole generation of this version.
    pub fn current(&self) -> Result<Option<Generation>, PinError> {
        let generations = numbered(&self.version(), "g")?.into_iter();
        Ok(generations
            .map(|(path, number)| Generation { path, number })
            .max_by_key(|generation| generation.number))
    }

    /// A directory for the generation after `current`, to be filled.
    pub fn begin(&self, current: Option<&Generation>) -> Result<Generation, PinError> {
        let number = current.map_or(1, |current| current.number + 1);
        let path = self.version().join(format!("g{number}{UNFINISHED}"));
        // What a daemon that died left half-made.
        uninstall::remove_generation(&path)?;
        make(&path)?;
        Ok(Generation { path, number })
    }

    /// Makes the directories that somebody has removed.
    pub fn make_again(&self) -> Result<(), PinError> {
        make(&self.root)?;
        make(&self.version())?;
        make(&self.version().join(LINKS))
    }

    /// Makes the directory of a generation that somebody has removed.
    pub fn begin_again(&self, generation: &Generation) -> Result<(), PinError> {
        self.make_again()?;
        make(&generation.path)
    }

    /// Makes a filled generation the current one.
    pub fn finish(&self, generation: Generation) -> Result<Generation, PinError> {
        let path = self.version().join(format!("g{}", generation.number));
        fs::rename(&generation.path, &path).map_err(|error| PinError::io(&path, error))?;
        Ok(Generation { path, ..generation })
    }

    /// Removes what `current` has replaced: other generations, other versions. Every link must run its
    /// programs.
    pub fn remove_stale(&self, current: &Generation) -> Result<(), PinError> {
        for version in versions(&self.root)? {
            for suffix in ["", UNFINISHED] {
                for (path, _) in numbered_with(&version, "g", suffix)? {
                    if path != current.path {
                        uninstall::remove_generation(&path)?;
                    }
                }
            }
            if version != self.version() {
                uninstall::remove_empty(&version.join(LINKS))?;
                uninstall::remove_empty(&version)?;
            }
        }
        Ok(())
    }
}

/// Who we are.
fn user() -> u32 {
    // SAFETY: no memory is passed.
    unsafe { libc::geteuid() }
}

/// `v1`, `v2` …
fn versions(root: &Path) -> Result<Vec<PathBuf>, PinError> {
    Ok(numbered(root, "v")?
        .into_iter()
        .map(|(path, _)| path)
        .collect())
}

/// Entries named by a prefix and a number. A directory that is not there has none.
fn numbered(directory: &Path, prefix: &str) -> Result<Vec<(PathBuf, u64)>, PinError> {
    numbered_with(directory, prefix, "")
}

fn numbered_with(
    directory: &Path,
    prefix: &str,
    suffix: &str,
) -> Result<Vec<(PathBuf, u64)>, PinError> {
    let failed = |error| PinError::io(directory, error);
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(failed)?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        let number = name.and_then(|name| name.strip_prefix(prefix)?.strip_suffix(suffix));
        let digits = number.filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
        if let Some(number) = digits.and_then(|text| text.parse().ok()) {
            found.push((path, number));
        }
    }
    found.sort();
    Ok(found)
}

fn make(path: &Path) -> Result<(), PinError> {
    match fs::DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(PinError::io(path, error))
        }
        _ => Ok(()),
    }
}

/// Whether pins can be made where they are made without being told otherwise.
pub fn has_filesystem() -> bool {
    let parent = Path::new(DEFAULT).parent();
    parent.is_some_and(|parent| is_bpf(parent).unwrap_or(false))
}

/// Whether a path lies in a BPF filesystem.
fn is_bpf(path: &Path) -> Result<bool, PinError> {
    let text = std::ffi::CString::new(path.as_os_str().as_bytes())
        .map_err(|error| PinError::io(path, error.into()))?;
    // SAFETY: all-zero bytes are a valid statfs.
    let mut about: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: a path that ends in a zero, and room for the answer.
    match unsafe { libc::statfs(text.as_ptr(), &raw mut about) } {
        0 => Ok(about.f_type as u64 == BPF_FS_MAGIC),
        _ => match io::Error::last_os_error() {
            error if error.kind() == io::ErrorKind::NotFound => Ok(false),
            error => Err(PinError::io(path, error)),
        },
    }
}
