//! NAT flows and SNAT ports.

use std::net::{IpAddr, SocketAddr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Count;

/// Query of `GET /v1/flows`. What is absent does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq, JsonSchema)]
pub struct FlowQuery {
    /// At one of the flow's ends.
    pub address: Option<IpAddr>,
    /// At one of the flow's ends.
    pub port: Option<u16>,
    /// `half-open`, `established` or `closing`.
    #[schemars(extend("enum" = Self::STATES))]
    pub state: Option<String>,
    /// Flows to show; absent: 100.
    #[schemars(range(min = 1, max = 10_000))]
    pub limit: Option<u32>,
    /// Count them all and show none.
    pub count: bool,
}

impl FlowQuery {
    /// The words that a query may have.
    pub const STATES: [&str; 3] = ["half-open", "established", "closing"];

    /// As it stands in an address, after the question mark.
    pub fn text(&self) -> String {
        let mut parts = Vec::new();
        parts.extend(self.address.map(|address| format!("address={address}")));
        parts.extend(self.port.map(|port| format!("port={port}")));
        parts.extend(self.state.as_ref().map(|state| format!("state={state}")));
        parts.extend(self.limit.map(|limit| format!("limit={limit}")));
        parts.extend(self.count.then(|| "count=true".to_owned()));
        parts.join("&")
    }

    /// Reads the part after the question mark.
    ///
    /// # Errors
    /// Says what cannot be read.
    pub fn read(text: &str) -> Result<Self, String> {
        let mut query = Self::default();
        for part in text.split('&').filter(|part| !part.is_empty()) {
            let (key, value) = part.split_once('=').unwrap_or((part, ""));
            // Colons are often written so; nothing else that is good needs it.
            let value = value.replace("%3A", ":").replace("%3a", ":");
            let bad = || format!("{key}: \"{value}\" is not what it takes");
            match key {
                "address" => query.address = Some(value.parse().map_err(|_| bad())?),
                "port" => query.port = Some(value.parse().map_err(|_| bad())?),
                "state" if Self::STATES.contains(&value.as_str()) => query.state = Some(value),
                "limit" => {
                    let limit = value
                        .parse()
                        .ok()
                        .filter(|limit| (1..=10_000).contains(limit));
                    query.limit = Some(limit.ok_or_else(bad)?);
                }
                "count" => query.count = value.parse().map_err(|_| bad())?,
                "state" => return Err(bad()),
                _ => return Err(format!("there is no {key} to ask for")),
            }
        }
        Ok(query)
    }
}

/// Answer to `GET /v1/flows`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Flows {
    /// How many there are, if that was asked for.
    pub count: Option<u64>,
    /// Whether there are more than are shown.
    pub more: bool,
    /// Flows in no order.
    pub flows: Vec<Flow>,
}

/// A NAT flow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Flow {
    /// The virtual server's name; an egress rule's: `egress`, its source and its interface.
    pub rule: String,
    /// `tcp` or `udp`.
    pub protocol: String,
    /// Who began it.
    pub client: SocketAddr,
    /// Whom it was sent to: the VIP.
    pub destination: SocketAddr,
    /// Where it seems to come from: the client, or a SNAT address.
    pub source: SocketAddr,
    /// Where it goes: the backend.
    pub to: SocketAddr,
    /// The pool, `/`, and the backend's address; `null`: egress.
    pub backend: Option<String>,
    /// `half-open`, `established` or `closing`.
    pub state: String,
    /// Seconds since a packet passed, about.
    pub idle_seconds: u64,
}

/// Answer to `GET /v1/snat`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Snat {
    /// SNAT pools, automap's among them.
    pub pools: Vec<SnatPool>,
    /// Packets dropped because no port was free.
    pub exhausted: Count,
}

/// The addresses of one family of a SNAT pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SnatPool {
    /// The name in the file; automap's: `automap` and the interface.
    pub name: String,
    /// `ipv4` or `ipv6`.
    pub family: String,
    /// Addresses.
    pub addresses: Vec<IpAddr>,
    /// First port that this node may take.
    pub port_low: u16,
    /// Last port that this node may take.
    pub port_high: u16,
    /// Ports over all addresses, for each protocol.
    pub ports: u64,
    /// Those that TCP flows had a few seconds ago.
    pub tcp_in_use: u64,
    /// Those that UDP flows had a few seconds ago.
    pub udp_in_use: u64,
    /// Packets dropped because no port of it was free.
    pub exhausted: Count,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_read_as_they_are_written() {
        let query = FlowQuery {
            address: "2001:db8::1".parse().ok(),
            port: Some(80),
            state: Some("closing".to_owned()),
            limit: Some(7),
            count: true,
        };
        assert_eq!(FlowQuery::read(&query.text()), Ok(query.clone()));
        let encoded = query.text().replace(':', "%3A");
        assert_eq!(FlowQuery::read(&encoded), Ok(query));
        assert_eq!(FlowQuery::read(""), Ok(FlowQuery::default()));
        for bad in [
            "port=99999",
            "limit=0",
            "limit=10001",
            "state=x",
            "address=a",
            "x=1",
            "count=2",
        ] {
            assert!(FlowQuery::read(bad).is_err(), "{bad}");
        }
    }
}
