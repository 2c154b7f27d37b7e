//! The standby's side: chunks come in as the network likes, and go out in their order.

use std::collections::{BTreeMap, VecDeque};

use super::message::RANGES;
use super::{Message, Stream, WINDOW};

/// Takes a stream in.
#[derive(Debug, Default)]
pub struct Receiver {
    listening: bool,
    stream: Stream,
    /// This stream, and those before it, are of no use.
    refused: Stream,
    /// Handed out so far.
    applied: u64,
    /// The sender has come so far, as far as is known.
    last: u64,
    ahead: BTreeMap<u64, Vec<u8>>,
    ready: VecDeque<Vec<u8>>,
    answer: bool,
    again: bool,
}

impl Receiver {
    /// Whether this node takes anything in. What it was told before it stopped is of no use afterwards.
    pub fn listen(&mut self, on: bool) {
        if std::mem::replace(&mut self.listening, on) && !on {
            self.abandon();
        }
    }

    /// The stream cannot be followed any more: the sender is to begin another.
    pub fn abandon(&mut self) {
        self.refused = self.refused.max(self.stream);
        self.ahead.clear();
        self.ready.clear();
        self.answer = false;
    }

    /// Takes a message in.
    pub fn receive(&mut self, message: Message) {
        let (stream, last) = match &message {
            Message::Chunk(stream, sequence, _) => (*stream, *sequence),
            Message::Probe(stream, last) => (*stream, *last),
            Message::Applied(..) | Message::Again(_) => return,
        };
        if !self.listening || stream < self.stream {
            return;
        }
        if stream <= self.refused {
            self.again = true;
            return;
        }
        if stream > self.stream {
            self.stream = stream;
            self.applied = 0;
            self.last = 0;
            self.ahead.clear();
        }
        self.answer = true;
        self.last = self.last.max(last.min(self.applied + WINDOW));
        if let Message::Chunk(_, sequence, entries) = message
            && sequence > self.applied
            && sequence <= self.applied + WINDOW
        {
            self.ahead.insert(sequence, entries);
            while let Some(entries) = self.ahead.remove(&(self.applied + 1)) {
                self.applied += 1;
                self.ready.push_back(entries);
            }
        }
    }

    /// The next chunk in order. To be put into the maps before the next [`Self::poll`].
    pub fn take(&mut self) -> Option<Vec<u8>> {
        self.ready.pop_front()
    }

    /// What is to be answered, if anything.
    pub fn poll(&mut self) -> Option<Message> {
        if std::mem::take(&mut self.again) {
            return Some(Message::Again(self.refused));
        }
        std::mem::take(&mut self.answer)
            .then(|| Message::Applied(self.stream, self.applied, self.missing()))
    }

    /// Chunks that are known to be on their way.
    pub fn behind(&self) -> u64 {
        self.last.saturating_sub(self.applied)
    }

    /// Whether nothing waits for what is missing.
    pub fn is_in_order(&self) -> bool {
        self.ahead.is_empty()
    }

    fn missing(&self) -> Vec<(u64, u64)> {
        let mut missing = Vec::new();
        let mut next = self.applied + 1;
        for sequence in self.ahead.keys().copied().chain([self.last + 1]) {
            if sequence > next {
                missing.push((next, sequence - 1));
            }
            next = next.max(sequence + 1);
            if missing.len() == RANGES {
                break;
            }
        }
        missing
    }
}
