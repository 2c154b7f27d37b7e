//! What the packet tests say about an object.

use std::fmt;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

use anyhow::{Context as _, Result};

use crate::command::{self, cargo};

/// Random packets of the differential test: enough to reach every reason.
const PACKETS: &str = "40000";
/// What the names of the cases written by hand begin with.
const BY_HAND: &str = "expected::";
/// What the packet tests say when the kernel refuses a program.
const REFUSED: &str = "does not load";

/// What became of a mutant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// This test failed, saying that.
    Killed { test: String, panic: String },
    /// Every test passed.
    Survived,
    /// The verifier stops it before any test could: it shows nothing about the tests.
    Refused,
    /// The compiler stops it, saying this.
    DoesNotBuild(String),
}

impl Verdict {
    /// The word a line about it begins with.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Killed { .. } => "killed",
            Self::Survived => "SURVIVED",
            Self::Refused | Self::DoesNotBuild(_) => "USELESS",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Killed { test, .. } => write!(f, "{test} failed"),
            Self::Survived => f.write_str("no test failed"),
            Self::Refused => f.write_str("the kernel's verifier refuses it"),
            Self::DoesNotBuild(messages) => write!(f, "it does not build: {messages}"),
        }
    }
}

/// The packet tests, built once: they load whatever object they are given.
pub struct Judge {
    tests: PathBuf,
    by_hand: bool,
}

impl Judge {
    /// Builds the tests and copies them into the directory `at`, so that the sources may change meanwhile.
    /// `by_hand`: only the cases written by hand are run.
    pub fn new(at: &Path, by_hand: bool) -> Result<Self> {
        let mut build = cargo(["test", "--locked", "--workspace", "--test", "packets"]);
        let built = command::executable(build.arg("--no-run"), "packets")?;
        let tests = at.join("packets");
        fs::create_dir_all(at)
            .and_then(|()| fs::copy(&built, &tests))
            .with_context(|| format!("{} can't be written", tests.display()))?;
        Ok(Self { tests, by_hand })
    }

    /// Runs the tests on `object` until one fails.
    pub fn judge(&self, object: &Path) -> Result<Verdict> {
        let mut tests = Command::new(&self.tests);
        if self.by_hand {
            tests.arg(BY_HAND);
        }
        run(tests, object)
    }
}

fn run(mut tests: Command, object: &Path) -> Result<Verdict> {
    let mut child = tests
        // Uncaptured, a test's panic is known before its result; with two threads, results are lines.
        .args(["--nocapture", "--test-threads=2"])
        .args(
            super::patch::NEEDS_ALL
                .iter()
                .flat_map(|name| ["--skip", name]),
        )
        .env("FORWARDER_TEST_OBJECT", object)
        .env("FORWARDER_PACKETS", PACKETS)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("the packet tests do not start")?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let mut stderr = stderr.context("standard error is piped")?;
    let panics = thread::spawn(move || {
        let mut text = Vec::new();
        stderr.read_to_end(&mut text).map(|_| text)
    });
    let mut failed = None;
    for line in BufReader::new(stdout.context("standard output is piped")?).split(b'\n') {
        let line = line?;
        if let Some(test) = failed_test(&String::from_utf8_lossy(&line)) {
            failed = Some(test.to_owned());
            child.kill()?;
            break;
        }
    }
    let status = child.wait()?;
    let panics = panics.join().ok().context("a thread panicked")??;
    let panic = String::from_utf8_lossy(&panics).into_owned();
    Ok(match failed {
        Some(_) if panic.contains(REFUSED) => Verdict::Refused,
        Some(test) => Verdict::Killed { test, panic },
        None if status.success() => Verdict::Survived,
        None => Verdict::Killed {
            test: format!("the test program ({status})"),
            panic,
        },
    })
}

/// The name in `test a::b ... FAILED`.
fn failed_test(line: &str) -> Option<&str> {
    line.strip_prefix("test ")?.strip_suffix(" ... FAILED")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_test_is_seen_at_once() {
        assert_eq!(failed_test("test a::b ... FAILED"), Some("a::b"));
        assert_eq!(failed_test("test a::b ... ok"), None);
        assert_eq!(failed_test("test result: FAILED. 1 passed"), None);
    }
}
