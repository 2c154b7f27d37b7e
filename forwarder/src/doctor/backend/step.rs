//! What has to be set on a backend, one thing at a time: how to see that it is, and the commands.
//!
//! Commands are for a shell where `DEVICE` is the interface with the backend's address and `MTU` its MTU.
//! Each may be run again and again.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::num::NonZeroU16;

use forwarder_common::Mode;

use super::facts::{Facts, answers};
use super::needs::Needs;
use crate::config::model::{Protocol, ServicePort};
use crate::doctor::{Finding, Severity};

/// Who takes packets out of their tunnels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TunnelEnd {
    /// `forwarder backend`.
    Xdp,
    /// The kernel's tunnel devices.
    Kernel,
}

/// One thing to set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// A word for programs.
    pub code: &'static str,
    /// What it is for.
    pub why: String,
    /// How to see that it is set.
    pub check: Check,
    /// What sets it; empty: only somebody who knows the host can.
    pub commands: Vec<String>,
    /// How bad it is when it is not.
    pub severity: Severity,
}

/// How to see that something is set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Check {
    /// The address is on loopback, alone in its prefix, and on no other device.
    OnLoopback(IpAddr),
    /// The larger of the settings of `all` and of the device is one of these (`net.ipv4.conf`).
    Setting {
        /// Name.
        name: &'static str,
        /// The device; `None`: the one with the backend's address.
        device: Option<&'static str>,
        /// Good values.
        good: &'static [u32],
    },
    /// The device is there and up.
    Up(&'static str),
    /// The kernel takes GUE at this port.
    Gue {
        /// UDP port.
        port: NonZeroU16,
        /// Over IPv6.
        ipv6: bool,
    },
    /// `forwarder backend` is attached to the device.
    Decapsulator,
    /// The MSS that default routes announce is at most what fits.
    Mss {
        /// Of IPv6 routes.
        ipv6: bool,
        /// Bytes of headers in and around the largest packet.
        headers: u32,
        /// A limit from the file.
        clamp: Option<u16>,
    },
    /// The default route leads to one of these.
    Gateway(BTreeSet<IpAddr>),
    /// Something listens.
    Listens {
        /// Protocol.
        protocol: Protocol,
        /// Destination of the packets.
        address: IpAddr,
        /// Port.
        port: NonZeroU16,
    },
}

/// Everything that one backend needs, in the order in which to set it.
pub fn steps(needs: &Needs, end: TunnelEnd) -> Vec<Step> {
    let mut steps = Vec::new();
    let vips = needs.vips();
    // First, so that nobody answers ARP for a VIP that has just been set.
    if vips.iter().any(IpAddr::is_ipv4) {
        steps.extend(no_arp());
    }
    steps.extend(vips.iter().map(|vip| on_loopback(*vip)));
    if vips.iter().any(IpAddr::is_ipv4) && (end == TunnelEnd::Xdp || needs.has(Mode::L2Dsr)) {
        steps.push(Step {
            code: "rp-filter",
            why: "Clients' packets are not refused where the route back is another interface's"
                .into(),
            check: Check::Setting {
                name: "rp_filter",
                device: None,
                good: &[0, 2],
            },
            commands: vec!["sysctl -q -w \"net/ipv4/conf/$DEVICE/rp_filter=2\"".into()],
            severity: Severity::Warning,
        });
    }
    if needs.tunnelled().next().is_some() {
        match end {
            TunnelEnd::Xdp => steps.push(decapsulator(needs)),
            TunnelEnd::Kernel => steps.extend(tunnel_devices(needs)),
        }
        steps.extend(segments(needs));
    }
    if needs.has(Mode::Dnat) {
        steps.push(gateway(needs));
    }
    steps.extend(listeners(needs));
    steps
}

fn no_arp() -> [Step; 2] {
    let step = |code, name, good, value, why: &str| Step {
        code,
        why: why.into(),
        check: Check::Setting {
            name,
            device: None,
            good,
        },
        commands: vec![format!("sysctl -q -w net.ipv4.conf.all.{name}={value}")],
        severity: Severity::Error,
    };
    [
        step(
            "arp-ignore",
            "arp_ignore",
            &[1, 2][..],
            1,
            "ARP for a VIP is the forwarder's to answer, not this host's",
        ),
        step(
            "arp-announce",
            "arp_announce",
            &[2][..],
            2,
            "This host's own ARP requests do not come from a VIP",
        ),
    ]
}

