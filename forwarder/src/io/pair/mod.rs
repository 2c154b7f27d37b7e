//! The pair's own thread: datagrams and time in, datagrams, leases and announcements out. It waits for
//! nobody, so that neither a long change nor a slow disk looks like a dead node; but it renews the lease
//! only while the daemon's main loop shows that it lives.

mod etcd;
mod gateway;
mod packet;
mod socket;
pub mod sync;
mod urgent;
pub mod witness;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::os::fd::AsRawFd as _;
use std::os::unix::net::UnixDatagram;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use log::{info, warn};
use tokio::sync::{mpsc, oneshot, watch};

use super::clock;
use super::sign::Sign;
use crate::config::model;
use crate::core::pair::claim::{Cause, Change, Health, Role};
use crate::core::pair::liveness::PathState;
use crate::core::pair::partition::Permission;
use crate::core::pair::record::{Phase, Turn};
use crate::core::pair::{Effect, Pair, Settings, Unable, View, Wanted, announce};
use crate::dataplane::bpf::leases::Leases;
use crate::dataplane::bpf::peer::Arrivals;
use packet::Sender as Announcer;
use socket::Path;
use urgent::be_urgent;
use witness::{Witness, WitnessError, WitnessView};

/// So long the main loop may be busy with one thing.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two looks whether the peer knows of flows, while a hand-over waits for it.
const FLOWS: Duration = Duration::from_millis(1);
/// Datagrams that are taken in before time is looked at again.
const AT_ONCE: usize = 64;

/// A VIP at an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The place of its group.
    pub group: u8,
    /// The interface.
    pub ifindex: u32,
    /// The interface's MAC address.
    pub mac: [u8; 6],
    /// The VIP.
    pub vip: IpAddr,
}

/// What the operator or the host says.
#[derive(Debug)]
pub enum Request {
    /// This node's health.
    Health(Health),
    /// What is announced when this node is active.
    Places(Vec<Place>),
    /// Move a group, or every one, here or to the peer.
    FailOver(Option<u16>, bool, oneshot::Sender<Result<(), Unable>>),
    /// Keep this node from being active, or no longer.
    Maintenance(bool),
    /// Another configuration is at work: its digest.
    Config(u64),
    /// Other groups, with what is called how and how long is forwarded after a hand-over. It is done when it is
    /// answered.
    Groups(Vec<(Wanted, model::Group)>, Duration, Sender<()>),
    /// Whether this node may be active without its peer.
    Allow(Permission),
    /// Whether another node has taken what moves with a group in the cloud.
    Overtaken(u16, bool),
    /// The daemon ends. What nobody takes from it goes on for so long.
    Stop(Option<Duration>),
}

/// What the thread is asked by.
#[derive(Debug)]
pub struct Requests {
    sender: Sender<Request>,
    waker: UnixDatagram,
}

impl Requests {
    fn send(&self, request: Request) {
        // A thread that is gone, or awake already, needs no waking.
        let _ = self.sender.send(request);
        let _ = self.waker.send(&[0]);
    }

    fn try_clone(&self) -> io::Result<Self> {
        Ok(Self {
            sender: self.sender.clone(),
            waker: self.waker.try_clone()?,
        })
    }
}

/// What the thread is asked by, and what it shows.
#[derive(Debug)]
pub struct Handle {
    requests: Requests,
    /// Asks the witness, if there is one.
    witness: Option<Witness>,
    alive: Arc<AtomicU64>,
    answers: Arc<AtomicBool>,
    view: Arc<Mutex<View>>,
    thread: Option<JoinHandle<()>>,
}

/// What the thread writes to.
#[derive(Debug)]
pub struct Ends {
    /// The data plane's leases.
    pub leases: Leases,
    /// The answers that it has noted.
    pub arrivals: Arrivals,
    /// Changes of role.
    pub changes: mpsc::UnboundedSender<Turn>,
    /// What probe ports say.
    pub sign: Sign,
    /// The thread that tells of flows.
    pub flows: sync::Handle,
}

/// What others on this node see of the pair, and tell it.
#[derive(Debug)]
pub struct Observer {
    requests: Requests,
    answers: Arc<AtomicBool>,
    view: Arc<Mutex<View>>,
}

impl Observer {
    /// Whether the peer was heard lately.
    pub fn hears(&self) -> bool {
        let view = self.view.lock().unwrap_or_else(PoisonError::into_inner);
        view.peer.is_some()
    }

    /// Whether the peer answered when this node's role was last decided: known to whoever is told of a role.
    pub fn answers(&self) -> bool {
        self.answers.load(Ordering::Acquire)
    }

