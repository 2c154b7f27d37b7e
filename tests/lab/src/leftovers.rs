//! What a lab leaves on the machine, and how it is removed: by the lab itself, by a signal, or by
//! the next lab when the process was killed.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, Once, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::iproute::ip;

const PREFIX: &str = "fwd-";
const NAMESPACES: &str = "/run/netns";

/// The prefix of everything that belongs to a new lab of this process.
pub(crate) fn new_prefix() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("{PREFIX}{}-{number}-", std::process::id())
}

pub(crate) fn namespace_path(name: &str) -> PathBuf {
    Path::new(NAMESPACES).join(name)
}

/// Held while a namespace, a directory or a process is made: whoever cleans up on a signal takes it for
/// good, so that nothing is made behind its back.
pub(crate) fn making() -> MutexGuard<'static, ()> {
    static MAKING: Mutex<()> = Mutex::new(());
    MAKING.lock().unwrap_or_else(PoisonError::into_inner)
}

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Whether a signal has come: the labs are being removed and the process ends at once. What fails from
/// now on is of no interest.
pub fn is_interrupted() -> bool {
    INTERRUPTED.load(Ordering::Relaxed)
}

/// From now on SIGINT, SIGTERM and SIGHUP do nothing but [`is_interrupted`]: for a process without labs of its own that
/// waits for one that has some.
///
/// # Errors
/// The handler can't be installed.
pub fn note_signals() -> Result<()> {
    let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM, SIGHUP])
        .context("can't install a signal handler")?;
    thread::spawn(move || {
        for _ in signals.forever() {
            INTERRUPTED.store(true, Ordering::Relaxed);
        }
    });
    Ok(())
}

/// Ends the processes in a namespace and deletes it. Nothing to do is no error.
pub(crate) fn remove_namespace(name: &str) {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let processes = processes_in(name);
        if processes.is_empty() || Instant::now() > deadline {
            break;
        }
        for process in processes {
            // SAFETY: no memory is passed; the process lives in a namespace that is ours alone.
            unsafe { libc::kill(process, libc::SIGKILL) };
        }
        thread::sleep(Duration::from_millis(5));
    }
    if namespace_path(name).exists() {
        // A second lab may sweep the same leftover at the same time: one of them fails.
        let _ = ip(&["netns", "delete", name]);
    }
}

/// Removes what labs of dead processes left behind.
pub(crate) fn sweep() {
    remove_where(|pid| !Path::new(&format!("/proc/{pid}")).exists());
}

/// On SIGINT, SIGTERM or SIGHUP: removes this process's labs and ends it. Installed once, before the first lab.
pub(crate) fn remove_on_signal() -> Result<()> {
    static INSTALLED: Once = Once::new();
    let mut result = Ok(());
    INSTALLED.call_once(|| {
        // Whatever has our id already is of a process that had it before.
        remove_where(|pid| pid == std::process::id());
        result = signal_hook::iterator::Signals::new([SIGINT, SIGTERM, SIGHUP])
            .context("can't install a signal handler")
            .map(|mut signals| {
                thread::spawn(move || {
                    if let Some(signal) = signals.forever().next() {
                        INTERRUPTED.store(true, Ordering::Relaxed);
                        let _nothing_new = making();
                        let own = std::process::id();
                        remove_where(|pid| pid == own);
                        std::process::exit(128 + signal);
                    }
                });
            });
    });
    result
}

fn remove_where(condition: impl Fn(u32) -> bool) {
    let matches = |name: &str| pid_of(name).is_some_and(&condition);
    for name in names(Path::new(NAMESPACES))
        .iter()
        .filter(|name| matches(name))
    {
        remove_namespace(name);
    }
    let temporary = std::env::temp_dir();
    for name in names(&temporary).iter().filter(|name| matches(name)) {
        let _ = fs::remove_dir_all(temporary.join(name));
    }
}

/// The process a name of ours belongs to.
fn pid_of(name: &str) -> Option<u32> {
    let (pid, rest) = name.strip_prefix(PREFIX)?.split_once('-')?;
    let (number, _) = rest.split_once('-')?;
    number.parse::<u32>().ok()?;
    pid.parse().ok()
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect()
}

/// Processes whose main thread is in the namespace; never this one.
fn processes_in(name: &str) -> Vec<i32> {
    let Ok(namespace) = fs::metadata(namespace_path(name)) else {
        return Vec::new();
    };
    let own = std::process::id().cast_signed();
    names(Path::new("/proc"))
        .into_iter()
        .filter_map(|entry| entry.parse().ok())
        .filter(|&pid| pid != own)
        .filter(|pid| {
            fs::metadata(format!("/proc/{pid}/ns/net"))
                .is_ok_and(|net| (net.dev(), net.ino()) == (namespace.dev(), namespace.ino()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::pid_of;

    #[test]
    fn only_our_own_names_are_ours() {
        assert_eq!(pid_of("fwd-12-0-client"), Some(12));
        assert_eq!(pid_of("fwd-12-0-"), Some(12));
        for other in [
            "fwd-x-0-client",
            "fwd-12-client",
            "fwd-12",
            "fwd--0-x",
            "my-fwd-12-0-x",
        ] {
            assert_eq!(pid_of(other), None, "{other}");
        }
    }
}
