//! Moving things of the cloud to the active node: which calls it takes, when they are tried again, and whose
//! things are then. Everything here takes what was found and time, and gives calls and verdicts.
//!
//! Nothing is ever given up before it is taken: every call moves a thing in one step, and can be repeated.
//! IPv6 alone has no such call; there the old holder loses an address only once taking it was refused. And a network interface has to be detached before it is
//! attached: in peace by a peer that answers, by force from one that does not.

pub mod archive;
pub mod call;
pub mod owner;
pub mod policy;
pub mod rehearsal;
pub mod work;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::config::Prefix;
use crate::config::model::{Cloud, MovingInterface, Which};
pub use call::Call;

/// What was found out beforehand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// This node's network interfaces, by the interface's name in the file.
    pub interfaces: BTreeMap<String, String>,
    /// Allocations of Elastic and carrier IP addresses.
    pub allocations: BTreeMap<Which, String>,
    /// Tags that several allocations have: nobody can tell which is meant, and none moves.
    pub ambiguous: BTreeSet<Which>,
    /// Route tables.
    pub tables: BTreeMap<Which, Vec<String>>,
    /// Network interfaces that move: of several with one tag none does.
    pub moving: BTreeMap<Which, Vec<String>>,
    /// This node's instance, if network interfaces move.
    pub instance: Option<String>,
}

impl Known {
    /// The one allocation that is meant.
    fn allocation(&self, which: &Which) -> Option<&String> {
        let found = self.allocations.get(which);
        found.filter(|_| !self.ambiguous.contains(which))
    }
}

/// Which network interface has what.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holdings {
    /// Secondary private addresses.
    pub addresses: BTreeMap<IpAddr, String>,
    /// Prefixes, as far as they are this node's.
    pub prefixes: BTreeMap<Prefix, String>,
    /// Private addresses that allocations are associated with.
    pub elastic: BTreeMap<String, (String, IpAddr)>,
    /// Routes by table.
    pub routes: BTreeMap<(String, Prefix), String>,
    /// What network interfaces that move are attached to.
    pub attachments: BTreeMap<String, Attachment>,
}

/// A network interface's place at an instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// Its own name.
    pub id: String,
    /// The instance.
    pub instance: String,
    /// Whether it is on its way off.
    pub leaving: bool,
}

/// What moves with a group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Planned {
    /// Every call that it takes, wherever things are now.
    pub calls: Vec<Call>,
    /// What can't be moved, as it was not found.
    pub missing: Vec<String>,
}

/// Where a group's first thing is. It decides whose the group is where the nodes can't hear each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// At this node.
    Here,
    /// At another network interface.
    Elsewhere(String),
    /// At none that is known.
    Nowhere,
}

