//! Network interfaces that are detached from one instance and attached to another: their devices go and come.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use super::ec2::{Parameters, Refused, bad, need};
use super::instance_type::INTERFACES;
use super::state::{Interface, Things};
use crate::namespace::Namespace;
use crate::switch::{Segment, Switch};

/// So long a network interface is on its way off.
const DETACHING: Duration = Duration::from_secs(2);
/// And so long where the instance has to take part, and does not.
const FOR_EVER: Duration = Duration::from_secs(1 << 20);

/// An instance's id.
pub fn instance(node: usize) -> String {
    format!("i-{node}")
}

/// A network interface's place at its node.
#[derive(Clone, Debug)]
pub struct Attachment {
    /// Counts attachments.
    pub number: u64,
    /// The place.
    pub device_index: u32,
    /// `None`: it is attached; or when it is off.
    pub off_at: Option<Instant>,
}

impl Attachment {
    /// The first, at a place.
    pub fn at(device_index: u32) -> Self {
        Self {
            number: 0,
            device_index,
            off_at: None,
        }
    }

    /// What it is called.
    pub fn id(&self, interface: &str) -> String {
        let own = interface.trim_start_matches("eni-");
        format!("eni-attach-{own}{}", self.number)
    }

    /// Whether its device is there.
    pub fn is_on(&self) -> bool {
        self.off_at.is_none()
    }

    /// Its state; `None`: it is attached to nothing.
    pub fn status(&self) -> Option<&'static str> {
        match self.off_at {
            None => Some("attached"),
            Some(at) if Instant::now() < at => Some("detaching"),
            Some(_) => None,
        }
    }
}

/// A card that can be pulled out of one node and put into the other.
pub(super) struct Card {
    pub device: String,
    pub segment: Segment,
    pub addresses: Vec<String>,
    pub mac: String,
    pub hosts: [Namespace; 2],
    pub switch: Arc<Switch>,
}

impl Card {
    /// Puts it in, with the addresses that the host's own scripts give it.
    pub(super) fn plug(&self, node: usize) -> Result<()> {
        let host = self.hosts.get(node).context("a node")?;
        let (device, mac) = (&self.device, &self.mac);
        self.switch
            .plug(host, device, self.segment, &self.addresses)?;
        host.ip(&format!("link set {device} address {mac}"))
    }

    /// Pulls it out.
    pub(super) fn unplug(&self, node: usize) -> Result<()> {
        let host = self.hosts.get(node).context("a node")?;
        self.switch.unplug((host, &self.device))
    }
}

pub fn detach(things: &mut Things, parameters: &Parameters) -> Result<String, Refused> {
    let id = need(parameters, "AttachmentId")?;
    let mut all = things.interfaces.iter_mut();
    let force = parameters.get("Force").is_some_and(|value| value == "true");
    let found =
        all.find(|(own, each)| each.attachment.id(own) == id && each.attachment.status().is_some());
    let Some((_, found)) = found else {
        let text = format!("Interface attachment '{id}' does not exist.");
        return Err(bad("InvalidAttachmentID.NotFound", text));
    };
    if found.attachment.device_index == 0 {
        let text = "The network interface at device index 0 cannot be detached.";
        return Err(bad("OperationNotPermitted", text));
    }
    if !found.attachment.is_on() && !force {
        let text = format!("Interface attachment '{id}' is being detached.");
        return Err(bad("IncorrectState", text));
    }
    let takes = match things.hung.contains(&found.node) && !force {
        true => FOR_EVER,
        false => DETACHING,
    };
    found.attachment.off_at = Some(Instant::now() + takes);
    Ok("<return>true</return>".to_owned())
}

pub fn attach(things: &mut Things, parameters: &Parameters) -> Result<String, Refused> {
    let id = need(parameters, "NetworkInterfaceId")?;
    let wanted = need(parameters, "InstanceId")?;
    let index = need(parameters, "DeviceIndex")?;
    let index: u32 = index
        .parse()
        .map_err(|_| bad("InvalidParameterValue", index))?;
    let Some(found) = things.interfaces.get(id) else {
        return Err(bad("InvalidNetworkInterfaceID.NotFound", id));
    };
    let Some(node) = (0..2).find(|node| instance(*node) == wanted) else {
        return Err(bad("InvalidInstanceID.NotFound", wanted));
    };
    if found.attachment.status().is_some() {
        let text = format!("Interface: [{id}] in use.");
        return Err(bad("InvalidNetworkInterface.InUse", text));
    }
    let there = |each: &&Interface| each.node == node && each.attachment.status().is_some();
    let others = || things.interfaces.values().filter(there);
    if others().any(|each| each.zone != found.zone) {
        let text = "The network interface and the instance are not in the same Availability Zone.";
        return Err(bad("InvalidParameterCombination", text));
    }
    if others().any(|each| each.attachment.device_index == index) {
        let text = format!(
            "Instance '{wanted}' already has an interface attached at device index '{index}'."
        );
        return Err(bad("InvalidParameterValue", text));
    }
    if others().count() >= INTERFACES {
        let text = format!("Interface count exceeds the limit of {INTERFACES}");
        return Err(bad("AttachmentLimitExceeded", text));
    }
    let Some(found) = things.interfaces.get_mut(id) else {
        return Err(bad("InvalidNetworkInterfaceID.NotFound", id));
    };
    found.node = node;
    found.attachment = Attachment {
        number: found.attachment.number + 1,
        device_index: index,
        off_at: None,
    };
    let attachment = found.attachment.id(id);
    Ok(format!("<attachmentId>{attachment}</attachmentId>"))
}

