//! The stages of a trace, in the words of the file.

use forwarder_common::flow::{NO_BACKEND, state};
use forwarder_common::{Mode, Slot, Stage, protocol};

use super::Outlook;
use crate::admin::api;
use crate::config::model::{Pool, VirtualServer};
use crate::core::compile::BackendKey;
use crate::core::diagnosis::{self, Scene};
use crate::core::facts::LinkState;
use crate::core::slots::NOWHERE;
use crate::dataplane::bpf::trace::Traced;

/// What the stages came upon.
#[derive(Debug, Default)]
pub struct Found<'a> {
    pub server: Option<&'a VirtualServer>,
    pub pool: Option<&'a Pool>,
    pub backend: Option<BackendKey>,
    /// Bytes of the packet, and how many fit.
    pub mtu: Option<(u32, u64)>,
    /// Where it leaves.
    pub device: Option<u32>,
}

impl<'a> Found<'a> {
    pub fn of(outlook: &Outlook<'a>, traced: &Traced) -> Self {
        let mut found = Self::default();
        let model = &outlook.node.model;
        for (stage, value, detail) in &traced.entries {
            match stage {
                Stage::VirtualServer => found.server = outlook.server(*value),
                Stage::Backend => found.backend = outlook.backend(*value).cloned(),
                Stage::FlowHit if *detail != u64::from(NO_BACKEND) => {
                    let index = u32::try_from(*detail).ok();
                    found.backend = index.and_then(|index| outlook.backend(index)).cloned();
                }
                Stage::Mtu => found.mtu = Some((*value, *detail)),
                Stage::Transmit => found.device = Some(*value),
                _ => (),
            }
        }
        let name = found.server.and_then(|server| server.action.pool());
        let name = name.or(found.backend.as_ref().map(|key| key.pool.as_str()));
        found.pool = name.and_then(|name| model.pool(name));
        found
    }
}

/// Every stage with what it found. The interface and the pool have a line each that the data plane does not write.
pub fn describe(outlook: &Outlook<'_>, scene: &Scene<'_>, traced: &Traced) -> Vec<api::Stage> {
    let mut stages = Vec::new();
    let mut add = |stage: &str, found: String| {
        stages.push(api::Stage {
            stage: stage.to_owned(),
            found,
        });
    };
    // A frame that cannot be read does not get so far.
    if traced.entries.is_empty() {
        add(Stage::Interface.name(), interface(outlook, scene, 0));
    }
    for (stage, value, detail) in &traced.entries {
        add(stage.name(), text(outlook, scene, *stage, *value, *detail));
        if *stage == Stage::VirtualServer && !scene.members.is_empty() {
            add(
                "pool",
                format!(
                    "{}: {}",
                    scene.members[0].pool,
                    diagnosis::pool(scene.members)
                ),
            );
        }
    }
    stages
}

fn text(outlook: &Outlook<'_>, scene: &Scene<'_>, stage: Stage, value: u32, detail: u64) -> String {
    let name = |index: u32| outlook.name(index);
    match stage {
        Stage::Interface => interface(outlook, scene, detail),
        Stage::Parse => packet(value, detail),
        Stage::FlowMiss => format!("none has {}", packet(value, detail)),
        Stage::Fragment => format!("its first fragment was seen, {}", ports(detail)),
        Stage::VirtualServer => match outlook.server(value) {
            Some(server) => format!(
                "{}: {}, mode {}",
                server.name,
                service(server),
                server.action.mode().name()
            ),
            None => {
                let mode = u8::try_from(detail).ok().and_then(Mode::from_abi);
                format!("id {value}, mode {}", mode.map_or("?", Mode::name))
            }
        },
        Stage::NoVirtualServer => {
            let protocol = protocol_name(value >> 16 & 0xff);
            format!("none here has this address and port, {protocol}")
        }
        Stage::Admission => match (scene.server, scene.packet) {
            (Some(server), Some(packet)) => {
                format!(
                    "{} is {}",
                    packet.source,
                    diagnosis::admission(server, packet.source)
                )
            }
            _ if value == 1 => "let in".to_owned(),
            _ => "not let in".to_owned(),
        },
        Stage::Slot => {
            let slot = Slot(detail);
            let current = name(slot.current());
            if slot.is_changed() {
                format!(
                    "{value} of the lookup table: {current}, before {}",
                    name(slot.previous())
                )
            } else {
                format!("{value} of the lookup table: {current}")
            }
        }
        Stage::Exception => format!("an older flow, kept by {}", name(value)),
        Stage::Backend => match scene.chosen {
            Some(member) => member.to_string(),
            None => name(value),
        },
        Stage::FlowHit => flow(outlook, value, detail),
        Stage::Snat => format!("port {value} is free, found at try {detail}"),
        Stage::Mtu => format!("{}, at most {detail} fit", scene.bytes(value)),
        Stage::Transmit => {
            let way = if detail == 1 { "XDP_TX" } else { "redirect" };
            format!("by {}, {way}", outlook.device(value))
        }
    }
}

