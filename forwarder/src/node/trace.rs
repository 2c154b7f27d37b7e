//! `trace`: a packet in words through the loaded programs, the outcome in words.

use forwarder_common::flow::{NO_BACKEND, state};
use forwarder_common::{Mode, Outcome, Reason, Slot, Stage, protocol};

use super::{Node, frame};
use crate::admin::api::{self, Trace, TraceRequest};
use crate::core::advice::next;

pub fn trace(node: &mut Node, packet: &TraceRequest) -> Result<Trace, String> {
    let facts = node.host.facts(&node.model);
    let wanted = |name: &str| name == packet.interface;
    let interfaces = &node.model.interfaces;
    let Some(interface) = interfaces
        .iter()
        .find(|each| wanted(&each.name) || wanted(&each.device))
    else {
        let names: Vec<_> = interfaces.iter().map(|each| each.name.as_str()).collect();
        let names = names.join(", ");
        return Err(format!(
            "{} is not an interface of the config: {names}",
            packet.interface
        ));
    };
    let name = interface.name.clone();
    let Some(device) = facts.devices.get(&interface.device) else {
        return Err(format!("the host has no device {}", interface.device));
    };
    let frame = frame::build(packet, device.mac)?;
    let traced = node
        .bpf
        .trace(&frame, device.ifindex)
        .map_err(|error| error.to_string())?;
    let Some(reason) = Reason::ALL.get(traced.reason as usize) else {
        return Err(format!(
            "the data plane gave an unknown reason ({})",
            traced.reason
        ));
    };
    let stages = traced
        .entries
        .iter()
        .map(|(stage, value, detail)| api::Stage {
            stage: stage.name().to_owned(),
            found: describe(node, *stage, *value, *detail),
        });
    Ok(Trace {
        interface: name,
        stages: stages.collect(),
        outcome: match reason.outcome() {
            Outcome::Pass => "pass",
            Outcome::Forward => "forward",
            Outcome::Answer => "answer",
            Outcome::Drop => "drop",
        }
        .to_owned(),
        reason: reason.name().to_owned(),
        meaning: reason.meaning().to_owned(),
        next: next(*reason).to_owned(),
    })
}

fn describe(node: &Node, stage: Stage, value: u32, detail: u64) -> String {
    let device = |ifindex: u32| node.host.device(ifindex).unwrap_or("?").to_owned();
    match stage {
        Stage::Interface => {
            let mut interfaces = node.model.interfaces.iter();
            let interface =
                interfaces.find(|each| node.state.interface(&each.device) == Some(value));
            let name = interface.map_or("?", |interface| interface.name.as_str());
            if detail == 0 {
                name.to_owned()
            } else {
                format!("{name}, VLAN tagged")
            }
        }
        Stage::Parse | Stage::FlowMiss => packet(value, detail),
        Stage::Fragment => format!("first fragment found, {}", ports(detail)),
        Stage::VirtualServer => {
            let server = server(node, value);
            let mode = u8::try_from(detail)
                .ok()
                .and_then(Mode::from_abi)
                .map_or("?", Mode::name);
            format!("{server}, mode {mode}")
        }
        Stage::NoVirtualServer => {
            let protocol = protocol_name(value >> 16 & 0xff);
            format!("none here has this address and port, {protocol}")
        }
        Stage::Admission => if value == 1 {
            "admitted"
        } else {
            "not admitted"
        }
        .to_owned(),
        Stage::Slot => {
            let slot = Slot(detail);
            let current = backend(node, slot.current());
            if slot.is_changed() {
                format!(
                    "{value}: {current}, before {}",
                    backend(node, slot.previous())
                )
            } else {
                format!("{value}: {current}")
            }
        }
        Stage::Exception => format!("an older flow, kept by {}", backend(node, value)),
        Stage::Backend => {
            let ifindex = u32::try_from(detail).unwrap_or(0);
            if ifindex == 0 {
                format!("{}, next hop not resolved", backend(node, value))
            } else {
                format!("{}, by {}", backend(node, value), device(ifindex))
            }
        }
        Stage::FlowHit => flow(node, value, detail),
        Stage::Snat => format!("port {value}, try {detail}"),
        Stage::Mtu => format!("{value} bytes, at most {detail} fit"),
        Stage::Transmit => {
            let way = if detail == 1 { "XDP_TX" } else { "redirect" };
            format!("by {}, {way}", device(value))
        }
    }
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

fn flow(node: &Node, bits: u32, detail: u64) -> String {
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
        Ok(index) if index != NO_BACKEND => format!("{text}, {}", backend(node, index)),
        _ => text,
    }
}

fn server(node: &Node, id: u32) -> String {
    let servers = node.model.virtual_servers.iter();
    let mut named = servers.filter(|server| node.state.virtual_server(&server.name) == Some(id));
    named
        .next()
        .map_or_else(|| format!("id {id}"), |server| server.name.clone())
}

fn backend(node: &Node, index: u32) -> String {
    let found = node.state.backends().find(|(_, given)| *given == index);
    match found {
        Some((key, _)) => format!("{} of pool {}", key.end(), key.pool),
        None => format!("backend {index}, which is gone"),
    }
}
