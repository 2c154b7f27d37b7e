//! Backends that come and go.

use std::time::Duration;

/// How long a backend that went down is held down, though it answers.
///
/// The first time not at all; each time that it soon goes down again twice as long as before, up to
/// a bound. So one that flaps for good changes the tables at most once in that time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damping {
    /// Half of the first hold.
    unit: Duration,
    longest: Duration,
    /// How often it went down without having been up for long.
    flaps: u32,
    until: Duration,
}

impl Damping {
    /// Nothing happened yet.
    pub fn new(unit: Duration, longest: Duration) -> Self {
        Self {
            unit,
            longest,
            flaps: 0,
            until: Duration::ZERO,
        }
    }

    /// Other times from now on; what happened stays.
    pub fn set(&mut self, unit: Duration, longest: Duration) {
        (self.unit, self.longest) = (unit, longest);
    }

    /// It went down, after it had been up since `up`.
    pub fn went_down(&mut self, up: Duration, now: Duration) {
        if now.saturating_sub(up) >= self.longest.saturating_mul(2) {
            self.flaps = 0;
        }
        let factor = 1_u32.checked_shl(self.flaps).unwrap_or(u32::MAX);
        let hold = match self.flaps {
            0 => Duration::ZERO,
            _ => self.unit.saturating_mul(factor).min(self.longest),
        };
        self.flaps = self.flaps.saturating_add(1);
        self.until = now + hold;
    }

    /// Until when it is held down.
    pub fn until(&self) -> Duration {
        self.until
    }

    /// How often it went down without having been up for long in between.
    pub fn flaps(&self) -> u32 {
        self.flaps
    }
}
