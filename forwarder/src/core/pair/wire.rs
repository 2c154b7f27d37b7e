//! Datagrams between the nodes. Numbers are little endian.
//!
//! ```text
//! every one: 'F' 'W' version kind sender path 0 0 | process (8) | sequence (8) | …
//! echo, answer: … | SipHash-2-4 of the three words before (8)
//! hello:        … | sealed with XChaCha20-Poly1305, the 24 bytes before authenticated with it
//! ```
//! *Process* is a random number of the sending process. An answer is the echo with another kind and tag:
//! something that fits in a program of the data plane.

use forwarder_common::peer::{self, VERSION, kind};
use forwarder_common::siphash::{self, SipKey};
use thiserror::Error;

use super::claim::{Claim, Health, Role};
use super::secret::{Keys, TAG};

/// Bytes before what depends on the kind.
pub const HEADER: usize = 24;
/// Bytes of an echo or its answer.
pub const ECHO: usize = HEADER + 8;
const HELLO: usize = 2 * 16 + 8 + 6 + 4;
const CLAIM: usize = 24;
/// Groups of one pair.
pub const GROUPS: usize = 64;

/// What a datagram is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Is anybody there?
    Echo = kind::ECHO as isize,
    /// Yes, says the daemon.
    Answer = kind::ANSWER as isize,
    /// What a node is and wants.
    Hello = 3,
    /// Flows, between the same processes, at a port of their own.
    Sync = 4,
    /// Yes, says the data plane.
    Reflection = kind::REFLECTION as isize,
}

/// Why a datagram changed nothing.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq, PartialOrd, Ord)]
pub enum Refusal {
    /// Too short or too long for what it says it is.
    #[error("wrong length")]
    Length,
    /// Not from the other end of the path.
    #[error("from another address")]
    Address,
    /// Not one of ours at all.
    #[error("not a pair's datagram")]
    Foreign,
    /// Of a version that this one does not speak.
    #[error("unknown version")]
    Version,
    /// Of a kind that this version does not have.
    #[error("unknown kind")]
    Kind,
    /// From this node itself, or from a third one.
    #[error("not from the peer")]
    Sender,
    /// Made without the pair's secret, or changed on the way.
    #[error("not authentic")]
    Forged,
    /// Seen before, or overtaken by a later one.
    #[error("replayed or overtaken")]
    Replayed,
    /// From a process that has not yet proved that it runs now.
    #[error("not acquainted yet")]
    Unacquainted,
    /// On its way for too long.
    #[error("too old")]
    Stale,
    /// Authentic, but with a value that makes no sense.
    #[error("nonsense")]
    Nonsense,
    /// From an unknown process, and more than this node cares to look at.
    #[error("too many from strangers")]
    Limited,
}

impl Refusal {
    /// Every one.
    pub const ALL: [Self; 12] = [
        Self::Length,
        Self::Address,
        Self::Foreign,
        Self::Version,
        Self::Kind,
        Self::Sender,
        Self::Forged,
        Self::Replayed,
        Self::Unacquainted,
        Self::Stale,
        Self::Nonsense,
        Self::Limited,
    ];

    /// As people and programs read it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Length => "length",
            Self::Address => "address",
            Self::Foreign => "foreign",
            Self::Version => "version",
            Self::Kind => "kind",
            Self::Sender => "sender",
            Self::Forged => "forged",
            Self::Replayed => "replayed",
            Self::Unacquainted => "unacquainted",
            Self::Stale => "stale",
            Self::Nonsense => "nonsense",
            Self::Limited => "limited",
        }
    }
}

/// What every datagram begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What it is for.
    pub kind: Kind,
    /// 0 or 1.
    pub sender: u8,
    /// The path that it was sent on.
    pub path: u8,
    /// The sending process; of an answer, the one that asked.
    pub process: u64,
    /// Counts up.
    pub sequence: u64,
}

impl Header {
    fn words(&self) -> [u64; 3] {
        let first = peer::first_word(self.kind as u8, self.sender, self.path);
        [first, self.process, self.sequence]
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        self.words()
            .iter()
            .flat_map(|word| word.to_le_bytes())
            .collect()
    }

    /// Reads the beginning of a datagram.
    pub fn decode(datagram: &[u8]) -> Result<Self, Refusal> {
        let mut input = Input(datagram);
        let [f, w, version, kind, sender, path, _, _] = input.array()?;
        if [f, w] != *b"FW" {
            return Err(Refusal::Foreign);
        }
        if version != VERSION {
            return Err(Refusal::Version);
        }
        let kind = match kind {
            1 => Kind::Echo,
            2 => Kind::Answer,
            3 => Kind::Hello,
            4 => Kind::Sync,
            kind::REFLECTION => Kind::Reflection,
            _ => return Err(Refusal::Kind),
        };
        Ok(Self {
            kind,
            sender,
            path,
            process: input.word()?,
            sequence: input.word()?,
        })
    }
}

