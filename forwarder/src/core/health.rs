//! Whether backends are up: from the results of health checks to transitions, and when to check.

mod damping;
mod outcome;
mod ramp;
mod schedule;
#[cfg(test)]
mod tests;

use std::fmt::{self, Display, Formatter};
use std::time::Duration;

pub use damping::Damping;
pub use outcome::{CheckResult, Counts, Failure, Outcome};
pub use ramp::{FULL, ramp};
pub use schedule::Schedule;

/// What is known of a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// Not enough checks yet.
    Unknown,
    /// It answers.
    Up,
    /// It does not, or it is held down.
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

/// When results make a transition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Successes in a row that make a backend up.
    pub rise: u8,
    /// Failures in a row that make it down.
    pub fall: u8,
    /// Between two checks: half of the time that it is held down when it went down for the second time.
    pub interval: Duration,
    /// It is held down for this long at most.
    pub max_hold: Duration,
}

/// One backend's health.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    rules: Rules,
    status: Status,
    /// Whether it gets flows while its status is unknown.
    trusted: bool,
    since: Duration,
    why: String,
    /// Results in a row that speak against the status.
    against: u8,
    damping: Damping,
    /// Since when it is up after it was not.
    came_up: Option<Duration>,
    last: Option<Outcome>,
    counts: Counts,
    changes: u64,
}

impl Health {
    /// Nothing known yet. `trusted`: it counts as up until the opposite is known.
    pub fn new(rules: Rules, trusted: bool, now: Duration) -> Self {
        Self {
            rules,
            status: Status::Unknown,
            trusted,
            since: now,
            why: "not checked yet".to_owned(),
            against: 0,
            damping: Damping::new(rules.interval, rules.max_hold),
            came_up: None,
            last: None,
            counts: Counts::default(),
            changes: 0,
        }
    }

    /// It was found to be down earlier; successes in a row make it up again.
    pub fn assume_down(&mut self, why: &str) {
        (self.status, self.why, self.against) = (Status::Down, why.to_owned(), 0);
    }

    /// Up, down or unknown.
    pub fn status(&self) -> Status {
        self.status
    }

    /// Whether it may have flows.
    pub fn counts_as_up(&self) -> bool {
        match self.status {
            Status::Unknown => self.trusted,
            Status::Up => true,
            Status::Down => false,
        }
    }

    /// Since when.
    pub fn since(&self) -> Duration {
        self.since
    }

    /// Why: the last failure of a backend that is down; how it came up for one that is up.
    pub fn why(&self) -> &str {
        &self.why
    }

    /// Until when it is held down, whatever it answers; `None`: it is not.
    pub fn held_until(&self, now: Duration) -> Option<Duration> {
        let until = self.damping.until();
        (self.status == Status::Down && now < until).then_some(until)
    }

    /// How often it went down without having been up for long in between.
    pub fn flaps(&self) -> u32 {
        self.damping.flaps()
    }

    /// The last check.
    pub fn last(&self) -> Option<&Outcome> {
        self.last.as_ref()
    }

    /// How many checks ended how.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// How often the status changed.
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// The part of its weight that it has now, of [`FULL`].
    pub fn share(&self, slow_start: Duration, now: Duration) -> u8 {
        match self.came_up {
            Some(since) if self.status == Status::Up => ramp(now.saturating_sub(since), slow_start),
            _ => FULL,
        }
    }

    /// Other rules from now on; what is known stays.
    pub fn set_rules(&mut self, rules: Rules) {
        self.rules = rules;
        self.damping.set(rules.interval, rules.max_hold);
    }

    /// Takes in the outcome of a check. Returns the new status if it changed.
    ///
    /// An unknown backend becomes up by its first success, down by `fall` failures in a row.
    pub fn report(&mut self, outcome: Outcome, now: Duration) -> Option<Status> {
        self.counts.add(outcome.kind());
        let change = match &outcome.result {
            Err(failure) if failure.result == CheckResult::NotMade => None,
            result => self.judge(result, now),
        };
        self.last = Some(outcome);
        change
    }

    fn judge(&mut self, result: &Result<(), Failure>, now: Duration) -> Option<Status> {
        let (rise, fall) = (self.rules.rise.max(1), self.rules.fall.max(1));
        let (status, needed, why) = match result {
            Ok(()) if self.status == Status::Unknown => (Status::Up, 1, "answered".to_owned()),
            Ok(()) => (Status::Up, rise, format!("answered {rise} times in a row")),
            Err(failure) => (Status::Down, fall, failure.text.clone()),
        };
        if status == self.status {
            self.against = 0;
            if status == Status::Down {
                self.why = why;
            }
            return None;
        }
        self.against = self.against.saturating_add(1);
        if self.against < needed || self.held_until(now).is_some() {
            return None;
        }
        match status {
            Status::Down => self.damping.went_down(self.since, now),
            Status::Up if self.counts_as_up() => self.came_up = None,
            _ => self.came_up = Some(now),
        }
        (self.status, self.since, self.why, self.against) = (status, now, why, 0);
        self.changes += 1;
        Some(status)
    }
}
