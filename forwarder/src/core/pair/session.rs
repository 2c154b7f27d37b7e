//! Which process of the peer is listened to, and that what it says is new.
//!
//! A process is a random number; within it, sequence numbers only go up. A process that is not known yet
//! must first repeat a sequence number that this node sent after it was first heard of: a recording can't.

use std::collections::VecDeque;
use std::time::Duration;

use super::wire::{Header, Heard, Refusal};

/// Own hellos that are remembered, to tell how old an answer is.
const REMEMBERED: usize = 256;
/// Messages of unknown processes that are opened in a second: each costs some microseconds.
const STRANGERS: u32 = 5_000;

/// The acquaintance of two processes.
#[derive(Clone, Debug)]
pub struct Session {
    process: u64,
    sent: VecDeque<(u64, Duration)>,
    sequence: u64,
    peer: Heard,
    /// A process that may be the peer's next, and what it has to repeat more than.
    candidate: Heard,
    challenge: u64,
    awake: Duration,
    /// When the latest own hello was sent that the peer has repeated.
    proof: Option<Duration>,
    /// The second in which strangers are counted, and how many there were.
    strangers: (u64, u32),
}

impl Session {
    /// `process`: random, not 0.
    pub fn new(process: u64) -> Self {
        Self {
            process,
            sent: VecDeque::new(),
            sequence: 0,
            peer: Heard::default(),
            candidate: Heard::default(),
            challenge: 0,
            awake: Duration::ZERO,
            proof: None,
            strangers: (0, 0),
        }
    }

    /// This process has slept until now. What waits for it may have been said long ago, even if it came
    /// in time: only what answers a hello from now on is new.
    pub fn wake(&mut self, now: Duration) {
        self.awake = now;
    }

    /// This process.
    pub fn process(&self) -> u64 {
        self.process
    }

    /// The process of the peer that is listened to; 0: none.
    pub fn peer(&self) -> u64 {
        self.peer.process
    }

    /// When the latest own hello was sent that the peer has repeated.
    pub fn proof(&self) -> Option<Duration> {
        self.proof
    }

    /// What the peer is told of itself.
    pub fn heard(&self) -> [Heard; 2] {
        [self.peer, self.candidate]
    }

    /// The sequence number of the next hello.
    pub fn send(&mut self, now: Duration) -> u64 {
        self.sequence += 1;
        if self.sent.len() == REMEMBERED {
            self.sent.pop_front();
        }
        self.sent.push_back((self.sequence, now));
        self.sequence
    }

    /// Whether a message is worth being opened.
    pub fn admit(&mut self, header: &Header, now: Duration) -> Result<(), Refusal> {
        if header.process == self.peer.process {
            return match header.sequence > self.peer.sequence {
                true => Ok(()),
                false => Err(Refusal::Replayed),
            };
        }
        if self.strangers.0 != now.as_secs() {
            self.strangers = (now.as_secs(), 0);
        }
        self.strangers.1 = self.strangers.1.saturating_add(1);
        match self.strangers.1 <= STRANGERS {
            true => Ok(()),
            false => Err(Refusal::Limited),
        }
    }

    /// Whether an authentic message is to be heard. `heard`: what it says it has heard itself. Messages
    /// that were on their way for longer than `stale` are not.
    pub fn receive(
        &mut self,
        header: &Header,
        heard: &[Heard; 2],
        stale: Duration,
        now: Duration,
    ) -> Result<(), Refusal> {
        let from = Heard {
            process: header.process,
            sequence: header.sequence,
        };
        let repeated = heard
            .iter()
            .find(|each| each.process == self.process)
            .map(|each| each.sequence);
        if from.process == self.peer.process {
            if from.sequence <= self.peer.sequence {
                return Err(Refusal::Replayed);
            }
        } else {
            self.consider(from)?;
            if repeated.is_none_or(|sequence| sequence <= self.challenge) {
                return Err(Refusal::Unacquainted);
            }
            self.candidate = Heard::default();
        }
        self.peer = from;
        let sent = repeated.and_then(|sequence| {
            let at = self.sent.binary_search_by_key(&sequence, |(each, _)| *each);
            at.ok().map(|at| self.sent[at].1)
        });
        self.proof = self.proof.max(sent);
        match sent {
            Some(sent) if sent >= self.awake && now.saturating_sub(sent) <= stale => Ok(()),
            _ => Err(Refusal::Stale),
        }
    }

