//! What a machine's console says about the tests that it ran.

use std::collections::BTreeMap;

use crate::test::{Outcome, Reader};

/// Instructions that the verifier walked, by program.
pub type Effort = BTreeMap<String, u32>;

/// How a boot ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Boot {
    /// The tests ran; some may have failed.
    Ran {
        /// What passed and failed.
        outcome: Outcome,
        /// The verifier's effort.
        effort: Effort,
    },
    /// The machine never came up: not a test's fault, so it may be tried again.
    NotUp,
}

/// Reads a console line by line.
#[derive(Default)]
pub struct Console {
    tests: Reader,
    up: bool,
    done: bool,
    failures: Vec<String>,
    effort: Effort,
}

impl Console {
    /// Takes in a line.
    pub fn line(&mut self, line: &str) {
        self.tests.line(line);
        if let Some(says) = line.strip_prefix("init: ") {
            self.up |= says.starts_with("up on ");
            self.done |= says == "done";
            if says.starts_with("failed") {
                self.failures.push(says.to_owned());
            }
        } else if let Some(counted) = line.strip_prefix("verifier ")
            && let Some((program, count)) = counted.split_once(' ')
            && let Ok(count) = count.parse()
        {
            self.effort.insert(program.to_owned(), count);
        }
    }

    /// How it ended, given whether the machine ended by itself.
    pub fn finish(self, ended: bool) -> Boot {
        if !self.up {
            return Boot::NotUp;
        }
        let mut outcome = self.tests.finish(true);
        if outcome.failures.is_empty() {
            outcome.failures.extend(self.failures);
        }
        if !ended {
            outcome
                .failures
                .push("the tests did not end in time".into());
        } else if !self.done {
            let reason = "the machine ended before its tests did";
            outcome.failures.push(reason.into());
        }
        Boot::Ran {
            outcome,
            effort: self.effort,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, ended: bool) -> Boot {
        let mut console = Console::default();
        text.lines().for_each(|line| console.line(line));
        console.finish(ended)
    }

    fn failures(boot: Boot) -> (usize, Vec<String>) {
        match boot {
            Boot::Ran { outcome, .. } => (outcome.passed, outcome.failures),
            Boot::NotUp => panic!("the machine was up"),
        }
    }

    const GOOD: &str = "SeaBIOS\ninit: up on 6.1\ntest a ... ok\n---- a stdout ----\nverifier nat4 17\n\
        test result: ok. 1 passed; 0 failed; 0 ignored\n\ninit: passed: /tests/load\ninit: done\n[ 3.1] reboot";

    #[test]
    fn tests_are_counted_and_the_effort_read() {
        let Boot::Ran { outcome, effort } = read(GOOD, true) else {
            panic!("the machine was up");
        };
        assert_eq!(outcome.summary(), "1 passed, 0 failed");
        assert_eq!(effort, Effort::from([("nat4".into(), 17)]));
    }

    #[test]
    fn a_machine_that_never_comes_up_is_nobody_s_failure() {
        assert_eq!(read("SeaBIOS\nKernel panic", true), Boot::NotUp);
        assert_eq!(read("", false), Boot::NotUp);
    }

    #[test]
    fn tests_that_fail_are_named_once() {
        let text = GOOD.replace("test a ... ok", "test a ... FAILED");
        let text = text.replace("1 passed; 0 failed", "0 passed; 1 failed");
        let text = text.replace("init: passed", "init: failed (exit status: 101)");
        assert_eq!(failures(read(&text, true)), (0, vec!["a".into()]));
    }

    #[test]
    fn a_test_that_crashes_its_process_or_machine_fails() {
        let crashed = "init: up on 6.1\ntest a ... init: failed (signal: 9): /tests/load";
        let missing = "init: up on 6.1\ninit: failed (signal: 9): /tests/load\ninit: done";
        assert_eq!(failures(read(crashed, true)).1.len(), 1);
        assert_eq!(failures(read(missing, true)).1.len(), 1);
        assert_eq!(failures(read("init: up on 6.1\n", false)).1.len(), 1);
    }
}
