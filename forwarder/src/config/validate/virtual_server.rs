//! Virtual servers, each for itself and with its pool.

use std::collections::BTreeMap;
use std::net::IpAddr;

use forwarder_common::Mode;

use super::super::code::Code;
use super::super::diagnostic::{Diagnostic, Span, Spanned};
use super::super::model::{Action, Affinity, Protocol, ServicePort, Snat, VirtualServer};
use super::super::prefix::Prefix;
use super::super::schema;
use super::super::value::List;
use super::pool::{Pool, Pools};
use super::view::{View, entries};

impl<'d> View<'d, '_> {
    pub(super) fn virtual_server(
        &mut self,
        section: &'d schema::VirtualServer,
        pools: &Pools<'d>,
    ) -> Option<VirtualServer> {
        let address = self.pick(&section.address);
        if let Some(address) = address {
            self.check_address("a VIP", address.value, address.span);
            self.check_own(address, section.port.as_ref());
            self.check_prefixes(section, address.value);
        }
        self.check_mode_keys(section);
        let interfaces = self.served_at(section);
        let action = self.action(section, pools, address.map(|address| address.value));
        Some(VirtualServer {
            name: section.name.as_ref()?.0.clone(),
            address: address?.value,
            port: section.port.as_ref()?.value,
            protocol: section.protocol.as_ref()?.value,
            action: action?,
            affinity: section
                .affinity
                .as_ref()
                .map_or(Affinity::FiveTuple, |key| key.value),
            interfaces: interfaces?,
            allow: prefixes(&section.allow),
            deny: prefixes(&section.deny),
            new_flows_per_second: section.new_flows_per_second.as_ref().map(|key| key.0),
            mss_clamp: match &section.mss_clamp {
                Some(bytes) => Some(u16::try_from(bytes.0).ok()?),
                None => None,
            },
        })
    }

    /// A VIP may be an own address (in clouds it is a secondary address of the interface, which
    /// some distributions configure by themselves), but not with every port.
    fn check_own(&mut self, vip: &Spanned<IpAddr>, port: Option<&Spanned<ServicePort>>) {
        let mut found = Vec::new();
        for interface in &self.interfaces {
            let name = &interface.model.name;
            if let Some(gateway) = interface.gateways.iter().find(|g| g.value == vip.value) {
                let message = format!("the VIP {} is the gateway of \"{name}\"", vip.value);
                found.push(
                    Diagnostic::new(Code::VipIsGateway, vip.span, message)
                        .note(gateway.span, "the gateway is given here"),
                );
            }
            let Some(own) = interface
                .addresses
                .iter()
                .find(|own| own.address == vip.value)
            else {
                continue;
            };
            let every_port = port.is_some_and(|port| port.value == ServicePort::Any);
            let diagnostic = if every_port {
                let message = format!(
                    "the VIP {} with every port is the own address of \"{name}\"",
                    vip.value
                );
                Diagnostic::new(Code::VipIsHostAddress, vip.span, message).help(
                    "name the ports, or use an address of its own: the way in by SSH would be lost",
                )
            } else {
                let message = format!("the VIP {} is the own address of \"{name}\"", vip.value);
                Diagnostic::new(Code::VipIsOwnAddress, vip.span, message)
                    .help("use an address of its own, or leave it out of the interface's addresses")
            };
            found.push(diagnostic.note(own.span, "the own address is given here"));
        }
        found
            .into_iter()
            .for_each(|diagnostic| self.out.push(diagnostic));
    }

    fn check_prefixes(&mut self, section: &'d schema::VirtualServer, vip: IpAddr) {
        let list = |key: &'d Option<Spanned<List<Prefix>>>| {
            key.as_ref().map_or([].as_slice(), |list| &list.value.0)
        };
        let (allow, deny) = (list(&section.allow), list(&section.deny));
        for prefix in allow.iter().chain(deny) {
            if prefix.address().is_ipv4() != vip.is_ipv4() {
                let message = format!("{} can't match a client of {vip}", prefix.value);
                self.out.push(
                    Diagnostic::new(Code::PrefixFamily, prefix.span, message)
                        .expected(format!("{} prefixes", family(vip))),
                );
            }
        }
        let allowed: BTreeMap<Prefix, Span> = allow.iter().map(|p| (p.value, p.span)).collect();
        for prefix in deny {
            if let Some(other) = allowed.get(&prefix.value) {
                let message = format!("{} is allowed and denied", prefix.value);
                self.out.push(
                    Diagnostic::new(Code::AllowAndDeny, prefix.span, message)
                        .note(*other, "allowed here"),
                );
            }
        }
    }

    fn served_at(&mut self, section: &'d schema::VirtualServer) -> Option<Vec<String>> {
        match &section.interfaces {
            Some(list) => {
                let names: Vec<_> = list
                    .value
                    .0
                    .iter()
                    .map(|name| self.interface_name(name))
                    .collect();
                names.into_iter().collect()
            }
            None => entries(&self.document.interface)
                .iter()
                .map(|interface| interface.name.as_ref().map(|name| name.0.clone()))
                .collect(),
        }
    }

    /// Keys that the mode or the protocol gives no meaning.
    fn check_mode_keys(&mut self, section: &'d schema::VirtualServer) {
        let Some(mode) = &section.mode else { return };
        let mss = section.mss_clamp.as_ref().map(|key| key.span);
        if mode.value == Mode::Local {
            let keys = [
                ("affinity", section.affinity.as_ref().map(|key| key.span)),
                ("allow", section.allow.as_ref().map(|key| key.span)),
                ("deny", section.deny.as_ref().map(|key| key.span)),
                (
                    "new_flows_per_second",
                    section.new_flows_per_second.as_ref().map(|key| key.span),
                ),
                ("mss_clamp", mss),
            ];
            for (key, given) in keys {
                if let Some(at) = given {
                    let message = format!("{key} has no meaning in mode local");
                    self.out.push(
                        Diagnostic::new(Code::KeyNotForMode, at, message)
                            .note(mode.span, "the host gets these packets untouched"),
                    );
                }
            }
        }
        let Some(at) = mss else { return };
        if mode.value == Mode::L2Dsr {
            let message = "mss_clamp has no meaning in mode l2-dsr";
            self.out.push(
                Diagnostic::new(Code::KeyNotForMode, at, message)
                    .note(mode.span, "this mode leaves the IP packet as it is"),
            );
        }
        if section
            .protocol
            .as_ref()
            .is_some_and(|p| p.value == Protocol::Udp)
        {
            self.push(
                Code::MssClampWithoutTcp,
                at,
                "mss_clamp has no meaning for udp",
            );
        }
    }

    fn action(
        &mut self,
        section: &'d schema::VirtualServer,
        pools: &Pools<'d>,
        vip: Option<IpAddr>,
    ) -> Option<Action> {
        let mode = section.mode.as_ref()?;
        let snat = self.server_snat(section, mode, vip);
        if mode.value == Mode::Local {
            if let Some(pool) = &section.pool {
                let message = "a local virtual server has no pool";
                self.out.push(
                    Diagnostic::new(Code::LocalWithPool, pool.span, message)
                        .note(mode.span, "the mode is given here")
                        .help("leave out the pool, or choose another mode"),
                );
            }
            return Some(Action::Local);
        }
        let Some(name) = &section.pool else {
            self.out.push(
                Diagnostic::new(
                    Code::PoolMissing,
                    mode.span,
                    format!("mode {} needs a pool", mode.name()),
                )
                .expected("pool = \"…\""),
            );
            return None;
        };
        View::known(&self.pool_names, name, Code::UnknownPool, "pool", self.out)?;
        if let Some(pool) = pools.get(&name.0) {
            self.check_family(section, mode, pool, vip);
            self.check_rewrite(section, mode, pool);
            self.check_reach(section, mode, pool);
        }
        let pool = name.0.clone();
        Some(match mode.value {
            Mode::L2Dsr => Action::L2Dsr { pool },
            Mode::IpipDsr => Action::IpipDsr { pool },
            Mode::GueDsr => Action::GueDsr { pool },
            Mode::Dnat => Action::Dnat { pool },
            Mode::FullNat => Action::FullNat { pool, snat: snat? },
            Mode::Local => Action::Local,
        })
    }

    fn server_snat(
        &mut self,
        section: &'d schema::VirtualServer,
        mode: &Spanned<Mode>,
        vip: Option<IpAddr>,
    ) -> Option<Snat> {
        match (&section.snat, mode.value) {
            (Some(name), Mode::FullNat) => {
                let snat = self.snat(name)?;
                if let Some(vip) = vip {
                    self.check_snat_family(&snat, vip, name.span);
                }
                Some(snat)
            }
            (None, Mode::FullNat) => {
                self.out.push(
                    Diagnostic::new(Code::SnatMissing, mode.span, "full-nat needs snat")
                        .expected("snat = \"automap\", or the name of a SNAT pool"),
                );
                None
            }
            (Some(name), other) => {
                let message = format!("mode {} does not change the source address", other.name());
                self.out.push(
                    Diagnostic::new(Code::SnatWithoutFullNat, name.span, message)
                        .note(mode.span, "the mode is given here")
                        .help("leave out snat, or write mode = \"full-nat\""),
                );
                None
            }
            (None, _) => None,
        }
    }

    fn check_family(
        &mut self,
        section: &'d schema::VirtualServer,
        mode: &Spanned<Mode>,
        pool: &Pool<'d>,
        vip: Option<IpAddr>,
    ) {
        let Some(vip) = vip else { return };
        let other = if vip.is_ipv4() { pool.ipv6 } else { pool.ipv4 };
        if matches!(mode.value, Mode::IpipDsr | Mode::GueDsr) {
            return;
        }
        if let (Some(backend), Some(address)) = (other, &section.address) {
            let message = format!(
                "the VIP is {}, the backend {} is {}",
                family(vip),
                backend.value,
                family(backend.value)
            );
            self.out.push(
                Diagnostic::new(Code::FamilyMix, address.span, message)
                    .note(backend.span, "the backend is here")
                    .help("only the tunnel modes, ipip-dsr and gue-dsr, carry one in the other"),
            );
        }
    }

    fn check_rewrite(
        &mut self,
        section: &'d schema::VirtualServer,
        mode: &Spanned<Mode>,
        pool: &Pool<'d>,
    ) {
        let Some(port) = &section.port else { return };
        let rewrites = matches!(mode.value, Mode::Dnat | Mode::FullNat);
        for given in &pool.ports {
            let diagnostic = match port.value {
                ServicePort::Any => Diagnostic::new(
                    Code::BackendPortForAnyPort,
                    given.span,
                    format!(
                        "the backend's port is {given}, but a virtual server takes every port",
                        given = given.value
                    ),
                )
                .help("leave out the backend's port: every packet keeps its own"),
                ServicePort::One(port) if !rewrites && given.value != port => Diagnostic::new(
                    Code::PortRewrite,
                    given.span,
                    format!(
                        "mode {} can't change port {port} to {}",
                        mode.name(),
                        given.value
                    ),
                )
                .help("leave out the backend's port, or choose dnat or full-nat"),
                ServicePort::One(_) => continue,
            };
            self.out
                .push(diagnostic.note(port.span, "the virtual server's port is given here"));
            return;
        }
    }

    /// What only the interfaces' addresses can tell.
    fn check_reach(
        &mut self,
        section: &'d schema::VirtualServer,
        mode: &Spanned<Mode>,
        pool: &Pool<'d>,
    ) {
        if mode.value == Mode::L2Dsr
            && let Some(backend) = pool.off_link
        {
            let message = format!("l2-dsr can't reach {} behind a router", backend.value);
            self.out.push(
                Diagnostic::new(Code::BackendNotOnLink, backend.span, message)
                    .note(mode.span, "the mode is given here")
                    .help("a tunnel mode, ipip-dsr or gue-dsr, crosses routers"),
            );
        }
        let needs_source = matches!(mode.value, Mode::IpipDsr | Mode::GueDsr)
            || section
                .snat
                .as_ref()
                .is_some_and(|snat| snat.0 == "automap");
        if needs_source
            && mode.value != Mode::L2Dsr
            && let Some(backend) = pool.no_source
        {
            let message = format!(
                "the interface towards {} has no {} address to send from",
                backend.value,
                family(backend.value)
            );
            self.out.push(
                Diagnostic::new(Code::NoWayOut, mode.span, message)
                    .note(backend.span, "the backend is here"),
            );
        }
    }
}

fn family(address: IpAddr) -> &'static str {
    if address.is_ipv4() { "IPv4" } else { "IPv6" }
}

fn prefixes(list: &Option<Spanned<List<Prefix>>>) -> Vec<Prefix> {
    list.iter()
        .flat_map(|list| &list.value.0)
        .map(|prefix| prefix.value)
        .collect()
}