fn interface(outlook: &Outlook<'_>, scene: &Scene<'_>, tags: u64) -> String {
    let interface = outlook.interface;
    let xdp = match &scene.xdp {
        Some(mode) => format!("XDP in {mode} mode"),
        None => "not attached".to_owned(),
    };
    let link = match scene.link {
        LinkState::Up => "up",
        LinkState::NoCarrier => "no carrier",
        LinkState::Down => "down",
    };
    let tags = if tags == 0 {
        ""
    } else {
        ", VLAN tags taken off"
    };
    format!(
        "{} ({}), {link}, {xdp}{tags}",
        interface.name, interface.device
    )
}

fn service(server: &VirtualServer) -> String {
    let address = match server.address {
        std::net::IpAddr::V6(address) => format!("[{address}]"),
        std::net::IpAddr::V4(address) => address.to_string(),
    };
    format!("{} {address}:{}", server.protocol, server.port)
}

fn protocol_name(number: u32) -> String {
    match u8::try_from(number) {
        Ok(protocol::TCP) => "tcp".into(),
        Ok(protocol::UDP) => "udp".into(),
        Ok(protocol::ICMP) => "icmp".into(),
        Ok(protocol::ICMPV6) => "icmpv6".into(),
        _ => format!("protocol {number}"),
    }
}

/// Ports as the map ABI has them: source first, wire order.
fn ports(detail: u64) -> String {
    let [a, b, c, d] = (detail as u32).to_ne_bytes();
    format!(
        "port {} -> {}",
        u16::from_be_bytes([a, b]),
        u16::from_be_bytes([c, d])
    )
}

fn packet(number: u32, detail: u64) -> String {
    format!("{}, {}", protocol_name(number), ports(detail))
}

fn flow(outlook: &Outlook<'_>, bits: u32, detail: u64) -> String {
    let direction = if bits & state::REPLY != 0 {
        "reply"
    } else {
        "forward"
    };
    let mut text = format!("known, {direction}");
    for (bit, name) in [(state::FIN, "FIN seen"), (state::RST, "RST seen")] {
        if bits & bit != 0 {
            text = format!("{text}, {name}");
        }
    }
    match u32::try_from(detail) {
        Ok(index) if index != NO_BACKEND => format!("{text}, {}", outlook.name(index)),
        _ => text,
    }
}

impl<'a> Outlook<'a> {
    /// The virtual server with an id.
    fn server(&self, id: u32) -> Option<&'a VirtualServer> {
        let servers = self.node.model.virtual_servers.iter();
        let mut named =
            servers.filter(|server| self.node.state.virtual_server(&server.name) == Some(id));
        named.next()
    }

    /// The backend with an index.
    fn backend(&self, index: u32) -> Option<&'a BackendKey> {
        let mut backends = self.node.state.backends();
        backends
            .find(|(_, given)| *given == index)
            .map(|(key, _)| key)
    }

    fn name(&self, index: u32) -> String {
        if index == NOWHERE {
            return "no backend".to_owned();
        }
        let Some(key) = self.backend(index) else {
            return format!("backend {index}, which is gone");
        };
        let pool = self.node.model.pool(&key.pool);
        let mut backends = pool.into_iter().flat_map(|pool| &pool.backends);
        let backend = backends.find(|backend| BackendKey::new(&key.pool, backend) == *key);
        let name = backend.map_or_else(|| key.end(), |backend| backend.name.clone());
        format!("{name} of pool {}", key.pool)
    }
}
