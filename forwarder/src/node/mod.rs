//! The one task that owns the data plane: events in, core, changes out.

mod audit;
mod backend;
mod change;
mod checks;
mod cloud;
mod drops;
mod exceptions;
mod flows;
mod hooks;
pub(crate) mod host;
mod keep;
mod metrics;
mod moving;
mod notes;
mod one_backend;
mod pair;
mod probe;
mod reload;
mod run;
mod running;
mod status;
mod trace;

pub use backend::{BackendOptions, backend};
pub use flows::FlowView;
pub use run::{Options, RunError, run};

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use forwarder_common::hash::HashKey;
use log::{debug, error, info, warn};

use crate::config::Model;
use crate::core::compile::{BackendKey, Compiled, Input, Note, Snapshot, State, compile};
use crate::core::facts::Facts;
use crate::core::history::{History, Kind};
use crate::core::home::{Homes, Moves};
use crate::core::op::Op;
use crate::core::overrides::Overrides;
use crate::core::pair::sync::backends::Backends;
use crate::core::plan::plan;
use crate::core::tables::Tables;
use crate::dataplane::DataPlane;
use crate::dataplane::bpf::Bpf;
use crate::dataplane::pin::record::Record;
use crate::io::clock;
use crate::io::hook::Hooks;
use crate::io::multicast::Memberships;
use crate::io::probe::Responder;
use crate::io::routes::Routes;
use checks::Checks;
use exceptions::Excepted;
use host::Host;
use keep::{Keep, NEXT_HOPS_HOLD, hold_next_hops};
use notes::{News, Notes};
use running::Running;
use tokio::sync::mpsc;

/// How long UDP stays with the previous backend after a change.
const GRACE: Duration = Duration::from_secs(30);

/// How long an older flow may be quiet before its slot may forget it.
const QUIET: Duration = Duration::from_secs(3600);
/// Between two looks for slots that may forget.
const SETTLE_EVERY: Duration = Duration::from_secs(60);

/// Everything that a running daemon holds.
struct Node {
    /// What the file says.
    running: Running,
    /// What was changed on top of it.
    overrides: Overrides,
    /// What the active peer makes of backends, on a standby.
    followed: Option<Arc<Backends>>,
    /// Both together: what is at work.
    model: Model,
    /// How often a configuration was put to work.
    generation: u64,
    /// Why the last reload changed nothing.
    config_error: Option<String>,
    /// Where changes of the configuration are asked for.
    changes: mpsc::Sender<change::Request>,
    history: History,
    started: Duration,
    /// The same by the wall clock, for people.
    started_at: Duration,
    /// When a configuration was last put to work, by the wall clock.
    reloaded_at: Duration,
    bpf: Bpf,
    /// `None`: nothing is pinned, everything goes with the daemon.
    keep: Option<Keep>,
    /// Devices that could not be attached to, and why.
    not_attached: BTreeMap<String, String>,
    hash_key: HashKey,
    host: Host,
    /// `None`: this node is on its own.
    pair: Option<pair::Member>,
    /// `None`: the daemon is not ready yet.
    responder: Option<Responder>,
    hooks: Hooks,
    routes: Option<Routes>,
    /// What moves by calls of a cloud's API.
    cloud: cloud::Cloud,
    /// `None`: not allowed, which was logged.
    memberships: Option<Memberships>,
    checks: Checks,
    /// What the maps hold.
    actual: Tables,
    state: State,
    notes: Notes<Note>,
    /// When slots may forget next.
    settle_at: Duration,
    /// Why the last pass did not go through.
    failure: Option<String>,
    /// Whether the maps could be read the last time.
    maps_answer: bool,
}

