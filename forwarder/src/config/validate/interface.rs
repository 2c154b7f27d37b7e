//! Interfaces, and which of them leads to an address.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::super::code::Code;
use super::super::diagnostic::{Diagnostic, Span, Spanned};
use super::super::model::{self, InterfaceAddress};
use super::super::schema;
use super::super::value::{Name, OneOrMany, is_link_local, unusable};
use super::limits;
use super::view::{View, entries};

/// An interface and where its parts are given.
pub(super) struct Interface<'d> {
    pub(super) model: model::Interface,
    pub(super) addresses: &'d [Spanned<InterfaceAddress>],
    pub(super) floating: &'d [Spanned<IpAddr>],
    pub(super) gateways: &'d [Spanned<IpAddr>],
    device_span: Span,
}

impl Interface<'_> {
    /// Whether the address is the broadcast address of one of its subnets.
    pub(super) fn is_broadcast(&self, address: IpAddr) -> bool {
        self.addresses
            .iter()
            .any(|own| own.subnet.broadcast() == Some(address))
    }

    /// Whether addresses are given, but none of this family.
    pub(super) fn lacks_family(&self, family_of: IpAddr) -> bool {
        !self.addresses.is_empty()
            && !self
                .addresses
                .iter()
                .any(|own| own.address.is_ipv4() == family_of.is_ipv4())
    }

    /// Whether a floating address is of this family.
    pub(super) fn floats(&self, family_of: IpAddr) -> bool {
        let mut floating = self.floating.iter();
        floating.any(|address| address.is_ipv4() == family_of.is_ipv4())
    }
}

/// How an address is reached.
pub(super) enum Route {
    /// By the interface of this position.
    Interface(usize),
    /// By none.
    None,
    /// By several alike.
    Ambiguous(Vec<String>),
    /// Only the host's own addresses and routes can tell.
    Unknown,
}

