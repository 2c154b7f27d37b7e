//! What the operator ought to know about a compilation.

use std::net::IpAddr;

use serde::Serialize;
use thiserror::Error;

/// Something that works less than the file asks for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Error)]
#[serde(tag = "note", rename_all = "kebab-case")]
pub enum Note {
    /// The host has no such device.
    #[error("interface {interface}: the host has no device {device}")]
    NoDevice {
        /// Interface.
        interface: String,
        /// Device.
        device: String,
    },
    /// The device is down.
    #[error("interface {interface}: {device} is down")]
    Down {
        /// Interface.
        interface: String,
        /// Device.
        device: String,
    },
    /// The device is up, and at the other end of its cable is nobody.
    #[error("interface {interface}: {device} has no carrier")]
    NoCarrier {
        /// Interface.
        interface: String,
        /// Device.
        device: String,
    },
    /// A virtual server on an interface without an address of the VIP's family.
    #[error(
        "virtual server {virtual_server}: interface {interface} has no address of the VIP's family"
    )]
    NoOwnAddress {
        /// Virtual server.
        virtual_server: String,
        /// Interface.
        interface: String,
    },
    /// No interface leads to the backend.
    #[error("pool {pool}: no interface leads to backend {address}")]
    NoWay {
        /// Pool.
        pool: String,
        /// Backend.
        address: IpAddr,
    },
    /// The next hop's MAC address is not known (yet).
    #[error("pool {pool}: backend {address}: next hop {neighbour} on {interface} is not resolved")]
    Unresolved {
        /// Pool.
        pool: String,
        /// Backend.
        address: IpAddr,
        /// Next hop.
        neighbour: IpAddr,
        /// Egress interface.
        interface: String,
    },
    /// The pool has backends, but none takes flows.
    #[error("pool {pool}: no backend takes new flows")]
    NoBackend {
        /// Pool.
        pool: String,
    },
    /// Hosts behind an interface open connections, but the kernel tells it no routes.
    #[error(
        "egress {source_prefix}: packets that come in by {interface} pass, the kernel tells {device} no routes: \
         sysctl -w net.{family}.conf.{}.forwarding=1",
        // sysctl's way of writing a name with a dot.
        device.replace('.', "/")
    )]
    NotForwarding {
        /// The rule's source.
        source_prefix: String,
        /// Interface.
        interface: String,
        /// Device.
        device: String,
        /// `ipv4` or `ipv6`.
        family: &'static str,
    },
    /// Something did not fit into a map.
    #[error("{what} {name}: no room left; {limit}")]
    NoRoom {
        /// The kind of thing.
        what: &'static str,
        /// Its name.
        name: String,
        /// What to do.
        limit: &'static str,
    },
    /// Tables are smaller than they would be, because there are so many.
    #[error("lookup tables are 1/{} of their usual size to fit limits.table_slots", 1u32 << shift)]
    SmallTables {
        /// Bits taken off.
        shift: u32,
    },
}
