//! Who looks meanwhile, again and again.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, ensure};

/// A way to look.
pub struct Look {
    pub name: &'static str,
    what: What,
}

enum What {
    Nothing,
    Compute,
    Command(&'static [&'static str]),
}

/// Every one, and two to compare with.
pub const LOOKS: [Look; 6] = [
    Look {
        name: "nothing",
        what: What::Nothing,
    },
    Look {
        name: "a process that computes",
        what: What::Compute,
    },
    Look {
        name: "flow --count",
        what: What::Command(&["flow", "--count"]),
    },
    Look {
        name: "flow --count --state closing",
        what: What::Command(&["flow", "--count", "--state", "closing"]),
    },
    Look {
        name: "flow --port 65000",
        what: What::Command(&["flow", "--port", "65000"]),
    },
    Look {
        name: "metrics",
        what: What::Command(&["metrics"]),
    },
];

/// Somebody who looks.
pub struct Looker {
    over: Arc<AtomicBool>,
    thread: JoinHandle<Result<Vec<Duration>>>,
}

impl Look {
    pub fn start(&self, socket: &Path, binary: &Path) -> Result<Looker> {
        let over = Arc::new(AtomicBool::new(false));
        let ends = Arc::clone(&over);
        let (socket, binary) = (socket.to_owned(), binary.to_owned());
        let work: Box<dyn FnOnce() -> Result<Vec<Duration>> + Send> = match self.what {
            What::Nothing => Box::new(|| Ok(Vec::new())),
            What::Compute => Box::new(move || {
                while !ends.load(Ordering::Relaxed) {
                    std::hint::black_box(
                        (0..10_000_u64).fold(0, |sum, each| sum ^ std::hint::black_box(each)),
                    );
                }
                Ok(Vec::new())
            }),
            What::Command(words) => Box::new(move || again(&binary, &socket, words, &ends)),
        };
        Ok(Looker {
            over,
            thread: thread::Builder::new().spawn(work)?,
        })
    }
}

fn again(
    binary: &PathBuf,
    socket: &Path,
    words: &[&str],
    over: &AtomicBool,
) -> Result<Vec<Duration>> {
    let mut times = Vec::new();
    while !over.load(Ordering::Relaxed) {
        let begin = Instant::now();
        let mut command = Command::new(binary);
        command.args(words).arg("--socket").arg(socket);
        let status = command.stdout(Stdio::null()).status()?;
        ensure!(status.success(), "forwarder {words:?} failed");
        times.push(begin.elapsed());
    }
    Ok(times)
}

impl Looker {
    /// What each look took.
    pub fn end(self) -> Result<Vec<Duration>> {
        self.over.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| anyhow!("it panicked"))?
    }
}
