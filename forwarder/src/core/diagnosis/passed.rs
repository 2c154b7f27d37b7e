//! Packets that were not ours.

use forwarder_common::{Mode, Reason};

use super::{Scene, Step, trace};
use crate::config::model::{Protocol, ServicePort, VirtualServer};
use crate::packet::{Kind, Packet};

/// Virtual servers and ports that are named, at most.
const NAMED: usize = 4;

pub fn steps(scene: &Scene<'_>) -> Vec<Step> {
    let Some(packet) = scene.packet else {
        return Vec::new();
    };
    match scene.reason {
        Reason::PassOtherHost => other_host(scene, packet),
        Reason::PassLocal => {
            let port = packet.ports().map_or(0, |(_, port)| port);
            let text = "no answer? Does the service listen on this host?";
            vec![Step::run(text, format!("ss -lntup 'sport = :{port}'"))]
        }
        Reason::PassNotOurs => not_ours(scene, packet),
        _ => Vec::new(),
    }
}

fn other_host(scene: &Scene<'_>, packet: &Packet) -> Vec<Step> {
    let Some(mac) = packet.to else {
        return Vec::new();
    };
    let device = &scene.interface.device;
    let mac = crate::core::key::mac_text(mac);
    let text = format!(
        "the frame is addressed to {mac}, which is not {device}'s: on the host or router that sent it, \
         which MAC address does it have for {}?",
        packet.destination
    );
    let command = format!("ip neighbour show to {}", packet.destination);
    vec![Step::run(text, command)]
}

fn not_ours(scene: &Scene<'_>, packet: &Packet) -> Vec<Step> {
    let servers = &scene.model.virtual_servers;
    match &packet.kind {
        Kind::Error(_, about) => return vec![error(scene, about)],
        Kind::Ipip(_) | Kind::Gue(..) => {
            let text = "tunnels are taken off on backends only, not here; on the backend:";
            return vec![Step::run(text, "forwarder backend eth0")];
        }
        _ => (),
    }
    let here: Vec<_> = servers
        .iter()
        .filter(|server| server.address == packet.destination)
        .collect();
    if !here.is_empty() {
        return vip(scene, packet, &here);
    }
    if let Some(server) = servers.iter().find(|server| is_from(packet, server)) {
        return vec![reply(scene, packet, server)];
    }
    let address = packet.destination;
    if scene.own.contains(&address) {
        let text = format!("{address} is this host's own address: the host gets the packet");
        return vec![Step::run(text, "ss -lntup")];
    }
    let names: Vec<_> = servers
        .iter()
        .filter(|server| server.address.is_ipv6() == address.is_ipv6())
        .map(|server| server.address.to_string())
        .collect();
    let text = format!(
        "no virtual server has {address}; VIPs of its family are {}",
        named(names)
    );
    vec![Step::run(text, "forwarder vip")]
}

/// The VIP is known, but not like this.
fn vip(scene: &Scene<'_>, packet: &Packet, here: &[&VirtualServer]) -> Vec<Step> {
    let vip = packet.destination;
    let Some((_, port)) = packet.ports() else {
        let text = format!(
            "of ICMP only echo requests and errors about flows are for a VIP such as {vip}"
        );
        return vec![Step::new(text)];
    };
    let name = &scene.interface.name;
    let protocol = match packet.kind {
        Kind::Tcp(..) => Protocol::Tcp,
        _ => Protocol::Udp,
    };
    let same = |server: &&&VirtualServer| server.protocol == protocol && has(server, port);
    if let Some(server) = here.iter().find(same) {
        let elsewhere = server.interfaces.join(", ");
        let text = format!(
            "virtual server {} is served on {elsewhere}, not on {name}: add {name} to its `interfaces`, \
             or send it there",
            server.name
        );
        let device = server
            .interfaces
            .first()
            .and_then(|name| scene.model.interface(name));
        let command = device.map(|interface| trace(packet, &interface.device));
        return vec![Step { text, command }];
    }
    if let Some(server) = here.iter().find(|server| has(server, port)) {
        let text = format!(
            "virtual server {} has this address and port, for {}",
            server.name, server.protocol
        );
        let other = with(packet, port, server.protocol);
        return vec![Step::run(text, scene.trace(&other))];
    }
    let services: Vec<_> = here
        .iter()
        .map(|server| format!("{}/{} ({})", server.port, server.protocol, server.name))
        .collect();
    let text = format!(
        "{vip} is a VIP, but not with port {port}: it has {}",
        named(services)
    );
    let command = here.iter().find_map(|server| match server.port {
        ServicePort::One(port) => Some(scene.trace(&with(packet, port.into(), server.protocol))),
        ServicePort::Any => None,
    });
    vec![Step { text, command }]
}

fn has(server: &VirtualServer, port: u16) -> bool {
    match server.port {
        ServicePort::Any => true,
        ServicePort::One(one) => one.get() == port,
    }
}

/// The same ends with another service.
fn with(packet: &Packet, port: u16, protocol: Protocol) -> Packet {
    let source = packet.ports().map_or(0, |(source, _)| source);
    let kind = match protocol {
        Protocol::Tcp => Kind::Tcp(source, port, 1 << 1),
        Protocol::Udp => Kind::Udp(source, port),
    };
    Packet {
        kind,
        length: None,
        ..packet.clone()
    }
}

/// The packet is what a server would send to its client.
fn is_from(packet: &Packet, server: &VirtualServer) -> bool {
    let protocol = match packet.kind {
        Kind::Tcp(..) => Protocol::Tcp,
        Kind::Udp(..) => Protocol::Udp,
        _ => return false,
    };
    let port = packet.ports().map_or(0, |(source, _)| source);
    server.address == packet.source && server.protocol == protocol && has(server, port)
}

fn reply(scene: &Scene<'_>, packet: &Packet, server: &VirtualServer) -> Step {
    let (client, vip, mode) = (packet.destination, packet.source, server.action.mode());
    let direct = matches!(mode, Mode::L2Dsr | Mode::IpipDsr | Mode::GueDsr);
    if !direct {
        let text = format!(
            "a reply that has the VIP of {} for its source already: who sends it?",
            server.name
        );
        return Step::run(text, scene.capture("", ""));
    }
    let text = format!(
        "a reply of virtual server {}: in {} backends answer clients directly, not by way of this host; \
         on the backend, which way does it go?",
        server.name,
        mode.name()
    );
    Step::run(text, format!("ip route get {client} from {vip}"))
}

fn error(scene: &Scene<'_>, about: &Packet) -> Step {
    let kind = match about.kind {
        Kind::Tcp(from, to, _) => Kind::Tcp(to, from, 1 << 4),
        Kind::Udp(from, to) => Kind::Udp(to, from),
        ref other => other.clone(),
    };
    let turned = Packet {
        kind,
        source: about.destination,
        destination: about.source,
        length: None,
        ..about.clone()
    };
    let text = "the error quotes a packet that no virtual server or flow has sent; the quoted flow's packets from the other side:";
    Step::run(text, scene.trace(&turned))
}

fn named(mut names: Vec<String>) -> String {
    names.dedup();
    let more = names.len().saturating_sub(NAMED);
    names.truncate(NAMED);
    match (names.is_empty(), more) {
        (true, _) => "… there are none".into(),
        (_, 0) => names.join(", "),
        _ => format!("{} and {more} more", names.join(", ")),
    }
}