impl Node {
    /// Brings the maps to where they ought to be. Returns what was changed; after a failure that
    /// was not all.
    fn pass(&mut self) -> Vec<Op> {
        let now = clock::monotonic();
        self.state.end_grace(now, GRACE);
        self.follow_peer();
        self.recall(now);
        self.consult_told(now);
        self.settle(now);
        let facts = self.host.facts(&self.model);
        let Compiled {
            mut tables,
            state,
            notes,
            lost,
            gone,
        } = self.compile(&self.model, &facts);
        if now < self.started + NEXT_HOPS_HOLD {
            hold_next_hops(&self.actual, &mut tables);
        }
        let ops = plan(&self.actual, &tables);
        let moves = self.moves(&ops, &tables, &state);
        let failure = self.apply(&ops, state, &moves, &lost, &gone).err();
        self.failed(failure);
        if self.failure.is_none()
            && let Some(pair) = &mut self.pair
        {
            pair.flows.hold(self.followed.clone());
        }
        self.bpf.set_idle_times(self.idle_times());
        self.receive_solicitations();
        self.inform_pair();
        if let Some(routes) = &self.routes {
            routes.set(self.route_vips());
        }
        self.report(notes);
        ops
    }

    /// Why the maps are not as they ought to be, or that they are.
    fn failed(&mut self, failure: Option<String>) {
        if let Some(failure) = &failure
            && self.failure.as_ref() != Some(failure)
        {
            error!("{failure}");
            self.remember(Kind::Problem, "data plane", failure);
        }
        self.failure = failure;
    }

    fn compile(&self, model: &Model, facts: &Facts) -> Compiled {
        let (down, ramps) = match &self.followed {
            Some(peer) => (peer.down.clone(), peer.ramps()),
            None => (self.checks.down(model), self.checks.ramps(model)),
        };
        let input = Input {
            model,
            facts,
            down: &down,
            ramps: &ramps,
            now: clock::monotonic(),
        };
        compile(input, &self.state)
    }

    /// Keeps what happened.
    fn remember(&mut self, kind: Kind, subject: impl Into<String>, text: &str) {
        self.history.push(clock::wall(), kind, subject, text);
    }

    /// Takes in outcomes of health checks. Returns the backends for which they matter.
    fn checked(&mut self, results: Vec<checks::Result>) -> Vec<BackendKey> {
        let mut changed = Vec::new();
        for result in results {
            if let Some((key, text)) = self.checks.report(result) {
                let subject = format!("{}/{}", key.pool, key.end());
                self.remember(Kind::Health, subject, &text);
                changed.push(key);
            }
        }
        changed
    }

    /// Lets interfaces receive what is asked about the IPv6 VIPs that they answer for.
    fn receive_solicitations(&mut self) {
        let Some(memberships) = &mut self.memberships else {
            return;
        };
        let mut wanted = BTreeSet::new();
        for (address, entry) in &self.actual.vip_addresses {
            let IpAddr::V6(address) = address else {
                continue;
            };
            let interfaces = self.actual.interfaces.iter();
            let answering = interfaces.filter(|(_, each)| entry.answers >> each.slot & 1 == 1);
            wanted.extend(answering.map(|(ifindex, _)| (*ifindex, *address)));
        }
        memberships.set(wanted);
    }

    /// Lets slots forget their past where no flow needs it.
    fn settle(&mut self, now: Duration) {
        let mut slots = self.actual.slots.values().flat_map(|table| table.iter());
        if now < self.settle_at || !slots.any(|slot| slot.is_changed()) {
            return;
        }
        self.settle_at = now + SETTLE_EVERY;
        if let Some(slots) = self.excepted() {
            self.state
                .settle(now, QUIET, |index| slots.contains(&index));
        }
    }

    /// Lets slots consult the exceptions that the peer told of.
    fn consult_told(&mut self, now: Duration) {
        let pair = self.pair.as_ref();
        let Some(kept) = pair.and_then(|pair| pair.flows.told_exceptions()) else {
            return;
        };
        if let Some(slots) = self.excepted() {
            self.state.consult(now, |index| slots.contains(&index));
            if let Some(pair) = &mut self.pair {
                pair.flows.consulted(kept);
            }
        }
    }

