//! One change of one map.

use std::fmt::{self, Display, Formatter};
use std::net::IpAddr;
use std::sync::Arc;

use forwarder_common::virtual_server::{AUTOMAP, NO_SNAT, backend_flags};
use forwarder_common::{
    Backend, Egress, Interface, Mode, PortRange, Slot, SnatPool, VipAddress, VirtualServer,
};
use serde::ser::{Serialize, SerializeStruct, Serializer};

use super::key::{Network, Source, Vip, from_word, from_words, mac_bytes, mac_text};

/// A change of one map element, or of one lookup table. `None` removes the element (zeroes it, in
/// an array).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// `INTERFACES`, and `DEVICES` with it.
    Interface {
        /// Kernel's interface index.
        ifindex: u32,
        /// New value.
        entry: Option<Interface>,
    },
    /// `VIPS4` or `VIPS6`.
    VirtualServer {
        /// Key.
        vip: Vip,
        /// New value.
        entry: Option<VirtualServer>,
    },
    /// `VIP_ADDRESSES4` or `VIP_ADDRESSES6`.
    VipAddress {
        /// Key.
        address: IpAddr,
        /// New value.
        entry: Option<VipAddress>,
    },
    /// A lookup table in `SLOTS`: each slot is one atomic store.
    Slots {
        /// First slot.
        base: u32,
        /// Every slot of the table.
        slots: Arc<[Slot]>,
        /// Those of them that differ from what is there, in order.
        changed: Arc<[u32]>,
    },
    /// Nothing points at this part of `SLOTS` any more; its content does not matter.
    FreeSlots {
        /// First slot.
        base: u32,
        /// Slots.
        size: u32,
    },
    /// `BACKENDS`.
    Backend {
        /// Index.
        index: u32,
        /// New value.
        entry: Option<Backend>,
    },
    /// `SNAT_POOLS`.
    SnatPool {
        /// Index.
        index: u32,
        /// New value.
        entry: Option<SnatPool>,
    },
    /// `SNAT_ADDRESSES`.
    SnatAddress {
        /// Index.
        index: u32,
        /// New value.
        entry: Option<[u32; 4]>,
    },
    /// `SNAT_RANGES4` or `SNAT_RANGES6`.
    SnatRange {
        /// Key.
        address: IpAddr,
        /// New value.
        entry: Option<PortRange>,
    },
    /// `ADMISSION4` or `ADMISSION6`.
    Admission {
        /// Key.
        source: Source,
        /// New value; true: allowed.
        entry: Option<bool>,
    },
    /// `EGRESS4` or `EGRESS6`.
    Egress {
        /// Key.
        network: Network,
        /// New value.
        entry: Option<Egress>,
    },
}

impl Op {
    /// Whether something is taken away.
    pub fn is_removal(&self) -> bool {
        self.value().is_none()
    }

