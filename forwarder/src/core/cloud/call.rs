//! What is asked of the API to move a thing.

use std::collections::BTreeSet;
use std::fmt::{self, Display, Formatter};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Attachment, Holdings};
use crate::config::Prefix;

/// A call. Each can be repeated: what is done already stays done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// `AssignPrivateIpAddresses` with `AllowReassignment`.
    AssignPrivate {
        /// The network interface.
        to: String,
        /// Secondary addresses, all that move.
        addresses: Vec<Ipv4Addr>,
    },
    /// The same for prefixes, which go into a call of their own: a network interface that refuses them is to
    /// have its addresses all the same.
    AssignPrefixes {
        /// The network interface.
        to: String,
        /// The prefixes.
        prefixes: Vec<Prefix>,
    },
    /// `AssignIpv6Addresses`. It takes only what nobody has.
    AssignIpv6 {
        /// The network interface.
        to: String,
        /// The addresses.
        addresses: Vec<Ipv6Addr>,
    },
    /// `UnassignIpv6Addresses`, once [`Call::AssignIpv6`] was refused.
    UnassignIpv6 {
        /// The network interface that has them.
        to: String,
        /// The addresses.
        addresses: Vec<Ipv6Addr>,
    },
    /// `AssociateAddress` with `AllowReassociation`.
    Associate {
        /// The Elastic or carrier IP address.
        allocation: String,
        /// The network interface.
        to: String,
        /// The private address.
        private: IpAddr,
    },
    /// `ReplaceRoute`.
    ReplaceRoute {
        /// The route table.
        table: String,
        /// The route.
        destination: Prefix,
        /// The network interface.
        to: String,
    },
    /// `AttachNetworkInterface`. It takes only what is detached.
    Attach {
        /// The network interface.
        interface: String,
        /// The instance.
        to: String,
        /// The place there.
        device_index: u32,
    },
    /// `DetachNetworkInterface`, before [`Call::Attach`].
    Detach {
        /// The network interface.
        interface: String,
        /// What it is attached by.
        attachment: String,
        /// The instance that has it.
        to: String,
        /// Without asking the instance: it can't answer any more.
        force: bool,
    },
}

