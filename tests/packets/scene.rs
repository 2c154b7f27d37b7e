//! The network and the configuration that the packet tests run in.
//!
//! Every virtual server exists in every mode and both families; what is special about one is its port.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use forwarder_common::interface::{admission, flags as interface_flags};
use forwarder_common::peer::Peer;
use forwarder_common::protocol::{TCP, UDP};
use forwarder_common::slot::NOWHERE;
use forwarder_common::virtual_server::{AUTOMAP, NO_SNAT, backend_flags, flags};
use forwarder_common::{
    Affinity, Backend, Egress, Interface, Mode, PortRange, Slot, SnatPool, VipAddress,
    VirtualServer, siphash,
};
use forwarder_model::wire::{self, Mac};
use forwarder_model::{Fib, Hop, Pair, Tables, Tuple};

/// Where clients are: `XDP_TX`.
pub const CLIENT: u32 = 11;
/// Where backends are: redirect even to itself, egress SNAT.
pub const SERVER: u32 = 12;
/// Another network with a small MTU, and the only one with every-port virtual servers.
pub const THIRD: u32 = 13;
/// An interface that is not ours.
pub const FOREIGN: u32 = 14;
/// Interface slots that the tests use at most.
pub const INTERFACE_SLOTS: u32 = 64;

/// Commands that make the network: interfaces, addresses, routes, neighbours; `write` is ours.
pub const NETWORK: &str = "
    ip link set lo up
    ip link add c0 index 11 address 02:00:00:00:00:0b type veth peer name c1
    ip link add s0 index 12 address 02:00:00:00:00:0c type veth peer name s1
    ip link add t0 index 13 address 02:00:00:00:00:0d type veth peer name t1
    ip link add p0 index 14 address 02:00:00:00:00:0e type veth peer name p1
    ip link set c0 up
    ip link set c1 up
    ip link set s0 up
    ip link set s1 up
    ip link set t0 up
    ip link set t1 up
    ip link set p0 up
    ip link set p1 up
    ip address add 198.51.100.1/24 dev c0
    ip address add 10.0.0.1/16 dev s0
    ip address add 192.0.2.1/24 dev t0
    ip address add 2001:db8:c::1/64 dev c0 nodad
    ip address add 2001:db8:5::1/64 dev s0 nodad
    ip address add 2001:db8:7::1/64 dev t0 nodad
    write /proc/sys/net/ipv4/ip_forward 1
    write /proc/sys/net/ipv6/conf/all/forwarding 1
    ip neighbour add 198.51.100.254 lladdr 02:00:00:00:0b:fe dev c0 nud permanent
    ip neighbour add 192.0.2.9 lladdr 02:00:00:00:0d:09 dev t0 nud permanent
    ip neighbour add 2001:db8:c::fe lladdr 02:00:00:00:0b:fe dev c0 nud permanent
    ip neighbour add 2001:db8:7::9 lladdr 02:00:00:00:0d:09 dev t0 nud permanent
    ip route add default via 198.51.100.254
    ip route add unreachable 203.0.114.0/24
    ip -6 route add default via 2001:db8:c::fe dev c0
    ip -6 route add unreachable 2001:db8:dead::/48
";

/// What the kernel's FIB says in [`NETWORK`], for the destinations that tests use.
pub fn route(tuple: &Tuple) -> Fib {
    let within = |prefix: &str, length| wire::contains(address(prefix), length, tuple.destination);
    let is = |one: &str| tuple.destination == address(one);
    let hop = |ifindex, destination_mac| {
        Fib::Hop(Hop {
            destination_mac,
            source_mac: mac(ifindex),
            ifindex,
            tags: Vec::new(),
        })
    };
    let local = [
        "198.51.100.1",
        "10.0.0.1",
        "192.0.2.1",
        "2001:db8:c::1",
        "2001:db8:5::1",
        "2001:db8:7::1",
    ];
    if local.into_iter().any(is) || within("203.0.114.0", 24) || within("2001:db8:dead::", 48) {
        Fib::Elsewhere
    } else if is("192.0.2.9") || is("2001:db8:7::9") {
        hop(THIRD, [2, 0, 0, 0, 0x0d, 9])
    } else if within("192.0.2.0", 24) || within("2001:db8:7::", 64) {
        Fib::NoNeighbour(THIRD)
    } else if within("10.0.0.0", 16) || within("2001:db8:5::", 64) {
        Fib::NoNeighbour(SERVER)
    } else if !is("198.51.100.254")
        && !is("2001:db8:c::fe")
        && (within("198.51.100.0", 24) || within("2001:db8:c::", 64))
    {
        Fib::NoNeighbour(CLIENT)
    } else {
        hop(CLIENT, [2, 0, 0, 0, 0x0b, 0xfe])
    }
}

