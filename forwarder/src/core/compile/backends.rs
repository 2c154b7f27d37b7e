//! Backends and the way to each.

use std::collections::BTreeSet;

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
                .flat_map(|pool| pool.backends.iter().map(|backend| (&pool.name, backend)))
        };
        let keys: Vec<BackendKey> = members()
            .map(|(pool, backend)| BackendKey::new(pool, backend))
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
        let keeps_tcp = model.pools.iter();
        let keeps_tcp = keeps_tcp.filter(|pool| pool.when_down == WhenDown::KeepTcp);
        let keeps_tcp: BTreeSet<&String> = keeps_tcp.map(|pool| &pool.name).collect();
        for ((pool, backend), key) in members().zip(&keys) {
            let Some(index) = self.state.backends.get(key) else {
                continue;
            };
            let mut entry = self.backend_entry(pool, backend);
            let keep_tcp = keeps_tcp.contains(pool);
            let moves_udp = keep_tcp && backend.state == BackendState::Drained;
            if self.keeps_flows(key, backend) && !moves_udp {
                entry.flags |= backend_flags::KEEPS_FLOWS;
            } else if keep_tcp && backend.state != BackendState::Disabled {
                entry.flags |= backend_flags::KEEPS_TCP;
            }
            if entry.flags & (backend_flags::KEEPS_FLOWS | backend_flags::KEEPS_TCP) != 0 {
                self.state.keeps.insert(index);
            }
            self.tables.backends.insert(index, entry);
        }
    }

    /// Up or forced, or drained and up: flows that it has stay with it.
    fn keeps_flows(&self, key: &BackendKey, backend: &model::Backend) -> bool {
        match backend.state {
            BackendState::Forced => true,
            BackendState::Disabled => false,
            BackendState::Enabled | BackendState::Drained => !self.input.down.contains(key),
        }
    }

    /// Whether new flows go to it.
    pub(super) fn takes_flows(&self, key: &BackendKey, backend: &model::Backend) -> bool {
        matches!(backend.state, BackendState::Enabled | BackendState::Forced)
            && backend.weight > 0
            && self.keeps_flows(key, backend)
    }

    /// All but [`backend_flags::KEEPS_FLOWS`].
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
