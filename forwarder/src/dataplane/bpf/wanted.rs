//! Neighbours that the data plane wants resolved: next hops of egress SNAT, which the kernel's routes
//! name per packet.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;

use aya::Ebpf;
use aya::maps::{MapData, RingBuf};
use tokio::io::unix::AsyncFd;

use super::load::LoadError;
use crate::core::key::{from_word, from_words};

const MAP: &str = "NEIGHBOUR_EVENTS";

/// The stream of wanted neighbours; destinations rather than next hops, each perhaps many times.
pub struct Wanted {
    ring: AsyncFd<RingBuf<MapData>>,
}

impl Wanted {
    /// Takes the stream out of the loaded object.
    pub fn open(ebpf: &mut Ebpf) -> Result<Self, LoadError> {
        let map = ebpf
            .take_map(MAP)
            .ok_or_else(|| LoadError::Missing(format!("map {MAP}")))?;
        let ring = RingBuf::try_from(map)?;
        // SAFETY: the ring buffer owns its descriptor and lives as long as the registration.
        let ring = unsafe { AsyncFd::register(ring) };
        let ring = ring.map_err(|error| aya::maps::MapError::IoError(io::Error::other(error)))?;
        Ok(Self { ring })
    }

    /// The next ones: egress interface index, and the packet's destination. Dropping the future loses nothing.
    pub async fn next(&mut self) -> io::Result<BTreeSet<(u32, IpAddr)>> {
        loop {
            let mut guard = self.ring.readable_mut().await?;
            let ring = guard.get_inner_mut();
            let mut wanted = BTreeSet::new();
            while let Some(item) = ring.next() {
                wanted.extend(neighbour(&item));
            }
            guard.clear_ready();
            if !wanted.is_empty() {
                return Ok(wanted);
            }
        }
    }
}

/// Interface index, then the address: IPv4 in the first word, the others zero.
fn neighbour(item: &[u8]) -> Option<(u32, IpAddr)> {
    let mut words = item
        .chunks_exact(4)
        .map(|word| u32::from_ne_bytes([word[0], word[1], word[2], word[3]]));
    let ifindex = words.next()?;
    let address = [words.next()?, words.next()?, words.next()?, words.next()?];
    let address = match address {
        [word, 0, 0, 0] => IpAddr::V4(from_word(word)),
        words => IpAddr::V6(from_words(words)),
    };
    Some((ifindex, address))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::key::wide;

    #[test]
    fn reads_both_families() {
        for text in ["192.0.2.1", "2001:db8::1", "fe80::1"] {
            let address: IpAddr = text.parse().expect("an address");
            let words = wide(address);
            let bytes: Vec<u8> = [7]
                .into_iter()
                .chain(words)
                .flat_map(|word: u32| word.to_ne_bytes())
                .collect();
            assert_eq!(neighbour(&bytes), Some((7, address)));
            assert_eq!(neighbour(&bytes[..19]), None);
        }
    }
}