    /// Whether another node has taken what moves with a group in the cloud.
    pub fn overtaken(&self, group: u16, overtaken: bool) {
        self.requests.send(Request::Overtaken(group, overtaken));
    }
}

/// Starts the thread. `node`: this one's name.
pub fn start(
    settings: Settings,
    pair: &model::Pair,
    node: &str,
    process: u64,
    epochs: &BTreeMap<u16, u64>,
    ends: Ends,
) -> Result<Handle, WitnessError> {
    let paths = pair
        .paths
        .iter()
        .map(|path| Path::open(path, pair.port.get()));
    let now = clock::monotonic();
    let (sender, received) = channel();
    let (waker, woken) = UnixDatagram::pair()?;
    waker.set_nonblocking(true)?;
    woken.set_nonblocking(true)?;
    let requests = Requests { sender, waker };
    let (wish, wishes) = watch::channel(None);
    let name = settings.secret.name();
    let witness = witness::start(&pair.partition, node, &name, wishes, &requests)?;
    let alive = Arc::new(AtomicU64::new(milliseconds(now)));
    let answers = Arc::new(AtomicBool::new(false));
    let mut member = Pair::new(settings, process, epochs, now);
    let groups = 0..pair.groups.len() as u32;
    let before: Vec<_> = groups.map(|group| ends.leases.forward(group)).collect();
    member.go_on(&before, now);
    let view = Arc::new(Mutex::new(member.view(now)));
    let mut side = Side {
        pair: member,
        groups: pair.groups.clone(),
        paths: paths.collect::<io::Result<_>>()?,
        leases: ends.leases,
        arrivals: ends.arrivals,
        announcer: Announcer::open(),
        places: Vec::new(),
        announce_at: Vec::new(),
        woken_at: now,
        decided_at: now,
        leased_at: now,
        released_at: BTreeMap::new(),
        changes: ends.changes,
        sign: ends.sign,
        requests: received,
        flows: ends.flows,
        situation: sync::Situation::default(),
        woken,
        alive: Arc::clone(&alive),
        answers: Arc::clone(&answers),
        wish,
        view: Arc::clone(&view),
    };
    let thread = thread::Builder::new()
        .name("pair".to_owned())
        .spawn(move || side.run())?;
    Ok(Handle {
        requests,
        witness,
        alive,
        answers,
        view,
        thread: Some(thread),
    })
}

impl Handle {
    /// The main loop lives.
    pub fn alive(&self) {
        self.alive
            .store(milliseconds(clock::monotonic()), Ordering::Relaxed);
    }

    /// For others on this node.
    pub fn observer(&self) -> io::Result<Observer> {
        Ok(Observer {
            requests: self.requests.try_clone()?,
            answers: Arc::clone(&self.answers),
            view: Arc::clone(&self.view),
        })
    }

    /// Asks for something.
    pub fn request(&self, request: Request) {
        self.requests.send(request);
    }

