//! A cloud for the nodes of a pair: compute API and metadata service as test servers. A call moves addresses in
//! the namespaces: hosts send to the network interface that has an address, whatever ARP says.
//!
//! Requests are taken only with a good signature. What the real ones refuse is refused: addresses of another
//! subnet, without leave to take them, more than a network interface may have, ids that nobody has.

mod attachment;
mod connections;
mod ec2;
mod fabric;
mod gateway;
mod http;
mod instance_type;
mod metadata;
mod s3;
mod signature;
mod state;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use crate::nodes::Nodes;
use crate::pinned::{DIRECT, NAT};
use crate::site::Family;
use attachment::Card;
pub use attachment::{Attachment, instance};
use fabric::{Moves, Port};
use gateway::Gateway;
use http::{Answer, Listener, Request};
use s3::{BUCKET, Objects};
use signature::Claim;
pub use state::{Allocation, Bucket, Called, Fault, FaultKind, Interface, State, Table, Things};

/// The region.
pub const REGION: &str = "eu-test-1";
/// The metadata service, at each node.
const METADATA: &str = "169.254.169.254:80";
/// The API, at each node.
pub const API: &str = "169.254.0.20:8080";
/// The storage service, at each node.
const STORAGE: &str = "169.254.0.30:8080";
/// A private address in the inside subnet that moves: what NAT takes for the source.
const FLOATING: u8 = 30;

/// The cloud. To be dropped before the nodes.
pub struct Cloud {
    state: Shared,
    gateways: Vec<Gateway>,
    _listeners: Vec<Listener>,
}

type Shared = Arc<Mutex<State>>;

fn lock(state: &Shared) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The network interface of a node's device: `eni-00` is eth0 of the first.
pub fn eni(node: usize, device: usize) -> String {
    format!("eni-{node}{device}")
}

impl Cloud {
    /// Both nodes are in it; the first has everything: VIPs, and what NAT takes for the source.
    pub fn start(nodes: &Nodes) -> Result<Self> {
        let moving = Family::ALL.into_iter().flat_map(|family| {
            [
                (0, family.vip(DIRECT)),
                (0, family.vip(NAT)),
                (1, family.backend(FLOATING)),
            ]
        });
        Self::with(nodes, &moving.collect::<Vec<_>>())
    }

    /// The same with other addresses, each at a device of the first.
    pub fn with(nodes: &Nodes, moving: &[(usize, IpAddr)]) -> Result<Self> {
        let mut things = Things::default();
        for node in 0..2 {
            let primary = match node {
                0 => [
                    Family::ALL.map(Family::outside),
                    Family::ALL.map(Family::inside),
                ],
                _ => [
                    Family::ALL.map(|family| family.vip(3)),
                    Family::ALL.map(|family| family.backend(20)),
                ],
            };
            for (device, primary) in primary.into_iter().enumerate() {
                let within: &[&str] = match device {
                    0 => &["203.0.113.", "2001:db8:113:"],
                    _ => &["192.0.2.", "2001:db8:2:"],
                };
                let interface = Interface {
                    node,
                    attachment: Attachment::at(device as u32),
                    zone: "a",
                    tags: BTreeMap::new(),
                    subnet: format!("subnet-{device}"),
                    within: within.iter().map(|start| (*start).to_owned()).collect(),
                    mac: nodes.host(node).mac(&format!("eth{device}"))?,
                    primary: primary.into(),
                    secondary: BTreeSet::new(),
                    prefixes: BTreeSet::new(),
                    limit: 15,
                    checks: true,
                };
                things.interfaces.insert(eni(node, device), interface);
            }
        }
        for (device, address) in moving {
            let at = things.interfaces.get_mut(&eni(0, *device));
            at.context("made above")?.secondary.insert(*address);
        }
        let port = |host: &crate::Namespace, device: &str| Port {
            host: host.name().to_owned(),
            device: device.to_owned(),
        };
        let site = &nodes.site;
        let mut inside = vec![port(&site.router, "inside")];
        inside.extend(site.backends.iter().map(|host| port(host, "eth0")));
        let ports = BTreeMap::from([
            ("subnet-0".to_owned(), vec![port(&site.router, "outside")]),
            ("subnet-1".to_owned(), inside),
        ]);
        let state = Arc::new(Mutex::new(State {
            things,
            past: Vec::new(),
            lag: Duration::ZERO,
            latency: Duration::from_millis(100),
            faults: Vec::new(),
            denied: BTreeSet::new(),
            keys: BTreeMap::new(),
            keys_made: 0,
            called: Vec::new(),
            ports,
            followers: BTreeMap::new(),
            bucket: None,
            objects: Objects::default(),
            cards: BTreeMap::new(),
            dropped: Vec::new(),
        }));
        settle(&mut lock(&state), &Things::default())?;
        let mut listeners = Vec::new();
        for node in 0..2 {
            let host = nodes.host(node);
            for address in [METADATA, API, STORAGE] {
                let address: SocketAddr = address.parse()?;
                host.ip(&format!("address add {}/32 dev lo", address.ip()))?;
            }
            let of = Arc::clone(&state);
            let serve =
                move |request: &Request| Some(metadata::answer(&mut lock(&of), node, request));
            listeners.push(Listener::start(host, METADATA.parse()?, Arc::new(serve))?);
            let of = Arc::clone(&state);
            let serve = move |request: &Request| answer(&of, request);
            listeners.push(Listener::start(host, API.parse()?, Arc::new(serve))?);
            let of = Arc::clone(&state);
            let serve = move |request: &Request| Some(s3::answer(&mut lock(&of), request));
            listeners.push(Listener::start(host, STORAGE.parse()?, Arc::new(serve))?);
        }
        Ok(Self {
            state,
            gateways: Vec::new(),
            _listeners: listeners,
        })
    }

