//! From the models to what each backend must do.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::num::NonZeroU16;

use forwarder_common::Mode;

use crate::config::Model;
use crate::config::model::{Backend, Protocol, ServicePort, VirtualServer};

/// What is asked of the host with one backend address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Needs {
    /// The backend's address.
    pub address: IpAddr,
    /// Its names, each with its pool.
    pub names: BTreeSet<String>,
    /// What it serves, in the order of the file.
    pub services: Vec<Service>,
    /// Where `dnat`'s replies must go: the forwarder's own addresses towards it.
    pub gateways: BTreeSet<IpAddr>,
    /// UDP port of GUE.
    pub gue_port: NonZeroU16,
}

/// One virtual server, as a backend sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// The virtual server's name.
    pub virtual_server: String,
    /// How its packets come.
    pub mode: Mode,
    /// The VIP.
    pub vip: IpAddr,
    /// The address that packets are to when they arrive.
    pub address: IpAddr,
    /// The port they are to.
    pub port: ServicePort,
    /// Protocol.
    pub protocol: Protocol,
    /// The largest MSS that the file lets through.
    pub mss_clamp: Option<u16>,
}

impl Needs {
    /// Services that come with the VIP as destination.
    pub fn direct(&self) -> impl Iterator<Item = &Service> {
        self.services.iter().filter(|each| is_direct(each.mode))
    }

    /// Each VIP that the host must have, once.
    pub fn vips(&self) -> BTreeSet<IpAddr> {
        self.direct().map(|each| each.vip).collect()
    }

    /// Whether a mode is asked for.
    pub fn has(&self, mode: Mode) -> bool {
        self.services.iter().any(|each| each.mode == mode)
    }

    /// Whether tunnels end here.
    pub fn tunnelled(&self) -> impl Iterator<Item = &Service> {
        let tunnelled = |mode| matches!(mode, Mode::IpipDsr | Mode::GueDsr);
        self.services
            .iter()
            .filter(move |each| tunnelled(each.mode))
    }

    /// Whether two backends have the same to do, but for their own addresses.
    pub fn is_like(&self, other: &Self) -> bool {
        let own = |needs: &Self| -> Vec<Service> {
            let own = needs.services.iter().cloned();
            let placeless = |mut each: Service| {
                if !is_direct(each.mode) {
                    each.address = each.vip;
                }
                each
            };
            own.map(placeless).collect()
        };
        self.address.is_ipv4() == other.address.is_ipv4()
            && self.gateways == other.gateways
            && self.gue_port == other.gue_port
            && own(self) == own(other)
    }
}

fn is_direct(mode: Mode) -> bool {
    matches!(mode, Mode::L2Dsr | Mode::IpipDsr | Mode::GueDsr)
}

/// What every backend needs, in the order of the file, for all nodes together.
pub fn needs(models: &[Model]) -> Vec<Needs> {
    let mut all: Vec<Needs> = Vec::new();
    for model in models {
        for server in &model.virtual_servers {
            let Some(pool) = server.action.pool().and_then(|name| model.pool(name)) else {
                continue;
            };
            for backend in &pool.backends {
                let place = all.iter().position(|each| each.address == backend.address);
                let place = place.unwrap_or_else(|| {
                    all.push(Needs {
                        address: backend.address,
                        names: BTreeSet::new(),
                        services: Vec::new(),
                        gateways: BTreeSet::new(),
                        gue_port: model.gue_port,
                    });
                    all.len() - 1
                });
                let needs = &mut all[place];
                needs
                    .names
                    .insert(format!("{} of {}", backend.name, pool.name));
                let service = service(server, backend);
                if !needs.services.contains(&service) {
                    needs.services.push(service);
                }
                if server.action.mode() == Mode::Dnat {
                    needs.gateways.extend(towards(model, backend));
                }
            }
        }
    }
    all
}

fn service(server: &VirtualServer, backend: &Backend) -> Service {
    let mode = server.action.mode();
    let (address, port) = if is_direct(mode) {
        (server.address, server.port)
    } else {
        let own = backend.port.map(ServicePort::One);
        (backend.address, own.unwrap_or(server.port))
    };
    Service {
        virtual_server: server.name.clone(),
        mode,
        vip: server.address,
        address,
        port,
        protocol: server.protocol,
        mss_clamp: server.mss_clamp,
    }
}

/// The forwarder's own addresses in the backend's subnet.
fn towards<'m>(model: &'m Model, backend: &'m Backend) -> impl Iterator<Item = IpAddr> + 'm {
    let own = model.interfaces.iter().filter(|interface| {
        let named = backend.interface.as_deref();
        named.is_none_or(|name| name == interface.name)
    });
    let own = own.flat_map(|interface| &interface.addresses);
    own.filter(|own| own.subnet.contains(backend.address))
        .map(|own| own.address)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    pub(crate) fn of(text: &str) -> Vec<Needs> {
        needs(
            &config::parse("test.toml", text)
                .expect("a good file")
                .models,
        )
    }

    #[test]
    fn direct_backends_have_the_vip_and_its_port() {
        let example = config::examples()
            .iter()
            .find(|each| each.name == "floating-ip-two-front-ends-one-port")
            .expect("the example");
        let all = of(example.text);
        assert_eq!(all.len(), 2);
        let vips: Vec<_> = all[0].vips().iter().map(ToString::to_string).collect();
        assert_eq!(vips, ["203.0.113.10", "203.0.113.20"]);
        assert_eq!(all[0].services.len(), 3);
        assert!(all[0].is_like(&all[1]));
    }

    #[test]
    fn translated_backends_have_their_own_address_and_port() {
        let example = config::examples()
            .iter()
            .find(|each| each.name == "several-virtual-servers-two-interfaces")
            .expect("the example");
        let all = of(example.text);
        let first = &all[0];
        assert_eq!(first.services[0].address, first.address);
        assert_eq!(first.services[0].port.to_string(), "8443");
        let syslog = all.iter().find(|each| each.has(Mode::Dnat)).expect("dnat");
        let gateways: Vec<_> = syslog.gateways.iter().map(ToString::to_string).collect();
        assert_eq!(gateways, ["10.0.2.11"]);
        assert!(syslog.vips().is_empty());
        assert!(!first.is_like(syslog));
    }
}
