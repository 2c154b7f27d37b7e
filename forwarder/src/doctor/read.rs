//! Reading what is judged: from netlink, ethtool and `/proc`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use super::interface::Interface;
use super::network::Network;
use super::{Finding, Severity, cloud, machine, network};
use crate::config::model::InterfaceAddress;
use crate::config::{Model, Prefix};
use crate::core::allowance::Allowances;
use crate::core::key::mac_text;
use crate::core::next_hop::{attached, neighbours_wanted, next_hop};
use crate::dataplane::attach::{self, Query};
use crate::io::cloud::inspect;
use crate::io::ethtool;
use crate::io::netlink::{Link, Netlink};
use crate::io::sysctl;
use crate::node::host::Host;

/// How often, and how long apart, to look whether a next hop has answered: the kernel asks three times, a
/// second apart.
const LOOKS: (u32, Duration) = (35, Duration::from_millis(100));
/// Addresses far away, to see which way packets go; nothing is sent to them.
const FAR: [&str; 2] = ["192.88.99.1", "2001:db8:ffff:ffff::1"];

/// What is wrong with the host that is to forward; without a model, with each of its interfaces.
pub async fn forwarder(model: Option<&Model>) -> io::Result<Vec<Finding>> {
    let mut netlink = Netlink::open()?;
    let links = netlink.links()?;
    let mut all = machine::findings();
    let Some(model) = model else {
        let addresses = netlink.addresses()?;
        let with_address = |link: &&Link| addresses.iter().any(|own| own.ifindex == link.ifindex);
        let used: Vec<_> = links
            .iter()
            .filter(|link| link.mac.is_some())
            .filter(with_address)
            .collect();
        for link in &used {
            let mut findings = one(link, false, used.len()).findings();
            // Whether it is to be used at all, only a file says.
            for finding in findings.iter_mut().filter(|finding| finding.code == "xdp") {
                finding.severity = finding.severity.min(Severity::Note);
            }
            all.extend(findings);
        }
        all.extend(of_cloud(None, &used).await);
        return Ok(all);
    };
    for wanted in &model.interfaces {
        let Some(link) = links.iter().find(|link| link.name == wanted.device) else {
            if wanted.moves {
                // It is at the active node.
                continue;
            }
            let names: Vec<_> = links.iter().map(|link| link.name.as_str()).collect();
            let message = format!(
                "there is no such interface; the host has {}",
                names.join(", ")
            );
            all.push(Finding::new(
                Severity::Error,
                &wanted.device,
                "link",
                message,
            ));
            continue;
        };
        all.extend(one(link, wanted.allow_generic, model.interfaces.len()).findings());
    }
    let network = read_network(netlink, &links, model).await?;
    all.extend(network::findings(model, &network));
    let used = model.interfaces.iter().filter_map(|wanted| {
        let mut links = links.iter();
        links.find(|link| link.name == wanted.device)
    });
    let model = completed(model, &network);
    all.extend(of_cloud(Some(&model), &used.collect::<Vec<_>>()).await);
    Ok(all)
}

/// The model with what the devices have, where the file names no own addresses.
fn completed(model: &Model, network: &Network) -> Model {
    let mut model = model.clone();
    for interface in &mut model.interfaces {
        if interface.addresses.is_empty() {
            let own = network.addresses.iter();
            let own = own.filter(|(device, address, _)| {
                let local = matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local());
                *device == interface.device && !local
            });
            let own = own.filter_map(|(_, address, length)| {
                Some(InterfaceAddress {
                    address: *address,
                    subnet: Prefix::of(*address, *length)?,
                })
            });
            interface.addresses = own.collect();
        }
    }
    model
}

/// What the cloud is asked, where the file has one or a card is Amazon's.
async fn of_cloud(model: Option<&Model>, links: &[&Link]) -> Vec<Finding> {
    let section = model.and_then(|model| model.cloud.as_ref());
    let amazon = |link: &&&Link| ethtool::driver(&link.name).as_deref() == Some("ena");
    if section.is_none() && !links.iter().any(|link| amazon(&link)) {
        return Vec::new();
    }
    let macs = links
        .iter()
        .filter_map(|link| Some((link.name.clone(), mac_text(link.mac?))));
    let macs: BTreeMap<String, String> = macs.collect();
    let all: Vec<String> = macs.values().cloned().collect();
    let said = inspect::instance(section, &all).await;
    cloud::findings(model, &macs, &said)
}

