//! How a packet ends.

use forwarder_common::Reason;

/// What the driver is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Hand it to the host.
    Pass,
    /// Drop it.
    Drop,
    /// Send it back out of the interface it came in by.
    Transmit,
    /// Send it out of [`Verdict::ifindex`].
    Redirect,
}

/// An action and the one reason for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// What the driver is told.
    pub action: Action,
    /// Where a redirected packet leaves; 0 otherwise. Not inside [`Action`]: a payload that only one
    /// variant has is an unwritten register in the others, which the verifier does not let a program
    /// even copy (rustc 1.96, LLVM 22: `R3 !read_ok`).
    pub ifindex: u32,
    /// Why.
    pub reason: Reason,
}

impl Verdict {
    /// The host gets the packet.
    #[inline(always)]
    pub const fn pass(reason: Reason) -> Self {
        Self {
            action: Action::Pass,
            ifindex: 0,
            reason,
        }
    }

    /// The packet ends here.
    #[inline(always)]
    pub const fn drop(reason: Reason) -> Self {
        Self {
            action: Action::Drop,
            ifindex: 0,
            reason,
        }
    }
}

/// A stage's early end, by outcome of the reason.
impl From<Reason> for Verdict {
    #[inline(always)]
    fn from(reason: Reason) -> Self {
        if (reason as u32) < Reason::L2Dsr as u32 {
            Self::pass(reason)
        } else {
            Self::drop(reason)
        }
    }
}

/// What a stage says next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The packet has ended.
    Done(Verdict),
    /// Another program goes on.
    Next(forwarder_common::programs::StageProgram),
}

impl From<Reason> for Step {
    #[inline(always)]
    fn from(reason: Reason) -> Self {
        Self::Done(reason.into())
    }
}

impl From<Verdict> for Step {
    #[inline(always)]
    fn from(verdict: Verdict) -> Self {
        Self::Done(verdict)
    }
}
