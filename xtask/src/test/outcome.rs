//! Counting what passed and what failed.

use std::process::ExitCode;

/// How many checks passed, and the names of those that did not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    pub passed: usize,
    pub failures: Vec<String>,
}

impl Outcome {
    pub fn pass() -> Self {
        Self {
            passed: 1,
            ..Self::default()
        }
    }

    pub fn failure(name: impl Into<String>) -> Self {
        Self {
            failures: vec![name.into()],
            ..Self::default()
        }
    }

    pub fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failures.extend(other.failures);
    }

    /// Failure unless everything passed.
    pub fn exit_code(&self) -> ExitCode {
        if self.failures.is_empty() {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        }
    }

    pub fn summary(&self) -> String {
        format!("{} passed, {} failed", self.passed, self.failures.len())
    }
}

/// Reads what test binaries print, line by line. A test that was ignored did not run, so it failed.
#[derive(Debug, Default)]
pub struct Reader {
    outcome: Outcome,
    /// What the `test result:` lines say failed or was ignored.
    reported: usize,
}

impl Reader {
    pub fn line(&mut self, line: &str) {
        if let Some(counts) = line.strip_prefix("test result: ") {
            self.outcome.passed += count(counts, "passed");
            self.reported += count(counts, "failed") + count(counts, "ignored");
        } else if let Some(test) = line.strip_prefix("test ") {
            let Some((name, result)) = test.rsplit_once(" ... ") else {
                return;
            };
            if result.starts_with("FAILED") {
                self.outcome.failures.push(name.to_owned());
            } else if result.starts_with("ignored") {
                self.outcome
                    .failures
                    .push(format!("{name} (ignored: it did not run)"));
            }
        }
    }

    /// The outcome, given whether `cargo test` succeeded: a test's own output may hide its line, a binary may
    /// crash before it prints its counts, and a build may fail before there is any test.
    pub fn finish(mut self, succeeded: bool) -> Outcome {
        for _ in self.outcome.failures.len()..self.reported {
            self.outcome
                .failures
                .push("a test whose name is in the output above".into());
        }
        if !succeeded && self.outcome.failures.is_empty() {
            self.outcome
                .failures
                .push("cargo test: a build failed or a test binary crashed, see above".into());
        }
        self.outcome
    }
}

/// The number before `what` in `ok. 3 passed; 0 failed; 1 ignored; …`.
fn count(counts: &str, what: &str) -> usize {
    let words: Vec<_> = counts.split([' ', ';']).collect();
    words
        .windows(2)
        .find(|pair| pair[1] == what)
        .and_then(|pair| pair[0].parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, succeeded: bool) -> Outcome {
        let mut reader = Reader::default();
        text.lines().for_each(|line| reader.line(line));
        reader.finish(succeeded)
    }

    #[test]
    fn binaries_are_summed() {
        let text = "running 2 tests\ntest a ... ok\ntest b ... ok\n
test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s\n
test result: ok. 40 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.00s\n";
        assert_eq!(
            read(text, true),
            Outcome {
                passed: 42,
                failures: vec![]
            }
        );
        assert_eq!(read(text, true).summary(), "42 passed, 0 failed");
    }

    #[test]
    fn failed_and_ignored_tests_are_named() {
        let text =
            "test a::b ... FAILED\ntest src/x.rs - y (line 3) ... ok\ntest c ... ignored, slow\n
test result: FAILED. 1 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out\n";
        let failures = vec!["a::b".into(), "c (ignored: it did not run)".into()];
        assert_eq!(
            read(text, false),
            Outcome {
                passed: 1,
                failures
            }
        );
    }

    #[test]
    fn a_failure_without_a_name_counts() {
        let hidden =
            "test a ... noise FAILED here\ntest result: FAILED. 0 passed; 1 failed; 0 ignored\n";
        assert_eq!(read(hidden, false).failures.len(), 1);
        assert_eq!(read("", false).failures.len(), 1);
        let crashed = "test result: ok. 3 passed; 0 failed; 0 ignored\nrunning 1 test\n";
        assert_eq!(read(crashed, false).summary(), "3 passed, 1 failed");
    }
}