    /// What the nodes' file says of it: all that is at the first node in the beginning.
    pub fn config(&self) -> String {
        let list =
            |addresses: [IpAddr; 2]| addresses.map(|address| format!("\"{address}\"")).join(", ");
        format!(
            "cloud = {{ endpoint = \"http://{API}\", refresh = \"1s\", address = [\
             {{ interface = \"outside\", private = [{}, {}] }}, {{ interface = \"inside\", private = [{}] }}] }}\n",
            list(Family::ALL.map(|family| family.vip(DIRECT))),
            list(Family::ALL.map(|family| family.vip(NAT))),
            list(Family::ALL.map(|family| family.backend(FLOATING))),
        )
    }

    /// The keys of `[cloud]` that keep copies of the journal in the bucket.
    pub fn journal_bucket() -> String {
        format!("journal_bucket = \"{BUCKET}\", journal_endpoint = \"http://{STORAGE}\"")
    }

    /// Everything, to look at or to change. What is changed here moves nothing: see [`Self::change`].
    pub fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Changes things as a call would.
    pub fn change(&self, change: impl FnOnce(&mut Things)) -> Result<()> {
        let mut state = lock(&self.state);
        let before = state.things.clone();
        state.keep_past();
        change(&mut state.things);
        settle(&mut state, &before)
    }

    /// Adds an Elastic IP address, with a tag, at a private address of the first node: its allocation.
    pub fn allocate(&mut self, public: IpAddr, tag: (&str, &str), private: IpAddr) -> String {
        let allocations = &mut lock(&self.state).things.allocations;
        let id = format!("eipalloc-{}", allocations.len() + 1);
        let allocation = Allocation {
            public,
            carrier: false,
            tags: BTreeMap::from([(tag.0.to_owned(), tag.1.to_owned())]),
            at: Some((eni(0, 0), private)),
            number: 1,
        };
        allocations.insert(id.clone(), allocation);
        id
    }

    /// The same; and what is sent there comes in.
    pub fn elastic_ip(
        &mut self,
        nodes: &Nodes,
        public: IpAddr,
        tag: (&str, &str),
        private: IpAddr,
    ) -> Result<()> {
        let id = self.allocate(public, tag, private);
        let state = Arc::clone(&self.state);
        let gateway = Gateway::start(&nodes.site.router, state, &id, public)?;
        self.gateways.push(gateway);
        Ok(())
    }

    /// An allocation turns out to be a carrier's.
    pub fn at_carrier(&self, id: &str) {
        let allocations = &mut lock(&self.state).things.allocations;
        allocations
            .get_mut(id)
            .into_iter()
            .for_each(|each| each.carrier = true);
    }

    /// Adds network interface `eni-9`, with a tag, that is the first node's `eth4` outside: a primary address, and
    /// secondary ones.
    pub fn card(
        &mut self,
        nodes: &Nodes,
        tag: (&str, &str),
        primary: IpAddr,
        secondary: &[IpAddr],
    ) -> Result<()> {
        let (id, device) = ("eni-9".to_owned(), "eth4".to_owned());
        let family = match primary {
            IpAddr::V4(_) => Family::V4,
            IpAddr::V6(_) => Family::V6,
        };
        let card = Card {
            device,
            segment: nodes.site.outside,
            addresses: vec![family.in_subnet(primary)],
            mac: "02:00:00:00:09:01".to_owned(),
            hosts: [0, 1].map(|node| nodes.host(node).clone()),
            switch: nodes.site.wiring(),
        };
        card.plug(0)?;
        let mac = card.mac.clone();
        lock(&self.state).cards.insert(id.clone(), card);
        self.change(|things| {
            let mut interface = things.interfaces[&eni(0, 0)].clone();
            interface.attachment = Attachment::at(2);
            interface.tags = BTreeMap::from([(tag.0.to_owned(), tag.1.to_owned())]);
            interface.mac = mac;
            interface.primary = vec![primary];
            interface.secondary = secondary.iter().copied().collect();
            things.interfaces.insert(id, interface);
        })
    }

