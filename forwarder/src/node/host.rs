//! The host's side, mirrored from netlink.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use log::{Level, debug, log};

use super::moving::Moving;
use crate::config::model::InterfaceAddress;
use crate::config::{Model, Prefix};
use crate::core::facts::{Device, Facts, LinkState, Route};
use crate::core::key::mac_text;
use crate::core::next_hop::{neighbours_wanted, routes_wanted};
use crate::io::netlink::{Address, Change, Link, Mac, Neighbour, NeighbourState, Netlink};
use crate::io::{clock, ethtool, sysctl};

/// How often to look whose answer is getting old.
pub const FRESH_TICK: Duration = Duration::from_millis(150);
/// How often a neighbour that answers is asked again, at least …
const PROBE_EVERY: Duration = Duration::from_millis(400);
/// … and how much time each of many next hops adds to that.
const PROBE_SHARE: Duration = Duration::from_millis(10);
/// A neighbour that has not answered for so long is asked by broadcast: it may have moved. One that is only
/// slow keeps its MAC address meanwhile, so nothing is lost by asking early.
const PROBE_PATIENCE: Duration = Duration::from_millis(250);

/// What the kernel said last.
#[derive(Debug)]
pub struct Host {
    pub netlink: Netlink,
    links: Vec<Link>,
    addresses: Vec<Address>,
    routes: BTreeMap<IpAddr, Route>,
    neighbours: BTreeMap<(u32, IpAddr), Neighbour>,
    drivers: BTreeMap<String, String>,
    /// Next hops in use, with the time of the last probe.
    watched: BTreeMap<(u32, IpAddr), Duration>,
    /// Next hops that are about to be used.
    prepared: BTreeSet<(u32, IpAddr)>,
    /// Next hops being asked by broadcast.
    moving: Moving,
}

impl Host {
    /// Reads everything.
    pub fn read(mut netlink: Netlink) -> io::Result<Self> {
        let links = netlink.links()?;
        let addresses = netlink.addresses()?;
        let neighbours = by_key(netlink.neighbours()?);
        Ok(Self {
            netlink,
            links,
            addresses,
            routes: BTreeMap::new(),
            neighbours,
            drivers: BTreeMap::new(),
            watched: BTreeMap::new(),
            prepared: BTreeSet::new(),
            moving: Moving::default(),
        })
    }

    /// The highest interface index.
    pub fn highest_ifindex(&self) -> u32 {
        self.links
            .iter()
            .map(|link| link.ifindex)
            .max()
            .unwrap_or(0)
    }

    /// The kernel's name of an interface.
    pub fn device(&self, ifindex: u32) -> Option<&str> {
        self.links
            .iter()
            .find(|link| link.ifindex == ifindex)
            .map(|link| link.name.as_str())
    }

    /// Whether the host has a device of this name.
    pub fn has(&self, device: &str) -> bool {
        self.links.iter().any(|link| link.name == device)
    }

    /// What the kernel knows of a neighbour: its MAC address, and the kernel's word for how well.
    pub fn known_neighbour(&self, ifindex: u32, address: IpAddr) -> (Option<Mac>, String) {
        match self.neighbours.get(&(ifindex, address)) {
            Some(known) => (known.mac, format!("{:?}", known.state).to_lowercase()),
            None => (None, "not asked".to_owned()),
        }
    }

    /// Whether an interface has an address.
    pub fn has_address(&self, ifindex: u32, address: IpAddr) -> bool {
        let mut addresses = self.addresses.iter();
        addresses.any(|own| own.ifindex == ifindex && own.address == address)
    }

    /// Whether an interface is there, up, and has a carrier.
    pub fn carries(&self, device: &str) -> bool {
        let mut links = self.links.iter();
        links.any(|link| link.name == device && link.state == LinkState::Up)
    }

    /// Whether any next hop behind an interface answers; `None`: nobody is wanted there.
    pub fn has_next_hop(&self, device: &str) -> Option<bool> {
        let link = self.links.iter().find(|link| link.name == device)?;
        let mut wanted = self
            .watched
            .keys()
            .filter(|(ifindex, _)| *ifindex == link.ifindex);
        let first = wanted.next()?;
        let answers = |key| {
            let known = self.neighbours.get(key);
            known.is_some_and(|known| known.mac.is_some())
        };
        Some(answers(first) || wanted.any(answers))
    }

