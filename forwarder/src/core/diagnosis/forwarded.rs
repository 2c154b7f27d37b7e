//! Packets that went on their way: where to look when there is no answer all the same.

use forwarder_common::Reason;

use super::{Scene, Step, backend, pool, way_out};
use crate::config::model::{Protocol, ServicePort};
use crate::packet::{Kind, Packet};

pub fn steps(scene: &Scene<'_>) -> Vec<Step> {
    let Some(packet) = scene.packet else {
        return Vec::new();
    };
    let mut steps: Vec<_> = way_out(scene).into_iter().collect();
    steps.extend(match scene.reason {
        Reason::AnswerEcho => ping(scene, packet),
        Reason::AnswerTooBig => too_big(scene),
        Reason::L2Dsr => {
            let text = format!(
                "no answer? On {}, the VIP must be on loopback:",
                backend(scene)
            );
            let vip = packet.destination;
            vec![Step::run(text, format!("ip address show to {vip} dev lo"))]
        }
        Reason::IpipDsr | Reason::GueDsr => {
            let text = format!(
                "no answer? On {}, the tunnel must be taken off, by the interface that it comes in by:",
                backend(scene)
            );
            let vip = packet.destination;
            vec![Step::run(
                text,
                format!("forwarder backend eth0 --vip {vip}"),
            )]
        }
        Reason::Dnat => {
            let text = format!(
                "no answer? On {}, replies to clients must go by way of this host:",
                backend(scene)
            );
            vec![Step::run(text, format!("ip route get {}", packet.source))]
        }
        Reason::FullNat => {
            let port = scene.chosen.and_then(|member| member.backend.port);
            let port = port.map(u16::from).or(packet.ports().map(|(_, port)| port));
            let text = format!("no answer? On {}, the service must listen:", backend(scene));
            vec![Step::run(
                text,
                format!("ss -lntu 'sport = :{}'", port.unwrap_or(0)),
            )]
        }
        Reason::NatReply | Reason::EgressReply => {
            let text = format!(
                "no answer at {}? Does it get the packets?",
                packet.destination
            );
            vec![Step::run(text, scene.capture("", ""))]
        }
        _ => Vec::new(),
    });
    steps.extend(idle(scene));
    steps
}

/// Some backends of the pool get no new flows.
fn idle(scene: &Scene<'_>) -> Option<Step> {
    let idle = scene
        .members
        .iter()
        .find(|member| member.idle().is_some())?;
    let text = format!("pool {}: {}", idle.pool, pool(scene.members));
    Some(Step {
        text,
        command: idle.remedy(),
    })
}

fn ping(scene: &Scene<'_>, packet: &Packet) -> Vec<Step> {
    let text = "the forwarder answers pings itself, whatever the backends do; ask for the service:";
    let servers = &scene.model.virtual_servers;
    let server = servers
        .iter()
        .find(|server| server.address == packet.destination);
    let command = server.map(|server| {
        let port = match server.port {
            ServicePort::One(port) => port.get(),
            ServicePort::Any => 80,
        };
        let kind = match server.protocol {
            Protocol::Tcp => Kind::Tcp(40000, port, 1 << 1),
            Protocol::Udp => Kind::Udp(40000, port),
        };
        let asked = Packet {
            kind,
            length: None,
            ..packet.clone()
        };
        scene.trace(&asked)
    });
    vec![Step {
        text: text.into(),
        command,
    }]
}

/// Also for those that were dropped.
pub fn too_big(scene: &Scene<'_>) -> Vec<Step> {
    let mut steps = Vec::new();
    if let (Some((bytes, fits)), Some(member)) = (scene.mtu, scene.chosen)
        && let super::Hop::Neighbour { device, mtu, .. } = &member.hop
    {
        let needed = u64::from(*mtu) + u64::from(bytes).saturating_sub(fits);
        let text = format!(
            "{}, but {fits} fit on the way to {} (MTU of {device}: {mtu}): raise it there and on the \
             backend, or have TCP send less with `mss_clamp`",
            scene.bytes(bytes),
            member.backend.name
        );
        steps.push(Step::run(
            text,
            format!("ip link set {device} mtu {needed}"),
        ));
    }
    if scene.reason == Reason::AnswerTooBig {
        let text = "connections that hang in spite of the answer? Then it is lost on its way to the sender, who should see it:";
        let icmp = scene.packet.map_or(
            "icmp",
            |packet| {
                if packet.is_ipv6() { "icmp6" } else { "icmp" }
            },
        );
        steps.push(Step::run(text, format!("tcpdump -ni any {icmp}")));
    }
    steps
}
