//! What goes over the socket.

mod change;
mod drops;
mod flow;
mod pair;
mod trace;

pub use change::{
    Change, ConfigRequest, Difference, Event, History, Op, OverrideRequest, RunningConfig,
};
pub use drops::{Dropped, Drops};
pub use flow::{Flow, FlowQuery, Flows, Snat, SnatPool};
pub use trace::{Stage, Step, Trace, TraceRequest};

pub use pair::{
    Group, LastWord, MIXED, PairAnswer, PairPath, PairRequest, PairStatus, Peer, RoleChange,
    WitnessStatus,
};

use std::collections::BTreeMap;
use std::net::IpAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Packets and bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Count {
    /// Packets.
    pub packets: u64,
    /// Bytes: whole frames as they came in.
    pub bytes: u64,
}

impl From<forwarder_common::Counter> for Count {
    fn from(counter: forwarder_common::Counter) -> Self {
        Self {
            packets: counter.packets,
            bytes: counter.bytes,
        }
    }
}

/// Answer to `GET /v1/status`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Status {
    /// The daemon's version.
    pub version: String,
    /// This node's name, where the file names nodes.
    pub node: Option<String>,
    /// The config file.
    pub config: String,
    /// SHA-256 of the text that is at work, as `sha256sum` shows it.
    pub config_hash: String,
    /// How often a configuration was put to work: 1 after the start.
    pub config_generation: u64,
    /// Why the last reload changed nothing; `null`: it went through.
    pub config_error: Option<String>,
    /// Seconds since the daemon started.
    pub uptime_seconds: u64,
    /// The pair; `null`: this node is on its own.
    pub pair: Option<PairStatus>,
    /// Ports that tell a load balancer in front whether this node is active, in the order of the file.
    pub probes: Vec<Probe>,
    /// Interfaces in the order of the file.
    pub interfaces: Vec<Interface>,
    /// Virtual servers in the order of the file.
    pub virtual_servers: Vec<VirtualServer>,
    /// Pools in the order of the file.
    pub pools: Vec<Pool>,
    /// What does not work at the moment; empty when all is well.
    pub problems: Vec<String>,
}

/// An interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Interface {
    /// The name in the file.
    pub name: String,
    /// The kernel's name.
    pub device: String,
    /// `native`, `generic` …; `null`: not attached.
    pub mode: Option<String>,
    /// Whether frames of several buffers are handled.
    pub frags: bool,
    /// The driver.
    pub driver: String,
    /// MAC address.
    pub mac: String,
    /// MTU, bytes.
    pub mtu: u32,
    /// Own addresses.
    pub addresses: Vec<IpAddr>,
    /// What became of the packets that came in by it; reasons without packets are left out.
    pub reasons: Vec<ReasonCount>,
}

/// How often packets ended in a reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReasonCount {
    /// The reason's name.
    pub reason: String,
    /// How often.
    #[serde(flatten)]
    pub count: Count,
}

/// A port that tells a load balancer in front whether this node is active.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Probe {
    /// The port.
    pub port: u16,
    /// `tcp` or `http`.
    pub protocol: String,
    /// Whether it can be connected to.
    pub open: bool,
    /// Why it cannot, though it ought to be.
    pub error: Option<String>,
    /// Probes that were told that the node is active.
    pub told_active: u64,
    /// Probes that were told that it is not (`http`).
    pub told_standby: u64,
    /// When the last one came, milliseconds since 1970; `null`: none did.
    pub last_at_milliseconds: Option<u64>,
    /// Where it came from.
    pub last_from: Option<IpAddr>,
}

/// A virtual server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct VirtualServer {
    /// The name in the file.
    pub name: String,
    /// VIP.
    pub address: IpAddr,
    /// Port; `any`: every port.
    pub port: String,
    /// `tcp` or `udp`.
    pub protocol: String,
    /// Mode.
    pub mode: String,
    /// Pool; `null` in mode local.
    pub pool: Option<String>,
    /// From clients.
    pub r#in: Count,
    /// To clients; in the DSR modes replies do not pass here.
    pub out: Count,
}

/// A pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Pool {
    /// The name in the file.
    pub name: String,
    /// Backends in the order of the file.
    pub backends: Vec<Backend>,
}

/// A backend.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Backend {
    /// The name in the file.
    pub name: String,
    /// Its address.
    pub address: IpAddr,
    /// Its port; `null`: the packet's.
    pub port: Option<u16>,
    /// Share of new flows.
    pub weight: u8,
    /// What the operator wants: `enabled`, `drained`, `disabled`.
    pub state: String,
    /// What differs from the file until the next reload: key and the file's value.
    pub overrides: BTreeMap<String, String>,
    /// `up`, `down`, `checking`, or `unchecked`.
    pub health: String,
    /// Why the last health check failed.
    pub health_error: Option<String>,
    /// More about its health; `null`: it is not checked.
    pub health_check: Option<Health>,
    /// The way to it; `null`: not resolved.
    pub next_hop: Option<NextHop>,
    /// To the backend.
    pub r#in: Count,
    /// From the backend (NAT modes).
    pub out: Count,
}

/// What health checks found out about a backend.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Health {
    /// The name of the health check.
    pub name: String,
    /// The address that is asked; the other end of the tunnel for a check that goes through it.
    pub address: IpAddr,
    /// The port; `null`: the check has none, or goes through the tunnel.
    pub port: Option<u16>,
    /// VIPs that are asked through the tunnel, each with its port if the check has one.
    pub tunnelled: Vec<String>,
    /// Why the backend is up, down or neither.
    pub reason: String,
    /// Seconds since that was found out.
    pub since_seconds: u64,
    /// How often that changed since the daemon started.
    pub changes: u64,
    /// How often it went down without having been up for long in between.
    pub flaps: u32,
    /// Seconds that it is still held down, whatever it answers; `null`: it is not.
    pub held_seconds: Option<u64>,
    /// The part of its weight that it has: less than 100 in slow start.
    pub share_percent: u8,
    /// How the last check ended: `passed`, `timeout` …; `null`: there was none.
    pub last_result: Option<String>,
    /// How long it took.
    pub last_duration_microseconds: Option<u64>,
    /// How many checks ended how.
    pub results: BTreeMap<String, u64>,
}

/// The way to a backend.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NextHop {
    /// The device it leaves by.
    pub device: String,
    /// MAC address.
    pub mac: String,
}

/// Body of every answer that is not a success.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Failure {
    /// What went wrong.
    pub error: String,
}
