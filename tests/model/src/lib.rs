//! A plain model of the packet path (`docs/packet-path.md`), written apart from the data plane.
//!
//! It allocates freely and sums whole packets where the data plane updates checksums word by word. What
//! it shares with the data plane is the map ABI alone. Ports here are in host order, addresses are
//! [`std::net::IpAddr`].

pub mod build;
pub mod checksum;
mod icmp;
mod nat;
mod neighbour;
pub mod packet;
mod path;
mod peer;
pub mod tables;
mod too_big;
mod tunnel;
mod virtual_server;
pub mod wire;

pub use path::{Action, Charge, Environment, Fib, Model, Output};
pub use tables::{Flow, FragmentId, Hop, Pair, Tables, Tuple};