/// Of virtual servers at [`port::RATE`]: nanoseconds until a token comes back.
pub const RATE_INTERVAL: u32 = u32::MAX;
/// Of virtual servers at [`port::RATE`]: new flows at once.
pub const RATE_BURST: u32 = 2;

/// Ports whose virtual servers are special, in every mode and family, for TCP and UDP.
pub mod port {
    /// Three backends behind the server interface.
    pub const PLAIN: u16 = 80;
    /// A backend on the client side: leaves where it came in.
    pub const ONE_ARM: u16 = 81;
    /// Its next hop is not resolved.
    pub const NO_NEXT_HOP: u16 = 82;
    /// A backend with an MTU of 600.
    pub const SMALL_MTU: u16 = 83;
    /// No backend at all.
    pub const EMPTY: u16 = 84;
    /// Every slot changed, the previous backend lives.
    pub const CHANGED: u16 = 85;
    /// Every slot changed, the previous backend is dead, in grace.
    pub const CHANGED_DEAD: u16 = 86;
    /// Every slot changed, the previous backend lives, in grace.
    pub const CHANGED_GRACE: u16 = 87;
    /// Affinity by source.
    pub const BY_SOURCE: u16 = 88;
    /// Affinity by source and protocol.
    pub const BY_SOURCE_PROTOCOL: u16 = 89;
    /// Some sources denied.
    pub const DENY: u16 = 90;
    /// Some sources allowed.
    pub const ALLOW: u16 = 91;
    /// New flows limited: two, then one every 4.3 seconds.
    pub const RATE: u16 = 92;
    /// MSS of 1000.
    pub const MSS: u16 = 93;
    /// A backend with another port, behind the third interface.
    pub const OTHER_PORT: u16 = 94;
    /// Backends of the other family (tunnels only).
    pub const OTHER_FAMILY: u16 = 95;
    /// A SNAT pool of one address and four ports.
    pub const TINY_SNAT: u16 = 96;
    /// A SNAT pool of two addresses.
    pub const SNAT_POOL: u16 = 97;
    /// No SNAT pool.
    pub const NO_SNAT: u16 = 98;
    /// Served on the third interface alone.
    pub const THIRD_ONLY: u16 = 99;
    /// A slot that names no backend.
    pub const BROKEN: u16 = 100;
    /// A backend that keeps no flows.
    pub const DEAD: u16 = 101;
    /// Every slot changed: older flows keep their backend, new ones have none.
    pub const NOWHERE: u16 = 102;
    /// All of them.
    pub const ALL: std::ops::RangeInclusive<u16> = PLAIN..=NOWHERE;
}

/// The VIP of a mode; `family` is 4 or 6.
pub fn vip(mode: Mode, family: u8) -> IpAddr {
    numbered(family, 10 + mode as u8)
}

/// The VIP of a mode whose every port is served (on [`THIRD`]).
pub fn vip_any_port(mode: Mode, family: u8) -> IpAddr {
    numbered(family, 30 + mode as u8)
}

/// A VIP that is one on [`THIRD`] only and is answered for nowhere.
pub fn vip_third(family: u8) -> IpAddr {
    numbered(family, 50)
}

fn numbered(family: u8, number: u8) -> IpAddr {
    if family == 6 {
        Ipv6Addr::new(0x2001, 0xdb8, 0xf, 0, 0, 0, 0, number.into()).into()
    } else {
        Ipv4Addr::new(203, 0, 113, number).into()
    }
}

/// An address from text.
pub fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

/// The MAC of an interface.
pub fn mac(ifindex: u32) -> Mac {
    [2, 0, 0, 0, 0, ifindex as u8]
}

/// The MAC of a backend's next hop.
pub fn backend_mac(index: u32) -> Mac {
    [2, 0, 0, 0, 0xbb, index as u8]
}

/// Index of a backend: `number` 1–8 of a family.
pub fn backend(family: u8, number: u32) -> u32 {
    if family == 6 { 10 + number } else { number }
}

