//! The network of the cloud: hosts send to whoever has an address there, whatever ARP says.

use std::collections::BTreeMap;
use std::net::IpAddr;

use anyhow::Result;

use crate::iproute::ip_batch;

/// Nobody has this MAC address.
const NOBODY: &str = "02:00:00:00:00:fe";

/// A host, by the name of its namespace, with its device in a subnet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    pub host: String,
    pub device: String,
}

/// What hosts are told, all at once: many addresses may move by one call.
#[derive(Default)]
pub struct Moves(BTreeMap<(String, bool), String>);

impl Moves {
    /// From now on these hosts send to an address by this MAC address.
    pub fn address(&mut self, ports: &[Port], address: IpAddr, mac: Option<&str>) {
        let mac = mac.unwrap_or(NOBODY);
        for Port { host, device } in ports {
            let line =
                format!("neighbour replace {address} lladdr {mac} dev {device} nud permanent\n");
            self.add(host, address.is_ipv6(), &line);
        }
    }

    /// From now on these hosts send what is for a destination to another address.
    pub fn route(&mut self, ports: &[Port], destination: &str, via: IpAddr) {
        for Port { host, device } in ports {
            let line = format!("route replace {destination} via {via} dev {device}\n");
            self.add(host, via.is_ipv6(), &line);
        }
    }

    fn add(&mut self, host: &str, v6: bool, line: &str) {
        let lines = self.0.entry((host.to_owned(), v6)).or_default();
        lines.push_str(line);
    }

    /// Tells them.
    pub fn make(self) -> Result<()> {
        self.0.into_iter().try_for_each(|((host, v6), lines)| {
            let family = if v6 { "-6" } else { "-4" };
            ip_batch(&[family, "-n", &host], &lines)
        })
    }
}
