//! The whole packet path on the host.

use forwarder_common::virtual_server::{backend_flags::KEEPS_FLOWS, service};
use forwarder_common::{
    AddressKey, Affinity, Backend, Interface, Mode, PortRange, Reason, Slot, SnatPool, VipAddress,
    VipKey, VirtualServer, interface,
};

use crate::checksum::fold;
use crate::memory::{Bytes, Memory, Run};
use crate::verdict::{Action, Verdict};

mod fuzz;

const OUTSIDE: u32 = 2;
const INSIDE: u32 = 3;
const OUR_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];
const CLIENT_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const BACKEND_MAC: [u8; 6] = [2, 0, 0, 0, 0, 9];
const CLIENT: [u8; 4] = [198, 51, 100, 7];
const VIP: [u8; 4] = [203, 0, 113, 10];
const BACKEND: [u8; 4] = [10, 0, 2, 11];
const SNAT: [u8; 4] = [10, 0, 2, 1];
const SYN: u8 = 2;
const ACK: u8 = 16;

fn words(mac: [u8; 6]) -> [u16; 3] {
    let [a, b, c, d, e, f] = mac;
    [[a, b], [c, d], [e, f]].map(u16::from_ne_bytes)
}

/// One virtual server in `mode` on port 80, one backend on port 8080 (NAT modes) behind INSIDE.
fn memory(mode: Mode) -> Memory {
    let mut memory = Memory::default();
    for (slot, ifindex) in [OUTSIDE, INSIDE].into_iter().enumerate() {
        let interface = Interface {
            slot: slot as u32,
            flags: interface::flags::ACTIVE | interface::flags::TX | interface::flags::NAT,
            mac: words(OUR_MAC),
            mtu: 1500,
            ..Interface::default()
        };
        memory.interfaces.insert(ifindex, interface);
    }
    memory.slots = vec![Slot::new(1)];
    let mut address = [0; 4];
    address[0] = u32::from_ne_bytes(BACKEND);
    memory.backends = vec![
        Backend::default(),
        Backend {
            address,
            destination_mac: words(BACKEND_MAC),
            source_mac: words(OUR_MAC),
            ifindex: INSIDE,
            mtu: 1500,
            port: 8080_u16.to_be(),
            flags: KEEPS_FLOWS,
            ..Backend::default()
        },
    ];
    memory.pools = vec![SnatPool {
        first: 0,
        count: 1,
        port_low: 20000,
        port_high: 20009,
    }];
    memory.snat_addresses = vec![[u32::from_ne_bytes(SNAT), 0, 0, 0]];
    let snat = AddressKey {
        address: u32::from_ne_bytes(SNAT),
    };
    memory.v4.ranges.insert(
        snat,
        PortRange {
            low: 20000,
            high: 20009,
        },
    );
    let vip = AddressKey {
        address: u32::from_ne_bytes(VIP),
    };
    memory.v4.addresses.insert(
        vip,
        VipAddress {
            interfaces: 3,
            answers: 3,
            group: 0,
        },
    );
    let key = VipKey {
        address: vip.address,
        service: service(80_u16.to_be(), 6),
    };
    let server = VirtualServer {
        table_size: 1,
        mode: mode as u8,
        affinity: Affinity::FiveTuple as u8,
        interfaces: 3,
        ..VirtualServer::default()
    };
    memory.v4.servers.insert(key, server);
    memory
}

/// A TCP packet with right checksums.
fn tcp(macs: ([u8; 6], [u8; 6]), from: ([u8; 4], u16), to: ([u8; 4], u16), flags: u8) -> Vec<u8> {
    let mut frame = [&macs.0[..], &macs.1[..], &[8, 0]].concat();
    let mut ip = vec![0x45, 0, 0, 40, 0, 1, 0x40, 0, 64, 6, 0, 0];
    ip.extend(from.0);
    ip.extend(to.0);
    let sum = checksum(&ip);
    ip[10..12].copy_from_slice(&sum);
    let mut tcp = [from.1.to_be_bytes(), to.1.to_be_bytes()].concat();
    tcp.extend([0, 0, 0, 1, 0, 0, 0, 2, 0x50, flags, 0x20, 0, 0, 0, 0, 0]);
    let sum = checksum(&[&from.0[..], &to.0[..], &[0, 6, 0, 20], &tcp].concat());
    tcp[16..18].copy_from_slice(&sum);
    frame.extend(ip);
    frame.extend(tcp);
    frame
}

fn checksum(bytes: &[u8]) -> [u8; 2] {
    let words = bytes
        .chunks(2)
        .map(|pair| u64::from(u16::from_ne_bytes([pair[0], pair[1]])));
    (!fold(words.sum())).to_ne_bytes()
}

fn from_client(flags: u8) -> Vec<u8> {
    tcp((OUR_MAC, CLIENT_MAC), (CLIENT, 40112), (VIP, 80), flags)
}

