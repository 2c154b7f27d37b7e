//! What was dropped last, and how that compares with what would become of it now.

use forwarder_common::Reason;

use super::Node;
use crate::admin::api::{self, Step};
use crate::core::facts::Facts;
use crate::dataplane::bpf::drops::Dropped;
use crate::io::clock;
use crate::packet;

/// The last packet for every reason there was one for, the newest first.
pub fn drops(node: &mut Node) -> Result<api::Drops, String> {
    let facts = node.host.facts(&node.model);
    let mut last = node.bpf.last_drops().map_err(|error| error.to_string())?;
    last.sort_by_key(|each| std::cmp::Reverse(each.at));
    let drops = last.iter().map(|each| describe(node, &facts, each));
    Ok(api::Drops {
        drops: drops.collect(),
    })
}

/// The packet that was dropped last, for a reason if one is given.
pub fn last(node: &Node, reason: Option<&str>) -> Result<Dropped, String> {
    let drops = node.bpf.last_drops().map_err(|error| error.to_string())?;
    let asked = |each: &Dropped| reason.is_none_or(|reason| each.reason.name() == reason);
    let last = drops
        .into_iter()
        .filter(asked)
        .max_by_key(|each| each.at)
        .ok_or_else(|| match reason {
            Some(reason) => format!("no packet was dropped as {reason}"),
            None => "no packet was dropped".to_owned(),
        })?;
    Ok(last)
}

/// The drop in words; the packet's bytes stay here.
pub fn describe(node: &Node, facts: &Facts, dropped: &Dropped) -> api::Dropped {
    let device = node.host.device(dropped.ifindex);
    let named = device.map(|device| {
        let mut interfaces = node.model.interfaces.iter();
        let interface = interfaces.find(|each| each.device == device);
        interface.map_or(device, |interface| &interface.name)
    });
    let mac = device.and_then(|device| facts.devices.get(device));
    let mac = mac.map_or([0; 6], |device| device.mac);
    let mut frame = dropped.frame.clone();
    frame.resize(frame.len().max(dropped.length as usize), 0);
    let ago = clock::monotonic().saturating_sub(dropped.at);
    api::Dropped {
        reason: dropped.reason.name().to_owned(),
        meaning: dropped.reason.meaning().to_owned(),
        seconds_ago: ago.as_secs(),
        interface: named.map(str::to_owned),
        packet: packet::dissect(&frame, mac).text,
        bytes: dropped.length,
        kept: dropped.frame.len() as u32,
    }
}

/// What to say first when a packet would not end as it did.
pub fn difference(then: Reason, now: Reason, ago: &str) -> Option<Step> {
    if then == now {
        return None;
    }
    let (dropped, next) = (then.name(), now.name());
    let why = match then {
        Reason::DropFlowTableFull => "a trace writes no flow, so a full table does not show in it",
        Reason::DropNoHeadroom | Reason::DropInternal => {
            "it was dropped late, when its headers may have been changed"
        }
        _ => "something has changed since",
    };
    let command = match then {
        Reason::DropRate
        | Reason::DropFragment
        | Reason::DropFlowTableFull
        | Reason::DropNoHeadroom
        | Reason::DropInternal => format!("forwarder explain {dropped}"),
        _ => "forwarder history".to_owned(),
    };
    Some(Step {
        text: format!("it was dropped {ago} ago as {dropped}, and would now end as {next}: {why}"),
        command: Some(command),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_is_said_once_there_is_one() {
        let same = difference(Reason::DropDenied, Reason::DropDenied, "3 s");
        assert_eq!(same, None);
        let step = difference(Reason::DropNoNextHop, Reason::L2Dsr, "3 s").expect("a step");
        assert!(step.text.contains("dropped 3 s ago as drop-no-next-hop"));
        assert!(step.text.contains("would now end as l2-dsr"));
        assert_eq!(step.command.as_deref(), Some("forwarder history"));
        let step = difference(Reason::DropFlowTableFull, Reason::Dnat, "3 s").expect("a step");
        assert!(step.text.contains("a trace writes no flow"));
        assert!(!step.text.contains("changed"), "{}", step.text);
    }
}
