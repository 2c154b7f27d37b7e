//! How far it is, over all parts.

use std::fs::File;
use std::io::{IsTerminal as _, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

/// Between two looks.
const EVERY: Duration = Duration::from_millis(200);
const WIDTH: u64 = 30;

/// Parts, and which of them it is at.
pub struct Bar {
    parts: Vec<(&'static str, u64)>,
    at: usize,
}

impl Bar {
    /// Of parts with the seconds that each is expected to take.
    pub fn new(parts: impl Iterator<Item = (&'static str, u64)>) -> Self {
        Self {
            parts: parts.collect(),
            at: 0,
        }
    }

    /// Runs the next part with its output in a file; whether it succeeded. On a signal it is told to end, and
    /// waited for: it removes what it has made.
    pub fn run(&mut self, mut command: Command, log: &Path) -> Result<bool> {
        let file = File::create(log).with_context(|| log.display().to_string())?;
        command.stdout(file.try_clone()?).stderr(file);
        let mut child = command.spawn()?;
        let begin = Instant::now();
        let terminal = std::io::stderr().is_terminal();
        if !terminal {
            eprintln!("{}", self.line(0));
        }
        let status = loop {
            if let Some(status) = child.try_wait()? {
                break status;
            }
            if forwarder_lab::is_interrupted() {
                end(&mut child)?;
                break child.wait()?;
            }
            if terminal {
                eprint!("\r\x1b[K{}", self.line(begin.elapsed().as_secs()));
                let _ = std::io::stderr().flush();
            }
            thread::sleep(EVERY);
        };
        if terminal {
            eprint!("\r\x1b[K");
        }
        self.at += 1;
        Ok(status.success())
    }

    /// After the last.
    pub fn end(&self) {
        debug_assert_eq!(self.at, self.parts.len(), "a part was left out");
    }

    fn line(&self, elapsed: u64) -> String {
        let all: u64 = self.parts.iter().map(|(_, seconds)| seconds).sum();
        let before: u64 = self.parts[..self.at].iter().map(|(_, each)| each).sum();
        let (name, expected) = self.parts[self.at];
        let done = before + elapsed.min(expected);
        let full = usize::try_from(WIDTH * done / all.max(1)).unwrap_or(0);
        let (bar, rest) = ("█".repeat(full), "·".repeat(WIDTH as usize - full));
        let left = Duration::from_secs(all - done).as_secs();
        format!(
            "{bar}{rest} {} of {}: {name}; about {}:{:02} left",
            self.at + 1,
            self.parts.len(),
            left / 60,
            left % 60
        )
    }
}

/// Asks a process to end; one that has got the terminal's signal already is ending.
fn end(child: &mut Child) -> Result<()> {
    let mut kill = Command::new("kill");
    kill.args(["-INT", &child.id().to_string()]);
    kill.stderr(Stdio::null()).status()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_that_takes_longer_is_waited_for() {
        let mut bar = Bar::new([("one", 60), ("two", 30)].into_iter());
        assert!(bar.line(0).ends_with("1 of 2: one; about 1:30 left"));
        assert!(bar.line(600).ends_with("about 0:30 left"));
        bar.at = 1;
        assert!(bar.line(600).starts_with(&"█".repeat(30)));
    }
}