/// The calls that bring a group's things to this node: one for all addresses of a network interface, one for
/// each Elastic IP address and route.
pub fn plan(cloud: &Cloud, group: &str, known: &Known) -> Planned {
    let mut planned = Planned::default();
    let mut missing = BTreeSet::new();
    let mut at = |interface: &String| {
        let found = known.interfaces.get(interface).cloned();
        if found.is_none() {
            missing.insert(format!("the network interface of \"{interface}\""));
        }
        found
    };
    for interface in names(cloud) {
        let here = |of: &str, name: &str| of == group && name == interface;
        let addresses = cloud.addresses.iter();
        let addresses = addresses.filter(|each| here(&each.group, &each.interface));
        let (mut private, mut ipv6) = (Vec::new(), Vec::new());
        for address in addresses.map(|each| each.what) {
            match address {
                IpAddr::V4(address) => private.push(address),
                IpAddr::V6(address) => ipv6.push(address),
            }
        }
        let prefixes = cloud.prefixes.iter();
        let prefixes = prefixes.filter(|each| here(&each.group, &each.interface));
        let prefixes: Vec<_> = prefixes.map(|each| each.what).collect();
        if private.is_empty() && ipv6.is_empty() && prefixes.is_empty() {
            continue;
        }
        let Some(to) = at(interface) else { continue };
        if !private.is_empty() {
            let (to, addresses) = (to.clone(), private);
            planned.calls.push(Call::AssignPrivate { to, addresses });
        }
        if !prefixes.is_empty() {
            let to = to.clone();
            planned.calls.push(Call::AssignPrefixes { to, prefixes });
        }
        if !ipv6.is_empty() {
            let addresses = ipv6;
            planned.calls.push(Call::AssignIpv6 { to, addresses });
        }
    }
    for each in cloud.elastic_ips.iter().filter(|each| each.group == group) {
        let (to, allocation) = (at(&each.interface), known.allocation(&each.which));
        if let (Some(to), Some(allocation)) = (to, allocation) {
            let (allocation, private) = (allocation.clone(), each.private);
            planned.calls.push(Call::Associate {
                allocation,
                to,
                private,
            });
        }
    }
    for route in cloud.routes.iter().filter(|route| route.group == group) {
        let Some(to) = at(&route.interface) else {
            continue;
        };
        for table in known.tables.get(&route.table).into_iter().flatten() {
            planned.calls.push(Call::ReplaceRoute {
                table: table.clone(),
                destination: route.destination,
                to: to.clone(),
            });
        }
    }
    let elastic = cloud.elastic_ips.iter().filter(|each| each.group == group);
    let unknown = elastic.filter(|each| known.allocation(&each.which).is_none());
    missing.extend(unknown.map(|each| {
        let several = match known.ambiguous.contains(&each.which) {
            true => " alone: several have it",
            false => "",
        };
        format!("the Elastic IP address {}{several}", each.which)
    }));
    let routes = cloud.routes.iter().filter(|route| route.group == group);
    let unknown = routes.filter(|route| known.tables.get(&route.table).is_none_or(Vec::is_empty));
    missing.extend(unknown.map(|route| format!("the route table {}", route.table)));
    let interfaces = cloud.interfaces.iter().filter(|each| each.group == group);
    for each in interfaces {
        match attach(each, known) {
            Ok(call) => planned.calls.push(call),
            Err(what) => drop(missing.insert(what)),
        }
    }
    planned.missing = missing.into_iter().collect();
    planned
}

/// The call that brings a network interface here; or what is missing for it.
fn attach(moving: &MovingInterface, known: &Known) -> Result<Call, String> {
    let which = &moving.which;
    let interface = match known.moving.get(which).map_or(&[][..], Vec::as_slice) {
        [interface] => interface.clone(),
        [] => return Err(format!("the network interface {which}")),
        _ => {
            return Err(format!(
                "the network interface {which} alone: several have it"
            ));
        }
    };
    let to = known.instance.clone();
    Ok(Call::Attach {
        interface,
        to: to.ok_or("this instance's id")?,
        device_index: moving.device_index,
    })
}

/// Names of interfaces in the order of the file.
fn names(cloud: &Cloud) -> Vec<&String> {
    let addresses = cloud.addresses.iter().map(|each| &each.interface);
    let prefixes = cloud.prefixes.iter().map(|each| &each.interface);
    let mut names: Vec<&String> = Vec::new();
    for name in addresses.chain(prefixes) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// What of these calls is left to do, as far as it is known where things are.
pub fn lacking(calls: &[Call], holdings: &Holdings) -> Vec<Call> {
    let calls = calls.iter();
    calls.filter_map(|call| call.lacking(holdings)).collect()
}

/// Where the first thing is that these calls move; `None`: they move nothing.
pub fn anchor(calls: &[Call], holdings: &Holdings) -> Option<Place> {
    let call = calls.first()?;
    let holder = match call {
        Call::AssignPrivate { addresses, .. } => addresses
            .first()
            .and_then(|address| holdings.addresses.get(&(*address).into())),
        Call::AssignIpv6 { addresses, .. } | Call::UnassignIpv6 { addresses, .. } => addresses
            .first()
            .and_then(|address| holdings.addresses.get(&(*address).into())),
        Call::AssignPrefixes { prefixes, .. } => prefixes
            .first()
            .and_then(|prefix| holdings.prefixes.get(prefix)),
        Call::Associate { allocation, .. } => holdings.elastic.get(allocation).map(|(eni, _)| eni),
        Call::ReplaceRoute {
            table, destination, ..
        } => holdings.routes.get(&(table.clone(), *destination)),
        Call::Attach { interface, .. } | Call::Detach { interface, .. } => {
            let at = holdings.attachments.get(interface);
            at.map(|at| &at.instance)
        }
    };
    Some(match holder {
        None => Place::Nowhere,
        Some(holder) if holder == call.to() => Place::Here,
        Some(holder) => Place::Elsewhere(holder.clone()),
    })
}
