//! What the benchmark's wrapper program is told: which packet, and how it varies from run to run.

use crate::abi::abi;

/// MAC address of everybody who sends or receives while whole chains are measured.
pub const SINK_MAC: [u8; 6] = [2, 0, 0, 0, 0x51, 0x4b];
/// Words of the first packet that the sink keeps, in lines.
pub const SINK_LINES: usize = 3;
/// As [`SINK_LINES`]: words of a line.
pub const SINK_WORDS: usize = 12;

/// Words of a frame behind its Ethernet header that are put back before each run: more than IPv6, TCP and
/// an MSS option take. IPv4 frames have the first [`WORDS4`] of them.
pub const WORDS6: usize = 16;
/// As [`WORDS6`]: IPv4, TCP and an MSS option.
pub const WORDS4: usize = 11;
/// Ports of a flow number: its lowest bits.
pub const PORT_BITS: u32 = 14;

abi! {
    /// A frame, and what of it follows the number of the flow.
    ///
    /// The flow with number `n` has `n & 0x3fff` added into a port and the rest into an address, by
    /// exclusive or: where those bits are zero in the frame, flows never meet.
    pub struct Template {
        /// Destination and source MAC.
        pub macs: [u32; 3],
        /// EtherType in wire order, low 16 bits.
        pub ethertype: u32,
        /// What follows.
        pub words: [u32; WORDS6],
        /// Length of the frame, bytes.
        pub length: u32,
        /// How many flows there are.
        pub flows: u32,
        /// From one flow's number to the next one's, modulo `flows`: coprime to it, so that every flow
        /// has its turn once; large, so that no cache guesses which.
        pub step: u32,
        /// Number of the next flow.
        pub next: u32,
        /// All ones where the source address follows the number's high bits, else zero.
        pub source: u32,
        /// The same for the destination address.
        pub destination: u32,
        /// Bits of the destination address that follow the number itself, wire order.
        pub destination_number: u32,
        /// Bits of the ports word that follow the number's low bits: one port, or none.
        pub ports: u32,
        /// What the generator answers: `XDP_TX` sends the packet, `XDP_DROP` shows what making it costs.
        pub action: u32,
    }

    /// What the sink is told and tells.
    pub struct Sink {
        /// Packets that came for [`SINK_MAC`], by IPv4 or IPv6.
        pub packets: u64,
        /// Index of the device where each packet is sent back, addresses and ports exchanged; 0: nowhere.
        pub reflect: u32,
        /// Length of the first packet, bytes; 0: none came yet.
        pub length: u32,
        /// The first packet's beginning.
        pub frame: [[u32; SINK_WORDS]; SINK_LINES],
    }
}
