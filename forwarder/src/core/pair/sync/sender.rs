//! The active node's side: entries become chunks, which are sent until they have come.

use std::collections::VecDeque;
use std::time::Duration;

use super::{CHUNK, Entry, Message, Stream, WINDOW};

/// Chunks that may wait. With more the stream ends and another begins: everything there is is less.
const WAITING: usize = 16_384;
/// While more than so many wait, no bulk is asked for.
const BULK_ROOM: usize = 512;
/// Between two questions at least, and before something is sent again.
const SOON: Duration = Duration::from_millis(10);
/// Between two questions at most, while somebody answers.
const LATE: Duration = Duration::from_millis(50);
/// The same when nobody has answered yet.
const UNKNOWN: Duration = Duration::from_millis(250);
/// Between two questions when nothing is under way.
const IDLE: Duration = Duration::from_millis(500);

/// How far the bulk is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bulk {
    /// Nobody has taken the beginning yet.
    Offered,
    Walking,
    /// Its end is in the chunk with this number.
    Over(u64),
}

/// Entries that are sent together.
#[derive(Debug)]
struct Chunk {
    entries: Vec<u8>,
    count: u32,
    made: Duration,
    /// What happened until then is in chunks before it.
    after: Duration,
    sent: Option<Duration>,
    again: bool,
}

/// What was done so far.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    serde::Serialize,
    serde::Deserialize,
    schemars::JsonSchema,
)]
pub struct Sent {
    /// Entries of chunks that were sent.
    pub entries: u64,
    /// Entries that the peer has applied.
    pub applied: u64,
    /// Chunks that were sent once more.
    pub again: u64,
    /// Streams that were begun.
    pub streams: u64,
}

/// Makes a stream.
#[derive(Debug, Default)]
pub struct Sender {
    number: u64,
    stream: Option<Open>,
    done: Sent,
}

#[derive(Debug)]
struct Open {
    stream: Stream,
    bulk: Bulk,
    filling: Vec<u8>,
    count: u32,
    /// What happened until then is in chunks.
    flushed: Duration,
    /// Not yet applied; the first has sequence number `first`.
    chunks: VecDeque<Chunk>,
    first: u64,
    /// How many of them have been sent.
    flying: usize,
    round_trip: Duration,
    ask_at: Duration,
    patience: Duration,
    ask: bool,
    /// Sequence numbers to be sent again.
    again: VecDeque<u64>,
}

impl Sender {
    /// Begins a stream, after whatever there was.
    pub fn start(&mut self, epoch: u64, now: Duration) {
        self.number += 1;
        self.done.streams += 1;
        let mut open = Open {
            stream: Stream {
                epoch,
                number: self.number,
            },
            bulk: Bulk::Offered,
            filling: Vec::with_capacity(CHUNK),
            count: 0,
            flushed: Duration::ZERO,
            chunks: VecDeque::new(),
            first: 1,
            flying: 0,
            round_trip: SOON,
            ask_at: now + SOON,
            patience: SOON,
            ask: false,
            again: VecDeque::new(),
        };
        open.push(&Entry::Begin, now);
        open.close(now);
        self.stream = Some(open);
    }

    /// Sends no more.
    pub fn stop(&mut self) {
        self.stream = None;
    }

    /// Whether there is a stream.
    pub fn is_open(&self) -> bool {
        self.stream.is_some()
    }

    /// Something has happened. While nobody listens, it need not be told: the bulk will.
    pub fn push(&mut self, entry: &Entry, now: Duration) {
        let Some(open) = &mut self.stream else { return };
        if open.bulk == Bulk::Offered {
            return;
        }
        open.push(entry, now);
        if open.chunks.len() > WAITING {
            self.begin_again(now);
        }
    }

    /// Something was lost before it came here: everything has to be told.
    pub fn begin_again(&mut self, now: Duration) {
        if let Some(open) = &self.stream {
            self.start(open.stream.epoch, now);
        }
    }

    /// The stream whose bulk can go on.
    pub fn wants_bulk(&self) -> Option<Stream> {
        let open = self.stream.as_ref()?;
        let room = open.chunks.len() < BULK_ROOM;
        (open.bulk == Bulk::Walking && room).then_some(open.stream)
    }

    /// That was everything there is.
    pub fn end_bulk(&mut self, now: Duration) {
        let Some(open) = &mut self.stream else { return };
        open.push(&Entry::End, now);
        open.close(now);
        open.bulk = Bulk::Over(open.first + open.chunks.len() as u64 - 1);
    }

    /// Lets go of what waits for company. `all`: whether all has been pushed that happened until now.
    pub fn flush(&mut self, all: bool, now: Duration) {
        if let Some(open) = &mut self.stream {
            open.close(now);
            if all {
                open.flushed = now;
            }
        }
    }

    /// Takes a message in.
    pub fn receive(&mut self, message: &Message, now: Duration) {
        let Some(open) = &mut self.stream else { return };
        match message {
            Message::Applied(stream, applied, missing) if *stream == open.stream => {
                self.done.applied += open.applied(*applied, missing.is_empty(), now);
                open.miss(missing, now);
            }
            Message::Again(stream) if *stream >= open.stream => {
                let epoch = open.stream.epoch.max(stream.epoch);
                self.number = self.number.max(stream.number);
                self.start(epoch, now);
            }
            _ => {}
        }
    }

    /// When [`Self::timeout`] has something to do.
    pub fn next(&self) -> Option<Duration> {
        self.stream.as_ref().map(|open| open.ask_at)
    }

