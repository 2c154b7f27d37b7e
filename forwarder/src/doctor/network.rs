//! Addresses, routes and neighbours, as the config file wants them.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::{Finding, Severity};
use crate::config::Model;
use crate::config::model::{Action, Interface, PortRange, Snat};

/// What the host has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Network {
    /// Own addresses: device, address, prefix length.
    pub addresses: Vec<(String, IpAddr, u8)>,
    /// For each own address of an interface with a gateway: by which device packets from it leave.
    pub leaves_by: Vec<(String, IpAddr, Option<String>)>,
    /// Next hops, with the devices, and whether they answer.
    pub next_hops: Vec<(String, IpAddr, bool)>,
    /// Backends without a next hop.
    pub unreachable: BTreeSet<IpAddr>,
    /// Devices that the kernel does not forward from: device, IPv6.
    pub not_forwarding: BTreeSet<(String, bool)>,
    /// The host's own source ports.
    pub local_ports: Option<(u16, u16)>,
    /// Ports of those that it leaves alone.
    pub reserved_ports: Vec<(u16, u16)>,
}

/// Everything there is to say.
pub fn findings(model: &Model, network: &Network) -> Vec<Finding> {
    let mut all = Vec::new();
    for interface in &model.interfaces {
        all.extend(own_addresses(interface, network));
        all.extend(policy_routes(interface, network));
    }
    all.extend(vips(model, network));
    all.extend(next_hops(network));
    all.extend(egress(model, network));
    all.extend(automap(model, network));
    all
}

fn own_addresses(interface: &Interface, network: &Network) -> Vec<Finding> {
    let has = |address: IpAddr| {
        let mut own = network.addresses.iter();
        own.any(|(device, own, _)| *device == interface.device && *own == address)
    };
    let mut all = Vec::new();
    for own in interface.addresses.iter().filter(|own| !has(own.address)) {
        let (address, length, device) = (own.address, own.subnet.length(), &interface.device);
        all.push(
            Finding::new(
                Severity::Error,
                device,
                "own-address",
                format!("it does not have {address}, which the file says is its own"),
            )
            .fix([format!("ip address add {address}/{length} dev {device}")]),
        );
    }
    all
}

/// Without a route by source address, what the host itself answers goes out of the wrong interface.
fn policy_routes(interface: &Interface, network: &Network) -> Vec<Finding> {
    let device = &interface.device;
    let mut all = Vec::new();
    let own = network.leaves_by.iter().filter(|(own, ..)| own == device);
    for (_, address, leaves) in own.filter(|(_, _, leaves)| leaves.as_ref() != Some(device)) {
        let by = leaves.as_deref().unwrap_or("no interface");
        let gateway: Option<IpAddr> = match address {
            IpAddr::V4(_) => interface.gateway4.map(IpAddr::V4),
            IpAddr::V6(_) => interface.gateway6.map(IpAddr::V6),
        };
        let Some(gateway) = gateway else { continue };
        let subnet = interface
            .addresses
            .iter()
            .find(|own| own.address == *address);
        let subnet = subnet.map(|own| own.subnet);
        let family = if address.is_ipv4() { 4 } else { 6 };
        let table = table_of(device);
        let on_link = subnet.map(|subnet| {
            format!("ip -{family} route replace {subnet} dev {device} table {table}")
        });
        all.push(
            Finding::new(
                Severity::Warning,
                device,
                "policy-route",
                format!("what the host itself sends from {address} leaves by {by}"),
            )
            .fix(on_link.into_iter().chain([
                format!(
                    "ip -{family} route replace default via {gateway} dev {device} table {table}"
                ),
                format!("ip -{family} rule add from {address} lookup {table}"),
            ])),
        );
    }
    all
}

/// A routing table's number of a device's own, the same every time.
fn table_of(device: &str) -> u32 {
    let sum = device
        .bytes()
        .fold(0_u32, |sum, byte| sum * 31 % 8999 + u32::from(byte));
    1000 + sum % 8999
}