    /// What is done.
    pub fn verb(&self) -> &'static str {
        if self.is_removal() { "remove" } else { "set" }
    }

    /// What kind of thing changes.
    pub fn table(&self) -> &'static str {
        match self {
            Op::Interface { .. } => "interface",
            Op::VirtualServer { .. } => "virtual server",
            Op::VipAddress { .. } => "VIP address",
            Op::Slots { .. } | Op::FreeSlots { .. } => "lookup table",
            Op::Backend { .. } => "backend",
            Op::SnatPool { .. } => "SNAT pool",
            Op::SnatAddress { .. } => "SNAT address",
            Op::SnatRange { .. } => "SNAT range",
            Op::Admission { .. } => "admission",
            Op::Egress { .. } => "egress",
        }
    }

    /// Which one, as people write it.
    pub fn key(&self) -> String {
        match self {
            Op::Interface { ifindex, .. } => ifindex.to_string(),
            Op::VirtualServer { vip, .. } => vip.to_string(),
            Op::VipAddress { address, .. } | Op::SnatRange { address, .. } => address.to_string(),
            Op::Slots { base, .. } | Op::FreeSlots { base, .. } => base.to_string(),
            Op::Backend { index, .. }
            | Op::SnatPool { index, .. }
            | Op::SnatAddress { index, .. } => index.to_string(),
            Op::Admission { source, .. } => {
                format!(
                    "{} {}/{}",
                    source.virtual_server, source.address, source.length
                )
            }
            Op::Egress { network, .. } => format!("{}/{}", network.address, network.length),
        }
    }

    /// The new value, as people write it; `None`: it is removed.
    pub fn value(&self) -> Option<String> {
        match self {
            Op::Interface { entry, .. } => entry.as_ref().map(interface),
            Op::VirtualServer { entry, .. } => entry.as_ref().map(virtual_server),
            Op::VipAddress { entry, .. } => entry.as_ref().map(|entry| {
                format!(
                    "interfaces {:#x}, answers {:#x}",
                    entry.interfaces, entry.answers
                )
            }),
            Op::Slots { slots, changed, .. } => {
                Some(format!("{} slots, {} changed", slots.len(), changed.len()))
            }
            Op::FreeSlots { .. } => None,
            Op::Backend { entry, .. } => entry.as_ref().map(backend),
            Op::SnatPool { entry, .. } => entry.as_ref().map(|pool| {
                let SnatPool {
                    first,
                    count,
                    port_low,
                    port_high,
                } = pool;
                format!("{count} addresses from {first}, ports {port_low}-{port_high}")
            }),
            Op::SnatAddress { entry, .. } => entry.map(address),
            Op::SnatRange { entry, .. } => entry
                .as_ref()
                .map(|range| format!("ports {}-{}", range.low, range.high)),
            Op::Admission { entry, .. } => {
                entry.map(|allowed| if allowed { "allow" } else { "deny" }.to_owned())
            }
            Op::Egress { entry, .. } => entry.as_ref().map(|entry| {
                format!(
                    "out of interface {}, SNAT {}",
                    entry.ifindex,
                    snat(entry.snat_pool)
                )
            }),
        }
    }
}

fn interface(entry: &Interface) -> String {
    let mac = mac_text(mac_bytes(entry.mac));
    format!(
        "slot {}, {mac}, MTU {}, flags {:#x}",
        entry.slot, entry.mtu, entry.flags
    )
}

fn virtual_server(entry: &VirtualServer) -> String {
    let mode = Mode::from_abi(entry.mode).map_or("?", Mode::name);
    let VirtualServer {
        id,
        table_base,
        table_size,
        ..
    } = entry;
    format!(
        "id {id}, {mode}, {table_size} slots from {table_base}, SNAT {}",
        snat(entry.snat_pool)
    )
}

fn snat(index: u32) -> String {
    match index {
        AUTOMAP => "automap".to_owned(),
        NO_SNAT => "none".to_owned(),
        index => format!("pool {index}"),
    }
}

fn address(words: [u32; 4]) -> String {
    if words[1..] == [0; 3] {
        from_word(words[0]).to_string()
    } else {
        from_words(words).to_string()
    }
}

fn backend(entry: &Backend) -> String {
    let address = if entry.flags & backend_flags::IPV6 != 0 {
        from_words(entry.address).to_string()
    } else {
        from_word(entry.address[0]).to_string()
    };
    let flows = if entry.flags & backend_flags::KEEPS_FLOWS != 0 {
        "keeps flows"
    } else if entry.flags & backend_flags::KEEPS_TCP != 0 {
        "keeps flows of TCP"
    } else {
        "no flows"
    };
    if entry.ifindex == 0 {
        return format!("{address}, {flows}, next hop unknown");
    }
    let mac = mac_text(mac_bytes(entry.destination_mac));
    format!(
        "{address}, {flows}, by {mac} on interface {}",
        entry.ifindex
    )
}

impl Display for Op {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.value() {
            Some(value) => write!(f, "set {} {}: {value}", self.table(), self.key()),
            None => write!(f, "remove {} {}", self.table(), self.key()),
        }
    }
}

impl Serialize for Op {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut op = serializer.serialize_struct("Op", 4)?;
        op.serialize_field("op", self.verb())?;
        op.serialize_field("table", self.table())?;
        op.serialize_field("key", &self.key())?;
        op.serialize_field("value", &self.value())?;
        op.end()
    }
}