    /// Slots where some flow keeps another backend than the current one.
    fn excepted(&self) -> Option<BTreeSet<usize>> {
        let excepted = RefCell::new(Excepted::new(&self.actual, self.hash_key));
        let read = self.bpf.exceptions(
            |flow, backend| excepted.borrow_mut().add4(flow, backend),
            |flow, backend| excepted.borrow_mut().add6(flow, backend),
        );
        match read {
            Ok(()) => Some(excepted.into_inner().slots()),
            Err(error) => {
                warn!("exceptions cannot be read: {error}");
                None
            }
        }
    }

    /// Which flows will belong elsewhere.
    fn moves(&self, ops: &[Op], tables: &Tables, state: &State) -> Moves {
        let mut ops = ops.iter();
        if ops.any(|op| matches!(op, Op::VirtualServer { .. })) {
            let old = Homes::of(&self.actual, &self.state);
            Moves::new(old, Homes::of(tables, state))
        } else {
            Moves::default()
        }
    }

    fn apply(
        &mut self,
        ops: &[Op],
        state: State,
        moves: &Moves,
        lost: &BTreeSet<u32>,
        gone: &BTreeSet<u32>,
    ) -> Result<(), String> {
        // Before the record says whose they are: a daemon that ends in between does it again.
        let given = state.given_since(&self.state);
        if !given.is_empty() {
            let reset = self.bpf.reset_counters(&given);
            reset.map_err(|error| error.to_string())?;
        }
        self.save(|own| Snapshot::between(&own.state, &state))?;
        let first_removal = ops.iter().position(Op::is_removal);
        for (at, op) in ops.iter().enumerate() {
            if Some(at) == first_removal {
                // Of those that still follow what points at it.
                self.bpf.wait_for_packets();
            }
            debug!("{op}");
            self.bpf.apply(op).map_err(|error| error.to_string())?;
            self.actual.apply(op);
        }
        self.state = state;
        let forgets = moves.any() || !lost.is_empty() || !gone.is_empty();
        if forgets || first_removal.is_some() {
            // What is free now may be another's next; and what is to be forgotten must not be written down again.
            self.bpf.wait_for_packets();
        }
        if moves.any() {
            let forgotten = self.bpf.forget_moved(moves);
            forgotten.map_err(|error| error.to_string())?;
        }
        for index in lost {
            self.bpf
                .forget_exceptions(*index)
                .map_err(|error| error.to_string())?;
        }
        for index in gone {
            self.bpf
                .forget_backend(*index)
                .map_err(|error| error.to_string())?;
            self.state.release(*index);
        }
        self.save(|own| Snapshot::of(&own.state))
    }

    /// Remembers what the next daemon has to know.
    fn save(&mut self, snapshot: impl FnOnce(&Self) -> Snapshot) -> Result<(), String> {
        if self.keep.is_none() {
            return Ok(());
        }
        let record = Record {
            hash_key: self.hash_key,
            snapshot: snapshot(self),
            overrides: self.overrides.clone(),
            config_hash: self.running.hash.clone(),
        };
        match &mut self.keep {
            Some(keep) => keep.save(record).map_err(|error| error.to_string()),
            None => Ok(()),
        }
    }

    /// Logs what is new, and what is over.
    fn report(&mut self, notes: Vec<Note>) {
        let news = self.notes.update(notes, clock::monotonic());
        self.tell("node", news);
    }

    fn tell<N: Display>(&mut self, subject: &str, news: News<N>) {
        for note in news.begun {
            warn!(problem = "begins"; "{note}");
            self.remember(Kind::Problem, subject, &format!("begins: {note}"));
        }
        for note in news.over {
            info!(problem = "over"; "over: {note}");
            self.remember(Kind::Problem, subject, &format!("over: {note}"));
        }
    }
}