fn one(link: &Link, allow_generic: bool, used: usize) -> Interface {
    let device = &link.name;
    Interface {
        facts: attach::Facts {
            link: link.clone(),
            driver: ethtool::driver(device).unwrap_or_else(|| "unknown driver".into()),
            features: Query::open().and_then(|mut query| query.of(link.ifindex)),
            program: link.xdp.and_then(|(_, id)| attach::program_name(id)),
            allow_generic,
            ours: false,
        },
        version: ethtool::driver_version(device),
        channels: ethtool::channels(device),
        offloads: ethtool::offloads(device),
        rp_filter: rp_filter(device),
        used,
        cpus: std::thread::available_parallelism().map_or(1, usize::from),
        allowances: Allowances::of(&ethtool::statistics(device)),
    }
}

fn rp_filter(device: &str) -> u32 {
    let of = |device: &str| {
        let text = fs::read_to_string(format!("/proc/sys/net/ipv4/conf/{device}/rp_filter"));
        text.ok()
            .and_then(|text| text.trim().parse().ok())
            .unwrap_or(0)
    };
    of("all").max(of(device))
}

async fn read_network(mut netlink: Netlink, links: &[Link], model: &Model) -> io::Result<Network> {
    let name = |ifindex: u32| {
        links
            .iter()
            .find(|link| link.ifindex == ifindex)
            .map(|link| link.name.clone())
    };
    let own = netlink.addresses()?.into_iter();
    let addresses = own
        .filter_map(|own| Some((name(own.ifindex)?, own.address, own.prefix_length)))
        .collect();
    let mut leaves_by = Vec::new();
    for interface in &model.interfaces {
        for own in interface
            .addresses
            .iter()
            .filter(|own| interface.has_gateway_for(own.address))
        {
            let far = FAR[usize::from(own.address.is_ipv6())]
                .parse()
                .map_err(io::Error::other)?;
            let route = netlink.route_from(far, own.address)?;
            leaves_by.push((
                interface.device.clone(),
                own.address,
                route.and_then(|route| name(route.ifindex)),
            ));
        }
    }
    let mut host = Host::read(netlink)?;
    let (next_hops, unreachable) = next_hops(&mut host, model).await?;
    let devices = model
        .interfaces
        .iter()
        .map(|interface| interface.device.clone());
    let not_forwarding =
        devices.flat_map(|device| [false, true].map(|ipv6| (device.clone(), ipv6)));
    Ok(Network {
        addresses,
        leaves_by,
        next_hops: next_hops
            .into_iter()
            .filter_map(|(ifindex, address, answers)| Some((name(ifindex)?, address, answers)))
            .collect(),
        unreachable,
        not_forwarding: not_forwarding
            .filter(|(device, ipv6)| !sysctl::forwards(device, *ipv6))
            .collect(),
        local_ports: ranges("ip_local_port_range").first().copied(),
        reserved_ports: ranges("ip_local_reserved_ports"),
    })
}

type NextHops = Vec<(u32, IpAddr, bool)>;

/// Asks those that the kernel does not know, and waits for them.
async fn next_hops(host: &mut Host, model: &Model) -> io::Result<(NextHops, BTreeSet<IpAddr>)> {
    let facts = host.peek(model);
    let interfaces = attached(model, &facts);
    let backends = || model.pools.iter().flat_map(|pool| &pool.backends);
    let lost = backends().filter(|backend| next_hop(&interfaces, &facts, backend).is_none());
    let lost = lost.map(|backend| backend.address).collect();
    let wanted = neighbours_wanted(model, &facts);
    let mut silent = wanted.clone();
    for look in 0..LOOKS.0 {
        let known = host.netlink.neighbours()?;
        silent.retain(|key| {
            !known
                .iter()
                .any(|each| (each.ifindex, each.address) == *key && each.mac.is_some())
        });
        if silent.is_empty() {
            break;
        }
        if look == 0 {
            for (ifindex, address) in &silent {
                // A link that is down has been found already.
                let _ = host.netlink.resolve(*ifindex, *address);
            }
        }
        tokio::time::sleep(LOOKS.1).await;
    }
    let hops = wanted
        .iter()
        .map(|(ifindex, address)| (*ifindex, *address, !silent.contains(&(*ifindex, *address))));
    Ok((hops.collect(), lost))
}

/// Ports as `/proc` has them: two with a tab between, or `8080,9000-9100`.
fn ranges(name: &str) -> Vec<(u16, u16)> {
    let text = fs::read_to_string(format!("/proc/sys/net/ipv4/{name}")).unwrap_or_default();
    let text = text.trim().replace('\t', "-");
    let range = |part: &str| {
        let (low, high) = part.split_once('-').unwrap_or((part, part));
        Some((low.parse().ok()?, high.parse().ok()?))
    };
    text.split(',').filter_map(range).collect()
}