    /// What is to be seen.
    pub fn view(&self) -> View {
        self.view
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// What is to be seen of the witness, if it keeps a lease.
    pub fn witness(&self) -> Option<WitnessView> {
        let report = self.witness.as_ref()?.report.as_ref()?;
        Some(report.lock().clone())
    }

    /// Hands everything over, if the peer is able to take it: at most `patience`; then forwards what still
    /// comes for as long as `drain`. What nobody takes goes on for as long as `linger`.
    pub async fn leave(&mut self, patience: Duration, drain: Duration, linger: Option<Duration>) {
        self.request(Request::Maintenance(true));
        let end = clock::monotonic() + patience;
        let idle = |view: View| view.groups.iter().all(|group| group.role == Role::Standby);
        let able = |view: View| {
            view.groups.iter().any(|group| {
                group.role == Role::Releasing || group.peer.is_some_and(|peer| peer.able)
            })
        };
        let carried = !idle(self.view());
        while clock::monotonic() < end && !idle(self.view()) && able(self.view()) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        if carried && idle(self.view()) {
            tokio::time::sleep(drain).await;
        }
        self.request(Request::Stop(linger));
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            warn!("the pair's thread has failed");
        }
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// What the thread has.
struct Side {
    pair: Pair,
    groups: Vec<model::Group>,
    paths: Vec<Path>,
    leases: Leases,
    arrivals: Arrivals,
    announcer: Announcer,
    places: Vec<Place>,
    /// When what group's VIPs are announced again.
    announce_at: Vec<(Duration, u8)>,
    /// When the thread last had something to do, when the leases were last written, and when groups
    /// were offered to the peer.
    woken_at: Duration,
    decided_at: Duration,
    leased_at: Duration,
    released_at: BTreeMap<u16, Duration>,
    changes: mpsc::UnboundedSender<Turn>,
    sign: Sign,
    requests: Receiver<Request>,
    flows: sync::Handle,
    /// What the thread that tells of flows was told.
    situation: sync::Situation,
    woken: UnixDatagram,
    alive: Arc<AtomicU64>,
    answers: Arc<AtomicBool>,
    /// What the witness is asked for.
    wish: watch::Sender<Option<u64>>,
    view: Arc<Mutex<View>>,
}

impl Side {
    fn run(&mut self) {
        be_urgent();
        loop {
            self.wait();
            self.woken_at = clock::monotonic();
            while self.woken.recv(&mut [0; 8]).is_ok() {}
            // Before anything that looks at time: what has arrived is no loss.
            self.receive();
            while let Ok(request) = self.requests.try_recv() {
                if let Request::Stop(linger) = request {
                    self.linger(linger);
                    return;
                }
                self.request(request);
            }
            let now = clock::monotonic();
            let (process, until) = self.flows.told();
            self.pair.told(process, until, now);
            if now >= self.pair.next(now) {
                let heartbeat = self.alive.load(Ordering::Relaxed);
                let alive = milliseconds(now).saturating_sub(heartbeat) < milliseconds(PATIENCE);
                self.pair.timeout(alive, now);
            }
            // Before the leases are written: an active node lets nobody else change its flows.
            let view = self.pair.view(now);
            let answers = view.paths.iter().any(|path| path.state == PathState::Up);
            self.answers.store(answers, Ordering::Release);
            self.tell_of(&view);
            while let Some(effect) = self.pair.poll() {
                self.apply(effect);
            }
            // After the leases are written: what is given back is not used any more.
            let wish = self.pair.wish();
            self.wish
                .send_if_modified(|known| std::mem::replace(known, wish) != wish);
            self.announce_again();
            self.ask_for_flows();
            let view = self.pair.view(clock::monotonic());
            self.tell_of(&view);
            *self.view.lock().unwrap_or_else(PoisonError::into_inner) = view;
        }
    }

    fn tell_of(&mut self, view: &View) {
        let mut situation = sync::Situation {
            active: 0,
            standby: 0,
            epochs: view.groups.iter().map(|group| group.epoch).collect(),
            peer: self.pair.peer_process(),
            up: view
                .paths
                .iter()
                .map(|path| path.state == PathState::Up)
                .collect(),
        };
        for group in &view.groups {
            match group.role {
                Role::Standby => situation.standby |= 1 << group.place,
                Role::Active | Role::Releasing => situation.active |= 1 << group.place,
            }
        }
        if situation != self.situation {
            self.flows.situation(situation.clone());
            self.situation = situation;
        }
    }

    /// A hand-over waits until the peer knows of flows.
    fn ask_for_flows(&mut self) {
        if self.pair.waits_for_flows() {
            self.flows.wake();
        }
    }

    fn wait(&self) {
        let now = clock::monotonic();
        let next = self
            .announce_at
            .iter()
            .map(|(at, _)| *at)
            .chain([self.pair.next(now)]);
        let mut time = next.min().unwrap_or(now).saturating_sub(now);
        if self.pair.waits_for_flows() {
            time = time.min(FLOWS);
        }
        let sockets = self.paths.iter().map(|path| path.socket.as_raw_fd());
        socket::wait(sockets.chain([self.woken.as_raw_fd()]), time);
    }

    fn receive(&mut self) {
        for index in 0..self.paths.len() {
            if let Some((sequence, at, by)) = self.arrivals.latest(index) {
                let now = clock::monotonic();
                self.pair.arrived(index, sequence, at, by, now);
            }
            for _ in 0..AT_ONCE {
                let Some(datagram) = self.paths[index].receive() else {
                    break;
                };
                // Refusals are counted.
                let _ = match datagram {
                    Ok(datagram) => self.pair.datagram(index, datagram, clock::monotonic()),
                    Err(refusal) => self.pair.refuse(refusal),
                };
            }
        }
    }

    fn request(&mut self, request: Request) {
        let now = clock::monotonic();
        match request {
            Request::Health(health) => self.pair.set_health(health, now),
            Request::Places(places) => self.place(places),
            Request::Groups(groups, grace, done) => {
                self.regroup(groups, grace, now);
                // An asker that went away needs no answer.
                let _ = done.send(());
            }
            Request::FailOver(group, here, reply) => {
                // An asker that went away needs no answer.
                let _ = reply.send(self.pair.fail_over(group, here, now));
            }
            Request::Maintenance(on) => self.pair.set_maintenance(on, now),
            Request::Config(digest) => self.pair.set_config(digest, now),
            Request::Allow(permission) => self.pair.allow(permission, now),
            Request::Overtaken(group, overtaken) => {
                self.pair.set_overtaken(group, overtaken, now);
            }
            Request::Stop(_) => {}
        }
    }

    fn linger(&mut self, time: Option<Duration>) {
        if let Some(time) = time {
            self.pair.linger(time, clock::monotonic());
        }
        while let Some(effect) = self.pair.poll() {
            self.apply(effect);
        }
    }

    fn apply(&mut self, effect: Effect) {
        match effect {
            Effect::Send(path, datagram) => self.paths[path].send(&datagram),
            Effect::Lease(node, groups) => {
                self.decided_at = clock::monotonic();
                self.leases.store(node, &groups);
                self.sign.set(groups.iter().map(|group| group.answer));
                self.leased_at = clock::monotonic();
            }
            Effect::Changed(change) => {
                let mut groups = self.groups.iter();
                let group = groups.find(|group| group.id == change.group).cloned();
                if let Some(group) = &group {
                    self.announce_at.retain(|(_, other)| *other != group.place);
                    if change.role == Role::Active {
                        self.announce_repeatedly(group.place);
                    }
                }
                // After the announcement, which is one of its phases.
                let turn = self.turn(change);
                if let Some(group) = group {
                    info!("group {}: {turn}", group.name);
                }
                let _ = self.changes.send(turn);
            }
        }
    }

    /// What a change took, which was done just now.
    fn turn(&mut self, change: Change) -> Turn {
        let mut phases = BTreeMap::new();
        if change.cause == Cause::PeerLost
            && let Some(silence) = self.pair.silence(self.woken_at)
        {
            phases.insert(Phase::Detection, silence);
        }
        match change.role {
            Role::Releasing => drop(self.released_at.insert(change.group, self.woken_at)),
            _ => {
                if let Some(since) = self.released_at.remove(&change.group) {
                    let took = self.woken_at.saturating_sub(since);
                    phases.insert(Phase::HandOver, took);
                }
            }
        }
        let decided_at = self.decided_at.max(self.woken_at);
        let leased_at = self.leased_at.max(decided_at);
        phases.insert(Phase::Decision, decided_at - self.woken_at);
        phases.insert(Phase::Lease, leased_at - decided_at);
        if change.role == Role::Active {
            let took = clock::monotonic().saturating_sub(leased_at);
            phases.insert(Phase::Announcement, took);
        }
        Turn { change, phases }
    }

    /// Other VIPs, or at other interfaces: those that come to a group that this node is active for are announced.
    fn place(&mut self, places: Vec<Place>) {
        let old = std::mem::replace(&mut self.places, places);
        let come = self.places.iter().filter(|place| !old.contains(place));
        let groups: BTreeSet<u8> = come.map(|place| place.group).collect();
        let view = self.pair.view(clock::monotonic());
        for group in view.groups {
            if group.role == Role::Active && groups.contains(&group.place) {
                self.announce_repeatedly(group.place);
            }
        }
    }

    /// Other groups: what becomes of those that come and go is known by name.
    fn regroup(&mut self, groups: Vec<(Wanted, model::Group)>, grace: Duration, now: Duration) {
        let (wanted, groups): (Vec<_>, Vec<_>) = groups.into_iter().unzip();
        let come = groups.iter().filter(|group| !self.groups.contains(group));
        let come: Vec<_> = come.cloned().collect();
        self.groups
            .retain(|group| come.iter().all(|new| new.id != group.id));
        self.groups.extend(come);
        self.sign.name(&self.groups);
        self.pair.set_groups(&wanted, grace, now);
        while let Some(effect) = self.pair.poll() {
            self.apply(effect);
        }
        self.groups = groups;
        self.sign.name(&self.groups);
    }

    fn announce_repeatedly(&mut self, group: u8) {
        self.announce(group);
        let now = clock::monotonic();
        let again = announce::AGAIN.map(|after| (now + after, group));
        self.announce_at.extend(again);
    }

    fn announce_again(&mut self) {
        let now = clock::monotonic();
        let due = self.announce_at.iter().filter(|(at, _)| *at <= now);
        let groups: BTreeSet<u8> = due.map(|(_, group)| *group).collect();
        self.announce_at.retain(|(at, _)| *at > now);
        groups.into_iter().for_each(|group| self.announce(group));
    }

    fn announce(&self, group: u8) {
        for place in self.places.iter().filter(|place| place.group == group) {
            let frame = announce::frame(place.mac, place.vip);
            self.announcer.send(place.ifindex, &frame);
        }
    }
}
