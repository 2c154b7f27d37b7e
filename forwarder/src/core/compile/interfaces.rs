//! Interfaces.

use std::net::IpAddr;

use forwarder_common::interface::flags;
use forwarder_common::{Interface, Mode};

use super::{Compilation, Note};
use crate::config::model::{ServicePort, Transmit};
use crate::core::facts::LinkState;
use crate::core::key::{mac_words, wide, word};
use crate::core::next_hop::Attached;

/// Its `XDP_TX` is slow, redirect is not.
const SLOW_TX_DRIVER: &str = "ena";

impl Compilation<'_> {
    pub(super) fn interfaces(&mut self) {
        for config in &self.model().interfaces {
            let (interface, device) = (config.name.clone(), config.device.clone());
            match self.interface(&config.name) {
                // It is not here by right, or what moves it says why.
                None if config.moves => (),
                None => self.notes.push(Note::NoDevice { interface, device }),
                Some(attached) => match attached.device.state {
                    LinkState::Down => self.notes.push(Note::Down { interface, device }),
                    LinkState::NoCarrier => {
                        self.notes.push(Note::NoCarrier { interface, device });
                    }
                    LinkState::Up => (),
                },
            }
        }
        let devices = self.model().interfaces.iter();
        let devices: Vec<String> = devices.map(|config| config.device.clone()).collect();
        for name in self.state.interfaces.assign(&devices) {
            self.notes.push(Note::NoRoom {
                what: "interface",
                name,
                limit: "there can be 64",
            });
        }
        for interface in self.interfaces.clone() {
            let Some(slot) = self.state.interface(&interface.config.device) else {
                continue;
            };
            let entry = self.interface_entry(interface, slot);
            self.tables
                .interfaces
                .insert(interface.device.ifindex, entry);
        }
    }

    /// Bits of the interfaces' slots.
    pub(super) fn mask(&self, interfaces: &[Attached<'_>]) -> u64 {
        let slots = interfaces.iter();
        slots
            .filter_map(|each| self.state.interface(&each.config.device))
            .fold(0, |mask, slot| mask | 1 << slot)
    }

    fn interface_entry(&self, interface: Attached<'_>, slot: u32) -> Interface {
        let name = &interface.config.name;
        let address4 = match interface.address(false) {
            Some(IpAddr::V4(address)) => word(address),
            _ => 0,
        };
        Interface {
            slot,
            flags: self.interface_flags(interface),
            mac: mac_words(interface.device.mac),
            mtu: clamp(interface.device.mtu),
            address4,
            automap4: self.automap(name, false),
            address6: interface.address(true).map_or([0; 4], wide),
            automap6: self.automap(name, true),
            reserved: [0; 3],
        }
    }

    fn interface_flags(&self, interface: Attached<'_>) -> u32 {
        let model = self.model();
        let transmits = match interface.config.transmit {
            Transmit::Auto => interface.device.driver != SLOW_TX_DRIVER,
            Transmit::Tx => true,
            Transmit::Redirect => false,
        };
        let any_port = model.virtual_servers.iter().any(|server| {
            server.port == ServicePort::Any && server.interfaces.contains(&interface.config.name)
        });
        // Replies may come in by any interface.
        let nat = !model.egress.is_empty()
            || model
                .virtual_servers
                .iter()
                .any(|server| matches!(server.action.mode(), Mode::Dnat | Mode::FullNat));
        let mut bits = flags::ACTIVE;
        for (bit, set) in [
            (flags::TX, transmits),
            (flags::ANY_PORT, any_port),
            (flags::NAT, nat),
            (flags::EGRESS, !model.egress.is_empty()),
        ] {
            bits |= if set { bit } else { 0 };
        }
        bits
    }
}

/// An MTU in the width of the maps.
pub(super) fn clamp(mtu: u32) -> u16 {
    u16::try_from(mtu).unwrap_or(u16::MAX)
}
