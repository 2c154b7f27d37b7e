//! Health checks.

use std::fmt::{self, Display, Formatter};
use std::net::IpAddr;
use std::num::NonZeroU16;
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

/// How one backend is checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BackendCheck {
    /// The name of the health check.
    pub health_check: String,
    /// The address that is asked; the other end of the tunnel for a check that goes through it.
    pub address: IpAddr,
    /// The port; `None`: the probe has none, or goes through the tunnel.
    pub port: Option<NonZeroU16>,
    /// What is asked through the tunnel, all of it each time; empty: the check goes to the address itself.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tunnelled: Vec<TunnelCheck>,
}

/// A service that is asked through a tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct TunnelCheck {
    /// The VIP.
    pub vip: IpAddr,
    /// The port; `None`: the probe has none.
    pub port: Option<NonZeroU16>,
    /// What is put around it.
    pub encapsulation: Encapsulation,
}

impl Display for TunnelCheck {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => write!(f, "{} port {port}", self.vip),
            None => self.vip.fmt(f),
        }
    }
}

/// What a tunnel puts around packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Encapsulation {
    /// An IP header.
    Ipip,
    /// IP and UDP headers, to this port.
    Gue(NonZeroU16),
}

impl Display for Encapsulation {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ipip => f.write_str("IPIP"),
            Self::Gue(port) => write!(f, "GUE (port {port})"),
        }
    }
}

/// How a pool's backends are checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HealthCheck {
    /// The name in the file.
    pub name: String,
    /// What is asked.
    pub probe: Probe,
    /// From the start of one check to the start of the next.
    pub interval: Duration,
    /// A check that takes longer has failed.
    pub timeout: Duration,
    /// Successes in a row that make a backend up.
    pub rise: u8,
    /// Failures in a row that make it down.
    pub fall: u8,
    /// A backend that keeps going down is held down for this long at most.
    pub max_hold: Duration,
}

/// What a health check asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum Probe {
    /// A TCP connection.
    Tcp {
        /// What is sent; empty: nothing.
        send: Payload,
        /// What the answer must hold; `None`: none is waited for.
        expect: Option<Payload>,
    },
    /// An HTTP GET.
    Http(HttpRequest),
    /// An HTTP GET over TLS.
    Https {
        /// The request.
        #[serde(flatten)]
        request: HttpRequest,
        /// Whom certificates must come from; `None`: they are not checked.
        ca_file: Option<PathBuf>,
    },
    /// A datagram.
    Udp {
        /// What is sent.
        send: Payload,
        /// What the answer must hold; `None`: it need not answer, only not refuse.
        expect: Option<Payload>,
    },
    /// An echo request.
    Icmp,
}

/// A GET, and what is a good answer to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HttpRequest {
    /// Path.
    pub path: String,
    /// Host header; `None`: the backend's address.
    pub host: Option<String>,
    /// Status codes that are good.
    pub status: Vec<StatusRange>,
    /// What the body must hold.
    pub expect: Option<Payload>,
}

/// Status codes, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct StatusRange {
    /// First.
    pub low: u16,
    /// Last.
    pub high: u16,
}

impl StatusRange {
    /// Whether the code is one of them.
    pub fn contains(self, code: u16) -> bool {
        (self.low..=self.high).contains(&code)
    }
}

/// Bytes of a check's question or answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Payload(pub Vec<u8>);

impl Display for Payload {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.escape_ascii())
    }
}

impl Serialize for Payload {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
