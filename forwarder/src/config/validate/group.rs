//! Groups of virtual servers, which move between the nodes of a pair.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use forwarder_common::lease::GROUPS;

use super::super::code::Code;
use super::super::diagnostic::{Diagnostic, Span};
use super::super::model::{DEFAULT_GROUP, Group, Snat, SnatPool, VirtualServer};
use super::super::schema;
use super::view::{View, entries};

impl<'d> View<'d, '_> {
    /// The groups of the pair; `priority`: of those that give none.
    pub(super) fn groups(
        &mut self,
        section: &'d schema::Pair,
        priority: Option<u32>,
    ) -> Option<Vec<Group>> {
        let sections = entries(&section.group);
        let servers = entries(&self.document.virtual_server);
        let used: BTreeSet<&str> = servers.iter().map(|server| named(server)).collect();
        let mut groups = Vec::new();
        let first = self.node == Some(0);
        let peers = self.pick_peer(&section.priority);
        let peers = peers.map(|priority| priority.0);
        if sections.is_empty() || used.contains(DEFAULT_GROUP) {
            groups.push(group(DEFAULT_GROUP, priority, peers, first));
        }
        for each in sections {
            let (own, peers) = match each.priority {
                Some(_) => {
                    let own = self.pick(&each.priority).map(|priority| priority.0);
                    let peers = self.pick_peer(&each.priority);
                    (own, peers.map(|priority| priority.0))
                }
                None => (priority, peers),
            };
            let Some(name) = &each.name else { continue };
            if name.0 == DEFAULT_GROUP {
                let message = "virtual servers without a group are in \"default\"";
                self.push(Code::ReservedName, name.span, message);
            }
            self.unused(
                Code::UnusedGroup,
                "virtual server is in the group",
                &each.name,
                &used,
            );
            let clash = groups.iter().flatten().find(|known: &&Group| {
                known.id == Group::id(&name.0) && known.name != name.0 && name.0 != DEFAULT_GROUP
            });
            if let Some(known) = clash {
                let message = format!(
                    "the nodes can't tell the group \"{}\" from \"{}\": rename one",
                    name.0, known.name
                );
                self.push(Code::DuplicateName, name.span, message);
            }
            groups.push(group(&name.0, own, peers, first));
        }
        if let Some(beyond) = sections.get(GROUPS)
            && groups.len() > GROUPS
        {
            let message = format!("{} groups, and there is room for {GROUPS}", groups.len());
            self.push(Code::TooManyGroups, beyond.span, message);
        }
        let mut groups: Vec<Group> = groups.into_iter().collect::<Option<_>>()?;
        for (place, group) in (0..).zip(&mut groups) {
            group.place = place;
        }
        Some(groups)
    }

    /// The group of a virtual server.
    pub(super) fn group_of(&mut self, section: &'d schema::VirtualServer) -> Option<String> {
        let Some(name) = &section.group else {
            return Some(DEFAULT_GROUP.to_owned());
        };
        if name.0 != DEFAULT_GROUP || self.document.pair.is_none() {
            let (names, code) = (&self.group_names, Code::UnknownGroup);
            View::known(names, name, code, "group", self.out)?;
        }
        Some(name.0.clone())
    }

    /// What is at one address moves together.
    pub(super) fn check_groups(&mut self) {
        let mut vips: BTreeMap<IpAddr, (&str, Span)> = BTreeMap::new();
        let mut pools: BTreeMap<&str, (&str, Span)> = BTreeMap::new();
        for section in entries(&self.document.virtual_server) {
            let group = named(section);
            let span = section
                .group
                .as_ref()
                .map_or(section.span, |name| name.span);
            let mut found = Vec::new();
            if let Some(address) = self.pick(&section.address) {
                let (first, at) = *vips.entry(address.value).or_insert((group, span));
                let what = format!("the VIP {}", address.value);
                found.push((Code::SplitVip, what, first, at));
            }
            let floats = self.interfaces.iter().any(|each| !each.floating.is_empty());
            if let Some(pool) = section
                .snat
                .as_ref()
                .filter(|name| floats || name.0 != "automap")
            {
                let (first, at) = *pools.entry(&pool.0).or_insert((group, span));
                let what = match pool.0.as_str() {
                    "automap" => "the floating addresses".to_owned(),
                    name => format!("the SNAT pool \"{name}\""),
                };
                found.push((Code::SplitSnatPool, what, first, at));
            }
            self.split(group, span, found);
        }
        let mut found = Vec::new();
        for pool in &self.snat_pools {
            let Some((group, _)) = pools.get(pool.model.name.as_str()) else {
                continue;
            };
            for address in &pool.addresses {
                if let Some((first, at)) = vips.get(&address.value) {
                    let what = format!("the VIP and SNAT address {}", address.value);
                    found.push((*group, address.span, (Code::SplitVip, what, *first, *at)));
                }
            }
        }
        for (group, span, each) in found {
            self.split(group, span, vec![each]);
        }
    }

    fn split(&mut self, group: &str, span: Span, found: Vec<(Code, String, &str, Span)>) {
        for (code, what, first, at) in found {
            if first != group {
                let message = format!("{what} would be in the groups \"{first}\" and \"{group}\"");
                let note = format!("\"{first}\" is here");
                self.out
                    .push(Diagnostic::new(code, span, message).note(at, note));
            }
        }
    }
}

fn group(name: &str, own: Option<u32>, peers: Option<u32>, first: bool) -> Option<Group> {
    let own = own?;
    Some(Group {
        name: name.to_owned(),
        id: Group::id(name),
        place: 0,
        priority: u8::try_from(own).ok()?,
        preferred: peers.is_none_or(|peers| (own, first) > (peers, !first)),
    })
}

/// The group that a virtual server names.
fn named(section: &schema::VirtualServer) -> &str {
    let name = section.group.as_ref();
    name.map_or(DEFAULT_GROUP, |name| name.0.as_str())
}

/// SNAT pools move with the virtual servers that use them.
pub(super) fn with_groups(mut pools: Vec<SnatPool>, servers: &[VirtualServer]) -> Vec<SnatPool> {
    for pool in &mut pools {
        let uses = |server: &&VirtualServer| matches!(server.action.snat(), Some(Snat::Pool(name)) if *name == pool.name);
        if let Some(server) = servers.iter().find(uses) {
            pool.group.clone_from(&server.group);
        }
    }
    pools
}
