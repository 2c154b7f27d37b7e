//! When to check.

use std::hash::Hasher;
use std::time::Duration;

/// When a backend is checked: every `interval`, at a phase that its identity gives, each time a
/// little off, so that thousands of checks neither begin together nor fall into step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    interval: Duration,
    seed: u64,
    round: u64,
    start: Duration,
}

/// Jitter is at most an interval divided by this.
const JITTER: u32 = 10;

impl Schedule {
    /// Checks from `start` on; `identity` tells one backend from another.
    pub fn new(interval: Duration, identity: &str, start: Duration) -> Self {
        let interval = interval.max(Duration::from_millis(1));
        let mut hasher = Fnv(0xcbf2_9ce4_8422_2325);
        hasher.write(identity.as_bytes());
        Self {
            interval,
            seed: hasher.finish(),
            round: 0,
            start,
        }
    }

    /// When the next check begins.
    pub fn next(&self) -> Duration {
        let phase = part(self.interval, mix(self.seed));
        let jitter = part(self.interval / JITTER, mix(self.seed ^ (self.round + 1)));
        let rounds = self
            .interval
            .saturating_mul(u32::try_from(self.round).unwrap_or(u32::MAX));
        self.start + phase + rounds + jitter
    }

    /// The check of this round has begun; rounds that were missed are not made up for.
    pub fn advance(&mut self, now: Duration) {
        self.round += 1;
        if self.next() <= now {
            let since = now.saturating_sub(self.start).as_nanos();
            let rounds = since / self.interval.as_nanos();
            self.round = self.round.max(u64::try_from(rounds).unwrap_or(u64::MAX));
        }
        while self.next() <= now {
            self.round += 1;
        }
    }
}

/// The fraction of `whole` that a number stands for.
fn part(whole: Duration, number: u64) -> Duration {
    let nanoseconds = (whole.as_nanos() * u128::from(number)) >> 64;
    Duration::from_nanos(nanoseconds as u64)
}

fn mix(word: u64) -> u64 {
    let word = (word ^ word >> 33).wrapping_mul(0xff51_afd7_ed55_8ccd);
    let word = (word ^ word >> 33).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    word ^ word >> 33
}

/// FNV-1a: the same on every host and in every version, as the standard hasher need not be.
struct Fnv(u64);

impl Hasher for Fnv {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}
