//! What sender and receiver say to each other. Numbers are little endian.
//!
//! ```text
//! sync: header of the pair's datagrams | sealed: to which process (8) | kind | stream: epoch (8), number (8) | …
//! chunk: … sequence (8) | entries      probe: … last sequence (8)
//! applied: … sequence (8) | missing, from and to (16) each      again: …
//! ```

use super::super::secret::{SyncKey, TAG};
use super::super::wire::{HEADER, Header, Input, Refusal};

/// Ranges that a receiver names at once.
pub const RANGES: usize = 32;

/// A stream: the later one is greater.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stream {
    /// The sender's epoch.
    pub epoch: u64,
    /// Counts up within a process.
    pub number: u64,
}

/// One datagram's content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Entries.
    Chunk(Stream, u64, Vec<u8>),
    /// So far the stream has come; who misses something is to say so.
    Probe(Stream, u64),
    /// Up to here everything is in the maps; these are missing.
    Applied(Stream, u64, Vec<(u64, u64)>),
    /// This stream is of no use to the receiver.
    Again(Stream),
}

impl Message {
    /// Seals a message for process `to`. The header's sequence number must never come twice.
    pub fn seal(&self, to: u64, header: &Header, key: &SyncKey) -> Vec<u8> {
        let mut body = Vec::with_capacity(super::CHUNK + 40 + TAG);
        body.extend(to.to_le_bytes());
        let (kind, stream) = match self {
            Self::Chunk(stream, ..) => (1, stream),
            Self::Probe(stream, _) => (2, stream),
            Self::Applied(stream, ..) => (3, stream),
            Self::Again(stream) => (4, stream),
        };
        body.push(kind);
        body.extend(stream.epoch.to_le_bytes());
        body.extend(stream.number.to_le_bytes());
        match self {
            Self::Chunk(_, sequence, entries) => {
                body.extend(sequence.to_le_bytes());
                body.extend(entries);
            }
            Self::Probe(_, last) => body.extend(last.to_le_bytes()),
            Self::Applied(_, applied, missing) => {
                body.extend(applied.to_le_bytes());
                for (from, to) in missing.iter().take(RANGES) {
                    body.extend(from.to_le_bytes());
                    body.extend(to.to_le_bytes());
                }
            }
            Self::Again(_) => {}
        }
        let mut datagram = header.encode();
        key.seal(header.process, header.sequence, &datagram, &mut body);
        datagram.extend(body);
        datagram
    }

    /// Opens a message to process `own` whose header was read.
    pub fn open(
        datagram: &[u8],
        header: &Header,
        own: u64,
        key: &SyncKey,
    ) -> Result<Self, Refusal> {
        let (head, sealed) = datagram.split_at_checked(HEADER).ok_or(Refusal::Length)?;
        let body = key
            .open(header.process, header.sequence, head, sealed)
            .ok_or(Refusal::Forged)?;
        let mut input = Input(&body);
        if input.word()? != own {
            return Err(Refusal::Stale);
        }
        let [kind] = input.array()?;
        let stream = Stream {
            epoch: input.word()?,
            number: input.word()?,
        };
        let message = match kind {
            1 => Self::Chunk(stream, input.word()?, std::mem::take(&mut input.0).to_vec()),
            2 => Self::Probe(stream, input.word()?),
            3 => {
                let applied = input.word()?;
                let mut missing = Vec::new();
                while !input.0.is_empty() {
                    missing.push((input.word()?, input.word()?));
                }
                Self::Applied(stream, applied, missing)
            }
            4 => Self::Again(stream),
            _ => return Err(Refusal::Nonsense),
        };
        match input.0 {
            [] => Ok(message),
            _ => Err(Refusal::Length),
        }
    }
}
