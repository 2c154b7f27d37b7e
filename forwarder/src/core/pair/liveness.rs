//! Whether the peer answers on one path.

use std::collections::VecDeque;
use std::time::Duration;

/// How often the peer is asked, and when its silence counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Between two echoes on a path.
    pub interval: Duration,
    /// So many unanswered echoes in a row, each older than an interval, make a path down.
    pub multiplier: u32,
}

impl Timing {
    /// How long the peer is silent before it counts as lost, about.
    pub fn detection(self) -> Duration {
        self.interval * self.multiplier
    }
}

/// What is known of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathState {
    /// Not enough echoes yet.
    Unknown,
    /// The peer answers.
    Up,
    /// It does not.
    Down,
}

impl PathState {
    /// As people read it.
    pub fn word(self) -> &'static str {
        match self {
            PathState::Unknown => "unknown",
            PathState::Up => "up",
            PathState::Down => "down",
        }
    }
}

/// Who answers echoes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answerer {
    /// The peer's data plane, while its lease is valid.
    DataPlane,
    /// The peer's daemon, where the data plane is not attached to the path's device.
    Daemon,
}

impl Answerer {
    /// As people read it.
    pub fn word(self) -> &'static str {
        match self {
            Answerer::DataPlane => "data-plane",
            Answerer::Daemon => "daemon",
        }
    }
}

/// Echoes that are waited for at most; a path that is down needs no more.
const WAITING: usize = 64;

/// One path to the peer. Silence is counted in echoes that were really sent: a process that did not run
/// has sent none, so its own starvation is no failure of the peer.
#[derive(Clone, Debug)]
pub struct Path {
    timing: Timing,
    waiting: VecDeque<(u64, Duration)>,
    last: u64,
    next: Duration,
    state: PathState,
    round_trip: Option<Duration>,
    answered: Option<Duration>,
    answered_by: Option<Answerer>,
}

impl Path {
    /// A path of which nothing is known; the first echo is due at once.
    pub fn new(timing: Timing, now: Duration) -> Self {
        Self {
            timing,
            waiting: VecDeque::new(),
            last: 0,
            next: now,
            state: PathState::Unknown,
            round_trip: None,
            answered: None,
            answered_by: None,
        }
    }

    /// The sequence number of the echo that is due; it counts as sent.
    pub fn send(&mut self, now: Duration) -> Option<u64> {
        if now < self.next {
            return None;
        }
        // After a pause there is one echo, not all that were missed.
        self.next = now.max(self.next + self.timing.interval);
        if self.next <= now {
            self.next = now + self.timing.interval;
        }
        self.last += 1;
        if self.waiting.len() == WAITING {
            self.waiting.pop_front();
        }
        self.waiting.push_back((self.last, now));
        Some(self.last)
    }

    /// Takes in an answer that came `at`. Returns whether it answers an echo that is waited for.
    pub fn answered(&mut self, sequence: u64, at: Duration, by: Answerer) -> bool {
        let mut waiting = self.waiting.iter();
        let Some(place) = waiting.position(|(each, _)| *each == sequence) else {
            return false;
        };
        self.answered = Some(at);
        self.round_trip = Some(at.saturating_sub(self.waiting[place].1));
        self.answered_by = Some(by);
        // Those before it are late or lost; the peer is there in either case.
        self.waiting.drain(..=place);
        self.state = PathState::Up;
        true
    }

    /// Notices silence. Answers that have arrived must have been taken in before.
    pub fn check(&mut self, now: Duration) {
        let missed = self
            .waiting
            .iter()
            .filter(|(_, sent)| now.saturating_sub(*sent) >= self.timing.interval)
            .count();
        if missed >= self.timing.multiplier as usize {
            self.state = PathState::Down;
        }
    }

    /// When to call [`Self::send`] and [`Self::check`] again.
    pub fn next(&self) -> Duration {
        let missed = self.timing.multiplier as usize - 1;
        match self.waiting.get(missed) {
            Some((_, sent)) if self.state != PathState::Down => {
                self.next.min(*sent + self.timing.interval)
            }
            _ => self.next,
        }
    }

    /// Up, down or unknown.
    pub fn state(&self) -> PathState {
        self.state
    }

    /// Who gave the last answer.
    pub fn answered_by(&self) -> Option<Answerer> {
        self.answered_by
    }

    /// Of the last answer.
    pub fn round_trip(&self) -> Option<Duration> {
        self.round_trip
    }

    /// When the last answer came.
    pub fn last_answer(&self) -> Option<Duration> {
        self.answered
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMING: Timing = Timing {
        interval: Duration::from_millis(50),
        multiplier: 3,
    };

    fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    #[test]
    fn three_unanswered_echoes_make_a_path_down_and_one_answer_up() {
        let mut path = Path::new(TIMING, ms(0));
        assert_eq!(path.send(ms(0)), Some(1));
        assert!(path.answered(1, ms(1), Answerer::Daemon));
        assert_eq!(path.round_trip(), Some(ms(1)));
        for (at, sequence) in [(50, 2), (100, 3), (150, 4)] {
            assert_eq!(path.send(ms(at)), Some(sequence));
            path.check(ms(at));
            assert_eq!(path.state(), PathState::Up);
        }
        assert_eq!(path.next(), ms(200));
        path.check(ms(200));
        assert_eq!(path.state(), PathState::Down);
        assert!(
            path.answered(3, ms(201), Answerer::Daemon),
            "late, but an answer"
        );
        assert_eq!(path.state(), PathState::Up);
        assert!(!path.answered(2, ms(202), Answerer::Daemon), "out of date");
        assert!(!path.answered(99, ms(202), Answerer::Daemon), "never sent");
    }

    #[test]
    fn a_process_that_did_not_run_has_lost_nothing() {
        let mut path = Path::new(TIMING, ms(0));
        path.send(ms(0));
        path.answered(1, ms(1), Answerer::Daemon);
        path.send(ms(50));
        // Ten seconds without a turn.
        path.check(ms(10_050));
        assert_eq!(path.state(), PathState::Up);
        assert_eq!(path.send(ms(10_050)), Some(3));
        assert_eq!(path.send(ms(10_050)), None);
        path.check(ms(10_060));
        assert_eq!(path.state(), PathState::Up);
    }
}