fn vips(model: &Model, network: &Network) -> Vec<Finding> {
    let mut all = Vec::new();
    let mut said = BTreeSet::new();
    for server in &model.virtual_servers {
        if matches!(server.action, Action::Local) || !said.insert(server.address) {
            continue;
        }
        let has = network
            .addresses
            .iter()
            .find(|(_, own, _)| *own == server.address);
        let Some((device, address, length)) = has else {
            continue;
        };
        let (severity, why) = if model.pair.is_some() {
            (Severity::Error, "both nodes' kernels would answer for it")
        } else {
            (
                Severity::Warning,
                "its kernel resets flows that the data plane does not know",
            )
        };
        all.push(
            Finding::new(
                severity,
                device,
                "vip-on-host",
                format!(
                    "the host has the VIP {address} itself: {why}. A cloud's network scripts add secondary addresses \
                     by themselves: tell them not to"
                ),
            )
            .fix([format!("ip address delete {address}/{length} dev {device}")]),
        );
    }
    all
}

fn next_hops(network: &Network) -> Vec<Finding> {
    let hops = network.next_hops.iter().map(|(device, address, answers)| {
        if *answers {
            Finding::new(
                Severity::Ok,
                device,
                "next-hop",
                format!("{address} answers"),
            )
        } else {
            let asked = if address.is_ipv4() {
                "ARP"
            } else {
                "neighbour solicitations"
            };
            Finding::new(
                Severity::Error,
                device,
                "next-hop",
                format!("{address} does not answer {asked}: backends behind it get nothing"),
            )
        }
    });
    let lost = network.unreachable.iter().map(|backend| {
        Finding::new(
            Severity::Error,
            "routes",
            "next-hop",
            format!("no interface of the file leads to the backend {backend}"),
        )
    });
    hops.chain(lost).collect()
}

fn egress(model: &Model, network: &Network) -> Vec<Finding> {
    let mut all = Vec::new();
    for rule in &model.egress {
        let ipv6 = rule.source.address().is_ipv6();
        let family = if ipv6 { "ipv6" } else { "ipv4" };
        for interface in &model.interfaces {
            let behind = interface
                .addresses
                .iter()
                .any(|own| own.subnet.contains(rule.source.address()));
            let device = &interface.device;
            if behind && network.not_forwarding.contains(&(device.clone(), ipv6)) {
                all.push(
                    Finding::new(
                        Severity::Error,
                        device,
                        "forwarding",
                        format!(
                            "egress SNAT for {} needs the kernel to forward what comes in here",
                            rule.source
                        ),
                    )
                    .safe_fix([format!(
                        "sysctl -q -w net/{family}/conf/{device}/forwarding=1"
                    )]),
                );
            }
        }
    }
    all
}

/// The host must not open connections from ports that automap gives away.
fn automap(model: &Model, network: &Network) -> Option<Finding> {
    let uses = |snat: Option<&Snat>| matches!(snat, Some(Snat::Automap));
    let used = model
        .virtual_servers
        .iter()
        .any(|server| uses(server.action.snat()))
        || model.egress.iter().any(|rule| uses(Some(&rule.snat)));
    let (low, high) = network.local_ports?;
    if !used {
        return None;
    }
    let PortRange {
        low: first,
        high: last,
    } = model.automap_ports.all;
    let (first, last) = (first.get(), last.get());
    let mut shared = first.max(low)..=last.min(high);
    let reserved = |port: u16| {
        let mut reserved = network.reserved_ports.iter();
        reserved.any(|(low, high)| (*low..=*high).contains(&port))
    };
    Some(if shared.all(reserved) {
        Finding::new(
            Severity::Ok,
            "host",
            "local-ports",
            format!("automap's ports ({first}-{last}) are not the host's"),
        )
    } else {
        Finding::new(
            Severity::Error,
            "host",
            "local-ports",
            format!("the host opens connections from ports {low}-{high}, of which automap gives {first}-{last} away"),
        )
        // Those that were reserved stay so.
        .safe_fix([format!(
            "sysctl -q -w net.ipv4.ip_local_reserved_ports=\"$(sysctl -n net.ipv4.ip_local_reserved_ports | sed 's/..*/&,/'){first}-{last}\""
        )])
    })
}
