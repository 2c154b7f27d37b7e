//! The thread that tells the peer of flows, or puts what the peer tells into the maps. It has ports of its
//! own, so that no amount of flows delays what the nodes have to say about themselves.

mod apply;

use std::collections::BTreeMap;
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::net::UnixDatagram;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use log::{info, warn};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use super::socket::{self, Path};
use crate::config::model;
use crate::core::pair::secret::{Secret, SyncKey};
use crate::core::pair::sync::backends::Backends;
use crate::core::pair::sync::names::Names;
use crate::core::pair::sync::sender::Sent;
use crate::core::pair::sync::{Groups, Message, Receiver, Sender, Stream};
use crate::core::pair::watch::Refused;
use crate::core::pair::wire::{Header, Kind, Refusal};
use crate::dataplane::bpf::flow_events::{EventCounts, FlowEvents};
use crate::dataplane::bpf::peer_flows::{Everything, PeerFlows};
use crate::io::clock;
use apply::{Applier, Take};

/// Events that come while others are sent share a datagram with them.
const BATCH: Duration = Duration::from_millis(1);
/// Events that are taken before anything else has its turn.
const EVENTS: usize = 16_384;
/// Datagrams likewise.
const DATAGRAMS: usize = 512;
/// So long after a hand-over the old node's last flows are taken in, and told.
const GRACE: Duration = Duration::from_secs(1);
/// At most so long without a look around.
const LOOK: Duration = Duration::from_millis(500);

/// What the pair's thread knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Situation {
    /// For which groups this node is active, or still hands over.
    pub active: Groups,
    /// For which it is standby.
    pub standby: Groups,
    /// The highest epoch of each group.
    pub epochs: Vec<u64>,
    /// The process of the peer; 0: none.
    pub peer: u64,
    /// Whether each path works.
    pub up: Vec<bool>,
}

/// What is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SyncView {
    /// What was sent.
    pub sent: Sent,
    /// Entries that wait for the peer to have applied them.
    pub waiting: u64,
    /// For how long the first of them has waited.
    pub lag_microseconds: u64,
    /// Whether one node has all that the other had when it began to tell: the active as it knows from the
    /// peer, the standby for itself; both, if each node is active for some groups.
    pub complete: bool,
    /// Entries that the peer told and that are in the maps.
    pub received: u64,
    /// Of these, how often a flow of a DSR mode keeps another backend than others of its slot.
    pub kept: u64,
    /// Those of them that the lookup tables take into account.
    pub consulted: u64,
    /// Entries of virtual servers, backends or interfaces that this node does not know.
    pub unknown: u64,
    /// Entries for which the maps had no room.
    pub no_room: u64,
    /// Entries that were removed because the peer did not have them.
    pub swept: u64,
    /// Events for which the ring had no room; everything was told again.
    pub events_lost: u64,
    /// Datagrams that changed nothing.
    pub refused: u64,
    /// Microseconds of CPU that the thread has used.
    pub cpu_microseconds: u64,
}

/// What others and the thread share.
#[derive(Debug, Default)]
struct Shared {
    situation: Mutex<Situation>,
    names: Mutex<Arc<Names>>,
    /// What this node makes of backends.
    backends: Mutex<Arc<Backends>>,
    /// What the peer makes of them, while it is active and this node is not.
    followed: Mutex<Option<Arc<Backends>>>,
    /// It is another.
    news: Notify,
    view: Mutex<(SyncView, u64)>,
    stop: Mutex<bool>,
}

/// Tells the thread of changes, and shows what it does.
#[derive(Clone, Debug)]
pub struct Handle {
    shared: Arc<Shared>,
    counts: Arc<EventCounts>,
    waker: Arc<UnixDatagram>,
}

impl Handle {
    /// The pair has changed.
    pub fn situation(&self, situation: Situation) {
        set(&self.shared.situation, situation);
        self.wake();
    }

    /// Things are called otherwise.
    pub fn names(&self, names: Names) {
        set(&self.shared.names, Arc::new(names));
        self.wake();
    }

    /// This node makes something else of its backends.
    pub fn backends(&self, backends: Backends) {
        set(&self.shared.backends, Arc::new(backends));
        self.wake();
    }

    /// What the peer makes of backends, while this node is to do the same.
    pub fn followed(&self) -> Option<Arc<Backends>> {
        lock(&self.shared.followed).clone()
    }