const EVERYWHERE: u64 = 1 | 1 << 5 | 1 << 63;
const GUE_PORT: u16 = 6080;

/// The UDP port of the pair.
pub const PAIR_PORT: u16 = 4747;
/// This node is the first.
pub const PEER: Peer = Peer {
    process: 0x0123_4567_89ab_cdef,
    own: 0,
    echo: [1, 2],
    reflection: [3, 4],
    answer: [5, 6],
};

/// The path between the nodes: this end and the other.
pub fn path(family: u8) -> (IpAddr, IpAddr) {
    if family == 6 {
        (address("2001:db8:c::1"), address("2001:db8:c::3"))
    } else {
        (address("198.51.100.1"), address("198.51.100.3"))
    }
}

/// An echo or an answer: kind, who asks, the path; the process that asks and the number; the key.
pub fn echo(kind: u8, asks: u8, path: u8, said: (u64, u64), key: &siphash::SipKey) -> Vec<u8> {
    let first = u64::from_le_bytes([b'F', b'W', 1, kind, asks, path, 0, 0]);
    let words = [first, said.0, said.1];
    let tag = siphash::tag(key, &words);
    let all = words.into_iter().chain([tag]);
    all.flat_map(u64::to_le_bytes).collect()
}

/// The configuration.
pub fn tables() -> Tables {
    let mut tables = Tables {
        hash_key: [0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210],
        gue_port: GUE_PORT,
        flow_capacity: 40_000,
        pair: Some(Pair {
            port: PAIR_PORT,
            peer: PEER,
            paths: [4, 6].map(path).into(),
            without_lease: false,
            answered: BTreeMap::new(),
        }),
        ..Tables::default()
    };
    interfaces(&mut tables);
    for family in [4, 6] {
        backends(&mut tables, family);
        snat(&mut tables, family);
    }
    let mut pools = Pools::default();
    for family in [4, 6] {
        for mode in Mode::ALL {
            servers(&mut tables, &mut pools, mode, family);
        }
        tables.vips.insert(
            vip_third(family),
            VipAddress {
                interfaces: 1 << 63,
                ..VipAddress::default()
            },
        );
    }
    tables
}

fn interfaces(tables: &mut Tables) {
    use interface_flags::{ACTIVE, ANY_PORT, EGRESS, NAT, TX};
    let common = |ifindex: u32, slot, flags, mtu, four: &str, six: &str, automap| Interface {
        slot,
        flags,
        mac: wire::mac_words(mac(ifindex)),
        mtu,
        address4: wire::any_words(address(four))[0],
        automap4: automap,
        address6: wire::any_words(address(six)),
        automap6: automap + 10,
        ..Interface::default()
    };
    tables.interfaces = BTreeMap::from([
        (
            CLIENT,
            common(
                CLIENT,
                0,
                ACTIVE | TX | NAT,
                1500,
                "198.51.100.1",
                "2001:db8:c::1",
                0,
            ),
        ),
        (
            SERVER,
            common(
                SERVER,
                5,
                ACTIVE | NAT | EGRESS,
                1500,
                "10.0.0.1",
                "2001:db8:5::1",
                1,
            ),
        ),
        (
            THIRD,
            common(
                THIRD,
                63,
                ACTIVE | TX | ANY_PORT | NAT,
                1400,
                "192.0.2.1",
                "2001:db8:7::1",
                2,
            ),
        ),
        (
            FOREIGN,
            common(FOREIGN, 0, 0, 1500, "0.0.0.0", "::", NO_SNAT - 10),
        ),
    ]);
}

