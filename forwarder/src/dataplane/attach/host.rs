//! What the host must have before anything is touched.

use std::fs::{self, File, TryLockError};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::{fmt, io};

use thiserror::Error;

use crate::io::descriptors;

/// The oldest kernel that the programs are tested on.
const OLDEST_KERNEL: (u32, u32) = (6, 1);

/// Descriptors that the daemon wants at least; without health checks it has about a hundred open.
const DESCRIPTORS: u64 = 512;

/// A capability that the daemon needs, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capability {
    name: &'static str,
    bit: u32,
    /// Whether CAP_SYS_ADMIN contains it.
    in_sys_admin: bool,
    why: &'static str,
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (to {})", self.name, self.why)
    }
}

const SYS_ADMIN: u32 = 21;
const CAPABILITIES: [Capability; 4] = [
    Capability {
        name: "CAP_BPF",
        bit: 39,
        in_sys_admin: true,
        why: "load BPF programs and maps",
    },
    Capability {
        name: "CAP_NET_ADMIN",
        bit: 12,
        in_sys_admin: false,
        why: "attach them to interfaces",
    },
    Capability {
        name: "CAP_PERFMON",
        bit: 38,
        in_sys_admin: true,
        why: "load programs that follow pointers into packets",
    },
    Capability {
        name: "CAP_NET_RAW",
        bit: 13,
        in_sys_admin: false,
        why: "receive neighbour solicitations for IPv6 VIPs",
    },
];

/// The host cannot run the data plane.
#[derive(Debug, Error)]
pub enum HostError {
    /// Capabilities are missing.
    #[error(
        "missing {}\n  \
         run it as root, or give it these capabilities (systemd: AmbientCapabilities=)",
        .0.iter().map(Capability::to_string).collect::<Vec<_>>().join(", ")
    )]
    Capabilities(Vec<Capability>),
    /// Too few descriptors.
    #[error(
        "{limit} files may be open at once, {} are needed: maps, programs, health checks, clients\n  \
         raise the limit (systemd: LimitNOFILE=, shell: ulimit -n)",
        DESCRIPTORS
    )]
    Descriptors {
        /// The hard limit.
        limit: u64,
    },
    /// The kernel is too old.
    #[error("Linux {found} is too old: {}.{} or newer is needed", OLDEST_KERNEL.0, OLDEST_KERNEL.1)]
    Kernel {
        /// The running kernel's release.
        found: String,
    },
    /// The kernel was built without something.
    #[error(
        "the kernel has no type information (/sys/kernel/btf/vmlinux): it was built without CONFIG_DEBUG_INFO_BTF"
    )]
    NoBtf,
    /// Another daemon runs.
    #[error("another forwarder daemon is running: it holds {}", .0.display())]
    SecondDaemon(PathBuf),
    /// The lock could not be taken.
    #[error("the lock {} cannot be taken: {source}", .path.display())]
    Lock {
        /// Its file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The kernel's own files cannot be read.
    #[error("{path}: {source}")]
    Proc {
        /// The file.
        path: &'static str,
        /// Why.
        source: io::Error,
    },
}

/// Checks capabilities, limits and kernel.
pub fn check() -> Result<(), HostError> {
    let missing = missing_capabilities(&read("/proc/self/status")?);
    if !missing.is_empty() {
        return Err(HostError::Capabilities(missing));
    }
    let limit = descriptors::raise_limit();
    if limit < DESCRIPTORS {
        return Err(HostError::Descriptors { limit });
    }
    let release = read("/proc/sys/kernel/osrelease")?;
    if kernel_version(&release).is_none_or(|version| version < OLDEST_KERNEL) {
        return Err(HostError::Kernel {
            found: release.trim().to_owned(),
        });
    }
    if !Path::new("/sys/kernel/btf/vmlinux").exists() {
        return Err(HostError::NoBtf);
    }
    Ok(())
}

fn read(path: &'static str) -> Result<String, HostError> {
    fs::read_to_string(path).map_err(|source| HostError::Proc { path, source })
}

/// Which needed capabilities `/proc/self/status` does not show as effective.
fn missing_capabilities(status: &str) -> Vec<Capability> {
    let effective = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok())
        .unwrap_or(0);
    let has = |bit: u32| effective & 1 << bit != 0;
    let mut missing = CAPABILITIES.to_vec();
    missing.retain(|each| !(has(each.bit) || each.in_sys_admin && has(SYS_ADMIN)));
    missing
}

fn kernel_version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// The daemon's lock: whoever holds it is the only one with its socket. The file goes with it.
#[derive(Debug)]
pub struct Lock {
    _file: File,
    path: PathBuf,
}

impl Lock {
    /// Makes sure that no second daemon runs.
    pub fn take(path: &Path) -> Result<Self, HostError> {
        let failed = |source| HostError::Lock {
            path: path.to_owned(),
            source,
        };
        loop {
            let file = File::options()
                .create(true)
                .truncate(false)
                .write(true)
                .mode(0o600)
                .open(path)
                .map_err(failed)?;
            match file.try_lock() {
                Ok(()) => (),
                Err(TryLockError::WouldBlock) => {
                    return Err(HostError::SecondDaemon(path.to_owned()));
                }
                Err(TryLockError::Error(error)) => return Err(failed(error)),
            }
            // A daemon that has just ended took its file away: that one's lock keeps nobody out.
            if is_at(&file, path) {
                let path = path.to_owned();
                return Ok(Self { _file: file, path });
            }
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Still locked. Nothing is left to do about a file that does not go.
        let _ = fs::remove_file(&self.path);
    }
}

/// Whether `path` still leads to the open file.
fn is_at(file: &File, path: &Path) -> bool {
    let identity = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
    match (file.metadata(), fs::metadata(path)) {
        (Ok(open), Ok(there)) => identity(open) == identity(there),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_are_named() {
        let missing = |bits: u64| {
            let missing = missing_capabilities(&format!("Name:\tx\nCapEff:\t{bits:016x}\n"));
            missing.iter().map(|each| each.name).collect::<Vec<_>>()
        };
        let four = 1 << 12 | 1 << 13 | 1 << 38 | 1 << 39;
        assert_eq!(missing(four), [""; 0]);
        for each in CAPABILITIES {
            assert_eq!(missing(four & !(1 << each.bit)), [each.name]);
        }
        assert_eq!(missing(1 << 12 | 1 << 13 | 1 << SYS_ADMIN), [""; 0]);
        assert_eq!(missing_capabilities("").len(), 4);
    }

    #[test]
    fn kernel_versions() {
        assert_eq!(kernel_version("6.1.0-38-amd64\n"), Some((6, 1)));
        assert_eq!(kernel_version("5.15.0"), Some((5, 15)));
        assert_eq!(kernel_version("6.18.5"), Some((6, 18)));
        assert_eq!(kernel_version("x"), None);
    }
}
