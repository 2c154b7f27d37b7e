//! The network of the cloud: hosts send to whoever has an address there, whatever ARP says.

use std::net::IpAddr;
use std::process::Command;

use anyhow::{Result, ensure};

/// Nobody has this MAC address.
const NOBODY: &str = "02:00:00:00:00:fe";

/// A host, by the name of its namespace, with its device in a subnet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    pub host: String,
    pub device: String,
}

/// From now on these hosts send to an address by this MAC address.
pub fn move_address(ports: &[Port], address: IpAddr, mac: Option<&str>) -> Result<()> {
    for Port { host, device } in ports {
        let mac = mac.unwrap_or(NOBODY);
        let words = [
            "-n",
            host,
            "neighbour",
            "replace",
            &address.to_string(),
            "lladdr",
            mac,
            "dev",
            device,
        ];
        let done = Command::new("ip")
            .args(words)
            .args(["nud", "permanent"])
            .status()?;
        ensure!(done.success(), "ip {words:?} fails");
    }
    Ok(())
}

/// From now on these hosts send what is for a destination to another address.
pub fn move_route(ports: &[Port], destination: &str, via: IpAddr) -> Result<()> {
    for Port { host, device } in ports {
        let family = if via.is_ipv4() { "-4" } else { "-6" };
        let via = via.to_string();
        let words = [
            family,
            "-n",
            host,
            "route",
            "replace",
            destination,
            "via",
            &via,
            "dev",
            device,
        ];
        let done = Command::new("ip").args(words).status()?;
        ensure!(done.success(), "ip {words:?} fails");
    }
    Ok(())
}
