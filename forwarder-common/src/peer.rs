//! What the nodes of a pair ask each other all the time: echoes, answered by the data plane.
//!
//! An echo and its answer are the payload of a UDP datagram, four words, little endian: what it is
//! ([`first_word`]), the process that asks, a number that counts up, and the SipHash-2-4 tag of these three.

use crate::abi::abi;

/// Version of what the nodes say to each other.
pub const VERSION: u8 = 1;
/// Bytes of an echo or its answer.
pub const LENGTH: usize = 32;
/// Paths whose answers are noted in the data plane.
pub const PATHS: usize = 16;

/// What an echo is.
pub mod kind {
    /// Is anybody there?
    pub const ECHO: u8 = 1;
    /// Yes, says the daemon.
    pub const ANSWER: u8 = 2;
    /// Yes, says the data plane.
    pub const REFLECTION: u8 = 5;
}

/// The first word: what it is, which node asks (0 or 1), and the path.
#[inline(always)]
pub const fn first_word(kind: u8, asks: u8, path: u8) -> u64 {
    u64::from_le_bytes([b'F', b'W', VERSION, kind, asks, path, 0, 0])
}

/// The path in a first word.
#[inline(always)]
pub const fn path(first: u64) -> u8 {
    (first >> 40) as u8
}

/// A first word without the path.
#[inline(always)]
pub const fn without_path(first: u64) -> u64 {
    first & !(0xff << 40)
}

abi! {
    /// The ends of a path.
    pub struct PathKey<A> {
        /// This node's.
        pub own: A,
        /// The other node's.
        pub peer: A,
    }

    /// What this node is in a pair.
    pub struct Peer {
        /// This process; 0: there is none yet.
        pub process: u64,
        /// 0 or 1.
        pub own: u64,
        /// Key of the other node's echoes.
        pub echo: [u64; 2],
        /// Key of what this node answers.
        pub reflection: [u64; 2],
        /// Key of what the other node answers.
        pub answer: [u64; 2],
    }

    /// The latest answer on a path.
    pub struct Arrival {
        /// The number of the echo; 0: none yet.
        pub sequence: u64,
        /// When it came, on the monotonic clock in nanoseconds.
        pub at: u64,
        /// Who has answered: `kind::*`.
        pub kind: u64,
    }
}