    /// Adds route table `rtb-1`, with a route to the first node's `eth0`, that the router follows; or to its `eth1`,
    /// that the backends follow.
    pub fn route(&mut self, nodes: &Nodes, destination: &str, device: usize) -> Result<()> {
        let port = |host: &crate::Namespace, device: &str| Port {
            host: host.name().to_owned(),
            device: device.to_owned(),
        };
        let site = &nodes.site;
        let ports = match device {
            0 => vec![port(&site.router, "outside")],
            _ => site
                .backends
                .iter()
                .map(|host| port(host, "eth0"))
                .collect(),
        };
        let id = "rtb-1".to_owned();
        lock(&self.state).followers.insert(id.clone(), ports);
        self.change(|things| {
            let routes = BTreeMap::from([(destination.to_owned(), eni(0, device))]);
            let tags = BTreeMap::new();
            things.tables.insert(id, Table { tags, routes });
        })
    }

    /// From now on these calls go wrong.
    pub fn fail(&self, action: &'static str, node: Option<usize>, times: u32, kind: FaultKind) {
        lock(&self.state).faults.push(Fault {
            action,
            node,
            times,
            kind,
        });
    }

    /// The node that has every secondary address; `None`: not one alone.
    pub fn owner(&self) -> Option<usize> {
        let state = lock(&self.state);
        let mut having: Vec<usize> = Vec::new();
        for address in all(&state.things) {
            for holder in state.things.holders(address) {
                having.extend(state.things.interfaces.get(&holder).map(|each| each.node));
            }
        }
        having.sort_unstable();
        having.dedup();
        match having[..] {
            [one] => Some(one),
            _ => None,
        }
    }

    /// Calls that were made, of those that change something.
    pub fn called(&self) -> Vec<Called> {
        let state = lock(&self.state);
        let called = state.called.iter();
        let called =
            called.filter(|call| !call.action.starts_with("Describe") && !is_dry(&call.parameters));
        called.cloned().collect()
    }
}

/// Every address that moves.
fn all(things: &Things) -> BTreeSet<IpAddr> {
    let all = things.interfaces.values();
    all.flat_map(|each| each.secondary.iter().copied())
        .collect()
}

/// Brings the namespaces to where things are.
fn settle(state: &mut State, before: &Things) -> Result<()> {
    let things = &state.things;
    let (mut dropped, mut moves) = (Vec::new(), Moves::default());
    for address in all(before).union(&all(things)) {
        let holder = |things: &Things| things.holders(*address).into_iter().next();
        let now = holder(things);
        if holder(before) == now {
            continue;
        }
        let at = now.as_ref().and_then(|id| things.interfaces.get(id));
        let old = holder(before).and_then(|id| before.interfaces.get(&id).cloned());
        let subnet = at.or(old.as_ref()).map(|each| each.subnet.clone());
        let ports = state.ports.get(&subnet.unwrap_or_default());
        let ports = ports.map_or(&[][..], Vec::as_slice);
        moves.address(ports, *address, at.map(|each| each.mac.as_str()));
        if at.is_none() && address.is_ipv4() {
            dropped.push(address.to_string());
        }
    }
    for (id, table) in &things.tables {
        let old = before.tables.get(id);
        for (to, eni) in &table.routes {
            if old.and_then(|old| old.routes.get(to)) == Some(eni) {
                continue;
            }
            let at = things.interfaces.get(eni).context("a network interface")?;
            let mut primary = at.primary.iter();
            let via = primary.find(|address| address.is_ipv6() == to.contains(':'));
            let followers = state.followers.get(id).map_or(&[][..], Vec::as_slice);
            moves.route(followers, to, *via.context("of the family")?);
        }
    }
    moves.make()?;
    for (id, card) in &state.cards {
        let place = |things: &Things| {
            let found = things.interfaces.get(id)?;
            found.attachment.is_on().then_some(found.node)
        };
        let (old, new) = (place(before), place(things));
        if old == new {
            continue;
        }
        // What is added is put in already.
        let known = before.interfaces.contains_key(id);
        old.map_or(Ok(()), |node| card.unplug(node))?;
        new.filter(|_| known)
            .map_or(Ok(()), |node| card.plug(node))?;
    }
    state.dropped.extend(dropped);
    Ok(())
}

