//! How virtual servers, pools and health checks go together.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::num::NonZeroU16;

use forwarder_common::Mode;

use super::super::code::Code;
use super::super::diagnostic::{Diagnostic, Span, Spanned};
use super::super::model::{Protocol, ServicePort};
use super::super::value::Name;
use super::pool::Pools;
use super::view::{View, entries};

/// A VIP and a port.
type Front = (IpAddr, ServicePort);

/// What dnat makes of front ends: the first one of each backend's port.
struct Rewritten<'a> {
    services: &'a BTreeMap<(IpAddr, ServicePort, Protocol), Span>,
    ends: BTreeMap<(IpAddr, Protocol, ServicePort), (Front, Span)>,
}

impl Rewritten<'_> {
    /// Another front end that comes to this port of a backend too, and which port that is.
    fn other(
        &self,
        front: Front,
        (address, protocol): (IpAddr, Protocol),
        to: ServicePort,
    ) -> Option<(ServicePort, Span)> {
        let of = |port| (address, protocol, port);
        let last = ServicePort::One(NonZeroU16::MAX);
        let (first, last) = match to {
            ServicePort::Any => (ServicePort::Any, last),
            one => (one, one),
        };
        let every = self.ends.range(of(ServicePort::Any)..=of(ServicePort::Any));
        let ends = every.chain(self.ends.range(of(first)..=of(last)));
        let mut others = ends.filter_map(|((.., theirs), (other, span))| {
            let port = if to == ServicePort::Any { *theirs } else { to };
            let mine = self.at(front, port, protocol)?;
            (mine != self.at(*other, port, protocol)?).then_some((port, *span))
        });
        others.next()
    }

    /// What clients use of a front end to come to this port; `None` if that is another virtual server's.
    fn at(&self, front: Front, port: ServicePort, protocol: Protocol) -> Option<Front> {
        match front {
            (vip, ServicePort::Any) if port != ServicePort::Any => {
                let taken = self.services.contains_key(&(vip, port, protocol));
                (!taken).then_some((vip, port))
            }
            one => Some(one),
        }
    }
}

