//! How health checks end.

use std::time::Duration;

/// Defines the results, their words, and the list of all.
macro_rules! results {
    ($($(#[doc = $about:literal])+ $name:ident = $word:literal,)*) => {
        /// How a check ended.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum CheckResult {
            $($(#[doc = $about])+ $name,)*
        }

        impl CheckResult {
            /// Every result.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The word for it, in metrics and for programs.
            pub fn word(self) -> &'static str {
                match self { $(Self::$name => $word,)* }
            }
        }
    };
}

results! {
    /// It answered as it should.
    Passed = "passed",
    /// Nothing in time.
    Timeout = "timeout",
    /// It said that nobody listens there.
    Refused = "refused",
    /// It does not take the tunnel off.
    Tunnel = "tunnel",
    /// No way to it, or the connection broke.
    Unreachable = "unreachable",
    /// No TLS session, or a certificate that is not good.
    Tls = "tls",
    /// No HTTP answer.
    Protocol = "protocol",
    /// Another HTTP status.
    Status = "status",
    /// An answer without what it must hold.
    Content = "content",
    /// This host could not make the check: it says nothing about the backend.
    NotMade = "not-made",
}

/// Why a check was not passed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The kind; not [`CheckResult::Passed`].
    pub result: CheckResult,
    /// For people.
    pub text: String,
}

/// The end of one check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Whether it was passed, and why not.
    pub result: Result<(), Failure>,
    /// How long it took.
    pub took: Duration,
}

impl Outcome {
    /// How it ended.
    pub fn kind(&self) -> CheckResult {
        match &self.result {
            Ok(()) => CheckResult::Passed,
            Err(failure) => failure.result,
        }
    }
}

/// How many checks ended how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts([u64; CheckResult::ALL.len()]);

impl Counts {
    /// One more.
    pub fn add(&mut self, result: CheckResult) {
        self.0[result as usize] += 1;
    }

    /// Every result and how often it was.
    pub fn iter(&self) -> impl Iterator<Item = (CheckResult, u64)> {
        let all = CheckResult::ALL.iter();
        all.map(|result| (*result, self.0[*result as usize]))
    }
}
