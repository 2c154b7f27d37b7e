//! Packets that were dropped: what to change.

use std::net::IpAddr;

use forwarder_common::Reason;

use super::{Hop, Member, Scene, Step, forwarded, way_out};
use crate::config::Prefix;
use crate::config::model::VirtualServer;
use crate::packet::{Kind, Packet};

pub fn steps(scene: &Scene<'_>) -> Vec<Step> {
    match scene.reason {
        Reason::DropNoBackend => no_backend(scene),
        Reason::DropNoNextHop => vec![no_next_hop(scene)],
        Reason::DropDenied => denied(scene).into_iter().collect(),
        Reason::DropRate => rate(scene).into_iter().collect(),
        Reason::DropTooBig => forwarded::too_big(scene),
        Reason::DropSnatExhausted => vec![exhausted(scene)],
        Reason::DropNoFlow => no_flow(scene).into_iter().collect(),
        Reason::DropSnatNoFlow => {
            let text = "a port of the SNAT range: the flow is over, or the packet was never asked for; who sends it?";
            vec![Step::run(text, scene.capture("", ""))]
        }
        Reason::DropFragment => {
            let text = "the first fragment was not seen within the last seconds: does it take another way, or is it lost?";
            vec![Step::run(text, scene.capture("ip[6:2] & 0x3fff != 0", ""))]
        }
        Reason::DropTtl => {
            let text = "the TTL was used up on the way here: a routing loop? From the sender:";
            let to = scene.packet.map(|packet| packet.destination);
            let command = to.map(|to| format!("traceroute -n {to}"));
            vec![Step {
                text: text.into(),
                command,
            }]
        }
        Reason::DropBadSource => {
            let text = "nobody has such an address; the sender's MAC address says who it is:";
            vec![Step::run(text, scene.capture("", ""))]
        }
        Reason::DropMalformed | Reason::DropTruncated if scene.problems.is_empty() => {
            let text = "its headers contradict its length; who sends it?";
            vec![Step::run(text, scene.capture("", " -vvv"))]
        }
        _ => Vec::new(),
    }
}

fn no_backend(scene: &Scene<'_>) -> Vec<Step> {
    /// Backends that get a step of their own, at most.
    const NAMED: usize = 3;
    let idle = scene.members.iter();
    let step = |member: &Member<'_>| {
        let why = member.idle()?;
        let verb = if why.starts_with("weight") {
            "has"
        } else {
            "is"
        };
        let text = format!("{} {verb} {why}", member.backend.name);
        Some(Step {
            text,
            command: member.remedy(),
        })
    };
    idle.filter_map(step).take(NAMED).collect()
}

fn no_next_hop(scene: &Scene<'_>) -> Step {
    let Some(member) = scene.chosen else {
        let to = scene.packet.map_or_else(
            || "DESTINATION".into(),
            |packet| packet.destination.to_string(),
        );
        let text =
            format!("the kernel knows no MAC address on the way to {to}; which way is that?");
        return Step::run(text, format!("ip route get {to}"));
    };
    let (name, address) = (&member.backend.name, member.backend.address);
    match &member.hop {
        Hop::None => Step::run(
            format!(
                "no interface of the config leads to {name}: it is in none of their subnets, and the host's route takes another way"
            ),
            format!("ip route get {address}"),
        ),
        Hop::Neighbour {
            device,
            address: hop,
            ..
        } => {
            if let Some(step) = way_out(scene) {
                return step;
            }
            let what = if *hop == address {
                format!("{name} ({hop})")
            } else {
                format!("{hop}, the router towards {name},")
            };
            let asked = if hop.is_ipv4() {
                "ARP requests"
            } else {
                "neighbour solicitations"
            };
            Step::run(
                format!(
                    "{what} does not answer {asked} on {device}: is it on, and in this segment?"
                ),
                format!("ip neighbour show to {hop} dev {device}"),
            )
        }
    }
}

fn denied(scene: &Scene<'_>) -> Option<Step> {
    let (server, packet) = (scene.server?, scene.packet?);
    let why = admission(server, packet.source);
    let text = format!(
        "virtual server {}: {} is {why}; to let it in, change the file and put it to work:",
        server.name, packet.source
    );
    Some(Step::run(text, "forwarder reload"))
}

/// Why a source is let in, or not.
pub fn admission(server: &VirtualServer, source: IpAddr) -> String {
    let longest = |prefixes: &[Prefix]| {
        let matching = prefixes.iter().filter(|prefix| prefix.contains(source));
        matching.max_by_key(|prefix| prefix.length()).copied()
    };
    match (longest(&server.allow), longest(&server.deny)) {
        (Some(allow), Some(deny)) if deny.length() >= allow.length() => {
            format!("denied by {deny} of `deny`")
        }
        (Some(allow), _) => format!("let in by {allow} of `allow`"),
        (None, Some(deny)) => format!("denied by {deny} of `deny`"),
        (None, None) if server.allow.is_empty() => "let in: not in `deny`".into(),
        (None, None) => "in no prefix of `allow`".into(),
    }
}

fn rate(scene: &Scene<'_>) -> Option<Step> {
    let server = scene.server?;
    let limit = server.new_flows_per_second?;
    let text = format!(
        "virtual server {} lets {limit} new flows a second in, and more came: an attack, or a limit too low? \
         Then raise `new_flows_per_second` and put the file to work:",
        server.name
    );
    Some(Step::run(text, "forwarder reload"))
}

fn exhausted(scene: &Scene<'_>) -> Step {
    let backend = scene.chosen.map_or_else(String::new, |member| {
        format!(" towards {}", member.backend.name)
    });
    let what = scene.snat.as_deref().unwrap_or("the SNAT pool");
    let text = format!(
        "{what}: every port that was tried is taken{backend}; give it more addresses or ports, or the pool more \
         backends, and put the file to work:"
    );
    Step::run(text, "forwarder reload")
}

fn no_flow(scene: &Scene<'_>) -> Option<Step> {
    let packet = scene.packet?;
    let Kind::Tcp(source, destination, _) = packet.kind else {
        return None;
    };
    let syn = Packet {
        kind: Kind::Tcp(source, destination, 1 << 1),
        length: None,
        ..packet.clone()
    };
    let text = "the connection began elsewhere, or its flow was idle for too long; a new one begins with a SYN:";
    Some(Step::run(text, scene.trace(&syn)))
}
