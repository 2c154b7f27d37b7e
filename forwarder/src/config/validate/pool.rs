//! Pools and their backends.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU16;

use super::super::code::Code;
use super::super::diagnostic::{Diagnostic, Span, Spanned};
use super::super::model::{self, BackendCheck, BackendState, WhenDown};
use super::super::schema;
use super::interface::{Interface, Route};
use super::view::{View, entries};

/// A pool, and what virtual servers ask about it.
pub(super) struct Pool<'d> {
    pub(super) section: &'d Spanned<schema::Pool>,
    /// `None` where it has errors.
    model: Option<model::Pool>,
    /// First backend of each family.
    pub(super) ipv4: Option<&'d Spanned<IpAddr>>,
    pub(super) ipv6: Option<&'d Spanned<IpAddr>>,
    /// First backend port, and the first that differs from it.
    pub(super) ports: Vec<&'d Spanned<NonZeroU16>>,
    /// A backend that is in no subnet of its interface.
    pub(super) off_link: Option<&'d Spanned<IpAddr>>,
    /// A backend whose interface has no own address of the backend's family.
    pub(super) no_source: Option<&'d Spanned<IpAddr>>,
    /// A backend whose interface has no floating address of the backend's family.
    pub(super) not_floating: Option<&'d Spanned<IpAddr>>,
}

/// All pools, in the order of the file and by name.
pub(super) struct Pools<'d> {
    list: Vec<Pool<'d>>,
    by_name: BTreeMap<&'d str, usize>,
}

impl<'d> Pools<'d> {
    pub(super) fn get(&self, name: &str) -> Option<&Pool<'d>> {
        self.list.get(*self.by_name.get(name)?)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Pool<'d>> {
        self.list.iter()
    }

    /// The models, complete with how each backend is checked.
    pub(super) fn into_models(
        self,
        mut checks: BTreeMap<&str, Vec<Option<BackendCheck>>>,
    ) -> Option<Vec<model::Pool>> {
        let complete = |pool: Pool<'_>| {
            let mut model = pool.model?;
            let checks = checks.remove(model.name.as_str()).unwrap_or_default();
            for (backend, check) in model.backends.iter_mut().zip(checks) {
                backend.check = check;
            }
            Some(model)
        };
        self.list.into_iter().map(complete).collect()
    }
}