    fn consider(&mut self, from: Heard) -> Result<(), Refusal> {
        if from.process != self.candidate.process {
            self.challenge = self.sequence;
        } else if from.sequence <= self.candidate.sequence {
            return Err(Refusal::Replayed);
        }
        self.candidate = from;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::wire::Kind;
    use super::*;

    const STALE: Duration = Duration::from_millis(450);

    fn header(process: u64, sequence: u64) -> Header {
        Header {
            kind: Kind::Hello,
            sender: 1,
            path: 0,
            process,
            sequence,
        }
    }

    fn heard(process: u64, sequence: u64) -> [Heard; 2] {
        [Heard { process, sequence }, Heard::default()]
    }

    #[test]
    fn a_stranger_must_repeat_something_newer_than_its_first_word() {
        let mut own = Session::new(7);
        let now = Duration::from_secs(1);
        for _ in 0..5 {
            own.send(now);
        }
        let receive = |own: &mut Session, sequence, repeats| {
            own.receive(&header(9, sequence), &heard(7, repeats), STALE, now)
        };
        // A recording repeats at most what was sent then.
        assert_eq!(receive(&mut own, 1, 5), Err(Refusal::Unacquainted));
        assert_eq!(receive(&mut own, 1, 5), Err(Refusal::Replayed));
        assert_eq!(own.heard()[1].process, 9);
        let next = own.send(now);
        assert_eq!(receive(&mut own, 2, next), Ok(()));
        assert_eq!(receive(&mut own, 2, next), Err(Refusal::Replayed));
        assert_eq!(receive(&mut own, 3, next), Ok(()));
        // The same for a recording of another process.
        let old = own.receive(&header(8, 70), &heard(7, 6), STALE, now);
        assert_eq!(old, Err(Refusal::Unacquainted));
        assert_eq!(
            own.heard()[0],
            Heard {
                process: 9,
                sequence: 3
            }
        );
    }

    #[test]
    fn strangers_have_a_limit_and_the_peer_has_none() {
        let mut own = Session::new(7);
        let now = Duration::from_secs(1);
        for _ in 0..STRANGERS {
            assert_eq!(own.admit(&header(3, 1), now), Ok(()));
        }
        assert_eq!(own.admit(&header(4, 1), now), Err(Refusal::Limited));
        own.peer = Heard {
            process: 9,
            sequence: 5,
        };
        assert_eq!(own.admit(&header(9, 6), now), Ok(()));
        assert_eq!(own.admit(&header(9, 5), now), Err(Refusal::Replayed));
        assert_eq!(own.admit(&header(4, 1), now * 2), Ok(()));
    }

    #[test]
    fn what_was_held_back_is_stale() {
        let mut own = Session::new(7);
        let first = own.send(Duration::ZERO);
        let early = Duration::from_millis(1);
        let _ = own.receive(&header(9, 1), &heard(7, first), STALE, early);
        let second = own.send(early);
        let receive = |own: &mut Session, sequence, repeats, now| {
            own.receive(&header(9, sequence), &heard(7, repeats), STALE, now)
        };
        assert_eq!(receive(&mut own, 2, second, early), Ok(()));
        let late = Duration::from_millis(500);
        assert_eq!(receive(&mut own, 3, second, late), Err(Refusal::Stale));
        let third = own.send(late);
        assert_eq!(receive(&mut own, 4, third, late), Ok(()));
        assert_eq!(receive(&mut own, 5, 999, late), Err(Refusal::Stale));
    }
}
