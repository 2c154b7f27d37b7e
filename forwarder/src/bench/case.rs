//! What is timed, and what it has to do.

use std::net::IpAddr;

use forwarder_common::{Mode, Reason};

/// What runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// One of the programs to compare with, as it is.
    Bare(&'static str),
    /// The same behind the wrapper.
    Wrapped(&'static str),
    /// The packet path behind the wrapper.
    Path,
}

/// What of a packet follows the flow's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Varies {
    /// Source address and port: packets of clients.
    Source,
    /// Destination address and port: packets to clients, or to translated addresses.
    Destination,
    /// Source address and port, and which virtual server.
    Server,
}

/// What the packet has become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Becomes {
    /// Nothing is sent: the program's answer says it all.
    Nothing,
    /// The same but for MAC addresses.
    Switched,
    /// It stands behind an outer header of this many bytes.
    Tunnelled(usize),
    /// Its addresses are translated; these are known of source and destination.
    Translated(Option<IpAddr>, Option<IpAddr>),
    /// An answer to the sender, or what a program to compare with made of it.
    Answer,
}

/// A case.
#[derive(Clone, Debug)]
pub struct Case {
    /// `/`-separated: what, family, packet, bytes, flows.
    pub name: String,
    /// Which of the configurations.
    pub bed: usize,
    /// What runs.
    pub program: Program,
    /// Family of the wrapper.
    pub ipv6: bool,
    /// Packet of flow 0.
    pub frame: Vec<u8>,
    /// How many flows there are.
    pub flows: u32,
    /// How they differ.
    pub varies: Varies,
    /// The XDP action.
    pub action: u32,
    /// The reason that every single packet has to end in.
    pub reason: Option<Reason>,
    /// What it has to become.
    pub becomes: Becomes,
    /// Bits of the interface's flags that are switched for it.
    pub interface_flags: u32,
    /// Mode, for the table.
    pub mode: Option<Mode>,
    /// Every run makes something, so that a warm-up would be no warm-up.
    pub fresh: bool,
}