#[test]
fn l2_dsr_changes_nothing_but_macs() {
    let memory = memory(Mode::L2Dsr);
    let frame = from_client(SYN);
    let mut packet = Bytes::new(&frame);
    let verdict = Run::<true>(&memory).packet(OUTSIDE, &mut packet);
    let expected = Verdict {
        action: Action::Redirect,
        ifindex: INSIDE,
        reason: Reason::L2Dsr,
    };
    assert_eq!(verdict, expected);
    assert_eq!(packet.frame()[..6], BACKEND_MAC);
    assert_eq!(packet.frame()[12..], frame[12..]);
}

#[test]
fn full_nat_there_and_back_is_what_the_client_expects() {
    let mut memory = memory(Mode::FullNat);
    for server in memory.v4.servers.values_mut() {
        server.snat_pool = 0;
    }
    let run = Run::<true>(&memory);
    let mut packet = Bytes::new(&from_client(SYN));
    assert_eq!(run.packet(OUTSIDE, &mut packet).reason, Reason::FullNat);
    let port = u16::from_be_bytes([packet.frame()[34], packet.frame()[35]]);
    assert!((20000..=20009).contains(&port));
    let mut there = tcp((BACKEND_MAC, OUR_MAC), (SNAT, port), (BACKEND, 8080), SYN);
    one_hop_less(&mut there);
    assert_eq!(packet.frame(), there);

    let reply = tcp(
        (OUR_MAC, BACKEND_MAC),
        (BACKEND, 8080),
        (SNAT, port),
        SYN | ACK,
    );
    let mut packet = Bytes::new(&reply);
    let verdict = run.packet(INSIDE, &mut packet);
    assert_eq!(
        (verdict.reason, verdict.ifindex),
        (Reason::NatReply, OUTSIDE)
    );
    let mut back = tcp((CLIENT_MAC, OUR_MAC), (VIP, 80), (CLIENT, 40112), SYN | ACK);
    one_hop_less(&mut back);
    assert_eq!(packet.frame(), back);

    assert_eq!(
        memory.v4.established.borrow().len(),
        0,
        "half open: not established"
    );
    let mut packet = Bytes::new(&from_client(ACK));
    assert_eq!(run.packet(OUTSIDE, &mut packet).reason, Reason::FullNat);
    assert_eq!(memory.v4.established.borrow().len(), 2);
    assert_eq!(memory.v4.embryonic.borrow().len(), 0);
}

/// The TTL that a forwarded packet has, with its checksum.
fn one_hop_less(frame: &mut [u8]) {
    frame[22] -= 1;
    frame[24..26].copy_from_slice(&[0, 0]);
    let sum = checksum(&frame[14..34]);
    frame[24..26].copy_from_slice(&sum);
}

#[test]
fn the_read_only_run_says_the_same_and_writes_nothing() {
    for mode in Mode::ALL {
        let mut memory = memory(mode);
        for server in memory.v4.servers.values_mut() {
            server.snat_pool = 0;
            server.new_flow_interval = 1000;
            server.new_flow_burst = 5;
        }
        memory.slots[0] = Slot::changed(1, 1, true);
        let memory = memory;
        for flags in [SYN, ACK] {
            let mut packet = Bytes::new(&from_client(flags));
            let read = Run::<false>(&memory).packet(OUTSIDE, &mut packet);
            assert!(memory.v4.embryonic.borrow().is_empty());
            assert!(memory.v4.exceptions.borrow().is_empty());
            assert!(memory.v4.embryonic_exceptions.borrow().is_empty());
            assert_eq!(**memory.rate.borrow(), 0);
            let (read_bytes, mut packet) = (packet, Bytes::new(&from_client(flags)));
            let live = Run::<true>(&memory).packet(OUTSIDE, &mut packet);
            assert_eq!((read, read_bytes), (live, packet), "{mode:?} {flags}");
            memory.v4.embryonic.borrow_mut().clear();
            memory.v4.exceptions.borrow_mut().clear();
            memory.v4.embryonic_exceptions.borrow_mut().clear();
            **memory.rate.borrow_mut() = 0;
        }
    }
}

#[test]
fn tags_are_back_on_what_passes() {
    let memory = memory(Mode::L2Dsr);
    let plain = tcp((OUR_MAC, CLIENT_MAC), (CLIENT, 1), (VIP, 22), SYN);
    let tags = [0x88, 0xa8, 0, 5, 0x81, 0, 0, 7];
    let frame = [&plain[..12], &tags, &plain[12..]].concat();
    let mut packet = Bytes::new(&frame);
    let verdict = Run::<true>(&memory).packet(OUTSIDE, &mut packet);
    assert_eq!(verdict, Verdict::pass(Reason::PassNotOurs));
    assert_eq!(packet.frame(), frame);
}