impl Call {
    /// The action's name.
    pub fn action(&self) -> &'static str {
        match self {
            Call::AssignPrivate { .. } | Call::AssignPrefixes { .. } => "AssignPrivateIpAddresses",
            Call::AssignIpv6 { .. } => "AssignIpv6Addresses",
            Call::UnassignIpv6 { .. } => "UnassignIpv6Addresses",
            Call::Associate { .. } => "AssociateAddress",
            Call::ReplaceRoute { .. } => "ReplaceRoute",
            Call::Attach { .. } => "AttachNetworkInterface",
            Call::Detach { .. } => "DetachNetworkInterface",
        }
    }

    /// The network interface that it is about, or the instance where network interfaces move themselves.
    pub fn to(&self) -> &str {
        match self {
            Call::AssignPrivate { to, .. }
            | Call::AssignPrefixes { to, .. }
            | Call::AssignIpv6 { to, .. }
            | Call::UnassignIpv6 { to, .. }
            | Call::Associate { to, .. }
            | Call::ReplaceRoute { to, .. }
            | Call::Attach { to, .. }
            | Call::Detach { to, .. } => to,
        }
    }

    /// What moves.
    pub fn what(&self) -> Vec<String> {
        match self {
            Call::AssignPrivate { addresses, .. } => texts(addresses),
            Call::AssignPrefixes { prefixes, .. } => texts(prefixes),
            Call::AssignIpv6 { addresses, .. } | Call::UnassignIpv6 { addresses, .. } => {
                texts(addresses)
            }
            Call::Associate {
                allocation,
                private,
                ..
            } => vec![format!("{allocation} at {private}")],
            Call::ReplaceRoute {
                table, destination, ..
            } => vec![format!("{destination} in {table}")],
            Call::Attach { interface, .. } | Call::Detach { interface, .. } => {
                vec![interface.clone()]
            }
        }
    }

    /// Parameters, without those that every call has.
    pub fn parameters(&self) -> Vec<(String, String)> {
        let interface = |to: &String| ("NetworkInterfaceId".to_owned(), to.clone());
        let numbered = |name: &str, texts: Vec<String>| {
            let numbered = (1..).zip(texts);
            let name = name.to_owned();
            numbered.map(move |(number, text)| (format!("{name}.{number}"), text))
        };
        let yes = |name: &str| (name.to_owned(), "true".to_owned());
        match self {
            Call::AssignPrivate { to, addresses } => [interface(to), yes("AllowReassignment")]
                .into_iter()
                .chain(numbered("PrivateIpAddress", texts(addresses)))
                .collect(),
            Call::AssignPrefixes { to, prefixes } => [interface(to), yes("AllowReassignment")]
                .into_iter()
                .chain(numbered("Ipv4Prefix", texts(prefixes)))
                .collect(),
            Call::AssignIpv6 { to, addresses } | Call::UnassignIpv6 { to, addresses } => {
                [interface(to)]
                    .into_iter()
                    .chain(numbered("Ipv6Addresses", texts(addresses)))
                    .collect()
            }
            Call::Associate {
                allocation,
                to,
                private,
            } => vec![
                ("AllocationId".to_owned(), allocation.clone()),
                interface(to),
                ("PrivateIpAddress".to_owned(), private.to_string()),
                yes("AllowReassociation"),
            ],
            Call::ReplaceRoute {
                table,
                destination,
                to,
            } => {
                let block = match destination.address() {
                    IpAddr::V4(_) => "DestinationCidrBlock",
                    IpAddr::V6(_) => "DestinationIpv6CidrBlock",
                };
                vec![
                    ("RouteTableId".to_owned(), table.clone()),
                    (block.to_owned(), destination.to_string()),
                    interface(to),
                ]
            }
            Call::Attach {
                interface: which,
                to,
                device_index,
            } => vec![
                interface(which),
                ("InstanceId".to_owned(), to.clone()),
                ("DeviceIndex".to_owned(), device_index.to_string()),
            ],
            Call::Detach {
                attachment, force, ..
            } => vec![
                ("AttachmentId".to_owned(), attachment.clone()),
                ("Force".to_owned(), force.to_string()),
            ],
        }
    }

    /// What of it is left to do; `None`: nothing.
    pub(super) fn lacking(&self, holdings: &Holdings) -> Option<Self> {
        let at = |to: &String, address: IpAddr| holdings.addresses.get(&address) == Some(to);
        let left = match self {
            Call::AssignPrivate { to, addresses } => Call::AssignPrivate {
                to: to.clone(),
                addresses: without(addresses, |address| at(to, (*address).into())),
            },
            Call::AssignIpv6 { to, addresses } => Call::AssignIpv6 {
                to: to.clone(),
                addresses: without(addresses, |address| at(to, (*address).into())),
            },
            Call::UnassignIpv6 { to, addresses } => Call::UnassignIpv6 {
                to: to.clone(),
                addresses: without(addresses, |address| !at(to, (*address).into())),
            },
            Call::AssignPrefixes { to, prefixes } => Call::AssignPrefixes {
                to: to.clone(),
                prefixes: without(prefixes, |prefix| holdings.prefixes.get(prefix) == Some(to)),
            },
            Call::Associate {
                allocation,
                to,
                private,
            } => {
                let wanted = (to.clone(), *private);
                let done = holdings.elastic.get(allocation) == Some(&wanted);
                return (!done).then(|| self.clone());
            }
            Call::ReplaceRoute {
                table,
                destination,
                to,
            } => {
                let place = (table.clone(), *destination);
                let done = holdings.routes.get(&place) == Some(to);
                return (!done).then(|| self.clone());
            }
            Call::Attach { interface, to, .. } => {
                let at = holdings.attachments.get(interface);
                let done = at.is_some_and(|at| at.instance == *to && !at.leaving);
                return (!done).then(|| self.clone());
            }
            Call::Detach { attachment, .. } => {
                let mut all = holdings.attachments.values();
                let left = all.any(|at| at.id == *attachment);
                return left.then(|| self.clone());
            }
        };
        (!left.what().is_empty()).then_some(left)
    }

    /// Which network interfaces have what it moves, as far as known.
    pub fn holders(&self, holdings: &Holdings) -> BTreeSet<String> {
        let at = |address: IpAddr| holdings.addresses.get(&address).cloned();
        match self {
            Call::AssignPrivate { addresses, .. } => {
                let addresses = addresses.iter();
                addresses
                    .filter_map(|address| at((*address).into()))
                    .collect()
            }
            Call::AssignIpv6 { addresses, .. } | Call::UnassignIpv6 { addresses, .. } => {
                let addresses = addresses.iter();
                addresses
                    .filter_map(|address| at((*address).into()))
                    .collect()
            }
            Call::AssignPrefixes { prefixes, .. } => {
                let prefixes = prefixes.iter();
                prefixes
                    .filter_map(|prefix| holdings.prefixes.get(prefix).cloned())
                    .collect()
            }
            Call::Associate { allocation, .. } => {
                let at = holdings.elastic.get(allocation);
                at.map(|(eni, _)| eni.clone()).into_iter().collect()
            }
            Call::ReplaceRoute {
                table, destination, ..
            } => {
                let at = holdings.routes.get(&(table.clone(), *destination));
                at.cloned().into_iter().collect()
            }
            Call::Attach { interface, .. } | Call::Detach { interface, .. } => {
                let at = holdings.attachments.get(interface);
                at.map(|at| at.instance.clone()).into_iter().collect()
            }
        }
    }

    /// What has to be done first, as far as it is known where things are. `answers`: the one that has it does,
    /// and can let go of it in peace.
    pub fn before(&self, holdings: &Holdings, answers: bool) -> Option<Self> {
        let Call::Attach { interface, .. } = self else {
            return None;
        };
        self.detach(holdings.attachments.get(interface)?, answers)
    }

    /// What detaches a network interface that is to be attached here, and is attached so.
    pub(super) fn detach(&self, at: &Attachment, answers: bool) -> Option<Self> {
        let Call::Attach { interface, to, .. } = self else {
            return None;
        };
        (at.instance != *to).then(|| Call::Detach {
            interface: interface.clone(),
            attachment: at.id.clone(),
            to: at.instance.clone(),
            force: !answers,
        })
    }

    /// Whether another node takes part in it, which may never happen.
    pub(super) fn is_peaceful(&self) -> bool {
        matches!(self, Call::Detach { force: false, .. })
    }

    /// The same without the other node.
    pub(super) fn by_force(&self) -> Self {
        let mut call = self.clone();
        if let Call::Detach { force, .. } = &mut call {
            *force = true;
        }
        call
    }

    /// What has to be done before a call that was refused is tried again: the old holders let go.
    pub(super) fn after_refusal(&self, holdings: &Holdings) -> Vec<Self> {
        let Call::AssignIpv6 { to, addresses } = self else {
            return Vec::new();
        };
        let others = self.holders(holdings).into_iter();
        let others = others.filter(|holder| holder != to);
        others
            .map(|holder| Call::UnassignIpv6 {
                addresses: without(addresses, |address| {
                    holdings.addresses.get(&(*address).into()) != Some(&holder)
                }),
                to: holder,
            })
            .collect()
    }
}

impl Display for Call {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let what = self.what().join(", ");
        let arrow = match self {
            Call::Detach { .. } => "←",
            _ => "→",
        };
        write!(f, "{} {what} {arrow} {}", self.action(), self.to())
    }
}

fn texts<T: ToString>(list: &[T]) -> Vec<String> {
    list.iter().map(ToString::to_string).collect()
}

fn without<T: Clone>(list: &[T], done: impl Fn(&T) -> bool) -> Vec<T> {
    list.iter().filter(|each| !done(each)).cloned().collect()
}