    /// Waits until that is another.
    pub async fn news(&self) {
        self.shared.news.notified().await;
    }

    /// What is to be seen.
    pub fn view(&self) -> SyncView {
        let (mut view, taken) = *lock(&self.shared.view);
        // What is in the ring waits too.
        let made = self.counts.read().map_or(taken, |[made, _]| made);
        view.waiting += made.saturating_sub(taken);
        view
    }

    fn wake(&self) {
        // A thread that is awake already needs no waking.
        let _ = self.waker.send(&[0]);
    }

    /// Ends the thread.
    pub fn stop(&self) {
        set(&self.shared.stop, true);
        self.wake();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn set<T>(mutex: &Mutex<T>, value: T) {
    *lock(mutex) = value;
}

/// Who this node is to the peer.
#[derive(Debug)]
pub struct Identity {
    /// 0: the first node of the file, 1: the second.
    pub own: u8,
    /// This process.
    pub process: u64,
    /// Of both nodes.
    pub secret: Secret,
}

/// Starts the thread. It ends when it is told to.
pub fn start(
    identity: Identity,
    pair: &model::Pair,
    events: FlowEvents,
    flows: PeerFlows,
) -> io::Result<(Handle, JoinHandle<()>)> {
    let port = pair.port.get();
    let port = port.checked_add(1).unwrap_or(port - 1);
    let paths = pair.paths.iter().map(|path| Path::open(path, port));
    let paths: Vec<Path> = paths.collect::<io::Result<_>>()?;
    paths.iter().for_each(Path::make_room);
    let (waker, woken) = UnixDatagram::pair()?;
    waker.set_nonblocking(true)?;
    woken.set_nonblocking(true)?;
    let shared = Arc::new(Shared::default());
    let handle = Handle {
        shared: Arc::clone(&shared),
        counts: events.counts(),
        waker: Arc::new(waker),
    };
    flows.told().keep(Groups::MAX);
    let mut side = Side {
        own_key: identity.secret.sync_key(identity.own),
        peer_key: identity.secret.sync_key(1 - identity.own),
        identity,
        paths,
        events,
        applier: Applier::new(flows),
        sender: Sender::default(),
        receiver: Receiver::default(),
        situation: Situation::default(),
        names: Arc::default(),
        backends: Arc::default(),
        tells: 0,
        tells_until: Duration::ZERO,
        hears_until: Duration::ZERO,
        walk: None,
        drained: Duration::ZERO,
        counter: 0,
        taken: 0,
        lost: 0,
        refused: BTreeMap::new(),
        refused_told: Refused::default(),
        shared,
        woken,
    };
    let thread = thread::Builder::new()
        .name("pair-sync".to_owned())
        .spawn(move || side.run())?;
    Ok((handle, thread))
}

struct Side {
    identity: Identity,
    own_key: SyncKey,
    peer_key: SyncKey,
    paths: Vec<Path>,
    events: FlowEvents,
    applier: Applier,
    sender: Sender,
    receiver: Receiver,
    situation: Situation,
    names: Arc<Names>,
    backends: Arc<Backends>,
    /// Groups that this node tells of.
    tells: Groups,
    /// For some of them it was active, and may still be asked.
    tells_until: Duration,
    /// This node has become active for a group, and the peer may not have told everything.
    hears_until: Duration,
    walk: Option<(Stream, Everything)>,
    drained: Duration,
    /// Datagrams sealed by this process.
    counter: u64,
    /// Events that came out of the ring.
    taken: u64,
    lost: u64,
    refused: BTreeMap<Refusal, u64>,
    refused_told: Refused,
    shared: Arc<Shared>,
    woken: UnixDatagram,
}

impl Side {
    fn run(&mut self) {
        loop {
            self.wait();
            while self.woken.recv(&mut [0; 8]).is_ok() {}
            if *lock(&self.shared.stop) {
                return;
            }
            let now = clock::monotonic();
            self.look(now);
            self.take_events(now);
            self.walk(now);
            self.sender.flush(now);
            self.receive(now);
            self.follow_backends();
            // Before the peer is told that it is so.
            self.show(now);
            self.sender.timeout(now);
            self.send(now);
            self.show(now);
        }
    }

    fn wait(&self) {
        let now = clock::monotonic();
        let mut until = self.sender.next().unwrap_or(now + LOOK).min(now + LOOK);
        if self.sender.wants_bulk().is_some() {
            until = now;
        }
        let sockets = self.paths.iter().map(|path| path.socket.as_raw_fd());
        let sockets = sockets.chain([self.woken.as_raw_fd()]);
        if now < self.drained + BATCH {
            let time = until.min(self.drained + BATCH).saturating_sub(now);
            socket::wait(sockets, time);
        } else {
            let all = sockets.chain([self.events.as_raw_fd()]);
            socket::wait(all, until.saturating_sub(now));
        }
    }

    /// What is new of the pair, and of names.
    fn look(&mut self, now: Duration) {
        let names = Arc::clone(&lock(&self.shared.names));
        if !Arc::ptr_eq(&names, &self.names) {
            self.names = names;
            self.applier.flows.told().groups(self.names.groups());
            if self.applier.forget_unknown() {
                self.receiver.abandon();
            }
        }
        let backends = Arc::clone(&lock(&self.shared.backends));
        if !Arc::ptr_eq(&backends, &self.backends) {
            self.backends = backends;
            self.tell_backends(now);
        }
        let new = lock(&self.shared.situation).clone();
        if new == self.situation {
            return self.follow(now, false);
        }
        let old = std::mem::replace(&mut self.situation, new);
        let other_peer = old.peer != self.situation.peer;
        if other_peer {
            self.receiver = Receiver::default();
            self.applier.backends = None;
        }
        let (before, active) = (old.active, self.situation.active);
        let told = self.applier.flows.told();
        if active & !before != 0 {
            self.hears_until = now + GRACE;
            told.age_from(active & !before, apply::seconds());
        }
        if before & !active != 0 {
            self.tells_until = now + GRACE;
            told.keep(before & !active);
        }
        if (active == 0) != (before == 0) {
            told.want(active != 0);
        }
        self.tells |= active;
        self.follow(now, other_peer || old.epochs != self.situation.epochs);
    }

    /// Whether this node tells, and listens. `again`: it is to tell everything.
    fn follow(&mut self, now: Duration, again: bool) {
        let Situation {
            active, standby, ..
        } = self.situation;
        if now >= self.tells_until {
            self.tells = active;
        }
        let known = self.situation.peer != 0;
        if known && active != 0 && (again || !self.sender.is_open()) {
            let epochs = self.situation.epochs.iter().copied();
            self.sender.start(epochs.max().unwrap_or(0), now);
        } else if self.tells == 0 {
            self.sender.stop();
        }
        self.receiver
            .listen(known && (standby != 0 || now < self.hears_until));
    }

    fn take_events(&mut self, now: Duration) {
        let (sender, names) = (&mut self.sender, &self.names);
        let flows = &self.applier.flows;
        let wanted = sender.is_open();
        let taken = self.events.drain(EVENTS, |event| {
            if wanted && let Some(entry) = names.entry(&flows.whole(event)) {
                sender.push(&entry, now);
            }
        });
        if taken > 0 {
            self.drained = now;
            self.taken += taken as u64;
        }
        let (mut removed, mut lost) = self.applier.flows.told().take();
        // Another flow that has a key of one that went was told of already, or will be.
        removed.retain(|entry| self.applier.flows.lacks(entry));
        removed
            .iter()
            .for_each(|entry| self.sender.push(entry, now));
        match self.events.counts().read() {
            Ok([_, count]) => lost |= std::mem::replace(&mut self.lost, count) != count,
            Err(error) => warn!("flow events: {error}"),
        }
        if lost && wanted {
            info!("flow events were lost; everything is told to the peer again");
            self.sender.begin_again(now);
        }
    }

    fn walk(&mut self, now: Duration) {
        let Some(stream) = self.sender.wants_bulk() else {
            return;
        };
        let (walked, mut everything) = self.walk.take().unwrap_or_default();
        if walked != stream {
            everything = Everything::default();
            self.tell_backends(now);
        }
        let (sender, names, tells) = (&mut self.sender, &self.names, self.tells);
        let more = self.applier.flows.walk(&mut everything, |event| {
            let entry = names.entry(&event);
            // What the peer is active for it knows better.
            if let Some(entry) = entry.filter(|entry| names.group_of(entry) & tells != 0) {
                sender.push(&entry, now);
            }
        });
        match more {
            Ok(true) => self.walk = Some((stream, everything)),
            Ok(false) => self.sender.end_bulk(now),
            Err(error) => {
                warn!("the flow maps cannot be read: {error}");
                self.sender.begin_again(now);
            }
        }
    }

    fn tell_backends(&mut self, now: Duration) {
        let entries = self.backends.entries();
        entries
            .iter()
            .for_each(|entry| self.sender.push(entry, now));
    }

    /// What the peer makes of backends holds here too while it alone is active.
    fn follow_backends(&self) {
        let follows = self.situation.active == 0 && self.situation.peer != 0;
        let followed = self.applier.backends.clone().filter(|_| follows);
        let mut shared = lock(&self.shared.followed);
        if *shared != followed {
            *shared = followed;
            self.shared.news.notify_one();
        }
    }

    fn receive(&mut self, now: Duration) {
        for index in 0..self.paths.len() {
            for _ in 0..DATAGRAMS {
                let Some(datagram) = self.paths[index].receive() else {
                    break;
                };
                match open(
                    datagram,
                    &self.identity,
                    self.situation.peer,
                    &self.peer_key,
                ) {
                    Ok(message @ (Message::Applied(..) | Message::Again(_))) => {
                        self.sender.receive(&message, now);
                    }
                    Ok(message) => self.receiver.receive(message),
                    Err(refusal) => *self.refused.entry(refusal).or_default() += 1,
                }
            }
        }
        let take = Take {
            standby: self.situation.standby,
            hears: now < self.hears_until,
        };
        match self.refused_told.line(&self.refused, now) {
            Some((true, line)) => warn!("flows: {line}"),
            Some((false, line)) => info!("flows: {line}"),
            None => {}
        }
        let mut good = true;
        while let Some(chunk) = self.receiver.take() {
            // The next standby has to know it too.
            let relay = |entry: &_| self.sender.push(entry, now);
            good &= self.applier.take(&chunk, &self.names, take, relay);
        }
        good &= self.applier.finish();
        if !good {
            self.receiver.abandon();
        }
    }

    fn send(&mut self, now: Duration) {
        let up = self.situation.up.iter().position(|up| *up).unwrap_or(0);
        while let Some(message) = self.receiver.poll() {
            self.seal(up, &message);
        }
        let again = self.sender.done().again;
        while let Some(message) = self.sender.poll(now) {
            // What did not come by one path may come by another.
            let other = self.sender.done().again != again && self.counter.is_multiple_of(2);
            let paths = self.paths.len().max(1);
            let path = if other { (up + 1) % paths } else { up };
            self.seal(path, &message);
        }
    }

    fn seal(&mut self, path: usize, message: &Message) {
        self.counter += 1;
        let header = Header {
            kind: Kind::Sync,
            sender: self.identity.own,
            path: path as u8,
            process: self.identity.process,
            sequence: self.counter,
        };
        let datagram = message.seal(self.situation.peer, &header, &self.own_key);
        if let Some(path) = self.paths.get_mut(path) {
            path.send(&datagram);
        }
    }

    fn show(&self, now: Duration) {
        let (waiting, lag) = self.sender.lag(now);
        let Situation {
            active, standby, ..
        } = self.situation;
        let view = SyncView {
            sent: self.sender.done(),
            waiting,
            lag_microseconds: u64::try_from(lag.as_micros()).unwrap_or(u64::MAX),
            complete: active | standby != 0
                && (standby == 0 || self.applier.is_complete())
                && (active == 0 || self.sender.is_followed()),
            received: self.applier.done.received,
            kept: self.applier.done.kept,
            consulted: 0,
            unknown: self.applier.done.unknown,
            no_room: self.applier.done.no_room,
            swept: self.applier.done.swept,
            events_lost: self.lost,
            refused: self.refused.values().sum(),
            cpu_microseconds: u64::try_from(clock::thread_cpu().as_micros()).unwrap_or(u64::MAX),
        };
        set(&self.shared.view, (view, self.taken));
    }
}

fn open(
    datagram: &[u8],
    identity: &Identity,
    peer: u64,
    key: &SyncKey,
) -> Result<Message, Refusal> {
    let header = Header::decode(datagram)?;
    if header.kind != Kind::Sync || header.sender != 1 - identity.own {
        return Err(Refusal::Sender);
    }
    if header.process != peer {
        return Err(Refusal::Unacquainted);
    }
    Message::open(datagram, &header, identity.process, key)
}