    /// Takes in a change; whether it may matter.
    pub fn note(&mut self, change: Change) -> io::Result<bool> {
        match change {
            Change::Link => self.links = self.netlink.links()?,
            Change::Address => self.addresses = self.netlink.addresses()?,
            Change::Route => (),
            Change::Lost => {
                self.moving.lost();
                self.read_again()?;
            }
            Change::Neighbour(neighbour) => return Ok(self.neighbour(neighbour)),
            Change::NeighbourGone(neighbour) => {
                let key = (neighbour.ifindex, neighbour.address);
                if self.moving.gone(key) {
                    return Ok(false);
                }
                self.neighbours.remove(&key);
                return Ok(self.watched.contains_key(&key));
            }
        }
        self.routes.clear();
        Ok(true)
    }

    /// Reads everything again.
    pub fn read_again(&mut self) -> io::Result<()> {
        self.links = self.netlink.links()?;
        self.addresses = self.netlink.addresses()?;
        let neighbours = self.netlink.neighbours()?.into_iter();
        self.neighbours = by_key(neighbours.map(|each| self.moving.note(each)).collect());
        self.routes.clear();
        Ok(())
    }

    fn neighbour(&mut self, neighbour: Neighbour) -> bool {
        let neighbour = self.moving.note(neighbour);
        let key = (neighbour.ifindex, neighbour.address);
        let before = self.neighbours.insert(key, neighbour);
        if !self.watched.contains_key(&key) {
            return false;
        }
        // Whether one that is asked has answered meanwhile is seen when all that has arrived is read.
        if neighbour.state != NeighbourState::Probe {
            self.keep_fresh(key);
        }
        let mac = before.and_then(|before| before.mac);
        if mac != neighbour.mac {
            let text = |mac: Option<Mac>| mac.map_or_else(|| "unresolved".to_owned(), mac_text);
            let (before, after) = (text(mac), text(neighbour.mac));
            // The first answer is what everybody expects.
            let level = if mac.is_some() {
                Level::Info
            } else {
                Level::Debug
            };
            log!(level, "next hop {}: {before} -> {after}", neighbour.address);
        }
        mac != neighbour.mac
    }

    /// What core wants to know for a model. Starts to follow the next hops that it needs.
    pub fn facts(&mut self, model: &Model) -> Facts {
        let facts = self.known(model);
        let wanted = neighbours_wanted(model, &facts);
        self.watch(&(&wanted | &self.prepared));
        self.with_neighbours(facts, &wanted)
    }

    /// The same for a model that is not at work: nothing is asked, nothing followed.
    pub fn peek(&mut self, model: &Model) -> Facts {
        let facts = self.known(model);
        let wanted = neighbours_wanted(model, &facts);
        self.with_neighbours(facts, &wanted)
    }

    /// Starts to follow the next hops of a model that is about to be at work, beside those in use.
    pub fn prepare(&mut self, model: &Model) {
        let facts = self.known(model);
        self.prepared = neighbours_wanted(model, &facts);
        let in_use = self.watched.keys().copied().collect();
        self.watch(&(&self.prepared | &in_use));
    }

    /// Whether every next hop that was prepared has answered.
    pub fn is_prepared(&self) -> bool {
        let mac = |key| self.neighbours.get(key).and_then(|each| each.mac);
        self.prepared.iter().all(|key| mac(key).is_some())
    }

    /// Ends the preparation.
    pub fn prepared(&mut self) {
        self.prepared.clear();
    }

    fn with_neighbours(&self, facts: Facts, wanted: &BTreeSet<(u32, IpAddr)>) -> Facts {
        let neighbours = wanted.iter();
        let neighbours = neighbours
            .filter_map(|key| Some((*key, self.neighbours.get(key)?.mac?)))
            .collect();
        Facts {
            neighbours,
            ..facts
        }
    }

    /// Devices and routes.
    fn known(&mut self, model: &Model) -> Facts {
        let mut facts = Facts {
            devices: self.devices(model),
            ..Facts::default()
        };
        for address in routes_wanted(model, &facts) {
            if !self.routes.contains_key(&address)
                && let Ok(Some(route)) = self.netlink.route(address, None)
            {
                let route = Route {
                    ifindex: route.ifindex,
                    gateway: route.gateway,
                };
                self.routes.insert(address, route);
            }
        }
        facts.routes.clone_from(&self.routes);
        facts
    }