fn on_loopback(vip: IpAddr) -> Step {
    let (whole, nodad) = if vip.is_ipv4() {
        (32, "")
    } else {
        (128, " nodad")
    };
    Step {
        code: "vip",
        why: format!(
            "{vip} on loopback as /{whole}: with a shorter prefix the whole network would be local"
        ),
        check: Check::OnLoopback(vip),
        commands: vec![
            format!(
                "ip -oneline address show dev lo to {vip} | awk '$4 != \"{vip}/{whole}\" {{ print $4 }}' | \
                 while read -r wrong; do ip address delete \"$wrong\" dev lo; done"
            ),
            format!("ip address replace {vip}/{whole} dev lo{nodad}"),
        ],
        severity: Severity::Error,
    }
}

fn decapsulator(needs: &Needs) -> Step {
    Step {
        code: "tunnel-end",
        why: format!(
            "Tunnels end at `forwarder backend $DEVICE --gue-port {}`: keep it running, as a service",
            needs.gue_port
        ),
        check: Check::Decapsulator,
        commands: Vec::new(),
        severity: Severity::Error,
    }
}

/// The kernel's own tunnel devices, that take from any other end: one for each pair of families.
fn tunnel_devices(needs: &Needs) -> Vec<Step> {
    let over_ipv4 = needs.address.is_ipv4();
    let mut steps = Vec::new();
    if needs.has(Mode::GueDsr) {
        let (module, family) = if over_ipv4 {
            ("fou", "")
        } else {
            ("fou6", " -6")
        };
        let port = needs.gue_port;
        steps.push(Step {
            code: "gue-port",
            why: format!("The kernel takes GUE at UDP port {port}"),
            check: Check::Gue {
                port,
                ipv6: !over_ipv4,
            },
            commands: vec![
                format!("modprobe {module}"),
                format!(
                    "ip{family} fou show | grep -q 'port {port} gue' || ip{family} fou add port {port} gue"
                ),
            ],
            severity: Severity::Error,
        });
    }
    for ipv6 in [false, true] {
        if !needs.tunnelled().any(|each| each.vip.is_ipv6() == ipv6) {
            continue;
        }
        let (device, module, mode) = match (over_ipv4, ipv6) {
            (true, false) => ("tunl0", "ipip", None),
            (true, true) => ("sit0", "sit", None),
            (false, _) => (
                "ip6tnl0",
                "ip6_tunnel",
                Some("ip -6 tunnel change ip6tnl0 mode any".to_owned()),
            ),
        };
        let up = Step {
            code: "tunnel-end",
            why: format!("Packets come out of their tunnels at {device}"),
            check: Check::Up(device),
            commands: [format!("modprobe {module}")]
                .into_iter()
                .chain(mode)
                .chain([format!("ip link set {device} up")])
                .collect(),
            severity: Severity::Error,
        };
        if !steps.contains(&up) {
            steps.push(up);
        }
        if !ipv6 {
            steps.push(Step {
                code: "rp-filter",
                why: format!("{device} has no address, so packets out of tunnels pass no reverse-path filter at all"),
                check: Check::Setting {
                    name: "rp_filter",
                    device: Some(device),
                    good: &[0],
                },
                commands: vec![
                    "sysctl -q -w net.ipv4.conf.all.rp_filter=0".into(),
                    format!("sysctl -q -w net.ipv4.conf.{device}.rp_filter=0"),
                ],
                severity: Severity::Error,
            });
        }
    }
    steps
}

/// Direct answers do not pass the forwarder, so it can't lower the MSS that they announce.
fn segments(needs: &Needs) -> Vec<Step> {
    let outer = if needs.address.is_ipv4() { 20 } else { 40 };
    let mut steps = Vec::new();
    for ipv6 in [false, true] {
        let of_family: Vec<_> = needs
            .tunnelled()
            .filter(|each| each.vip.is_ipv6() == ipv6 && each.protocol == Protocol::Tcp)
            .collect();
        if of_family.is_empty() {
            continue;
        }
        let gue = of_family.iter().any(|each| each.mode == Mode::GueDsr);
        let clamp = of_family.iter().filter_map(|each| each.mss_clamp).min();
        let headers = outer + if gue { 8 } else { 0 } + if ipv6 { 60 } else { 40 };
        let family = if ipv6 { 6 } else { 4 };
        let mss = clamp.map_or_else(|| format!("$((MTU - {headers}))"), |mss| mss.to_string());
        steps.push(Step {
            code: "mss",
            why: format!("Clients send segments that fit into the tunnel (IPv{family})"),
            check: Check::Mss {
                ipv6,
                headers,
                clamp,
            },
            commands: vec![format!(
                "ip -{family} route show default | grep -v 'proto ra' | \
                 sed 's/ advmss [0-9]*//; s/ linkdown//' | \
                 while read -r route; do ip -{family} route change $route advmss {mss}; done"
            )],
            severity: Severity::Warning,
        });
    }
    steps
}

