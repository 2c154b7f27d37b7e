//! Telling programs of changes of role.

use std::net::IpAddr;

use serde::Serialize;

use super::Node;
use super::pair::vips_of;
use crate::admin::api::RoleChange;
use crate::core::history::Kind;
use crate::io::clock;
use crate::io::hook::Outcome;
use crate::io::routes::Vips;

/// What a program reads.
#[derive(Debug, Serialize)]
struct Event<'a> {
    event: &'static str,
    node: &'a str,
    peer: Option<&'a str>,
    group: &'a str,
    vips: Vec<IpAddr>,
    #[serde(flatten)]
    change: &'a RoleChange,
}

impl Node {
    /// Tells every program of a change.
    pub(super) fn tell_hooks(&self, group: &str, vips: Vec<IpAddr>, change: &RoleChange) {
        let Some(node) = self.model.node.as_ref().filter(|_| !self.hooks.is_empty()) else {
            return;
        };
        let event = Event {
            event: "role",
            node: &node.name,
            peer: node.peer.as_deref(),
            group,
            vips,
            change,
        };
        // Plain values turn into JSON.
        if let Ok(text) = serde_json::to_string(&event) {
            self.hooks.tell(&(text + "\n"));
        }
    }

    /// Tells what holds though nothing has changed: at the start this node is standby, at the end it is nothing.
    pub(super) fn tell_hooks_of_all(&self, cause: &str, why: &str) {
        let Some(status) = self.pair_status() else {
            return;
        };
        for group in status.groups {
            let change = RoleChange {
                at_milliseconds: u64::try_from(clock::wall().as_millis()).unwrap_or(u64::MAX),
                role: "standby".to_owned(),
                epoch: group.epoch,
                cause: cause.to_owned(),
                why: why.to_owned(),
                microseconds: std::collections::BTreeMap::new(),
            };
            let vips = vips_of(&self.model, &group.name);
            self.tell_hooks(&group.name, vips, &change);
        }
    }

    /// A program has ended.
    pub(super) fn hook_ended(&mut self, outcome: &Outcome) {
        let subject = format!("hook {}", outcome.program.display());
        self.remember(Kind::Role, subject, &outcome.text);
    }

    /// Every VIP that can move, with the place of its group.
    pub(super) fn route_vips(&self) -> Vips {
        let vips = self.actual.vip_addresses.iter();
        vips.filter(|(_, entry)| entry.answers != 0)
            .map(|(vip, entry)| (*vip, entry.group as usize))
            .collect()
    }
}
