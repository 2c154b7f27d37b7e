//! What a node of a pair goes by.

use std::time::Duration;

use super::group;
use super::liveness::Timing;
use super::partition::Policy;
use super::secret::Secret;

/// What a pair is made of.
#[derive(Clone, Debug)]
pub struct Settings {
    /// 0: the first node of the file, 1: the second.
    pub own: u8,
    /// Of both nodes.
    pub secret: Secret,
    /// Of every path.
    pub timing: Timing,
    /// How long the data plane goes on by itself, where the daemon answers the peer's echoes: no longer
    /// than its silence takes to be noticed.
    pub lease: Duration,
    /// The same where the data plane answers them: silence begins when the lease has run out.
    pub reflected_lease: Duration,
    /// How long a node forwards after the peer has taken over from it in peace.
    pub grace: Duration,
    /// How many.
    pub paths: usize,
    /// The groups.
    pub groups: Vec<group::Settings>,
    /// Who may be active without the other.
    pub policy: Policy,
    /// Digest of the configuration.
    pub config: u64,
    /// This software's.
    pub version: [u16; 3],
}

impl Settings {
    /// How long a node may go on by itself, whoever answers echoes.
    pub(super) fn longest_lease(&self) -> Duration {
        self.reflected_lease.max(self.lease)
    }
}