fn backends(tables: &mut Tables, family: u8) {
    let six = family == 6;
    let own = |ifindex| match (ifindex, six) {
        (CLIENT, false) => address("198.51.100.1"),
        (CLIENT, true) => address("2001:db8:c::1"),
        (THIRD, false) => address("192.0.2.1"),
        (THIRD, true) => address("2001:db8:7::1"),
        (_, false) => address("10.0.0.1"),
        (_, true) => address("2001:db8:5::1"),
    };
    for number in 1..=8 {
        let index = backend(family, number);
        let (ifindex, automap) = match number {
            4 => (CLIENT, 0),
            8 => (THIRD, 2),
            _ => (SERVER, 1),
        };
        let to = if six {
            Ipv6Addr::new(0x2001, 0xdb8, 5, 0, 0, 0, 0, 0x10 + number as u16).into()
        } else {
            IpAddr::from([10, 0, 0, 10 + number as u8])
        };
        tables.backends.insert(
            index,
            Backend {
                address: wire::any_words(to),
                tunnel_source: wire::any_words(own(ifindex)),
                destination_mac: wire::mac_words(backend_mac(index)),
                source_mac: wire::mac_words(mac(ifindex)),
                ifindex: if number == 5 { 0 } else { ifindex },
                mtu: match number {
                    6 => 600,
                    8 => 1400,
                    _ => 1500,
                },
                port: if number == 8 { 8080_u16.to_be() } else { 0 },
                flags: if number == 7 {
                    0
                } else {
                    backend_flags::KEEPS_FLOWS
                } | if six { backend_flags::IPV6 } else { 0 },
                automap: automap + if six { 10 } else { 0 },
            },
        );
    }
}

/// SNAT pools of a family: automap of the three interfaces, then two addresses, then a tiny one, then none.
fn snat(tables: &mut Tables, family: u8) {
    let six = family == 6;
    let base = if six { 10 } else { 0 };
    let addresses = if six {
        [
            "2001:db8:c::1",
            "2001:db8:5::1",
            "2001:db8:7::1",
            "2001:db8:5::c8",
            "2001:db8:5::c9",
            "2001:db8:5::ca",
        ]
    } else {
        [
            "198.51.100.1",
            "10.0.0.1",
            "192.0.2.1",
            "10.0.0.200",
            "10.0.0.201",
            "10.0.0.202",
        ]
    };
    for (at, text) in (base..).zip(addresses) {
        tables.snat_addresses.insert(at, address(text));
        tables.snat_ranges.insert(
            address(text),
            PortRange {
                low: 32_768,
                high: 60_999,
            },
        );
    }
    let pool = |first, count, port_low, port_high| SnatPool {
        first: base + first,
        count,
        port_low,
        port_high,
    };
    for (at, pool) in (base..).zip([
        pool(0, 1, 32_768, 46_883),
        pool(1, 1, 32_768, 46_883),
        pool(2, 1, 32_768, 46_883),
        pool(3, 2, 40_000, 50_000),
        pool(5, 1, 40_000, 40_003),
        pool(0, 0, 0, 0),
    ]) {
        tables.snat_pools.insert(at, pool);
    }
    let rule = |ifindex, snat_pool, id| Egress {
        ifindex,
        snat_pool,
        id,
        reserved: 0,
    };
    let prefixes = if six {
        [
            ("2001:db8:5::", 64),
            ("2001:db8:5::7:0", 112),
            ("2001:db8:5::8:0", 112),
            ("2001:db8:5::9:0", 112),
        ]
    } else {
        [
            ("10.0.0.0", 16),
            ("10.0.7.0", 24),
            ("10.0.8.0", 24),
            ("10.0.9.0", 24),
        ]
    };
    let rules = [
        rule(CLIENT, AUTOMAP, 900),
        rule(CLIENT, base + 3, 901),
        rule(THIRD, AUTOMAP, 902),
        rule(CLIENT, base + 4, 903),
    ];
    for ((prefix, length), rule) in prefixes.into_iter().zip(rules) {
        tables.egress.insert((address(prefix), length), rule);
    }
}

/// Lookup tables, shared by all virtual servers with the same slots.
#[derive(Default)]
struct Pools {
    bases: BTreeMap<Vec<u64>, u32>,
    next: u32,
}

impl Pools {
    /// First slot and size of a table that repeats `slots`.
    fn table(&mut self, tables: &mut Tables, slots: &[Slot]) -> (u32, u32) {
        if slots.is_empty() {
            return (0, 0);
        }
        let size = 251;
        let key: Vec<u64> = slots.iter().map(|slot| slot.0).collect();
        let base = *self.bases.entry(key).or_insert_with(|| {
            let base = self.next;
            self.next += size;
            for at in 0..size {
                tables
                    .slots
                    .insert(base + at, slots[at as usize % slots.len()]);
            }
            base
        });
        (base, size)
    }
}

