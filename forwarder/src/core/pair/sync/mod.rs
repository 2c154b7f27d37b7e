//! What one node knows of flows, told to the other.
//!
//! The active node's [`Sender`] makes a *stream*: chunks of entries, numbered. The standby's [`Receiver`] hands
//! them out in their order and says how far it has come and what it misses; what is missing is sent again, and
//! whoever has sent something asks until it has come. A stream begins with everything there is (the *bulk*,
//! between [`Entry::Begin`] and [`Entry::End`]), while what happens meanwhile goes on in the same stream: an
//! entry is read before it is put in, and what happens to it afterwards comes behind it, so nothing older
//! overwrites anything newer. What was there before the bulk and is not in it is no more.
//!
//! Where one side cannot go on (too much waits, the receiver was something else meanwhile), another stream
//! begins. So neither side ever keeps more than it has room for.

pub mod backends;
pub mod entry;
pub mod message;
pub mod names;
pub mod receiver;
pub mod sender;

#[cfg(test)]
mod tests;

pub use entry::Entry;
pub use message::{Message, Stream};
pub use receiver::Receiver;
pub use sender::Sender;

/// Groups of virtual servers: a bit for each place.
pub type Groups = u32;

/// Chunks that may be on their way: what a receiver puts in order.
pub const WINDOW: u64 = 1024;

/// Bytes of entries in a chunk. With all that is around it, a datagram fits wherever IPv6 does (1280 bytes).
pub const CHUNK: usize = 1152;
