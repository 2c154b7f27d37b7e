//! Virtual servers, each for itself.

use std::collections::BTreeMap;
use std::net::IpAddr;

use forwarder_common::Mode;

use super::super::code::Code;
use super::super::diagnostic::{Diagnostic, Span, Spanned};
use super::super::model::{Affinity, ServicePort, VirtualServer};
use super::super::prefix::Prefix;
use super::super::schema;
use super::super::value::{List, Protocols};
use super::pool::Pools;
use super::view::{View, entries};

impl<'d> View<'d, '_> {
    /// One for each of its protocols.
    pub(super) fn virtual_servers(
        &mut self,
        section: &'d schema::VirtualServer,
        pools: &Pools<'d>,
    ) -> Option<Vec<VirtualServer>> {
        let server = self.virtual_server(section, pools)?;
        let protocols = section.protocol.as_ref()?.value.each();
        let [_, _] = protocols else {
            return Some(vec![server]);
        };
        let each = protocols.iter().map(|protocol| {
            let name = format!("{}/{protocol}", server.name);
            self.check_name_of_part(section, &name);
            VirtualServer {
                name,
                protocol: *protocol,
                ..server.clone()
            }
        });
        Some(each.collect())
    }

    fn check_name_of_part(&mut self, section: &'d schema::VirtualServer, part: &str) {
        let names = entries(&self.document.virtual_server);
        let names = names.iter().filter_map(|other| other.name.as_ref());
        let same = names.clone().find(|name| name.0 == part);
        if let (Some(same), Some(protocol)) = (same, &section.protocol) {
            let message = format!("protocol \"any\" makes a virtual server \"{part}\" too");
            self.out.push(
                Diagnostic::new(Code::DuplicateName, same.span, message)
                    .note(protocol.span, "here")
                    .help("give one of them another name"),
            );
        }
    }

    /// Its first protocol stands for all.
    fn virtual_server(
        &mut self,
        section: &'d schema::VirtualServer,
        pools: &Pools<'d>,
    ) -> Option<VirtualServer> {
        let address = self.pick(&section.address);
        if let Some(address) = address {
            self.check_address("a VIP", address.value, address.span);
            let by_node = section
                .address
                .as_ref()
                .is_some_and(|each| each.value.differs());
            self.check_own(address, section.port.as_ref(), by_node);
            self.check_prefixes(section, address.value);
        }
        self.check_mode_keys(section);
        let interfaces = self.served_at(section);
        let action = self.action(section, pools, address.map(|address| address.value));
        Some(VirtualServer {
            name: section.name.as_ref()?.0.clone(),
            address: address?.value,
            by_node: section.address.as_ref()?.value.differs(),
            port: section.port.as_ref()?.value,
            protocol: *section.protocol.as_ref()?.value.each().first()?,
            group: self.group_of(section)?,
            action: action?,
            affinity: section
                .affinity
                .as_ref()
                .map_or(Affinity::FiveTuple, |key| key.value),
            interfaces: interfaces?,
            allow: prefixes(&section.allow),
            deny: prefixes(&section.deny),
            new_flows_per_second: section.new_flows_per_second.as_ref().map(|key| key.0),
            idle_timeout: section.idle_timeout.as_ref().map(|key| key.value.0),
            idle_reset: section.idle_reset.as_ref().is_some_and(|key| key.value),
            mss_clamp: match &section.mss_clamp {
                Some(bytes) => Some(u16::try_from(bytes.0).ok()?),
                None => None,
            },
        })
    }

    /// A VIP may be an own address (in clouds it is a secondary address of the interface, which
    /// some distributions configure by themselves), but not with every port. One for each node is not meant
    /// to move.
    fn check_own(
        &mut self,
        vip: &Spanned<IpAddr>,
        port: Option<&Spanned<ServicePort>>,
        by_node: bool,
    ) {
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
            } else if by_node {
                continue;
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
        let idle_reset = section.idle_reset.as_ref().filter(|key| key.value);
        let idle_reset = idle_reset.map(|key| key.span);
        if mode.value == Mode::Local {
            let keys = [
                ("affinity", section.affinity.as_ref().map(|key| key.span)),
                ("allow", section.allow.as_ref().map(|key| key.span)),
                ("deny", section.deny.as_ref().map(|key| key.span)),
                (
                    "new_flows_per_second",
                    section.new_flows_per_second.as_ref().map(|key| key.span),
                ),
                (
                    "idle_timeout",
                    section.idle_timeout.as_ref().map(|key| key.span),
                ),
                ("idle_reset", idle_reset),
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
        let idle = section.idle_timeout.as_ref().map(|key| key.span);
        for (key, at) in [("idle_timeout", idle), ("idle_reset", idle_reset)] {
            if let Some(at) = at
                && matches!(mode.value, Mode::L2Dsr | Mode::IpipDsr | Mode::GueDsr)
            {
                let message = format!("{key} has no meaning in mode {}", mode.name());
                self.out
                    .push(Diagnostic::new(Code::KeyNotForMode, at, message).note(
                        mode.span,
                        "this mode remembers no flows that could be forgotten",
                    ));
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
            .is_some_and(|p| p.value == Protocols::Udp)
        {
            self.push(
                Code::MssClampWithoutTcp,
                at,
                "mss_clamp has no meaning for udp",
            );
        }
    }
}

pub(super) fn family(address: IpAddr) -> &'static str {
    if address.is_ipv4() { "IPv4" } else { "IPv6" }
}

fn prefixes(list: &Option<Spanned<List<Prefix>>>) -> Vec<Prefix> {
    list.iter()
        .flat_map(|list| &list.value.0)
        .map(|prefix| prefix.value)
        .collect()
}