/// An echo, or its answer.
pub fn echo(header: &Header, key: &SipKey) -> Vec<u8> {
    let mut datagram = header.encode();
    datagram.extend(siphash::tag(key, &header.words()).to_le_bytes());
    datagram
}

/// Whether an echo or answer was made with this key.
pub fn check_echo(datagram: &[u8], header: &Header, key: &SipKey) -> Result<(), Refusal> {
    if datagram.len() != ECHO {
        return Err(Refusal::Length);
    }
    let tag = Input(&datagram[HEADER..]).word()?;
    // The header as it came, bytes that are not read included.
    let mut words = [0; 3];
    let mut input = Input(datagram);
    for word in &mut words {
        *word = input.word()?;
    }
    if words != header.words() || tag != siphash::tag(key, &words) {
        return Err(Refusal::Forged);
    }
    Ok(())
}

/// A process of the other node, and the latest that was heard of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// The process; 0: none.
    pub process: u64,
    /// Its highest sequence number.
    pub sequence: u64,
}

/// What a node is and wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The process that it is acquainted with, and one that it may get acquainted with.
    pub heard: [Heard; 2],
    /// Digest of the configuration.
    pub config: u64,
    /// The sender's version.
    pub version: [u16; 3],
    /// How well it is.
    pub health: Health,
    /// Whether the operator keeps it from being active.
    pub maintenance: bool,
    /// A claim for each group.
    pub claims: Vec<Claim>,
}

impl Hello {
    /// The sealed datagram.
    pub fn encode(&self, header: &Header, keys: &Keys) -> Vec<u8> {
        let mut body = Vec::with_capacity(HELLO + CLAIM * self.claims.len() + TAG);
        for heard in self.heard {
            body.extend(heard.process.to_le_bytes());
            body.extend(heard.sequence.to_le_bytes());
        }
        body.extend(self.config.to_le_bytes());
        body.extend(self.version.iter().flat_map(|part| part.to_le_bytes()));
        let claims = &self.claims[..self.claims.len().min(GROUPS)];
        body.extend([
            self.health as u8,
            u8::from(self.maintenance),
            claims.len() as u8,
            0,
        ]);
        for claim in claims {
            let flags = [claim.able, claim.offers, claim.asks];
            let flags = (0..)
                .zip(flags)
                .fold(0, |bits, (at, flag)| bits | u8::from(flag) << at);
            body.extend(claim.group.to_le_bytes());
            body.extend([claim.role as u8, flags, claim.priority, 0, 0, 0]);
            body.extend(claim.epoch.to_le_bytes());
            body.extend(claim.held.to_le_bytes());
        }
        let mut datagram = header.encode();
        keys.seal(header.process, header.sequence, &datagram, &mut body);
        datagram.extend(body);
        datagram
    }

    /// Opens and reads a datagram whose header was read.
    pub fn decode(datagram: &[u8], header: &Header, keys: &Keys) -> Result<Self, Refusal> {
        if datagram.len() < HEADER + HELLO + TAG {
            return Err(Refusal::Length);
        }
        let (head, sealed) = datagram.split_at(HEADER);
        let body = keys
            .open(header.process, header.sequence, head, sealed)
            .ok_or(Refusal::Forged)?;
        let mut input = Input(&body);
        let mut heard = [Heard::default(); 2];
        for each in &mut heard {
            each.process = input.word()?;
            each.sequence = input.word()?;
        }
        let config = input.word()?;
        let mut version = [0; 3];
        for part in &mut version {
            *part = u16::from_le_bytes(input.array()?);
        }
        let [health, maintenance, count, _] = input.array()?;
        let health = Health::ALL.get(usize::from(health));
        let health = *health.ok_or(Refusal::Nonsense)?;
        if input.0.len() != usize::from(count) * CLAIM || usize::from(count) > GROUPS {
            return Err(Refusal::Nonsense);
        }
        let claims = (0..count)
            .map(|_| claim(&mut input))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            heard,
            config,
            version,
            health,
            maintenance: maintenance != 0,
            claims,
        })
    }
}

fn claim(input: &mut Input<'_>) -> Result<Claim, Refusal> {
    let group = u16::from_le_bytes(input.array()?);
    let [role, flags, priority, _, _, _] = input.array()?;
    Ok(Claim {
        group,
        role: *Role::ALL.get(usize::from(role)).ok_or(Refusal::Nonsense)?,
        epoch: input.word()?,
        held: input.word()?,
        priority,
        able: flags & 1 != 0,
        offers: flags & 2 != 0,
        asks: flags & 4 != 0,
    })
}

/// What is left to read.
pub(super) struct Input<'a>(pub(super) &'a [u8]);

impl Input<'_> {
    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Refusal> {
        let (bytes, rest) = self.0.split_first_chunk().ok_or(Refusal::Length)?;
        self.0 = rest;
        Ok(*bytes)
    }

    pub(super) fn word(&mut self) -> Result<u64, Refusal> {
        self.array().map(u64::from_le_bytes)
    }
}
