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
    /// Send it out of another interface, by index.
    Redirect(u32),
}

/// An action and the one reason for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// What the driver is told.
    pub action: Action,
    /// Why.
    pub reason: Reason,
}

impl Verdict {
    /// The host gets the packet.
    #[inline(always)]
    pub const fn pass(reason: Reason) -> Self {
        Self {
            action: Action::Pass,
            reason,
        }
    }

    /// The packet ends here.
    #[inline(always)]
    pub const fn drop(reason: Reason) -> Self {
        Self {
            action: Action::Drop,
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
