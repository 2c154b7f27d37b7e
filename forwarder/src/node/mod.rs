//! The one task that owns the data plane: events in, core, changes out.

mod backend;
mod checks;
mod exceptions;
mod frame;
mod host;
mod notes;
mod run;
mod status;
mod trace;

pub use backend::{BackendOptions, backend};
pub use run::{Options, RunError, run};

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use forwarder_common::hash::HashKey;
use log::{debug, error, info, warn};

use crate::config::Model;
use crate::core::compile::{Compiled, Input, Note, State, compile};
use crate::core::plan::plan;
use crate::core::tables::Tables;
use crate::dataplane::DataPlane;
use crate::dataplane::bpf::Bpf;
use crate::io::clock;
use crate::io::multicast::Memberships;
use checks::Checks;
use exceptions::Excepted;
use host::Host;
use notes::Notes;

/// How long UDP stays with the previous backend after a change.
const GRACE: Duration = Duration::from_secs(30);

/// How long an older flow may be quiet before its slot may forget it.
const QUIET: Duration = Duration::from_secs(3600);
/// Between two looks for slots that may forget.
const SETTLE_EVERY: Duration = Duration::from_secs(60);

/// Everything that a running daemon holds.
struct Node {
    model: Model,
    config: PathBuf,
    started: Duration,
    bpf: Bpf,
    hash_key: HashKey,
    host: Host,
    /// `None`: not allowed, which was logged.
    memberships: Option<Memberships>,
    checks: Checks,
    /// What the maps hold.
    actual: Tables,
    state: State,
    notes: Notes,
    /// When slots may forget next.
    settle_at: Duration,
    /// Why the last pass did not go through.
    failure: Option<String>,
}

impl Node {
    /// Brings the maps to where they ought to be.
    fn pass(&mut self) {
        let now = clock::monotonic();
        self.state.end_grace(now, GRACE);
        self.settle(now);
        let facts = self.host.facts(&self.model);
        let down = self.checks.down();
        let input = Input {
            model: &self.model,
            facts: &facts,
            down: &down,
            now,
        };
        let Compiled {
            tables,
            state,
            notes,
            lost,
        } = compile(input, &self.state);
        self.failure = self.apply(&tables, state, &lost).err();
        if let Some(failure) = &self.failure {
            error!("{failure}");
        }
        self.receive_solicitations();
        self.report(notes);
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
        let excepted = RefCell::new(Excepted::new(&self.actual, self.hash_key));
        let read = self.bpf.exceptions(
            |flow, backend| excepted.borrow_mut().add4(flow, backend),
            |flow, backend| excepted.borrow_mut().add6(flow, backend),
        );
        match read {
            Ok(()) => {
                let slots = excepted.into_inner().slots();
                self.state
                    .settle(now, QUIET, |index| slots.contains(&index));
            }
            Err(error) => warn!("exceptions cannot be read: {error}"),
        }
    }

    fn apply(
        &mut self,
        desired: &Tables,
        state: State,
        lost: &BTreeSet<u32>,
    ) -> Result<(), String> {
        for op in plan(&self.actual, desired) {
            debug!("{op}");
            self.bpf.apply(&op).map_err(|error| error.to_string())?;
            self.actual.apply(&op);
        }
        self.state = state;
        for index in lost {
            self.bpf
                .forget_backend(*index)
                .map_err(|error| error.to_string())?;
            self.state.release(*index);
        }
        Ok(())
    }

    /// Logs what is new, and what is over.
    fn report(&mut self, notes: Vec<Note>) {
        let news = self.notes.update(notes, clock::monotonic());
        for note in news.begun {
            warn!("{note}");
        }
        for note in news.over {
            info!("over: {note}");
        }
    }
}
