//! Who takes which ports of which address.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::super::code::Code;
use super::super::diagnostic::{Diagnostic, Span, Spanned};
use super::super::model::{PortRange, ServicePort, Snat};
use super::super::value::Name;
use super::view::{View, entries};

/// Ports of an address, and who takes them.
struct Claim {
    ports: PortRange,
    span: Span,
    owner: String,
    automap: bool,
}

impl View<'_, '_> {
    /// Reads `automap` or the name of a SNAT pool.
    pub(super) fn snat(&mut self, name: &Spanned<Name>) -> Option<Snat> {
        if name.0 == "automap" {
            return Some(Snat::Automap);
        }
        let known = View::known(
            &self.snat_pool_names,
            name,
            Code::UnknownSnatPool,
            "SNAT pool",
            &mut Default::default(),
        );
        if known.is_some() {
            return Some(Snat::Pool(name.0.clone()));
        }
        // `automap` is as likely meant as a pool.
        let mut names: Vec<&str> = self.snat_pool_names.keys().copied().collect();
        names.push("automap");
        names.sort_unstable();
        let message = format!("there is no SNAT pool \"{}\"", name.0);
        let mut diagnostic = Diagnostic::new(Code::UnknownSnatPool, name.span, message)
            .expected("\"automap\" or the name of a SNAT pool");
        if !self.out.is_full()
            && let Some(near) = super::super::suggest::nearest(&name.0, names)
        {
            diagnostic = diagnostic.help(super::super::value::did_you_mean(near));
        }
        self.out.push(diagnostic);
        None
    }

    /// Whether a SNAT pool has an address of the family.
    pub(super) fn check_snat_family(&mut self, snat: &Snat, family_of: IpAddr, span: Span) {
        let Snat::Pool(name) = snat else { return };
        let Some(pool) = self.snat_pools.iter().find(|pool| pool.model.name == *name) else {
            return;
        };
        if !pool
            .addresses
            .iter()
            .any(|address| address.is_ipv4() == family_of.is_ipv4())
        {
            let family = if family_of.is_ipv4() { "IPv4" } else { "IPv6" };
            let message = format!("the SNAT pool \"{name}\" has no {family} address");
            let diagnostic = Diagnostic::new(Code::SnatFamily, span, message);
            self.out.push(match pool.addresses.first() {
                Some(first) => diagnostic.note(first.span, "its addresses are given here"),
                None => diagnostic,
            });
        }
    }

    /// Ports of one address are taken once, and never those of a virtual server or of this host.
    pub(super) fn check_snat_overlap(&mut self) {
        let own: BTreeMap<IpAddr, Span> = self.own_addresses().into_iter().collect();
        let mut claims: BTreeMap<IpAddr, Vec<Claim>> = BTreeMap::new();
        for pool in &self.snat_pools {
            for address in &pool.addresses {
                if let Some(host) = own.get(&address.value) {
                    let message = format!("{} is this host's own address", address.value);
                    self.out.push(
                        Diagnostic::new(Code::SnatIsHostAddress, address.span, message)
                            .note(*host, "the own address is given here")
                            .help("snat = \"automap\" takes own addresses, with the ports of [automap]"),
                    );
                    continue;
                }
                claims.entry(address.value).or_default().push(Claim {
                    ports: pool.model.ports.all,
                    span: address.span,
                    owner: format!("the SNAT pool \"{}\"", pool.model.name),
                    automap: false,
                });
            }
        }
        if let Some(ports) = self.automap_in_use() {
            let floating = self.interfaces.iter().flat_map(|each| each.floating);
            let floating = floating.map(|address| (address.value, address.span));
            for (address, span) in own.into_iter().chain(floating) {
                let owner = "automap".to_owned();
                let claim = Claim {
                    ports,
                    span,
                    owner,
                    automap: true,
                };
                claims.entry(address).or_default().push(claim);
            }
        }
        let services = self.services();
        for (address, mut list) in claims {
            list.sort_by_key(|claim| (claim.ports.low, claim.span));
            for pair in list.windows(2) {
                if let [one, other] = pair
                    && one.ports.overlaps(other.ports)
                {
                    let message = format!(
                        "{} and {} both take ports of {address}: {} and {}",
                        one.owner, other.owner, one.ports, other.ports
                    );
                    self.out.push(
                        Diagnostic::new(Code::OverlappingSnat, other.span, message)
                            .note(one.span, format!("{} is here", one.owner)),
                    );
                }
            }
            for claim in &list {
                self.check_claim(address, claim, services.get(&address));
            }
        }
    }

    /// Automap shares an own address with the host: the host's ports are not for it.
    pub(super) fn check_automap_ports(&mut self, ports: &Spanned<PortRange>) {
        // The kernel's default of net.ipv4.ip_local_port_range.
        let (low, high) = (ports.low.get(), ports.high.get());
        if low < 1024 {
            let message = format!(
                "automap can't take ports below 1024, and {ports} does",
                ports = ports.value
            );
            self.push(Code::AutomapSystemPorts, ports.span, message);
        } else if low <= 60_999 && high >= 32_768 {
            let message = format!("{} overlaps the host's own ports 32768-60999", ports.value);
            self.out.push(
                Diagnostic::new(Code::AutomapEphemeralPorts, ports.span, message).help(
                    "choose another range, or move net.ipv4.ip_local_port_range away from it",
                ),
            );
        }
    }

    fn check_claim(
        &mut self,
        address: IpAddr,
        claim: &Claim,
        services: Option<&Vec<(ServicePort, Span)>>,
    ) {
        let taken = services.into_iter().flatten().find(|(port, _)| match port {
            // A VIP with every port on an own address is an error already.
            ServicePort::Any => !claim.automap,
            ServicePort::One(port) => claim.ports.contains(*port),
        });
        if let Some((port, span)) = taken {
            let code = if claim.automap {
                Code::AutomapPortIsVip
            } else {
                Code::SnatPortIsVip
            };
            let message = format!(
                "{} takes ports {} of {address}, but a virtual server has its port {port}",
                claim.owner, claim.ports
            );
            self.out.push(
                Diagnostic::new(code, claim.span, message)
                    .note(*span, "the virtual server is here"),
            );
        }
    }

    /// Ports that automap takes, if anything uses it.
    fn automap_in_use(&self) -> Option<PortRange> {
        let servers = entries(&self.document.virtual_server)
            .iter()
            .map(|v| v.snat.as_ref());
        let rules = entries(&self.document.egress)
            .iter()
            .map(|rule| rule.snat.as_ref());
        let mut names = servers.chain(rules).flatten();
        let ports = self.document.automap.as_ref()?.ports.as_ref()?.value;
        names.any(|name| name.0 == "automap").then_some(ports)
    }

    /// What virtual servers have, by address.
    fn services(&mut self) -> BTreeMap<IpAddr, Vec<(ServicePort, Span)>> {
        let mut map: BTreeMap<IpAddr, Vec<(ServicePort, Span)>> = BTreeMap::new();
        for server in entries(&self.document.virtual_server) {
            if let (Some(address), Some(port)) = (self.pick(&server.address), &server.port) {
                map.entry(address.value)
                    .or_default()
                    .push((port.value, address.span));
            }
        }
        map
    }
}
