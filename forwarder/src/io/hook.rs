//! Programs that are told of changes of role. A thread for each, so that nobody waits for them.

use std::fs::File;
use std::io::{self, Seek as _, Write as _};
use std::os::fd::{FromRawFd as _, OwnedFd};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use log::warn;
use tokio::sync::mpsc::UnboundedSender;

use super::clock;
use crate::config::model::Hook;

/// Events that wait for a program; further ones are not told to it.
const WAITING: usize = 64;
/// Between two looks whether a program has ended.
const LOOK: Duration = Duration::from_millis(5);

/// How a program ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The program.
    pub program: PathBuf,
    /// What became of it.
    pub text: String,
    /// Whether that is as it should be.
    pub good: bool,
}

/// The programs.
#[derive(Debug)]
pub struct Hooks {
    hooks: Vec<Hook>,
    runners: Vec<Runner>,
    outcomes: UnboundedSender<Outcome>,
}

#[derive(Debug)]
struct Runner {
    events: SyncSender<Arc<str>>,
    thread: JoinHandle<()>,
}

impl Hooks {
    /// How programs end is told by `outcomes`.
    pub fn new(outcomes: UnboundedSender<Outcome>) -> Self {
        Self {
            hooks: Vec::new(),
            runners: Vec::new(),
            outcomes,
        }
    }

    /// Other programs; those that run get to their end.
    pub fn set(&mut self, hooks: &[Hook]) -> io::Result<()> {
        if self.hooks == hooks {
            return Ok(());
        }
        self.runners.clear();
        self.hooks = hooks.to_vec();
        for hook in hooks {
            let (events, received) = sync_channel(WAITING);
            let (hook, outcomes) = (hook.clone(), self.outcomes.clone());
            let thread = thread::Builder::new()
                .name("hook".to_owned())
                .spawn(move || serve(&hook, &received, &outcomes))?;
            self.runners.push(Runner { events, thread });
        }
        Ok(())
    }

    /// Whether there is any.
    pub fn is_empty(&self) -> bool {
        self.hooks.is_empty()
    }

    /// Tells an event to every program.
    pub fn tell(&self, event: &str) {
        let event: Arc<str> = event.into();
        for (hook, runner) in self.hooks.iter().zip(&self.runners) {
            if runner.events.try_send(Arc::clone(&event)).is_err() {
                let text = format!("not run: {WAITING} events wait for it already");
                let program = hook.program.clone();
                // Without a listener the daemon is about to end.
                let _ = self.outcomes.send(Outcome {
                    program,
                    text,
                    good: false,
                });
            }
        }
    }

    /// Waits until every program has been told everything: at most `patience`.
    pub async fn finish(&mut self, patience: Duration) {
        let end = clock::monotonic() + patience;
        self.hooks.clear();
        let runners = self.runners.drain(..);
        // Without their senders the threads end when all is told.
        let threads: Vec<_> = runners.map(|runner| runner.thread).collect();
        while clock::monotonic() < end && !threads.iter().all(JoinHandle::is_finished) {
            tokio::time::sleep(LOOK).await;
        }
    }
}

fn serve(hook: &Hook, events: &Receiver<Arc<str>>, outcomes: &UnboundedSender<Outcome>) {
    for event in events {
        let begin = clock::monotonic();
        let (good, what) = match run(&hook.program, &event, hook.timeout) {
            Ok(Some(status)) => (status.success(), ended(status)),
            Ok(None) => (false, format!("killed after {:?}", hook.timeout)),
            Err(error) => (false, format!("does not run: {error}")),
        };
        let took = (clock::monotonic() - begin).as_secs_f64() * 1e3;
        let text = format!("{what}, {took:.0} ms");
        if !good {
            warn!("hook {}: {text}", hook.program.display());
        }
        let program = hook.program.clone();
        let _ = outcomes.send(Outcome {
            program,
            text,
            good,
        });
    }
}

fn ended(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => format!("ended by signal {signal}"),
        (None, None) => "ended".to_owned(),
    }
}

/// Runs a program to its end; `None`: it took too long, and was killed with what it had started.
#[expect(
    clippy::disallowed_methods,
    reason = "it sleeps in a thread of its own"
)]
fn run(program: &Path, event: &str, timeout: Duration) -> io::Result<Option<ExitStatus>> {
    let mut child = Command::new(program)
        .stdin(input(event)?)
        .stdout(Stdio::null())
        .process_group(0)
        .spawn()?;
    let end = clock::monotonic() + timeout;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if clock::monotonic() >= end {
            kill(&mut child)?;
            return Ok(None);
        }
        thread::sleep(LOOK);
    }
}

fn kill(child: &mut Child) -> io::Result<()> {
    let group = child.id().cast_signed();
    // SAFETY: no memory is passed. The child is not waited for yet, so the number is its own.
    unsafe { libc::kill(-group, libc::SIGKILL) };
    child.kill()?;
    child.wait().map(drop)
}

/// A file in memory: unlike a pipe it takes any text without anybody who reads.
fn input(text: &str) -> io::Result<Stdio> {
    // SAFETY: the name is a C string.
    let fd = unsafe { libc::memfd_create(c"event".as_ptr(), libc::MFD_CLOEXEC) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is new and ours.
    let mut file = File::from(unsafe { OwnedFd::from_raw_fd(fd) });
    file.write_all(text.as_bytes())?;
    file.rewind()?;
    Ok(file.into())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// Written by another process: one that this process has open for writing, or a child of it that was just
    /// forked, cannot be run.
    fn program(name: &str, text: &str) -> PathBuf {
        let directory = std::env::temp_dir().join(format!("fwd-hook-{}", std::process::id()));
        fs::create_dir_all(&directory).expect("a directory");
        let (source, path) = (directory.join(format!("{name}.sh")), directory.join(name));
        fs::write(&source, format!("#!/bin/sh\n{text}\n")).expect("a text");
        let mut install = Command::new("install");
        let done = install.args(["-m", "755"]).arg(source).arg(&path).status();
        assert!(done.expect("install runs").success());
        path
    }

    #[test]
    fn a_program_reads_its_event_and_its_status_is_known() {
        let path = program("reads", "read line; test \"$line\" = '{\"a\":1}' && exit 7");
        let limit = Duration::from_secs(60);
        let status = run(&path, "{\"a\":1}\n", limit).expect("it runs");
        assert_eq!(status.and_then(|status| status.code()), Some(7));
        // One that reads nothing does not stop anybody.
        let path = program("ignores", "exit 0");
        let status = run(&path, &"x".repeat(1 << 20), limit).expect("it runs");
        assert!(status.is_some_and(|status| status.success()));
        run(Path::new("/does/not/exist"), "", limit).expect_err("no program");
    }

    #[test]
    fn one_that_takes_too_long_is_killed() {
        let path = program("sleeps", "sleep 1000 & sleep 1000");
        let status = run(&path, "", Duration::from_millis(50)).expect("it runs");
        assert_eq!(status, None);
    }

    #[test]
    fn events_beyond_what_waits_are_not_run() {
        let (sender, mut outcomes) = tokio::sync::mpsc::unbounded_channel();
        let mut hooks = Hooks::new(sender);
        let hook = Hook {
            program: program("slow", "sleep 1"),
            timeout: Duration::from_secs(60),
        };
        hooks.set(&[hook]).expect("a thread");
        for _ in 0..WAITING + 2 {
            hooks.tell("{}\n");
        }
        let outcome = outcomes.blocking_recv().expect("an outcome");
        assert!(outcome.text.starts_with("not run"), "{outcome:?}");
    }
}
