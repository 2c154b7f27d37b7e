//! Backends and the way to each.

use forwarder_common::Backend;
use forwarder_common::virtual_server::{NO_SNAT, backend_flags};

use super::interfaces::clamp;
use super::{BackendKey, Compilation, Note};
use crate::config::model::{self, BackendState, WhenDown};
use crate::core::key::{mac_words, wide};
use crate::core::next_hop::next_hop;

impl Compilation<'_> {
    pub(super) fn backends(&mut self) {
        let model = self.model();
        let members = || {
            model
                .pools
                .iter()
                .flat_map(|pool| pool.backends.iter().map(move |backend| (pool, backend)))
        };
        let keys: Vec<BackendKey> = members()
            .map(|(pool, backend)| BackendKey::new(&pool.name, backend))
            .collect();
        for key in self.state.backends.assign(&keys) {
            let name = format!("{} of pool {}", key.address, key.pool);
            self.notes.push(Note::NoRoom {
                what: "backend",
                name,
                limit: "raise limits.backends",
            });
        }
        self.state.keeps.clear();
        for ((pool, backend), key) in members().zip(&keys) {
            let Some(index) = self.state.backends.get(key) else {
                continue;
            };
            let mut entry = self.backend_entry(&pool.name, backend);
            let kept = kept(pool, backend, self.input.down.contains(key));
            if kept != 0 {
                self.state.keeps.insert(index);
            }
            entry.flags |= kept;
            self.tables.backends.insert(index, entry);
        }
    }

    /// All but which flows it keeps.
    fn backend_entry(&mut self, pool: &str, backend: &model::Backend) -> Backend {
        let address = backend.address;
        let ipv6 = address.is_ipv6();
        let mut entry = Backend {
            address: wide(address),
            port: backend.port.map_or(0, |port| port.get().to_be()),
            flags: if ipv6 { backend_flags::IPV6 } else { 0 },
            automap: NO_SNAT,
            ..Backend::default()
        };
        let Some(hop) = next_hop(&self.interfaces, self.input.facts, backend) else {
            self.notes.push(Note::NoWay {
                pool: pool.to_owned(),
                address,
            });
            return entry;
        };
        let (interface, device) = (hop.interface, hop.interface.device);
        entry.tunnel_source = interface.address(ipv6).map_or([0; 4], wide);
        entry.source_mac = mac_words(device.mac);
        entry.mtu = clamp(device.mtu);
        entry.automap = self.automap(&interface.config.name, ipv6);
        match self
            .input
            .facts
            .neighbours
            .get(&(device.ifindex, hop.neighbour))
        {
            Some(mac) => {
                entry.destination_mac = mac_words(*mac);
                entry.ifindex = device.ifindex;
            }
            None => self.notes.push(Note::Unresolved {
                pool: pool.to_owned(),
                address,
                neighbour: hop.neighbour,
                interface: interface.config.name.clone(),
            }),
        }
        entry
    }
}

/// Which flows a backend keeps.
pub(super) const KEPT: u32 = backend_flags::KEEPS_FLOWS | backend_flags::KEEPS_TCP;

/// Which flows a backend keeps: [`KEPT`], or a part of it.
pub(super) fn kept(pool: &model::Pool, backend: &model::Backend, is_down: bool) -> u32 {
    let keep_tcp = pool.when_down == WhenDown::KeepTcp;
    let moves_udp = keep_tcp && backend.state == BackendState::Drained;
    if keeps_flows(backend, is_down) && !moves_udp {
        backend_flags::KEEPS_FLOWS
    } else if keep_tcp && backend.state != BackendState::Disabled {
        backend_flags::KEEPS_TCP
    } else {
        0
    }
}

/// Up or forced, or drained and up: flows that it has stay with it.
fn keeps_flows(backend: &model::Backend, is_down: bool) -> bool {
    match backend.state {
        BackendState::Forced => true,
        BackendState::Disabled => false,
        BackendState::Enabled | BackendState::Drained => !is_down,
    }
}

/// Whether new flows go to it.
pub(super) fn takes_flows(backend: &model::Backend, is_down: bool) -> bool {
    matches!(backend.state, BackendState::Enabled | BackendState::Forced)
        && backend.weight > 0
        && keeps_flows(backend, is_down)
}
