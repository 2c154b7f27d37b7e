//! While lists are exchanged, every source is judged by the old list or by the new one, after every operation.

use std::net::{IpAddr, Ipv4Addr};

use forwarder_common::VirtualServer;
use forwarder_common::virtual_server::flags::{DENY_UNLISTED, LISTED};
use proptest::prelude::*;

use super::*;
use crate::core::key::{Source, Vip};

const ID: u32 = 7;
/// Sources differ in their last bits, which every list is about.
const BITS: u32 = 4;

/// A virtual server's lists: `None`: there are none.
type List = Option<(bool, Vec<(u8, u8)>)>;

fn address(number: u32) -> IpAddr {
    Ipv4Addr::from_bits(0x0a00_0000 | number).into()
}

fn vip() -> Vip {
    Vip {
        address: [203, 0, 113, 10].into(),
        port: 80,
        protocol: 6,
    }
}

/// As the compiler makes them: all entries of one list, the other verdict for the rest.
fn tables(list: &List) -> Tables {
    let mut tables = Tables::default();
    let mut server = VirtualServer {
        id: ID,
        ..VirtualServer::default()
    };
    if let Some((allowed, prefixes)) = list {
        server.flags = LISTED | if *allowed { DENY_UNLISTED } else { 0 };
        for (number, bits) in prefixes {
            let host = u32::from(*number) & !((1 << bits) - 1);
            let source = Source {
                virtual_server: ID,
                address: address(host),
                length: 32 - bits,
            };
            tables.admission.insert(source, *allowed);
        }
    }
    tables.virtual_servers.insert(vip(), server);
    tables
}

/// What the data plane decides: the packet path, section 5.3.
fn admits(tables: &Tables, number: u32) -> bool {
    let server = tables.virtual_servers[&vip()];
    if server.flags & LISTED == 0 {
        return true;
    }
    let longest = (0..=BITS).find_map(|bits| {
        let source = Source {
            virtual_server: ID,
            address: address(number & !((1 << bits) - 1)),
            length: 32 - bits as u8,
        };
        tables.admission.get(&source).copied()
    });
    longest.unwrap_or(server.flags & DENY_UNLISTED == 0)
}

fn list() -> impl Strategy<Value = List> {
    let prefix = (0u8..1 << BITS, 0u8..=BITS as u8);
    proptest::option::of((any::<bool>(), proptest::collection::vec(prefix, 1..8)))
}

proptest! {
    #[test]
    fn nobody_is_judged_by_half_a_list(old in list(), new in list()) {
        let (mut actual, desired) = (tables(&old), tables(&new));
        let before: Vec<bool> = (0..1 << BITS).map(|number| admits(&actual, number)).collect();
        for op in plan(&actual.clone(), &desired) {
            actual.apply(&op);
            for (number, old) in (0..).zip(&before) {
                let now = admits(&actual, number);
                let new = admits(&desired, number);
                prop_assert!(now == *old || now == new, "{}: after {op}", address(number));
            }
        }
        prop_assert_eq!(actual, desired);
    }
}
