//! Classic BPF programs for sockets: what the kernel is to hand over.

use std::collections::BTreeSet;
use std::net::IpAddr;

use socket2::SockFilter;

const LOAD_WORD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
const LOAD_BYTE: u16 = (libc::BPF_LD | libc::BPF_B | libc::BPF_ABS) as u16;
const LOAD_BYTE_INDEXED: u16 = (libc::BPF_LD | libc::BPF_B | libc::BPF_IND) as u16;
const LOAD_HEADER_LENGTH: u16 = (libc::BPF_LDX | libc::BPF_B | libc::BPF_MSH) as u16;
const SHIFT_RIGHT: u16 = (libc::BPF_ALU | libc::BPF_RSH | libc::BPF_K) as u16;
const IF_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;

const ALL: u32 = u32::MAX;
/// Comparisons at most: the kernel gives filters little room.
const COMPARED: usize = 256;

fn step(code: u16, value: u32) -> SockFilter {
    SockFilter::new(code, 0, 0, value)
}

/// Goes on with the next instruction if it is equal, else leaves out so many.
fn unless_equal_skip(value: u32, skip: u8) -> SockFilter {
    SockFilter::new(IF_EQUAL, 0, skip, value)
}

/// Nothing at all.
pub fn nothing() -> [SockFilter; 1] {
    [step(RETURN, 0)]
}

/// IPv4 packets, from the IP header on: from these addresses, and the errors of ICMP.
pub fn from4(addresses: &BTreeSet<IpAddr>) -> Vec<SockFilter> {
    let words = addresses.iter().filter_map(|address| match address {
        IpAddr::V4(address) => Some(address.to_bits()),
        IpAddr::V6(_) => None,
    });
    let mut program = vec![
        step(LOAD_BYTE, 9),
        unless_equal_skip(1, 6),
        step(LOAD_HEADER_LENGTH, 0),
        step(LOAD_BYTE_INDEXED, 0),
        unless_equal_skip(3, 1),
        step(RETURN, ALL),
        unless_equal_skip(11, 1),
        step(RETURN, ALL),
        step(LOAD_WORD, 12),
    ];
    compare(&mut program, words.collect());
    program
}

/// The same for IPv6; of addresses the last 32 bits are compared.
pub fn from6(addresses: &BTreeSet<IpAddr>) -> Vec<SockFilter> {
    let words = addresses.iter().filter_map(|address| match address {
        IpAddr::V4(_) => None,
        IpAddr::V6(address) => Some(address.to_bits() as u32),
    });
    let mut program = vec![
        step(LOAD_BYTE, 6),
        unless_equal_skip(58, 5),
        step(LOAD_BYTE, 40),
        unless_equal_skip(1, 1),
        step(RETURN, ALL),
        unless_equal_skip(3, 1),
        step(RETURN, ALL),
        step(LOAD_WORD, 20),
    ];
    compare(&mut program, words.collect());
    program
}

/// Takes packets whose loaded word is one of these. Of very many only the first bits are compared, which
/// lets some others in: whose they are is looked up anyway.
fn compare(program: &mut Vec<SockFilter>, words: BTreeSet<u32>) {
    let mut shift = 0;
    let mut words = words;
    while words.len() > COMPARED {
        words = words.iter().map(|word| word >> 1).collect();
        shift += 1;
    }
    program.push(step(SHIFT_RIGHT, shift));
    for word in words {
        program.extend([unless_equal_skip(word, 1), step(RETURN, ALL)]);
    }
    program.push(step(RETURN, 0));
}
