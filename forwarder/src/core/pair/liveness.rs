//! Whether the peer answers on one path.

use std::collections::VecDeque;
use std::time::Duration;

/// How often the peer is asked, and when its silence counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Between two echoes on a path.
    pub interval: Duration,
    /// So many unanswered echoes in a row, each older than an interval and than answers usually take, make a
    /// path down.
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
/// Of the last 64 echoes so many are lost on a path that loses, until so few are.
const LOSES: [u32; 2] = [8, 2];

/// How long answers take: as of RFC 6298, section 2, but learned four times as slowly. One answer that is late
/// because a process had to wait for a CPU says nothing of the path, and must not make detection slower.
#[derive(Clone, Copy, Debug)]
struct RoundTrip {
    latest: Duration,
    smoothed: Duration,
    variation: Duration,
}

impl RoundTrip {
    fn first(time: Duration) -> Self {
        Self {
            latest: time,
            smoothed: time,
            variation: time / 4,
        }
    }

    fn next(self, time: Duration) -> Self {
        Self {
            latest: time,
            smoothed: (self.smoothed * 15 + time) / 16,
            variation: (self.variation * 15 + self.smoothed.abs_diff(time)) / 16,
        }
    }

    /// Hardly any takes longer.
    fn usual(self) -> Duration {
        self.smoothed + self.variation * 4
    }
}

/// One path to the peer. Silence is counted in echoes that were really sent: a process that did not run
/// has sent none, so its own starvation is no failure of the peer.
#[derive(Clone, Debug)]
pub struct Path {
    timing: Timing,
    waiting: VecDeque<(u64, Duration)>,
    last: u64,
    next: Duration,
    state: PathState,
    round_trip: Option<RoundTrip>,
    /// Whether each of the last 64 echoes was lost, the latest in bit 0.
    lost: u64,
    loses: bool,
    answered: Option<Duration>,
    /// When the latest echo was sent that was answered.
    proof: Option<Duration>,
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
            lost: 0,
            loses: false,
            answered: None,
            proof: None,
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
        self.note_lost(place, at);
        let time = at.saturating_sub(self.waiting[place].1);
        self.answered = Some(at);
        self.round_trip = Some(match self.round_trip {
            Some(before) => before.next(time),
            None => RoundTrip::first(time),
        });
        self.proof = Some(self.waiting[place].1);
        self.answered_by = Some(by);
        // Those before it are late or lost; the peer is there in either case.
        self.waiting.drain(..=place);
        self.state = PathState::Up;
        true
    }

    /// Counts what is lost of the echoes before the one that is answered. Some may just be overtaken; and of
    /// a long silence it is enough that the path was down.
    fn note_lost(&mut self, place: usize, at: Duration) {
        let longest = self.longest();
        let before = self.waiting.range(..place);
        let late = before.filter(|(_, sent)| at.saturating_sub(*sent) >= longest);
        for _ in late.take(self.timing.multiplier as usize) {
            self.lost = self.lost << 1 | 1;
        }
        self.lost <<= 1;
        let [many, few] = LOSES;
        self.loses = self.lost.count_ones() >= if self.loses { few + 1 } else { many };
    }

    /// Hardly any answer takes longer than this, and it is no less than an interval.
    fn longest(&self) -> Duration {
        let usual = self.round_trip.map_or(Duration::ZERO, RoundTrip::usual);
        usual.max(self.timing.interval)
    }

    /// An echo is missed that is older than this: never more than a detection time over an interval. So much
    /// later than the other a node may notice that both are cut apart; [`super::partition`] waits for longer.
    fn patience(&self) -> Duration {
        let most = self.timing.interval + self.timing.detection();
        self.longest().min(most)
    }

    /// Notices silence. Answers that have arrived must have been taken in before.
    pub fn check(&mut self, now: Duration) {
        let patience = self.patience();
        let missed = self
            .waiting
            .iter()
            .filter(|(_, sent)| now.saturating_sub(*sent) >= patience)
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
                self.next.min(*sent + self.patience())
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
        self.round_trip.map(|time| time.latest)
    }

    /// Percent of the last 64 echoes that were not answered in time, while others were.
    pub fn lost_percent(&self) -> u8 {
        (self.lost.count_ones() * 100 / u64::BITS) as u8
    }

    /// Whether so many are lost that an operator ought to know.
    pub fn loses(&self) -> bool {
        self.loses
    }

    /// When the latest echo was sent that was answered.
    pub fn proof(&self) -> Option<Duration> {
        self.proof
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

    /// Echoes every `interval`, each answered after so many milliseconds or never, for as long as there are
    /// any; how often the path was down.
    fn play(timing: Timing, answers: &[Option<u64>]) -> (Path, usize) {
        let mut path = Path::new(timing, ms(0));
        let mut due: Vec<(u64, u64)> = Vec::new();
        let mut downs = 0;
        let every = timing.interval.as_millis() as u64;
        for now in 0..every * answers.len() as u64 {
            due.retain(|(at, sequence)| {
                if *at <= now {
                    path.answered(*sequence, ms(now), Answerer::DataPlane);
                }
                *at > now
            });
            let before = path.state();
            path.check(ms(now));
            downs += usize::from(before == PathState::Up && path.state() == PathState::Down);
            if let Some(sequence) = path.send(ms(now))
                && let Some(after) = answers[sequence as usize - 1]
            {
                due.push((now + after, sequence));
            }
        }
        (path, downs)
    }

    #[test]
    fn a_path_that_takes_longer_than_an_interval_is_not_down() {
        let fast = Timing {
            interval: ms(10),
            multiplier: 3,
        };
        // 20 ± 10 ms there, the same back: answers overtake each other.
        let mut dice = 1_u64;
        let mut time = || {
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            10 + (dice >> 33) % 21
        };
        let answers: Vec<_> = (0..20_000).map(|_| Some(time() + time())).collect();
        let (path, downs) = play(fast, &answers);
        assert_eq!((downs, path.loses()), (0, false));
        let constant = [Some(35); 1_000];
        assert_eq!(play(fast, &constant).1, 0);
        // And when it is silent, it is down no later than in twice the time.
        let mut silent = constant.to_vec();
        silent.extend([None; 7]);
        assert_eq!(play(fast, &silent).1, 1);
    }

    #[test]
    fn one_late_answer_makes_detection_no_slower() {
        let mut answers = vec![Some(1); 100];
        answers.extend([Some(140)]);
        answers.extend([None; 4]);
        // Asked at 5.05 s, 5.1 s and 5.15 s, answered no more: down at 5.2 s.
        let (path, downs) = play(TIMING, &answers);
        assert_eq!((path.state(), downs), (PathState::Down, 1));
        let (path, downs) = play(TIMING, &[Some(140); 100]);
        assert_eq!((path.state(), downs), (PathState::Up, 0));
    }

    #[test]
    fn a_path_that_loses_is_known_by_its_losses() {
        let third: Vec<_> = (0..200)
            .map(|number| (number % 3 != 1).then_some(1))
            .collect();
        let (path, downs) = play(TIMING, &third);
        assert_eq!((downs, path.loses()), (0, true));
        assert!((30..=36).contains(&path.lost_percent()), "{path:?}");
        let mended = [third, vec![Some(1); 64]].concat();
        let (path, _) = play(TIMING, &mended);
        assert_eq!((path.lost_percent(), path.loses()), (0, false));
        // A cable that was cut once does not lose.
        let cut = [[Some(1); 50], [None; 50], [Some(1); 50]].concat();
        let (path, downs) = play(TIMING, &cut);
        assert_eq!((downs, path.loses()), (1, false));
    }
}