    fn devices(&mut self, model: &Model) -> BTreeMap<String, Device> {
        let mut devices = BTreeMap::new();
        for interface in &model.interfaces {
            let Some(link) = self.links.iter().find(|link| link.name == interface.device) else {
                continue;
            };
            let Some(mac) = link.mac else { continue };
            let driver = self
                .drivers
                .entry(link.name.clone())
                .or_insert_with(|| ethtool::driver(&link.name).unwrap_or_default());
            let device = Device {
                ifindex: link.ifindex,
                mac,
                mtu: link.mtu,
                state: link.state,
                addresses: own_addresses(&self.addresses, link.ifindex),
                driver: driver.clone(),
                forwards: [false, true].map(|ipv6| sysctl::forwards(&link.name, ipv6)),
            };
            devices.insert(link.name.clone(), device);
        }
        devices
    }

    fn watch(&mut self, wanted: &BTreeSet<(u32, IpAddr)>) {
        self.watched.retain(|key, _| wanted.contains(key));
        for key in wanted {
            if !self.watched.contains_key(key) {
                self.watched.insert(*key, Duration::ZERO);
                self.keep_fresh(*key);
            }
        }
    }

    /// Has the kernel ask every next hop whose answer is getting old; events that have arrived are to be noted
    /// first.
    pub fn keep_all_fresh(&mut self) {
        let keys: Vec<_> = self.watched.keys().copied().collect();
        for key in keys {
            self.keep_fresh(key);
        }
    }

    /// Has the kernel resolve the next hop towards an address once.
    pub fn resolve(&mut self, ifindex: u32, towards: IpAddr) {
        let resolved = self
            .netlink
            .route(towards, Some(ifindex))
            .and_then(|route| {
                let next_hop = route.and_then(|route| route.gateway).unwrap_or(towards);
                self.netlink.resolve(ifindex, next_hop)
            });
        if let Err(error) = resolved {
            debug!("next hop towards {towards}: {error}");
        }
    }

    fn keep_fresh(&mut self, key: (u32, IpAddr)) {
        let now = clock::monotonic();
        let every =
            PROBE_EVERY.max(PROBE_SHARE * u32::try_from(self.watched.len()).unwrap_or(u32::MAX));
        let Some(asked) = self.watched.get_mut(&key) else {
            return;
        };
        let (ifindex, address) = key;
        let known = self.neighbours.get(&key).copied();
        let result = match known.map(|neighbour| neighbour.state) {
            None | Some(NeighbourState::None | NeighbourState::Failed) => {
                self.netlink.resolve(ifindex, address)
            }
            Some(NeighbourState::Stale) => self.netlink.probe(ifindex, address),
            Some(NeighbourState::Reachable) if now >= *asked + every => {
                self.netlink.probe(ifindex, address)
            }
            Some(NeighbourState::Probe) if now >= *asked + PROBE_PATIENCE => {
                // The kernel probes by unicast only; without an entry it asks everybody.
                let forgotten = self.netlink.forget(ifindex, address);
                if let (Ok(()), Some(mac)) = (&forgotten, known.and_then(|known| known.mac)) {
                    self.moving.begin(key, mac);
                }
                forgotten.and_then(|()| self.netlink.resolve(ifindex, address))
            }
            Some(_) => return,
        };
        *asked = now;
        if let Err(error) = result {
            // The entry changed meanwhile, or the link is down: the next tick sees.
            debug!("next hop {address}: {error}");
        }
    }
}

fn by_key(neighbours: Vec<Neighbour>) -> BTreeMap<(u32, IpAddr), Neighbour> {
    neighbours
        .into_iter()
        .map(|each| ((each.ifindex, each.address), each))
        .collect()
}

fn own_addresses(addresses: &[Address], ifindex: u32) -> Vec<InterfaceAddress> {
    let own = addresses.iter().filter(|own| own.ifindex == ifindex);
    own.filter(|own| match own.address {
        IpAddr::V4(_) => true,
        IpAddr::V6(address) => !address.is_unicast_link_local(),
    })
    .filter_map(|own| {
        let subnet = Prefix::of(own.address, own.prefix_length)?;
        Some(InterfaceAddress {
            address: own.address,
            subnet,
        })
    })
    .collect()
}
