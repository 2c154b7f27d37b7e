//! The thread that tells the peer of flows, or puts what the peer tells into the maps. It has ports of its
//! own, so that no amount of flows delays what the nodes have to say about themselves.

mod apply;
mod handle;

use std::collections::BTreeMap;
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::net::UnixDatagram;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use log::{info, warn};

use super::socket::{self, Path};
use crate::config::model;
use crate::core::compile::Memory;
use crate::core::pair::replay::Replay;
use crate::core::pair::secret::{Secret, SyncKey};
use crate::core::pair::sync::backends::{Backends, in_parts};
use crate::core::pair::sync::names::Names;
use crate::core::pair::sync::{Entry, Groups, Message, Receiver, Sender, Stream};
use crate::core::pair::watch::Refused;
use crate::core::pair::wire::{Header, Kind, Refusal};
use crate::dataplane::bpf::flow_events::FlowEvents;
use crate::dataplane::bpf::peer_flows::{Everything, PeerFlows};
use crate::io::clock;
use apply::{Applier, Take};
pub use handle::{Handle, Situation, SyncView};
use handle::{Shared, lock, set};

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
        memory: Arc::default(),
        tells: 0,
        tells_until: Duration::ZERO,
        hears_until: Duration::ZERO,
        walk: None,
        drained: Duration::ZERO,
        counter: 0,
        taken: 0,
        emptied: true,
        lost: 0,
        replay: Replay::default(),
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
    memory: Arc<Memory>,
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
    /// Whether nothing was left in the ring.
    emptied: bool,
    lost: u64,
    /// Of the peer's process.
    replay: Replay,
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
            self.sender.flush(self.emptied, now);
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
        let (backends, memory) = lock(&self.shared.backends).clone();
        self.memory = memory;
        if self.shared.again.swap(false, Ordering::Relaxed) {
            self.receiver.abandon();
        }
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
            self.replay = Replay::default();
            self.applier.backends = None;
            self.applier.past = None;
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
        self.emptied = taken < EVENTS;
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
            let past = in_parts(&self.memory.past(), Entry::Past);
            past.iter().for_each(|part| self.sender.push(part, now));
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
        let past = self.applier.past.clone().filter(|_| follows);
        let mut shared = lock(&self.shared.past);
        let same = match (&*shared, &past) {
            (Some(old), Some(new)) => Arc::ptr_eq(old, new),
            (old, new) => old.is_none() && new.is_none(),
        };
        *shared = past;
        drop(shared);
        let mut shared = lock(&self.shared.followed);
        if *shared != followed || !same {
            *shared = followed;
            self.shared.news.notify_one();
        }
    }

    fn receive(&mut self, now: Duration) {
        let mut refused = false;
        for index in 0..self.paths.len() {
            for _ in 0..DATAGRAMS {
                let Some(datagram) = self.paths[index].receive() else {
                    break;
                };
                let (identity, peer) = (&self.identity, self.situation.peer);
                let replay = &mut self.replay;
                let opened =
                    datagram.and_then(|it| open(it, identity, peer, &self.peer_key, replay));
                match opened {
                    Ok(message @ (Message::Applied(..) | Message::Again(_))) => {
                        self.sender.receive(&message, now);
                    }
                    Ok(message) => self.receiver.receive(message),
                    Err(refusal) => {
                        *self.refused.entry(refusal).or_default() += 1;
                        refused = true;
                    }
                }
            }
        }
        if refused {
            set(&self.shared.refused, self.refused.clone());
        }
        // This node may have become active since the last look around.
        let known = self.situation.standby;
        let take = || {
            let standby = known & lock(&self.shared.situation).standby;
            Take {
                standby,
                hears: now < self.hears_until || standby != known,
            }
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
            heard: self.sender.is_heard(),
            lag_microseconds: u64::try_from(lag.as_micros()).unwrap_or(u64::MAX),
            complete: active | standby != 0
                && (standby == 0 || self.applier.is_complete())
                && (active == 0 || self.sender.is_followed()),
            received: self.applier.done.received,
            kept: self.applier.done.kept,
            consulted: 0,
            unknown: self.applier.done.unknown,
            foreign: self.applier.done.foreign,
            no_room: self.applier.done.no_room,
            swept: self.applier.done.swept,
            events_lost: self.lost,
            refused: self.refused.values().sum(),
            cpu_microseconds: u64::try_from(clock::thread_cpu().as_micros()).unwrap_or(u64::MAX),
        };
        set(&self.shared.view, (view, self.taken));
        let told = self.sender.told().unwrap_or_default();
        set(&self.shared.told, (self.situation.peer, told));
    }
}

fn open(
    datagram: &[u8],
    identity: &Identity,
    peer: u64,
    key: &SyncKey,
    replay: &mut Replay,
) -> Result<Message, Refusal> {
    let header = Header::decode(datagram)?;
    if header.kind != Kind::Sync || header.sender != 1 - identity.own {
        return Err(Refusal::Sender);
    }
    if header.process != peer {
        return Err(Refusal::Unacquainted);
    }
    let message = Message::open(datagram, &header, identity.process, key)?;
    match replay.is_new(header.sequence) {
        true => Ok(message),
        false => Err(Refusal::Replayed),
    }
}