/// Answers a call of the API.
fn answer(shared: &Shared, request: &Request) -> Option<Answer> {
    let refusal = |(status, code, text): ec2::Refused| Answer {
        status,
        body: format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Response><Errors><Error><Code>{code}</Code>\
             <Message>{text}</Message></Error></Errors><RequestID>1</RequestID></Response>"
        ),
        etag: None,
    };
    let parameters = parse(&request.body);
    let action = parameters.get("Action").cloned().unwrap_or_default();
    let came = Instant::now();
    let node = match caller(&lock(shared), request, "ec2") {
        Ok(node) => node,
        Err(refused) => return Some(refusal(refused)),
    };
    let (fault, latency) = {
        let mut state = lock(shared);
        let fault = match is_dry(&parameters) {
            false => state.fault(&action, node),
            true => None,
        };
        (fault, state.latency)
    };
    let slow = match fault {
        Some(FaultKind::Slow(time)) => time,
        _ => Duration::ZERO,
    };
    thread::sleep(latency + slow);
    let mut state = lock(shared);
    let result = match fault {
        Some(FaultKind::Refused(status, code)) => Err((status, code, "on purpose".to_owned())),
        _ if !state.has_token(&action) => Err((
            503,
            "RequestLimitExceeded",
            "Request limit exceeded.".to_owned(),
        )),
        _ => perform(&mut state, &action, &parameters),
    };
    state.called.push(Called {
        node,
        action: action.clone(),
        parameters,
        time: (came, Instant::now()),
        refused: result.as_ref().err().map(|(_, code, _)| (*code).to_owned()),
    });
    if matches!(fault, Some(FaultKind::Lost)) {
        return None;
    }
    Some(match result {
        Ok(content) => Answer {
            status: 200,
            body: format!(
                "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<{action}Response xmlns=\"http://ec2.amazonaws.com/doc/2016-11-15/\">\
                 <requestId>1</requestId>{content}</{action}Response>"
            ),
            etag: None,
        },
        Err(refused) => refusal(refused),
    })
}

fn perform(
    state: &mut State,
    action: &str,
    parameters: &BTreeMap<String, String>,
) -> Result<String, ec2::Refused> {
    if state.denied.contains(action) {
        return Err((403, "UnauthorizedOperation", "not allowed".to_owned()));
    }
    if action.starts_with("Describe") {
        return ec2::describe(state, action, parameters);
    }
    if is_dry(parameters) {
        let text = "Request would have succeeded, but DryRun flag is set.".to_owned();
        return Err((412, "DryRunOperation", text));
    }
    let before = state.things.clone();
    let content = ec2::act(&mut state.things, action, parameters)?;
    let now = std::mem::replace(&mut state.things, before.clone());
    state.keep_past();
    state.things = now;
    match settle(state, &before) {
        Ok(()) => Ok(content),
        Err(error) => Err((500, "InternalError", format!("{error:#}"))),
    }
}

/// Whether it is to be tried without being done.
fn is_dry(parameters: &BTreeMap<String, String>) -> bool {
    parameters
        .get("DryRun")
        .is_some_and(|value| value == "true")
}

/// Which node has signed a request.
fn caller(state: &State, request: &Request, service: &str) -> Result<usize, ec2::Refused> {
    let refused = |status, code, text: &str| Err((status, code, text.to_owned()));
    let Some(claim) = Claim::of(request) else {
        return refused(403, "MissingAuthenticationToken", "no signature");
    };
    let Some(key) = state.keys.get(&claim.key) else {
        return refused(401, "AuthFailure", "no such key");
    };
    if key.token != request.header("x-amz-security-token") {
        return refused(401, "AuthFailure", "another session's token");
    }
    if !claim.is_good(request, &key.secret, (service, REGION)) {
        return refused(403, "SignatureDoesNotMatch", "the signature is wrong");
    }
    if key.expired {
        return refused(400, "RequestExpired", "the key has expired");
    }
    Ok(key.node)
}

/// The parameters of a form.
fn parse(body: &str) -> BTreeMap<String, String> {
    let pairs = body.split('&').filter_map(|pair| pair.split_once('='));
    pairs
        .map(|(name, value)| (plain(name), plain(value)))
        .collect()
}

fn plain(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digits: Vec<u8> = rest.by_ref().take(2).collect();
            let digits = String::from_utf8_lossy(&digits).into_owned();
            bytes.push(u8::from_str_radix(&digits, 16).unwrap_or(b'?'));
        } else {
            bytes.push(if byte == b'+' { b' ' } else { byte });
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