impl<'d> View<'d, '_> {
    /// Own addresses of this node that identify it, and where they are given.
    pub(super) fn own_addresses(&self) -> Vec<(IpAddr, Span)> {
        self.interfaces
            .iter()
            .flat_map(|interface| interface.addresses)
            .map(|own| (own.address, own.span))
            .filter(|(address, _)| !is_link_local(*address))
            .collect()
    }

    /// The same without those that move with their interface.
    pub(super) fn staying_addresses(&self) -> Vec<(IpAddr, Span)> {
        let staying = self.interfaces.iter().filter(|each| !each.model.moves);
        let own: Vec<Span> = staying
            .flat_map(|each| each.addresses)
            .map(|own| own.span)
            .collect();
        let mut all = self.own_addresses();
        all.retain(|(_, span)| own.contains(span));
        all
    }

    pub(super) fn build_interfaces(&mut self) -> Option<Vec<model::Interface>> {
        let sections = entries(&self.document.interface);
        if sections.is_empty() {
            self.out.push(
                Diagnostic::new(Code::NoInterface, Span::FILE, "there is no interface")
                    .expected("[[interface]] with name = \"outside\" and device = \"eth0\""),
            );
        }
        let mut complete = true;
        // More are an error of their own; the rest of the checks need not suffer from it.
        for section in sections.iter().take(limits::INTERFACES) {
            match self.interface(section) {
                Some(interface) => self.interfaces.push(interface),
                None => complete = false,
            }
        }
        self.check_devices();
        self.check_own_addresses();
        self.check_floating();
        complete.then(|| self.interfaces.iter().map(|i| i.model.clone()).collect())
    }

    fn interface(&mut self, section: &'d schema::Interface) -> Option<Interface<'d>> {
        let device = self.pick(&section.device);
        let transmit = self.pick(&section.transmit);
        let allow_generic = self.pick(&section.allow_generic);
        let addresses = list(self.pick(&section.address));
        let gateways = list(self.pick(&section.gateway));
        let floating = list(section.floating_address.as_ref());
        if let Some(extra) = addresses.get(limits::OWN_ADDRESSES) {
            let message = format!(
                "there are {} own addresses, the limit is {}",
                addresses.len(),
                limits::OWN_ADDRESSES
            );
            self.push(Code::TooManyAddresses, extra.span, message);
            return None;
        }
        let mut gateway4 = None;
        let mut gateway6 = None;
        for gateway in gateways {
            let twice = match gateway.value {
                IpAddr::V4(address) => gateway4.replace(address).is_some(),
                IpAddr::V6(address) => gateway6.replace(address).is_some(),
            };
            if twice {
                let message = "there is a second gateway of this family";
                self.push(Code::DuplicateGateway, gateway.span, message);
            }
            self.check_gateway(gateway, addresses);
        }
        let device = device?;
        let name = section.name.as_ref()?.0.clone();
        let cloud = self.document.cloud.iter();
        let mut moving = cloud.flat_map(|cloud| entries(&cloud.value.interface));
        let moves = moving.any(|each| each.interface.as_ref().is_some_and(|of| of.0 == name));
        Some(Interface {
            device_span: device.span,
            addresses,
            floating,
            gateways,
            model: model::Interface {
                name,
                device: device.0.clone(),
                transmit: transmit?.value,
                allow_generic: allow_generic?.value,
                moves,
                addresses: addresses.iter().map(|own| own.value).collect(),
                floating: floating.iter().map(|address| address.value).collect(),
                gateway4,
                gateway6,
            },
        })
    }

    fn check_gateway(&mut self, gateway: &Spanned<IpAddr>, own: &[Spanned<InterfaceAddress>]) {
        let address = gateway.value;
        if let Some(why) = unusable(address) {
            let message = format!("{address} can't be a gateway: it is {why}");
            self.push(Code::UnusableAddress, gateway.span, message);
            return;
        }
        if own.iter().any(|own| own.address == address) {
            let message = format!("{address} is this interface's own address");
            self.push(Code::GatewayIsHost, gateway.span, message);
        }
        let mut family = own
            .iter()
            .filter(|own| own.address.is_ipv4() == address.is_ipv4())
            .peekable();
        let reachable = address.is_ipv6() && is_link_local(address);
        if let Some(first) = family.peek().copied()
            && !reachable
            && !family.any(|own| own.subnet.contains(address))
        {
            let message = format!("the gateway {address} is in no subnet of the interface");
            self.out.push(
                Diagnostic::new(Code::GatewayOffLink, gateway.span, message)
                    .note(first.span, format!("the subnet here is {}", first.subnet)),
            );
        }
    }

    fn check_devices(&mut self) {
        let mut seen: BTreeMap<&str, Span> = BTreeMap::new();
        for interface in &self.interfaces {
            let span = interface.device_span;
            if let Some(first) = seen.insert(&interface.model.device, span) {
                let message = format!(
                    "the device {} belongs to two interfaces",
                    interface.model.device
                );
                self.out.push(
                    Diagnostic::new(Code::DuplicateDevice, span, message)
                        .note(first, "first given here"),
                );
            }
        }
    }

    fn check_own_addresses(&mut self) {
        let mut seen: BTreeMap<IpAddr, Span> = BTreeMap::new();
        let own: Vec<_> = self.interfaces.iter().flat_map(|i| i.addresses).collect();
        for own in own {
            // Link-local addresses may well repeat on another link.
            if let Some(why) = unusable(own.address) {
                let message = format!("{} can't be an own address: it is {why}", own.address);
                self.push(Code::UnusableAddress, own.span, message);
            } else if self.interfaces.iter().any(|i| i.is_broadcast(own.address)) {
                let message = format!(
                    "{} can't be an own address: it is a broadcast address",
                    own.address
                );
                self.push(Code::UnusableAddress, own.span, message);
            } else if !is_link_local(own.address)
                && let Some(first) = seen.insert(own.address, own.span)
            {
                let message = format!("{} is given twice", own.address);
                self.out.push(
                    Diagnostic::new(Code::DuplicateAddress, own.span, message)
                        .note(first, "first given here"),
                );
            }
        }
    }

    /// A floating address is nobody's own.
    fn check_floating(&mut self) {
        let own: BTreeMap<IpAddr, Span> = self.own_addresses().into_iter().collect();
        let mut seen = BTreeMap::new();
        let mut wrong = Vec::new();
        for interface in &self.interfaces {
            for floating in interface.floating {
                let address = floating.value;
                let gateway = interface.gateways.iter().find(|each| each.value == address);
                let subnets = interface.addresses;
                let why = if let Some(span) = own.get(&address) {
                    Some(("it is an own address of this node", Some(*span)))
                } else if let Some(gateway) = gateway {
                    Some(("it is the gateway", Some(gateway.span)))
                } else if let Some(first) = seen.insert(address, floating.span) {
                    Some(("it is given twice", Some(first)))
                } else if !subnets.is_empty() && !interface.model.is_on_link(address) {
                    Some(("it is in no subnet of the interface", None))
                } else {
                    None
                };
                wrong.extend(why.map(|why| (floating, why)));
            }
        }
        for (floating, (why, other)) in wrong {
            let message = format!("{} can't be a floating address: {why}", floating.value);
            let diagnostic = Diagnostic::new(Code::FloatingAddress, floating.span, message);
            self.out.push(match other {
                Some(span) => diagnostic.note(span, "the other one is here"),
                None => diagnostic,
            });
        }
        let all = self.interfaces.iter().flat_map(|each| each.floating);
        for address in all.collect::<Vec<_>>() {
            self.check_address("a floating address", address.value, address.span);
        }
    }

    /// Checks a name of an interface.
    pub(super) fn interface_name(&mut self, name: &Spanned<Name>) -> Option<String> {
        let names = &self.interface_names;
        View::known(names, name, Code::UnknownInterface, "interface", self.out)?;
        Some(name.0.clone())
    }

    /// Which interface leads to an address.
    pub(super) fn route(&self, address: IpAddr) -> Route {
        if self.interfaces.is_empty() || self.interfaces.iter().any(|i| i.addresses.is_empty()) {
            return Route::Unknown;
        }
        let matching = |holds: &dyn Fn(&model::Interface) -> bool| -> Vec<usize> {
            (0..)
                .zip(&self.interfaces)
                .filter(|(_, i)| holds(&i.model))
                .map(|(n, _)| n)
                .collect()
        };
        let on_link = matching(&|interface| interface.is_on_link(address));
        let found = if on_link.is_empty() {
            matching(&|interface| interface.has_gateway_for(address))
        } else {
            on_link
        };
        match found.as_slice() {
            [] => Route::None,
            [one] => Route::Interface(*one),
            several => Route::Ambiguous(
                several
                    .iter()
                    .filter_map(|at| self.interfaces.get(*at))
                    .map(|interface| interface.model.name.clone())
                    .collect(),
            ),
        }
    }
}

fn list<T>(values: Option<&Spanned<OneOrMany<T>>>) -> &[Spanned<T>] {
    values.map_or(&[], |values| &values.value.0)
}
