//! Groups that a reload brings, changes or removes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::mpsc::channel;
use std::time::Duration;

use log::warn;

use super::{group_settings, short, vips_of};
use crate::config::{Model, model};
use crate::core::pair::Wanted;
use crate::core::pair::claim::Role;
use crate::io::pair::Request;
use crate::node::Node;
use crate::node::running::Running;

/// The pair's thread waits for nobody, so this is not waited for in vain.
const PATIENCE: Duration = Duration::from_secs(2);

/// What the groups are called.
pub fn names(groups: &[model::Group]) -> BTreeMap<u16, String> {
    let names = groups.iter();
    names.map(|group| (group.id, group.name.clone())).collect()
}

impl Node {
    /// Whether a VIP would be at both nodes, since this one has another configuration than its peer: it would come
    /// to a group that is active here, and be in one there that is active there.
    pub(in crate::node) fn check_groups(&self, new: &Running) -> Result<(), String> {
        let Some(pair) = &self.pair else {
            return Ok(());
        };
        let view = pair.handle.view();
        if view.peer.is_none_or(|peer| peer.config == short(&new.hash)) {
            return Ok(());
        }
        let role = |name: &str| {
            view.groups
                .iter()
                .find(|group| group.id == model::Group::id(name))
        };
        let old = groups_of_vips(&self.model);
        for (vip, group) in groups_of_vips(&new.model) {
            let Some(before) = old.get(&vip).filter(|before| **before != group) else {
                continue;
            };
            let comes = role(group).is_some_and(|group| group.role != Role::Standby);
            let there = role(before).and_then(|before| before.peer);
            let there = there.is_some_and(|claim| claim.role != Role::Standby);
            if comes && there {
                let peer = &pair.names.peer;
                return Err(format!(
                    "{vip} would be at both nodes: {peer} has it, with the group {before}, and the group {group} is here; \
                     move one of them first: forwarder failover --group"
                ));
            }
        }
        Ok(())
    }

    /// Beside the groups at work those of another configuration, before any address is in them.
    pub(in crate::node) fn add_groups(&mut self, new: &Model) {
        let Some(pair) = &mut self.pair else { return };
        let Some(new_pair) = &new.pair else { return };
        let old_groups = groups_of_vips(&self.running.model);
        let known = &pair.names.groups;
        let added = new_pair
            .groups
            .iter()
            .filter(|group| !known.contains_key(&group.id));
        let mut groups: Vec<_> = (pair.model.groups.iter())
            .map(|group| (wanted(&pair.model, group, pair.first), group.clone()))
            .collect();
        for group in added {
            let mut wanted = wanted(new_pair, group, pair.first);
            wanted.epoch = pair.epochs.get(&group.id).copied().unwrap_or(0);
            let vips = vips_of(new, &group.name);
            let from: BTreeSet<&str> = vips
                .iter()
                .filter_map(|vip| old_groups.get(vip).copied())
                .collect();
            if let (1, Some(from)) = (from.len(), from.first()) {
                wanted.from = Some(model::Group::id(from));
            }
            groups.push((wanted, group.clone()));
        }
        if groups.len() == pair.model.groups.len() {
            return;
        }
        pair.names.groups = groups
            .iter()
            .map(|(_, group)| (group.id, group.name.clone()))
            .collect();
        let grace = pair.model.drain;
        self.ask_for_groups(groups, grace);
    }

    /// The groups of the configuration at work, and no others.
    pub(in crate::node) fn set_groups(&mut self, old: &Model) {
        let Some(pair) = &mut self.pair else { return };
        let Some(new) = &self.running.model.pair else {
            return;
        };
        for group in &pair.model.groups {
            let vips = vips_of(old, &group.name);
            pair.gone.insert(group.id, (group.name.clone(), vips));
        }
        let same = pair.model == *new && pair.names.groups == names(&new.groups);
        pair.model = new.clone();
        pair.names.groups = names(&new.groups);
        if same {
            return;
        }
        let groups = new.groups.iter();
        let groups = groups.map(|group| (wanted(new, group, pair.first), group.clone()));
        let (groups, grace) = (groups.collect(), new.drain);
        self.ask_for_groups(groups, grace);
    }

    fn ask_for_groups(&self, groups: Vec<(Wanted, model::Group)>, grace: Duration) {
        let Some(pair) = &self.pair else { return };
        let (done, wait) = channel();
        pair.handle.request(Request::Groups(groups, grace, done));
        if wait.recv_timeout(PATIENCE).is_err() {
            warn!("the pair's thread has not taken other groups in yet");
        }
    }
}

fn wanted(pair: &model::Pair, group: &model::Group, first: bool) -> Wanted {
    Wanted {
        settings: group_settings(pair, group, first),
        epoch: 0,
        from: None,
    }
}

/// Which group each address moves with.
fn groups_of_vips(model: &Model) -> BTreeMap<IpAddr, &str> {
    let servers = model.virtual_servers.iter();
    servers
        .map(|server| (server.address, server.group.as_str()))
        .collect()
}
