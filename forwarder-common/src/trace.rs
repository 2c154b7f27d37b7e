//! What a read-only run writes down: each stage with what it looked up and found.

use crate::abi::abi;

/// Entries that fit in one trace.
pub const ENTRIES: usize = 32;

abi! {
    /// One line of a trace.
    pub struct TraceEntry {
        /// A [`Stage`].
        pub stage: u32,
        /// What was found; its meaning is the stage's.
        pub value: u32,
        /// More of it.
        pub detail: u64,
    }

    /// The trace of one packet, written by the trace programs only.
    pub struct TraceLog {
        /// Entries written.
        pub length: u32,
        /// The [`crate::Reason`] the packet ended in.
        pub reason: u32,
        /// The entries, in order.
        pub entries: [TraceEntry; ENTRIES],
    }
}

macro_rules! stages {
    ($($variant:ident $name:literal $meaning:literal;)*) => {
        /// A stage of the packet path, as a trace names it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u32)]
        pub enum Stage {
            $(#[doc = $meaning] $variant,)*
        }

        impl Stage {
            /// Every stage, in ABI order.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The name in a trace.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

stages! {
    Interface "interface" "value: interface slot; detail: VLAN tags seen.";
    Parse "parse" "value: protocol; detail: ports in wire order.";
    Fragment "fragment" "value: 1 when the first fragment was found; detail: ports.";
    VirtualServer "virtual-server" "value: id; detail: mode.";
    NoVirtualServer "no-virtual-server" "value: service key that was looked up.";
    Admission "admission" "value: 1 admitted, 0 not.";
    Slot "slot" "value: slot index in the table; detail: the slot's word.";
    Exception "exception" "value: backend kept for an older flow.";
    Backend "backend" "value: backend index; detail: egress interface index, 0 when unresolved.";
    FlowHit "flow" "value: state bits; detail: backend index.";
    FlowMiss "no-flow" "value: protocol; detail: ports.";
    Snat "snat" "value: port taken, host order; detail: tries.";
    Mtu "mtu" "value: packet length; detail: largest that fits.";
    Transmit "transmit" "value: egress interface index; detail: 1 for XDP_TX.";
}