impl<'d> View<'d, '_> {
    /// One virtual server for an address, port and protocol, and no backend that is a VIP.
    pub(super) fn check_vips(&mut self, pools: &Pools<'d>) {
        let mut services: BTreeMap<(IpAddr, ServicePort, Protocol), Span> = BTreeMap::new();
        let mut vips: BTreeMap<IpAddr, Span> = BTreeMap::new();
        for section in entries(&self.document.virtual_server) {
            let Some(address) = self.pick(&section.address) else {
                continue;
            };
            vips.entry(address.value).or_insert(address.span);
            let (Some(port), Some(protocol)) = (&section.port, &section.protocol) else {
                continue;
            };
            for protocol in protocol.value.each() {
                let key = (address.value, port.value, *protocol);
                if let Some(first) = services.insert(key, address.span) {
                    let message = format!(
                        "{} port {} protocol {protocol} has two virtual servers",
                        address.value, port.value
                    );
                    self.out.push(
                        Diagnostic::new(Code::DuplicateVirtualServer, address.span, message)
                            .note(first, "the first is here"),
                    );
                }
            }
        }
        self.check_rewritten(&services);
        let own: BTreeMap<IpAddr, Span> = self.own_addresses().into_iter().collect();
        for pool in pools.iter() {
            for backend in entries(&pool.section.backend) {
                let Some(address) = &backend.address else {
                    continue;
                };
                let (code, what, other) = match (vips.get(&address.value), own.get(&address.value))
                {
                    (Some(vip), _) => (Code::BackendIsVip, "a VIP", vip),
                    (None, Some(own)) => (Code::BackendIsHost, "this host's own address", own),
                    (None, None) => continue,
                };
                let message = format!("the backend {} is {what}", address.value);
                let diagnostic = Diagnostic::new(code, address.span, message)
                    .note(*other, format!("{what} here"));
                self.out.push(match code {
                    Code::BackendIsHost => {
                        diagnostic.help("mode = \"local\" leaves a virtual server to this host")
                    }
                    _ => diagnostic.help("give the backend's own address, not the one it shares"),
                });
            }
        }
    }

    /// What dnat rewrites must differ by more than the VIP and the port that are gone afterwards. `services`: what
    /// has a virtual server of its own, which goes before one for every port.
    fn check_rewritten(&mut self, services: &BTreeMap<(IpAddr, ServicePort, Protocol), Span>) {
        let mut seen = Rewritten {
            services,
            ends: BTreeMap::new(),
        };
        for section in entries(&self.document.virtual_server) {
            let (Some(mode), Some(name), Some(port), Some(protocol), Some(vip)) = (
                section.mode.as_ref(),
                section.pool.as_ref(),
                section.port.as_ref(),
                section.protocol.as_ref(),
                self.pick(&section.address),
            ) else {
                continue;
            };
            let pool = self.pool_names.get(name.0.as_str());
            if mode.value != Mode::Dnat {
                continue;
            }
            let front = (vip.value, port.value);
            let backends = pool.into_iter().flat_map(|pool| entries(&pool.backend));
            let mut found = None;
            for backend in backends {
                let Some(address) = backend.address.as_ref().map(|address| address.value) else {
                    continue;
                };
                let own = backend.port.as_ref();
                let to = own.map_or(port.value, |port| ServicePort::One(port.value));
                for protocol in protocol.value.each() {
                    if let Some((port, first)) = seen.other(front, (address, *protocol), to) {
                        found.get_or_insert((address, port, first));
                    }
                    let end = (address, *protocol, to);
                    seen.ends.entry(end).or_insert((front, vip.span));
                }
            }
            if let Some((address, port, first)) = found {
                let message = format!(
                    "{} port {} and another virtual server are both rewritten to port {port} of {address}",
                    front.0, front.1
                );
                self.out.push(
                    Diagnostic::new(Code::SharedBackendPort, vip.span, message)
                        .note(first, "the other one is here")
                        .help("give each a backend port of its own, keep the VIP (l2-dsr, ipip-dsr, gue-dsr), or use full-nat"),
                );
            }
        }
    }

    pub(super) fn check_unused(&mut self) {
        let document = self.document;
        let names = |list: Vec<Option<&'d Spanned<Name>>>| -> BTreeSet<&'d str> {
            list.into_iter()
                .flatten()
                .map(|name| name.0.as_str())
                .collect()
        };
        let servers = entries(&document.virtual_server);
        let rules = entries(&document.egress);
        let pools = entries(&document.pool);
        let by_servers = servers.iter().map(|server| server.pool.as_ref());
        let by_rules = rules.iter().map(|rule| rule.pool.as_ref());
        let used = names(by_servers.chain(by_rules).collect());
        for pool in pools {
            self.unused(
                Code::UnusedPool,
                "virtual server uses the pool",
                &pool.name,
                &used,
            );
        }
        let used = names(
            servers
                .iter()
                .map(|server| server.snat.as_ref())
                .chain(rules.iter().map(|rule| rule.snat.as_ref()))
                .collect(),
        );
        for pool in entries(&document.snat_pool) {
            let what = "virtual server or egress rule uses the SNAT pool";
            self.unused(Code::UnusedSnatPool, what, &pool.name, &used);
        }
        let backends = pools.iter().flat_map(|pool| entries(&pool.backend));
        let own = backends.map(|backend| backend.health_check.as_ref());
        let used = names(
            pools
                .iter()
                .map(|pool| pool.health_check.as_ref())
                .chain(own)
                .collect(),
        );
        for check in entries(&document.health_check) {
            let what = "pool or backend uses the health check";
            self.unused(Code::UnusedHealthCheck, what, &check.name, &used);
        }
    }

    pub(super) fn unused(
        &mut self,
        code: Code,
        what: &str,
        name: &Option<Spanned<Name>>,
        used: &BTreeSet<&str>,
    ) {
        if let Some(name) = name
            && !used.contains(name.0.as_str())
        {
            self.push(code, name.span, format!("no {what} \"{}\"", name.0));
        }
    }
}