/// What is shown of it.
pub fn item(id: &str, interface: &Interface) -> String {
    let attachment = &interface.attachment;
    let Some(status) = attachment.status() else {
        return String::new();
    };
    format!(
        "<attachment><attachmentId>{}</attachmentId><instanceId>{}</instanceId>\
         <deviceIndex>{}</deviceIndex><status>{status}</status></attachment>",
        attachment.id(id),
        instance(interface.node),
        attachment.device_index,
    )
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    fn interface(node: usize, device_index: u32) -> Interface {
        Interface {
            node,
            attachment: Attachment::at(device_index),
            zone: "a",
            tags: BTreeMap::new(),
            subnet: "subnet-0".to_owned(),
            within: Vec::new(),
            mac: String::new(),
            primary: Vec::new(),
            secondary: BTreeSet::new(),
            prefixes: BTreeSet::new(),
            limit: 15,
            checks: true,
        }
    }

    fn parameters(pairs: &[(&str, &str)]) -> Parameters {
        let pairs = pairs.iter();
        pairs
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn what_the_real_one_refuses_is_refused() {
        let mut things = Things::default();
        for (id, node, index) in [("eni-00", 0, 0), ("eni-9", 0, 2), ("eni-10", 1, 0)] {
            things
                .interfaces
                .insert(id.to_owned(), interface(node, index));
        }
        let attached = |things: &mut Things, to: &str, index: &str| {
            let asked = [
                ("NetworkInterfaceId", "eni-9"),
                ("InstanceId", to),
                ("DeviceIndex", index),
            ];
            attach(things, &parameters(&asked)).map_err(|(_, code, _)| code)
        };
        let detached = |things: &mut Things, id: &str, force: &str| {
            let asked = parameters(&[("AttachmentId", id), ("Force", force)]);
            detach(things, &asked).map_err(|(_, code, _)| code)
        };
        assert_eq!(
            attached(&mut things, "i-1", "2"),
            Err("InvalidNetworkInterface.InUse")
        );
        let nobody = detached(&mut things, "eni-attach-77", "true");
        assert_eq!(nobody, Err("InvalidAttachmentID.NotFound"));
        let first = detached(&mut things, "eni-attach-000", "true");
        assert_eq!(first, Err("OperationNotPermitted"));
        things.hung.insert(0);
        assert!(detached(&mut things, "eni-attach-90", "false").is_ok());
        let again = detached(&mut things, "eni-attach-90", "false");
        assert_eq!(again, Err("IncorrectState"));
        let off_at = |things: &Things| things.interfaces["eni-9"].attachment.off_at;
        let never = off_at(&things);
        assert!(detached(&mut things, "eni-attach-90", "true").is_ok());
        assert!(off_at(&things) < never, "a hung instance is not asked");
        assert_eq!(
            attached(&mut things, "i-1", "2"),
            Err("InvalidNetworkInterface.InUse")
        );
        let card = |things: &mut Things, change: fn(&mut Interface)| {
            things
                .interfaces
                .get_mut("eni-9")
                .into_iter()
                .for_each(change);
        };
        card(&mut things, |each| {
            each.attachment.off_at = Some(Instant::now())
        });
        assert_eq!(
            attached(&mut things, "i-1", "0"),
            Err("InvalidParameterValue")
        );
        assert_eq!(
            attached(&mut things, "i-7", "2"),
            Err("InvalidInstanceID.NotFound")
        );
        card(&mut things, |each| each.zone = "b");
        assert_eq!(
            attached(&mut things, "i-1", "2"),
            Err("InvalidParameterCombination")
        );
        card(&mut things, |each| each.zone = "a");
        let others = (1..INTERFACES).map(|index| index as u32);
        for index in others.clone() {
            let id = format!("eni-1{index}");
            things.interfaces.insert(id, interface(1, 10 + index));
        }
        assert_eq!(
            attached(&mut things, "i-1", "2"),
            Err("AttachmentLimitExceeded")
        );
        for index in others {
            things.interfaces.remove(&format!("eni-1{index}"));
        }
        assert!(attached(&mut things, "i-1", "2").is_ok());
        let there = &things.interfaces["eni-9"];
        assert_eq!(
            (there.node, there.attachment.status()),
            (1, Some("attached"))
        );
    }
}
