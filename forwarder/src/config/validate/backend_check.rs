//! How each backend is checked: which health check, which address, which port.

use std::collections::BTreeMap;
use std::num::NonZeroU16;

use super::super::code::Code;
use super::super::diagnostic::{Diagnostic, Spanned};
use super::super::model::{BackendCheck, ServicePort};
use super::super::schema;
use super::super::value::{Name, ProbeType, ProbeVia};
use super::pool::{Pool, Pools};
use super::tunnel_check::Service;
use super::view::{View, entries};

/// Ports of the virtual servers that use a pool: at most two different ones.
type Ports<'d> = Vec<&'d Spanned<ServicePort>>;

impl<'d> View<'d, '_> {
    pub(super) fn known_check(&mut self, name: &Spanned<Name>) {
        let names = &self.health_check_names;
        let code = Code::UnknownHealthCheck;
        View::known(names, name, code, "health check", self.out);
    }

    /// For each pool, how its backends are checked, in their order.
    pub(super) fn backend_checks(
        &mut self,
        pools: &Pools<'d>,
    ) -> BTreeMap<&'d str, Vec<Option<BackendCheck>>> {
        let mut used: BTreeMap<&str, (Ports<'d>, Vec<Service<'d>>)> = BTreeMap::new();
        for section in entries(&self.document.virtual_server) {
            if let (Some(pool), Some(port)) = (&section.pool, &section.port) {
                let (ports, services) = used.entry(&pool.0).or_default();
                services.extend(self.service(section));
                if ports.len() < 2 && !ports.iter().any(|known| known.value == port.value) {
                    ports.push(port);
                }
            }
        }
        let mut found = BTreeMap::new();
        for pool in pools.iter() {
            if let Some(name) = &pool.section.name {
                let (ports, services) = used.remove(name.0.as_str()).unwrap_or_default();
                found.insert(name.0.as_str(), self.of_pool(pool, &ports, &services));
            }
        }
        found
    }

    fn of_pool(
        &mut self,
        pool: &Pool<'d>,
        ports: &Ports<'d>,
        services: &[Service<'d>],
    ) -> Vec<Option<BackendCheck>> {
        let otherwise = match ports.as_slice() {
            [one] => match one.value {
                ServicePort::One(port) => Some(port),
                ServicePort::Any => None,
            },
            _ => None,
        };
        // Said once for each pool and health check.
        let mut without_port: Vec<&Spanned<Name>> = Vec::new();
        let mut without_tunnel: Vec<&Spanned<Name>> = Vec::new();
        let mut checks = Vec::new();
        for backend in entries(&pool.section.backend) {
            let own = backend.health_check.as_ref();
            let Some(name) = own.or(pool.section.health_check.as_ref()) else {
                self.checked_by_nothing(backend);
                checks.push(None);
                continue;
            };
            let check = self.health_check_names.get(name.0.as_str()).copied();
            let kind = check.and_then(|check| check.r#type.as_ref());
            let (Some(check), Some(kind)) = (check, kind) else {
                checks.push(None);
                continue;
            };
            let has_port = kind.value != ProbeType::Icmp;
            let is_new = |list: &[&Spanned<Name>]| !list.iter().any(|each| each.span == name.span);
            let tunnel = check.via.as_ref();
            let tunnel = tunnel.filter(|via| via.value == ProbeVia::Tunnel);
            let (port, tunnelled, complete) = if tunnel.is_some() {
                if is_new(&without_tunnel) {
                    without_tunnel.push(name);
                }
                self.own_address(backend);
                let given = backend.check_port.as_ref().or(check.port.as_ref());
                let asked = self.asked(services, has_port, given.map(|port| port.value));
                let complete = asked.as_ref().is_some_and(|asked| !asked.is_empty());
                if asked.is_none() && is_new(&without_port) {
                    without_port.push(name);
                }
                (None, asked.unwrap_or_default(), complete)
            } else {
                let port = has_port.then(|| port(backend, check, otherwise)).flatten();
                let complete = !has_port || port.is_some();
                if !complete && is_new(&without_port) {
                    without_port.push(name);
                }
                (port, Vec::new(), complete)
            };
            if let Some(own) = backend.check_port.as_ref().filter(|_| !has_port) {
                let diagnostic =
                    Diagnostic::new(Code::KeyNotForType, own.span, "an icmp check has no port");
                self.out
                    .push(diagnostic.note(kind.span, "the type is given here"));
            }
            let address = backend.check_address.as_ref().or(backend.address.as_ref());
            checks.push(address.filter(|_| complete).map(|address| BackendCheck {
                health_check: name.0.clone(),
                address: address.value,
                port,
                tunnelled,
            }));
        }
        for name in without_tunnel {
            self.without_tunnel(name, services);
        }
        for name in without_port {
            self.without_port(name, ports);
        }
        checks
    }

    fn checked_by_nothing(&mut self, backend: &schema::Backend) {
        let address = backend.check_address.as_ref().map(|key| key.span);
        let port = backend.check_port.as_ref().map(|key| key.span);
        for (key, span) in [("check_address", address), ("check_port", port)] {
            if let Some(span) = span {
                let message = format!("{key} without a health check");
                self.push(Code::CheckWithoutHealthCheck, span, message);
            }
        }
    }

    fn without_port(&mut self, name: &Spanned<Name>, ports: &Ports<'d>) {
        // Of a pool that is not used, that is said.
        let Some(first) = ports.first() else {
            return;
        };
        let message = "the health check has no port, and neither have all backends";
        let mut diagnostic = Diagnostic::new(Code::HealthCheckPort, name.span, message)
            .note(first.span, "a virtual server of this pool has this port");
        if let Some(second) = ports.get(1) {
            diagnostic = diagnostic.note(second.span, "another has this one");
        }
        self.out
            .push(diagnostic.help("give the health check a port"));
    }
}

fn port(
    backend: &schema::Backend,
    check: &schema::HealthCheck,
    otherwise: Option<NonZeroU16>,
) -> Option<NonZeroU16> {
    let given = [&backend.check_port, &check.port, &backend.port];
    let given = given.into_iter().flatten().next();
    given.map(|port| port.value).or(otherwise)
}
