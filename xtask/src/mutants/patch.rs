//! A change of a source text, by search and replace.

use anyhow::{Result, ensure};

/// A change of one file.
#[derive(Clone, Copy, Debug)]
pub struct Patch {
    /// Path relative to the workspace's root.
    pub file: &'static str,
    /// Stands in the file exactly once.
    pub search: &'static str,
    pub replace: &'static str,
}

/// Leaves out the program variants that the packet tests can do without here: most of a build is spent in
/// the linker's optimizer.
pub const LEAN: &[Patch] = &[
    Patch {
        file: "forwarder-ebpf/src/programs.rs",
        search: "program_set!(STAGES_FRAGS,",
        replace: "macro_rules! left_out { ($($program:tt)*) => {}; }\nleft_out!(STAGES_FRAGS,",
    },
    Patch {
        file: "forwarder-ebpf/src/programs.rs",
        search: "program_set!(STAGES_TRACE,",
        replace: "left_out!(STAGES_TRACE,",
    },
];

/// The tests of what a lean object lacks.
pub const NEEDS_ALL: &[&str] = &["other_program_sets_agree", "jumbo::", "other_sets::"];

impl Patch {
    /// The text after the change.
    ///
    /// # Errors
    /// The text to replace is not there exactly once: the source has changed, and the patch must follow.
    pub fn apply(&self, text: &str) -> Result<String> {
        let found = text.matches(self.search).count();
        ensure!(
            found == 1,
            "{}: found {found} times instead of once: {:?}",
            self.file,
            self.search
        );
        Ok(text.replacen(self.search, self.replace, 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_found_once_is_replaced() {
        let patch = Patch {
            file: "f",
            search: "b",
            replace: "x",
        };
        assert_eq!(patch.apply("abc").expect("found once"), "axc");
        for text in ["ac", "abcb"] {
            let error = patch.apply(text).expect_err("found not or twice");
            assert!(error.to_string().starts_with("f: found"), "{error}");
        }
    }
}
