//! What a user would run instead, each on a router of its own.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::process::{Command, Stdio};

use anyhow::Result;

use super::router::{Router, Side};

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rival {
    /// A route to the VIP by way of a backend.
    Routing,
    /// nftables: destination translated.
    Dnat,
    /// nftables: destination and source translated.
    DnatSnat,
    /// The kernel's own balancer, translating.
    Ipvs,
}

impl Rival {
    /// All.
    pub const ALL: [Self; 4] = [Self::Routing, Self::Dnat, Self::DnatSnat, Self::Ipvs];

    /// The name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Routing => "kernel-routing",
            Self::Dnat => "nft-dnat",
            Self::DnatSnat => "nft-dnat-snat",
            Self::Ipvs => "ipvs-nat",
        }
    }

    /// Why it cannot be measured here.
    pub fn missing(self) -> Option<String> {
        let program = match self {
            Self::Routing => return None,
            Self::Dnat | Self::DnatSnat => "nft",
            Self::Ipvs => {
                let _ = quietly(Command::new("modprobe").arg("ip_vs"));
                if !std::path::Path::new("/proc/net/ip_vs").exists() {
                    return Some("the kernel has no IPVS".into());
                }
                "ipvsadm"
            }
        };
        (!installed(program)).then(|| format!("`{program}` is not installed"))
    }

    /// Whether destination addresses are translated, and source addresses.
    pub fn translates(self) -> (bool, bool) {
        (self != Self::Routing, self == Self::DnatSnat)
    }

    /// Sets it up for VIPs with port 80 and so many backends.
    pub fn set_up(self, router: &Router, vips: [IpAddr; 2], backends: u16) -> Result<()> {
        router.routes()?;
        for (vip, ipv6) in vips.into_iter().zip([false, true]) {
            let backend = |number| router.backend(Side::Right, number, ipv6);
            match self {
                Self::Routing => {
                    let gateway = backend(0);
                    router
                        .network
                        .ip(&format!("route add {vip} via {gateway}"))?;
                }
                Self::Dnat | Self::DnatSnat => {
                    let own = router.own(Side::Right, ipv6);
                    let snat = (self == Self::DnatSnat).then_some(own);
                    let backends: Vec<_> = (0..backends).map(backend).collect();
                    let rules = rules(vip, &backends, snat);
                    router.network.feed("nft", &["-f", "-"], &rules)?;
                }
                Self::Ipvs => {
                    let shown = |address: IpAddr| match address {
                        IpAddr::V4(address) => format!("{address}:80"),
                        IpAddr::V6(address) => format!("[{address}]:80"),
                    };
                    let mut rules = String::new();
                    for protocol in ["-t", "-u"] {
                        let vip = shown(vip);
                        let _ = writeln!(rules, "-A {protocol} {vip} -s rr");
                        for number in 0..backends {
                            let backend = shown(backend(number));
                            let _ = writeln!(rules, "-a {protocol} {vip} -r {backend} -m");
                        }
                    }
                    router.network.ip(&format!("address add {vip} dev lo"))?;
                    router.network.feed("ipvsadm", &["-R"], &rules)?;
                }
            }
        }
        Ok(())
    }
}

/// A ruleset as an administrator would write it: backends by a hash of the client.
fn rules(vip: IpAddr, backends: &[IpAddr], snat: Option<IpAddr>) -> String {
    let ip = if vip.is_ipv6() { "ip6" } else { "ip" };
    let map: Vec<_> = backends
        .iter()
        .enumerate()
        .map(|(at, backend)| format!("{at} : {backend}"))
        .collect();
    let (count, map) = (backends.len(), map.join(", "));
    let mut text = format!(
        "table {ip} bench {{\n chain before {{\n  type nat hook prerouting priority dstnat;\n"
    );
    for protocol in ["tcp", "udp"] {
        let _ = writeln!(
            text,
            "  {ip} daddr {vip} {protocol} dport 80 dnat to jhash {ip} saddr . {protocol} sport mod {count} map {{ {map} }}"
        );
    }
    text += " }\n";
    if let Some(source) = snat {
        let _ = writeln!(
            text,
            " chain after {{\n  type nat hook postrouting priority srcnat;\n  oifname \"eth1\" snat to {source}\n }}"
        );
    }
    text + "}\n"
}

/// Whether a program can be started.
pub fn installed(program: &str) -> bool {
    quietly(Command::new(program).arg("-v"))
}

fn quietly(command: &mut Command) -> bool {
    let command = command.stdin(Stdio::null());
    let command = command.stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok()
}
