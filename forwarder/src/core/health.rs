//! Whether backends are up: from the results of health checks to transitions, and when to check.

use std::fmt::{self, Display, Formatter};
use std::hash::Hasher;
use std::time::Duration;

/// What is known of a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// Not enough checks yet. Counts as up.
    Unknown,
    /// It answers.
    Up,
    /// It does not.
    Down,
}

impl Display for Status {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unknown => "checking",
            Self::Up => "up",
            Self::Down => "down",
        })
    }
}

/// Outcome of one health check.
pub type Outcome = Result<(), String>;

/// One backend's health.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    rise: u8,
    fall: u8,
    status: Status,
    since: Duration,
    why: String,
    /// Results in a row that speak against the status.
    against: u8,
}

impl Health {
    /// Nothing known yet. `rise` successes in a row make it up, `fall` failures down.
    pub fn new(rise: u8, fall: u8, now: Duration) -> Self {
        let why = "not checked yet".to_owned();
        Self {
            rise: rise.max(1),
            fall: fall.max(1),
            status: Status::Unknown,
            since: now,
            why,
            against: 0,
        }
    }

    /// It was found to be down earlier; `rise` successes in a row make it up again.
    pub fn assume_down(&mut self, why: &str) {
        (self.status, self.why, self.against) = (Status::Down, why.to_owned(), 0);
    }

    /// Up, down or unknown.
    pub fn status(&self) -> Status {
        self.status
    }

    /// Since when.
    pub fn since(&self) -> Duration {
        self.since
    }

    /// Why: the last failure of a backend that is down; how it came up for one that is up.
    pub fn why(&self) -> &str {
        &self.why
    }

    /// Other thresholds from now on; what is known stays.
    pub fn set_thresholds(&mut self, rise: u8, fall: u8) {
        (self.rise, self.fall) = (rise.max(1), fall.max(1));
    }

    /// Takes in the outcome of a check. Returns the new status if it changed.
    ///
    /// An unknown backend becomes up by its first success, down by `fall` failures in a row.
    pub fn report(&mut self, outcome: Outcome, now: Duration) -> Option<Status> {
        let (status, needed, why) = match outcome {
            Ok(()) if self.status == Status::Unknown => (Status::Up, 1, "answered".to_owned()),
            Ok(()) => (
                Status::Up,
                self.rise,
                format!("answered {} times in a row", self.rise),
            ),
            Err(why) => (Status::Down, self.fall, why),
        };
        if status == self.status {
            self.against = 0;
            if status == Status::Down {
                self.why = why;
            }
            return None;
        }
        self.against = self.against.saturating_add(1);
        if self.against < needed {
            return None;
        }
        (self.status, self.since, self.why, self.against) = (status, now, why, 0);
        Some(status)
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn refused() -> Outcome {
        Err("connection refused".to_owned())
    }

    #[test]
    fn rises_and_falls() {
        let mut health = Health::new(2, 3, SECOND);
        assert_eq!(health.status(), Status::Unknown);
        assert_eq!(health.report(Ok(()), 2 * SECOND), Some(Status::Up));
        assert_eq!(health.report(refused(), 3 * SECOND), None);
        assert_eq!(health.report(refused(), 4 * SECOND), None);
        assert_eq!(health.report(Ok(()), 5 * SECOND), None);
        for second in 6..8 {
            assert_eq!(health.report(refused(), second * SECOND), None);
        }
        assert_eq!(health.report(refused(), 8 * SECOND), Some(Status::Down));
        assert_eq!(
            (health.since(), health.why()),
            (8 * SECOND, "connection refused")
        );
        assert_eq!(health.report(Err("timed out".to_owned()), 9 * SECOND), None);
        assert_eq!((health.since(), health.why()), (8 * SECOND, "timed out"));
        assert_eq!(health.report(Ok(()), 10 * SECOND), None);
        assert_eq!(health.report(Ok(()), 11 * SECOND), Some(Status::Up));
    }

    #[test]
    fn an_unknown_backend_is_not_down_by_one_failure() {
        let mut health = Health::new(2, 2, SECOND);
        assert_eq!(health.report(refused(), SECOND), None);
        assert_eq!(health.status(), Status::Unknown);
        assert_eq!(health.report(refused(), SECOND), Some(Status::Down));
    }

    #[test]
    fn checks_are_spread_and_steady() {
        let mut buckets = [0; 10];
        for backend in 0..5_000 {
            let first = Schedule::new(SECOND, &format!("10.0.0.1:{backend}"), SECOND).next();
            let bucket = (first.as_millis() % 1_000 / 100) as usize;
            buckets[bucket] += 1;
        }
        assert!(
            buckets.iter().all(|count| (300..=700).contains(count)),
            "{buckets:?}"
        );
        let mut schedule = Schedule::new(SECOND, "a", Duration::ZERO);
        let mut last = schedule.next();
        for _ in 0..1_000 {
            schedule.advance(last);
            let gap = schedule.next() - last;
            assert!(gap >= SECOND * 9 / 10 && gap <= SECOND * 11 / 10, "{gap:?}");
            last = schedule.next();
        }
        assert!(last < 1_002 * SECOND);
    }

    #[test]
    fn missed_rounds_are_left_out() {
        let mut schedule = Schedule::new(SECOND, "a", Duration::ZERO);
        schedule.advance(1_000_000 * SECOND);
        let next = schedule.next();
        assert!(
            next > 1_000_000 * SECOND && next <= 1_000_002 * SECOND,
            "{next:?}"
        );
    }
}
