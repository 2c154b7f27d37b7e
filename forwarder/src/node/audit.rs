//! Looks whether the kernel still has what was put there, and puts it there again.

use log::{info, warn};

use super::Node;
use super::run::targets;
use crate::core::history::Kind;
use crate::core::op::Op;
use crate::core::plan::plan;
use crate::dataplane::attach::{Attachment, Target, examine};

/// Repairs that are logged one by one.
const LOGGED: usize = 8;

impl Node {
    /// One look; whether the maps have to be compiled again.
    pub(super) fn audit(&mut self) -> bool {
        let attached = self.audit_attachments();
        let tables = self.audit_tables();
        if let Some(keep) = &mut self.keep
            && let Err(error) = keep.tidy(&mut self.bpf)
        {
            warn!("{error}");
        }
        attached || tables
    }

    /// Attaches where our program is not, detaches where it has no business.
    fn audit_attachments(&mut self) -> bool {
        let links = match self.host.netlink.links() {
            Ok(links) => links,
            Err(error) => {
                warn!("netlink: {error}");
                return false;
            }
        };
        let targets = targets(&self.model);
        let find = |device: &str| links.iter().find(|link| link.name == device);
        let wanted: Vec<_> = targets
            .iter()
            .filter_map(|target| find(&target.device))
            .collect();
        let is_right = |each: &Attachment| wanted.iter().any(|link| each.holds(link));
        let wrong = self.bpf.attachments().iter().filter(|each| !is_right(each));
        let wrong: Vec<_> = wrong
            .map(|each| (each.attached().device.clone(), each.attached().ifindex))
            .collect();
        for (device, ifindex) in &wrong {
            let text = match links.iter().find(|link| link.ifindex == *ifindex) {
                None => format!("{device} (interface {ifindex}) is gone"),
                Some(link) if link.name != *device => {
                    format!("{device} is now called {}: detached from it", link.name)
                }
                Some(_) => format!("{device}: our program was taken off behind our back"),
            };
            warn!(interface = device.as_str(); "{text}");
            self.remember(Kind::Interface, device, &text);
            self.bpf
                .detach_where(|attached| attached.ifindex == *ifindex);
        }
        let mut changed = !wrong.is_empty();
        for target in &targets {
            let ifindex = find(&target.device).map(|link| link.ifindex);
            let mut attachments = self.bpf.attachments().iter();
            if ifindex.is_some()
                && !attachments.any(|each| Some(each.attached().ifindex) == ifindex)
            {
                changed |= self.attach_again(target);
            }
        }
        let devices: Vec<_> = targets.iter().map(|target| &target.device).collect();
        self.not_attached
            .retain(|device, _| devices.contains(&device));
        changed
    }

    fn attach_again(&mut self, target: &Target) -> bool {
        let pins = self.keep.as_ref().map(|keep| &keep.pins);
        let netlink = &mut self.host.netlink;
        let links = pins.map_or_else(|| Ok(Vec::new()), |pins| pins.links().map_err(Into::into));
        let attached = links
            .and_then(|links| examine(netlink, std::slice::from_ref(target), &links))
            .map_err(|error| error.to_string())
            .and_then(|interfaces| {
                let attached = self.bpf.attach(netlink, &interfaces, pins);
                attached.map_err(|error| error.to_string())
            });
        match attached {
            Ok(()) => {
                self.not_attached.remove(&target.device);
                let attached = self.bpf.attached().last();
                if let Some(text) = attached.map(|attached| format!("again: {attached}")) {
                    info!("{text}");
                    self.remember(Kind::Interface, &target.device, &text);
                }
                if let Err(error) = self.host.read_again() {
                    warn!("netlink: {error}");
                }
                true
            }
            Err(why) => {
                let said = self.not_attached.insert(target.device.clone(), why.clone());
                if said.as_ref() != Some(&why) {
                    warn!(interface = target.device.as_str(); "{}: not attached: {why}", target.device);
                }
                false
            }
        }
    }

    /// Compares the maps with what was written to them.
    fn audit_tables(&mut self) -> bool {
        let read = self.bpf.read(&self.actual);
        self.maps_answer = read.is_ok();
        let found = match read {
            Ok(found) => found,
            Err(error) => {
                warn!("{error}");
                return false;
            }
        };
        let repairs = plan(&found, &self.actual);
        for op in repairs.iter().take(LOGGED) {
            match op {
                // The kernel takes interfaces that go out of the device maps by itself.
                Op::Interface { ifindex, .. } => {
                    info!("interface {ifindex} has lost its place in the maps")
                }
                op => warn!("a map was changed behind our back: {op}"),
            }
        }
        if repairs.len() > LOGGED {
            warn!("{} more changes behind our back", repairs.len() - LOGGED);
        }
        self.actual = found;
        !repairs.is_empty()
    }
}