fn servers(tables: &mut Tables, pools: &mut Pools, mode: Mode, family: u8) {
    let other = if family == 6 { 4 } else { 6 };
    let same = |numbers: &[u32]| {
        numbers
            .iter()
            .map(|number| Slot::new(backend(family, *number)))
            .collect::<Vec<_>>()
    };
    let across = |numbers: &[u32]| {
        numbers
            .iter()
            .map(|number| Slot::new(backend(other, *number)))
            .collect::<Vec<_>>()
    };
    let changed = |current, previous, grace| {
        vec![Slot::changed(
            backend(family, current),
            backend(family, previous),
            grace,
        )]
    };
    let v6 = if family == 6 { 10 } else { 0 };
    let tunnel = matches!(mode, Mode::IpipDsr | Mode::GueDsr);
    for port in port::ALL.chain([0]) {
        let slots = match port {
            port::ONE_ARM => same(&[4]),
            port::NO_NEXT_HOP => same(&[5]),
            port::SMALL_MTU => same(&[6]),
            port::EMPTY => Vec::new(),
            port::CHANGED => changed(1, 2, false),
            port::CHANGED_DEAD => changed(1, 7, true),
            port::CHANGED_GRACE => changed(3, 2, true),
            port::BY_SOURCE | port::BY_SOURCE_PROTOCOL => same(&[1, 2, 3, 8]),
            port::OTHER_PORT => same(&[8]),
            port::OTHER_FAMILY if tunnel => across(&[1, 2, 4, 8]),
            port::BROKEN => vec![Slot::new(0xff_ffff)],
            port::DEAD => same(&[7]),
            port::NOWHERE => vec![Slot::changed(NOWHERE, backend(family, 2), true)],
            _ => same(&[1, 2, 3]),
        };
        let (table_base, table_size) = pools.table(tables, &slots);
        for protocol in [TCP, UDP] {
            let id = tables.virtual_servers.len() as u32;
            let server = VirtualServer {
                id,
                table_base,
                table_size,
                mode: mode as u8,
                affinity: match port {
                    port::BY_SOURCE => Affinity::Source,
                    port::BY_SOURCE_PROTOCOL => Affinity::SourceProtocol,
                    _ => Affinity::FiveTuple,
                } as u8,
                flags: match port {
                    port::DENY => flags::LISTED,
                    port::ALLOW => flags::LISTED | flags::DENY_UNLISTED,
                    _ => 0,
                },
                // Each mode's VIPs are a group.
                group: mode as u8,
                snat_pool: match (mode, port) {
                    (Mode::FullNat, port::TINY_SNAT) => v6 + 4,
                    (Mode::FullNat, port::SNAT_POOL) => v6 + 3,
                    (Mode::FullNat, port::NO_SNAT) => v6 + 5,
                    (Mode::FullNat, _) => AUTOMAP,
                    _ => NO_SNAT,
                },
                mss: if port == port::MSS { 1000 } else { 0 },
                new_flow_interval: if port == port::RATE { RATE_INTERVAL } else { 0 },
                new_flow_burst: if port == port::RATE { RATE_BURST } else { 0 },
                interfaces: if port == port::THIRD_ONLY {
                    1 << 63
                } else {
                    EVERYWHERE
                },
            };
            let at = if port == 0 {
                vip_any_port(mode, family)
            } else {
                vip(mode, family)
            };
            tables.virtual_servers.insert((at, port, protocol), server);
            lists(tables, id, port, family);
        }
    }
    for at in [vip(mode, family), vip_any_port(mode, family)] {
        tables.vips.insert(
            at,
            VipAddress {
                interfaces: EVERYWHERE,
                answers: 1 | 1 << 63,
                group: mode as u64,
            },
        );
    }
}

/// 100.64.0.0/10 is listed, and 100.64.1.0/24 the other way round; likewise IPv6.
fn lists(tables: &mut Tables, id: u32, port: u16, family: u8) {
    let (outer, inner) = match port {
        port::DENY => (admission::DENY, admission::ALLOW),
        port::ALLOW => (admission::ALLOW, admission::DENY),
        _ => return,
    };
    let prefixes = if family == 6 {
        [("2001:db8:6400::", 36), ("2001:db8:6400:1::", 64)]
    } else {
        [("100.64.0.0", 10), ("100.64.1.0", 24)]
    };
    for ((prefix, length), value) in prefixes.into_iter().zip([outer, inner]) {
        tables
            .admission
            .insert((id, address(prefix), length), value);
    }
}