impl<'d> View<'d, '_> {
    pub(super) fn build_pools(&mut self) -> Pools<'d> {
        let list: Vec<Pool<'d>> = entries(&self.document.pool)
            .iter()
            .map(|section| self.pool(section))
            .collect();
        let mut by_name = BTreeMap::new();
        for (position, pool) in list.iter().enumerate() {
            if let Some(name) = &pool.section.name {
                by_name.entry(name.0.as_str()).or_insert(position);
            }
        }
        Pools { list, by_name }
    }

    fn pool(&mut self, section: &'d Spanned<schema::Pool>) -> Pool<'d> {
        let mut pool = Pool {
            section,
            model: None,
            ipv4: None,
            ipv6: None,
            ports: Vec::new(),
            off_link: None,
            no_source: None,
            not_floating: None,
        };
        if let Some(check) = &section.health_check {
            self.known_check(check);
        }
        let sections = entries(&section.backend);
        if let Some(list) = &section.backend
            && list.value.0.is_empty()
        {
            let span = section.name.as_ref().map_or(section.span, |name| name.span);
            self.out.push(
                Diagnostic::new(Code::EmptyPool, span, "the pool has no backend")
                    .expected("[[pool.backend]] with address = \"10.0.2.11\""),
            );
        }
        let backends: Option<Vec<model::Backend>> = {
            let list: Vec<_> = sections
                .iter()
                .map(|backend| self.backend(backend, &mut pool))
                .collect();
            list.into_iter().collect()
        };
        self.check_shares(section);
        self.check_twins(section);
        if let (Some(name), Some(backends)) = (&section.name, backends) {
            pool.model = Some(model::Pool {
                name: name.0.clone(),
                health_check: section.health_check.as_ref().map(|check| check.0.clone()),
                slow_start: section.slow_start.as_ref().map(|key| key.value),
                when_down: section
                    .when_down
                    .as_ref()
                    .map_or(WhenDown::Move, |key| key.value),
                backends,
            });
        }
        pool
    }

    fn backend(
        &mut self,
        section: &'d Spanned<schema::Backend>,
        pool: &mut Pool<'d>,
    ) -> Option<model::Backend> {
        let named = section
            .interface
            .as_ref()
            .map(|name| self.interface_name(name));
        match &section.port {
            Some(port) if pool.ports.iter().any(|known| known.value == port.value) => {}
            Some(port) if pool.ports.len() < 2 => pool.ports.push(port),
            Some(_) | None => {}
        }
        if let Some(check) = &section.health_check {
            self.known_check(check);
        }
        if let Some(address) = &section.check_address {
            self.check_address("where a backend is checked", address.value, address.span);
        }
        let spanned = section.address.as_ref()?;
        let address = spanned.value;
        let first = if address.is_ipv4() {
            &mut pool.ipv4
        } else {
            &mut pool.ipv6
        };
        first.get_or_insert(spanned);
        self.check_address("a backend", address, spanned.span);
        let interface = match named {
            Some(name) => Some(name?),
            None => self.interface_towards(spanned),
        };
        // Where the file can't tell the interface, any will do.
        let towards = |each: &&Interface<'_>| {
            interface
                .as_ref()
                .is_none_or(|name| each.model.name == *name)
        };
        if !self
            .interfaces
            .iter()
            .filter(towards)
            .any(|each| each.floats(address))
        {
            pool.not_floating.get_or_insert(spanned);
        }
        if let Some(name) = &interface
            && let Some(towards) = self.interfaces.iter().find(|i| i.model.name == *name)
        {
            if towards.lacks_family(address) {
                pool.no_source.get_or_insert(spanned);
            }
            if !towards.addresses.is_empty() && !towards.model.is_on_link(address) {
                pool.off_link.get_or_insert(spanned);
                if section.interface.is_some() && !towards.model.has_gateway_for(address) {
                    let message = format!(
                        "{address} is in no subnet of interface \"{name}\", which has no gateway for it"
                    );
                    self.push(Code::UnreachableAddress, spanned.span, message);
                }
            }
        }
        let port = section.port.as_ref().map(|port| port.value);
        Some(model::Backend {
            name: backend_name(section, address),
            address,
            port,
            weight: u8::try_from(section.weight.as_ref()?.0).ok()?,
            state: section.state.as_ref()?.value,
            interface,
            check: None,
        })
    }

    /// The interface towards a backend that names none, where the file can tell.
    fn interface_towards(&mut self, address: &Spanned<IpAddr>) -> Option<String> {
        match self.route(address.value) {
            Route::Interface(at) => Some(self.interfaces.get(at)?.model.name.clone()),
            Route::None => {
                let message = format!(
                    "{} is in no interface's subnet, and no interface has a gateway for it",
                    address.value
                );
                self.out.push(
                    Diagnostic::new(Code::UnreachableAddress, address.span, message)
                        .expected("an address in a subnet of an interface, or a gateway"),
                );
                None
            }
            Route::Ambiguous(names) => {
                let message = format!("{} is reached by {}", address.value, names.join(" and "));
                self.out.push(
                    Diagnostic::new(Code::AmbiguousInterface, address.span, message)
                        .help("say which one: interface = \"…\""),
                );
                None
            }
            Route::Unknown => None,
        }
    }

    /// Somebody must take new flows.
    fn check_shares(&mut self, section: &'d Spanned<schema::Pool>) {
        let backends = entries(&section.backend);
        let span = section.name.as_ref().map_or(section.span, |name| name.span);
        let weightless =
            |backend: &schema::Backend| backend.weight.as_ref().is_some_and(|w| w.0 == 0);
        let idle = |backend: &schema::Backend| {
            backend
                .state
                .as_ref()
                .is_some_and(|s| matches!(s.value, BackendState::Drained | BackendState::Disabled))
        };
        if backends.is_empty() {
            return;
        }
        if backends.iter().all(|backend| weightless(backend)) {
            let message = "every backend has weight 0: none would get a flow";
            self.push(Code::AllWeightsZero, span, message);
        } else if backends
            .iter()
            .all(|backend| idle(backend) || weightless(backend))
        {
            let message = "no backend is enabled: none gets new flows";
            self.push(Code::NoBackendEnabled, span, message);
        }
    }

    /// No name and no address with port may come twice in one pool.
    fn check_twins(&mut self, section: &'d Spanned<schema::Pool>) {
        let mut names: BTreeMap<String, Span> = BTreeMap::new();
        let mut targets: BTreeMap<(IpAddr, Option<NonZeroU16>), Span> = BTreeMap::new();
        for backend in entries(&section.backend) {
            let Some(address) = &backend.address else {
                continue;
            };
            let port = backend.port.as_ref().map(|port| port.value);
            if let Some(first) = targets.insert((address.value, port), address.span) {
                let message = format!("{} is twice in this pool", address.value);
                self.out.push(
                    Diagnostic::new(Code::DuplicateBackend, address.span, message)
                        .note(first, "first given here")
                        .help("give one backend a larger weight instead"),
                );
                continue;
            }
            let name = backend_name(backend, address.value);
            let span = backend.name.as_ref().map_or(address.span, |name| name.span);
            let message = format!("the backend \"{name}\" is defined twice in this pool");
            if let Some(first) = names.insert(name, span) {
                self.out.push(
                    Diagnostic::new(Code::DuplicateName, span, message)
                        .note(first, "first defined here"),
                );
            }
        }
    }
}

/// The given name, else the address, with the port where one is given.
fn backend_name(section: &schema::Backend, address: IpAddr) -> String {
    match (&section.name, &section.port) {
        (Some(name), _) => name.0.clone(),
        (None, Some(port)) => SocketAddr::new(address, port.get()).to_string(),
        (None, None) => address.to_string(),
    }
}
