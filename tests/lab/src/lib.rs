//! A small network for the demo and the end-to-end tests: hosts are network namespaces joined by
//! veth pairs and bridges, servers and clients are threads with real sockets, and the forwarder is
//! the real binary. Nothing touches the namespace the caller is in.
//!
//! Every lab has names of its own (`fwd-PID-N-…`), removes itself when dropped and on SIGINT or
//! SIGTERM, and the next lab on the machine removes what a killed one left behind.

#![expect(
    clippy::disallowed_methods,
    reason = "real time, real threads: the rules are for the daemon"
)]

pub mod azure;
mod bpffs;
pub mod certificate;
pub mod client;
pub mod cloud;
mod device;
mod forwarder;
mod iproute;
pub mod json_schema;
mod lab;
mod leftovers;
mod namespace;
pub mod nodes;
pub mod pattern;
pub mod pinned;
mod process;
pub mod program;
mod received;
mod relay;
pub mod server;
pub mod site;
mod switch;
pub mod tls;
mod traffic;
mod usage;
mod user;
mod wait;
mod xdp_pass;

pub use bpffs::BpfFs;
pub use forwarder::{Forwarder, decapsulate, has_xdp};
pub use lab::Lab;
pub use leftovers::{is_interrupted, note_signals};
pub use namespace::Namespace;
pub use nodes::Nodes;
pub use pinned::Pinned;
pub use process::Process;
pub use received::Received;
pub use relay::{Disturbance, Relay};
pub use site::{Family, Site};
pub use switch::{End, Segment};
pub use traffic::{Tally, Traffic};
pub use usage::Usage;
pub use user::{copy_program, run_as};
pub use wait::wait_until;
pub use xdp_pass::{displace, take_off};
