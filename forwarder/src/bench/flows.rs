//! NAT flows that are there before anything is timed, as packets would have made them.

use std::net::IpAddr;

use anyhow::{Context as _, Result};
use aya::maps::HashMap;
use aya::{Ebpf, Pod};
use forwarder_common::bench::PORT_BITS;
use forwarder_common::flow::{SECOND_SHIFT, state};
use forwarder_common::protocol::{TCP, UDP};
use forwarder_common::virtual_server::backend_flags;
use forwarder_common::{Flow, FlowKey, Link, Mode, V4, V6};

use super::Effort;
use super::scene::{self, IFINDEX, MAC, Scene, port};
use crate::core::key::{mac_words, wide};
use crate::io::clock;

/// Port of a client's flow 0, and of its translation.
pub const PORT: u16 = 0x4000;
/// The sender's MAC address in every packet.
pub const SENDER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0xfe];
/// "100 k".
pub const MANY: u32 = 100_000;
/// "1 M".
pub const VERY_MANY: u32 = 1_000_000;

/// Addresses in the words of a family.
trait Family: Pod {
    fn of(address: IpAddr) -> Self;
    /// The address of a flow, by that of flow 0.
    fn vary(self, number: u32) -> Self;
}

impl Family for V4 {
    fn of(address: IpAddr) -> Self {
        wide(address)[0]
    }

    fn vary(self, number: u32) -> Self {
        self ^ (number >> PORT_BITS).to_be()
    }
}

impl Family for V6 {
    fn of(address: IpAddr) -> Self {
        wide(address)
    }

    fn vary(self, number: u32) -> Self {
        let [a, b, c, d] = self;
        [a, b, c, d ^ (number >> PORT_BITS).to_be()]
    }
}

/// The backend that has them all.
pub fn backend(ipv6: bool) -> IpAddr {
    scene::backend(0, ipv6)
}

/// Fills the flow maps.
pub fn fill(ebpf: &mut Ebpf, scene: &Scene, effort: Effort) -> Result<()> {
    let (most, many) = match effort {
        Effort::Full => (VERY_MANY, MANY),
        Effort::Quick => (MANY, 1_000),
        Effort::Correctness => (1_000, 1_000),
    };
    for ipv6 in [false, true] {
        for (mode, protocol, count) in [
            (Mode::FullNat, TCP, if ipv6 { many } else { most }),
            (Mode::FullNat, UDP, 1),
            (Mode::Dnat, TCP, many),
            (Mode::Dnat, UDP, 1),
        ] {
            let what = What {
                scene,
                mode,
                ipv6,
                protocol,
                count,
            };
            if ipv6 {
                insert::<V6>(ebpf, "FLOWS6", &what)?;
            } else {
                insert::<V4>(ebpf, "FLOWS4", &what)?;
            }
        }
    }
    // The bucket of the virtual server that admits hardly anything is empty for good.
    let mut rates: aya::maps::Array<_, u64> = ebpf.map_mut("RATES").context("RATES")?.try_into()?;
    for (vip, server) in &scene.tables.virtual_servers {
        if vip.port == port::RATE {
            rates.set(server.id, u64::MAX / 2, 0)?;
        }
    }
    Ok(())
}

/// Fills the plain LRU map, both directions of every flow.
pub fn fill_lru(ebpf: &mut Ebpf, effort: Effort) -> Result<()> {
    let count = match effort {
        Effort::Correctness => 1_000,
        _ => MANY,
    };
    let mut map: HashMap<_, FlowKey<V4>, Flow<V4>> =
        ebpf.map_mut("PLAIN_LRU").context("PLAIN_LRU")?.try_into()?;
    for number in 0..count {
        let ends = Ends::new(Mode::FullNat, false, TCP, number);
        for (key, flow) in ends.entries(0, 0) {
            map.insert(key, flow, 0)?;
        }
    }
    Ok(())
}

struct What<'a> {
    scene: &'a Scene,
    mode: Mode,
    ipv6: bool,
    protocol: u8,
    count: u32,
}

fn insert<A: Family + Default>(ebpf: &mut Ebpf, name: &str, what: &What<'_>) -> Result<()>
where
    FlowKey<A>: Pod,
    Flow<A>: Pod,
{
    let id = what.scene.id(what.mode, what.ipv6)?;
    let address = wide(backend(what.ipv6));
    let mut backends = what.scene.tables.backends.iter();
    let index = backends.find(|(_, backend)| {
        backend.address == address && backend.flags & backend_flags::KEEPS_FLOWS != 0
    });
    let index = *index.context("the backend")?.0;
    let mut map: HashMap<_, FlowKey<A>, Flow<A>> =
        ebpf.map_mut(name).context("flows")?.try_into()?;
    for number in 0..what.count {
        let ends = Ends::<A>::new(what.mode, what.ipv6, what.protocol, number);
        for (key, flow) in ends.entries(id, index) {
            map.insert(key, flow, 0)?;
        }
    }
    Ok(())
}

/// The four ends of a translated flow.
struct Ends<A> {
    mode: Mode,
    protocol: u32,
    client: (A, u16),
    vip: (A, u16),
    translated: (A, u16),
    backend: (A, u16),
}

impl<A: Family> Ends<A> {
    fn new(mode: Mode, ipv6: bool, protocol: u8, number: u32) -> Self {
        let own_port = PORT ^ (number & ((1 << PORT_BITS) - 1)) as u16;
        let of = |address: IpAddr| (A::of(address).vary(number), own_port);
        let client = of(scene::client(ipv6));
        Self {
            mode,
            protocol: protocol.into(),
            client,
            vip: (A::of(scene::vip(mode, ipv6)), port::PLAIN),
            translated: if mode == Mode::FullNat {
                of(scene::translated(ipv6))
            } else {
                client
            },
            backend: (A::of(backend(ipv6)), port::PLAIN),
        }
    }

    /// Forward and reply, as in `forwarder-ebpf`'s `new_flow`.
    fn entries(&self, id: u32, backend: u32) -> [(FlowKey<A>, Flow<A>); 2] {
        let full_nat = match self.mode {
            Mode::FullNat => state::FULL_NAT,
            _ => 0,
        };
        let link = Link {
            destination_mac: mac_words(SENDER_MAC),
            source_mac: mac_words(MAC),
            ifindex: IFINDEX,
            tags: [0, 0],
        };
        let key = |from: (A, u16), to: (A, u16)| FlowKey {
            source: from.0,
            destination: to.0,
            ports: ports(from.1, to.1),
            protocol: self.protocol,
        };
        let flow = |from: (A, u16), to: (A, u16), reply| Flow {
            source: from.0,
            destination: to.0,
            ports: ports(from.1, to.1),
            link,
            backend,
            id,
            state: state::SEEN | full_nat | reply,
            last_seen: (clock::coarse_monotonic().as_nanos() >> SECOND_SHIFT) as u32,
        };
        [
            (
                key(self.client, self.vip),
                flow(self.translated, self.backend, 0),
            ),
            (
                key(self.backend, self.translated),
                flow(self.vip, self.client, state::REPLY),
            ),
        ]
    }
}

/// The ports word in wire order.
fn ports(source: u16, destination: u16) -> u32 {
    u32::from(source.to_be()) | u32::from(destination.to_be()) << 16
}