    /// Does what is due.
    pub fn timeout(&mut self, now: Duration) {
        if let Some(open) = &mut self.stream
            && now >= open.ask_at
        {
            open.ask = true;
            open.ask_at = match open.flying {
                0 => now + IDLE,
                _ => now + open.patience,
            };
            let most = match open.bulk {
                Bulk::Offered => UNKNOWN,
                _ => LATE.max(open.soon()),
            };
            open.patience = (open.patience * 2).min(most);
        }
    }

    /// The next message.
    pub fn poll(&mut self, now: Duration) -> Option<Message> {
        let open = self.stream.as_mut()?;
        while let Some(sequence) = open.again.pop_front() {
            if let Some(message) = open.send(sequence, now) {
                self.done.again += 1;
                return Some(message);
            }
        }
        if open.flying < open.chunks.len() && (open.flying as u64) < WINDOW {
            let sequence = open.first + open.flying as u64;
            open.flying += 1;
            if open.flying == 1 {
                open.patience = open.soon();
                open.ask_at = now + open.patience;
            }
            self.done.entries += u64::from(open.chunks[open.flying - 1].count);
            return open.send(sequence, now);
        }
        let last = open.first + open.flying as u64 - 1;
        std::mem::take(&mut open.ask).then_some(Message::Probe(open.stream, last))
    }

    /// What was done so far.
    pub fn done(&self) -> Sent {
        self.done
    }

    /// Whether the peer has taken the beginning of the stream.
    pub fn is_heard(&self) -> bool {
        let stream = self.stream.as_ref();
        stream.is_some_and(|open| open.bulk != Bulk::Offered)
    }

    /// Entries that wait to be applied, and since when; while nobody listens, none do.
    pub fn lag(&self, now: Duration) -> (u64, Duration) {
        let Some(open) = self.stream.as_ref().filter(|_| self.is_heard()) else {
            return Default::default();
        };
        let waiting = open.chunks.iter().map(|chunk| u64::from(chunk.count)).sum();
        let since = open.chunks.front().map(|chunk| chunk.made);
        (
            waiting,
            since.map_or(Duration::ZERO, |made| now.saturating_sub(made)),
        )
    }

    /// Up to when the peer has all that has happened; `None`: it does not have what there was before.
    pub fn told(&self) -> Option<Duration> {
        let open = self.stream.as_ref().filter(|_| self.is_followed())?;
        let first = open.chunks.front();
        Some(first.map_or(open.flushed, |chunk| chunk.after))
    }

    /// Whether the peer has everything there was when the stream began.
    pub fn is_followed(&self) -> bool {
        self.stream
            .as_ref()
            .is_some_and(|open| matches!(open.bulk, Bulk::Over(end) if open.first > end))
    }
}

impl Open {
    fn push(&mut self, entry: &Entry, now: Duration) {
        let before = self.filling.len();
        entry.encode(&mut self.filling);
        self.count += 1;
        if self.filling.len() > CHUNK {
            let last = self.filling.split_off(before);
            self.count -= 1;
            self.close(now);
            self.filling = last;
            self.count = 1;
        }
    }

    fn close(&mut self, now: Duration) {
        if self.count > 0 {
            let entries = std::mem::replace(&mut self.filling, Vec::with_capacity(CHUNK));
            self.chunks.push_back(Chunk {
                entries,
                count: std::mem::take(&mut self.count),
                made: now,
                after: self.flushed,
                sent: None,
                again: false,
            });
        }
    }

    fn send(&mut self, sequence: u64, now: Duration) -> Option<Message> {
        let at = sequence.checked_sub(self.first)?;
        let chunk = self.chunks.get_mut(usize::try_from(at).ok()?)?;
        chunk.again = chunk.sent.is_some();
        chunk.sent = Some(now);
        Some(Message::Chunk(self.stream, sequence, chunk.entries.clone()))
    }

    /// Forgets what has come. Returns how many entries that were.
    fn applied(&mut self, applied: u64, in_order: bool, now: Duration) -> u64 {
        let (mut entries, mut clean, mut latest) = (0, in_order, None);
        while self.first <= applied && self.flying > 0 {
            let Some(chunk) = self.chunks.pop_front() else {
                break;
            };
            clean &= !chunk.again;
            latest = chunk.sent;
            self.first += 1;
            self.flying -= 1;
            entries += u64::from(chunk.count);
        }
        // Where something was missing, the others waited for it longer than a round trip.
        if let Some(sent) = latest.filter(|_| clean) {
            self.round_trip = (self.round_trip * 7 + now.saturating_sub(sent)) / 8;
        }
        if entries > 0 {
            if self.bulk == Bulk::Offered {
                self.bulk = Bulk::Walking;
            }
            self.patience = self.soon();
            self.ask_at = now + if self.flying > 0 { self.patience } else { IDLE };
        }
        entries
    }

    fn miss(&mut self, missing: &[(u64, u64)], now: Duration) {
        let soon = self.soon();
        let end = self.first + self.flying as u64;
        for (from, to) in missing {
            for sequence in (*from).max(self.first)..=(*to).min(end.saturating_sub(1)) {
                let chunk = &mut self.chunks[(sequence - self.first) as usize];
                if chunk.sent.is_some_and(|sent| now >= sent + soon) {
                    chunk.sent = Some(now);
                    self.again.push_back(sequence);
                }
            }
        }
    }

    /// So long an answer may take.
    fn soon(&self) -> Duration {
        (self.round_trip * 2).max(SOON)
    }
}