fn gateway(needs: &Needs) -> Step {
    let known: Vec<_> = needs.gateways.iter().map(ToString::to_string).collect();
    let to = if known.is_empty() {
        "the forwarder".to_owned()
    } else {
        known.join(" or ")
    };
    Step {
        code: "default-route",
        why: format!(
            "Replies of dnat go back through the forwarder: the default route leads to {to}"
        ),
        check: Check::Gateway(needs.gateways.clone()),
        // A wrong default route cuts people off.
        commands: Vec::new(),
        severity: Severity::Error,
    }
}

fn listeners(needs: &Needs) -> Vec<Step> {
    let mut steps = Vec::new();
    for service in &needs.services {
        let ServicePort::One(port) = service.port else {
            continue;
        };
        let (protocol, address) = (service.protocol, service.address);
        let step = Step {
            code: "listener",
            why: format!("Something answers at {protocol} {}", at(address, port)),
            check: Check::Listens {
                protocol,
                address,
                port,
            },
            commands: Vec::new(),
            severity: Severity::Warning,
        };
        if !steps.contains(&step) {
            steps.push(step);
        }
    }
    steps
}

fn at(address: IpAddr, port: NonZeroU16) -> std::net::SocketAddr {
    (address, port.get()).into()
}

/// What stands against a step; `None`: it is set.
pub fn missing(step: &Step, facts: &Facts) -> Option<String> {
    match &step.check {
        Check::OnLoopback(vip) => facts.against_vip(*vip),
        Check::Setting { name, device, good } => {
            let device = device.unwrap_or(&facts.device);
            let value = facts.setting(device, name);
            (!good.contains(&value)).then(|| format!("{name} of {device} is {value}"))
        }
        Check::Up(device) => {
            (!facts.up.contains(*device)).then(|| format!("there is no {device} that is up"))
        }
        Check::Gue { port, ipv6 } => (!facts.gue_ports.contains(&(*ipv6, port.get())))
            .then(|| format!("the kernel does not take GUE at UDP port {port}")),
        Check::Decapsulator => (!facts.decapsulator).then(|| {
            format!(
                "no tunnel ends on {}: `forwarder backend` does not run",
                facts.device
            )
        }),
        Check::Mss {
            ipv6,
            headers,
            clamp,
        } => {
            let fits = facts.mtu.saturating_sub(*headers);
            let most = clamp.map_or(fits, |clamp| fits.min(clamp.into()));
            let routes = facts
                .default_routes
                .iter()
                .filter(|route| route.ipv6 == *ipv6);
            let wide = routes
                .filter(|route| route.advmss.is_none_or(|mss| mss > most))
                .count();
            (wide > 0).then(|| format!("a default route announces an MSS of more than {most}"))
        }
        Check::Gateway(gateways) => {
            let found: Vec<_> = facts
                .default_routes
                .iter()
                .filter_map(|route| route.gateway)
                .collect();
            let unknown = gateways.is_empty();
            (!unknown && !found.iter().any(|gateway| gateways.contains(gateway)))
                .then(|| format!("the default route leads to {}", shown(&found)))
        }
        Check::Listens {
            protocol,
            address,
            port,
        } => (!facts.listens(*protocol, *address, port.get()))
            .then(|| format!("nothing listens at {protocol} {}", at(*address, *port))),
    }
}

fn shown(addresses: &[IpAddr]) -> String {
    if addresses.is_empty() {
        return "nobody".into();
    }
    let addresses: Vec<_> = addresses.iter().map(ToString::to_string).collect();
    addresses.join(" and ")
}

/// Every step judged.
pub fn findings(steps: &[Step], facts: &Facts) -> Vec<Finding> {
    let subject = || format!("backend {} ({})", facts.address, facts.device);
    let mut findings = Vec::new();
    for step in steps {
        let missing = match &step.check {
            Check::OnLoopback(vip) => {
                findings.extend(facts.elsewhere(*vip).map(|(device, length)| {
                    // Somebody may have come in by that address.
                    let fix = format!("ip address delete {vip}/{length} dev {device}");
                    let message = answers(device, *vip);
                    Finding::new(step.severity, subject(), step.code, message).fix([fix])
                }));
                facts.against_loopback(*vip)
            }
            _ => missing(step, facts),
        };
        findings.push(match missing {
            None => Finding::new(Severity::Ok, subject(), step.code, step.why.clone()),
            Some(missing) => {
                let fix = step.commands.iter().map(|command| {
                    let command = command.replace("$DEVICE", &facts.device);
                    command.replace("MTU", &facts.mtu.to_string())
                });
                let message = format!("{missing}. Wanted: {}", step.why);
                Finding::new(step.severity, subject(), step.code, message).safe_fix(fix)
            }
        });
    }
    findings
}
