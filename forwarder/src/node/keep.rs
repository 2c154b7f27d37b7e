//! What the daemon leaves to the next one, and takes over from the one before.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use forwarder_common::virtual_server::backend_flags;
use log::{info, warn};

use crate::config::Model;
use crate::config::model::{BackendState, Limits};
use crate::core::compile::{BackendKey, State};
use crate::core::overrides::Overrides;
use crate::core::tables::Tables;
use crate::dataplane::bpf::load::{self, LoadError};
use crate::dataplane::bpf::shape::{self, Adoption, Shape};
use crate::dataplane::bpf::{Bpf, StartError, read_pinned_slots};
use crate::dataplane::pin::record::Record;
use crate::dataplane::pin::{Generation, Link, PinDirectory, PinError};

/// So long next hops of the daemon before are used that this one has not resolved yet.
pub const NEXT_HOPS_HOLD: Duration = Duration::from_secs(5);

/// Pins, for as long as the daemon runs.
#[derive(Debug)]
pub struct Keep {
    pub pins: PinDirectory,
    /// Attachments of the daemon before.
    pub links: Vec<Link>,
    /// Its generation and record.
    previous: Option<(Generation, Record)>,
    /// Our own generation.
    current: Option<Generation>,
    is_whole: bool,
    written: Option<Record>,
    /// Whether something of the daemon before is still to be removed.
    stale: bool,
}

impl Keep {
    /// Looks what is there; changes nothing.
    pub fn open(directory: &Path) -> Result<Self, PinError> {
        let pins = PinDirectory::open(directory)?;
        let links = pins.links()?;
        let previous =
            pins.current()?
                .and_then(|generation| match Record::read(&generation.path) {
                    Ok(record) => Some((generation, record?)),
                    Err(error) => {
                        warn!("{error}; flows and ids begin anew");
                        None
                    }
                });
        Ok(Self {
            pins,
            links,
            previous,
            current: None,
            is_whole: false,
            written: None,
            stale: true,
        })
    }

    /// The hash key of the daemon before.
    pub fn hash_key(&self) -> Option<[u64; 2]> {
        self.previous.as_ref().map(|(_, record)| record.hash_key)
    }

    /// Compares the maps there are with those that the object wants. Options are made to fit where larger
    /// maps do as well.
    pub fn adopt(
        &self,
        object: &[u8],
        options: &mut load::Options,
    ) -> Result<Adoption, StartError> {
        let Some((generation, _)) = &self.previous else {
            return Ok(Adoption::default());
        };
        let interfaces = Shape::of_pinned(&generation.path.join("INTERFACES"));
        options.interfaces = interfaces
            .map(|shape| shape.entries)
            .filter(|entries| *entries > options.sizes.highest_ifindex);
        let wanted = shape::wanted(object, &load::sizes(options)).map_err(StartError::from)?;
        let adoption = shape::adopt(generation, &wanted)?;
        info!(
            "taking over {} maps of the daemon before",
            adoption.maps.len()
        );
        for change in &adoption.changed {
            warn!("the maps of the daemon before: {change}");
        }
        Ok(adoption)
    }

    /// Ids and slots of the daemon before.
    pub fn restore(&self, limits: &Limits) -> State {
        let Some((generation, record)) = &self.previous else {
            return State::new(limits);
        };
        let slots = generation.path.join("SLOTS");
        State::restore(record.snapshot.clone(), limits, |base, count| {
            read_pinned_slots(&slots, base, count)
        })
    }

    /// Pins the maps as a generation of their own, with the record that explains them.
    pub fn pin(&mut self, bpf: &Bpf, record: Record) -> Result<(), StartError> {
        let before = self.pins.current()?;
        let generation = self.pins.begin(before.as_ref())?;
        bpf.pin(&generation)?;
        self.current = Some(generation);
        Ok(self.write(record)?)
    }

    /// From now on the next daemon takes over this generation.
    pub fn finish(&mut self) -> Result<(), PinError> {
        if let Some(generation) = self.current.take_if(|_| !self.is_whole) {
            self.current = Some(self.pins.finish(generation)?);
            self.is_whole = true;
        }
        Ok(())
    }

    /// Changes at run time of the daemon before, if it had the file of this hash; another file is as good
    /// as a reload.
    pub fn overrides(&self, config_hash: &str) -> Overrides {
        match &self.previous {
            Some((_, record)) if record.config_hash == config_hash => record.overrides.clone(),
            _ => Overrides::default(),
        }
    }

    /// Remembers it for the next daemon, once there is a generation to put it in.
    pub fn save(&mut self, record: Record) -> Result<(), PinError> {
        match &self.written {
            Some(_) => self.write(record),
            None => Ok(()),
        }
    }

    fn write(&mut self, record: Record) -> Result<(), PinError> {
        if let Some(generation) = &self.current
            && self.written.as_ref() != Some(&record)
        {
            record.write(&generation.path)?;
            self.written = Some(record);
        }
        Ok(())
    }

    /// Removes what no link uses any more. Once; later calls see that the pins are still there.
    pub fn tidy(&mut self, bpf: &mut Bpf) -> Result<(), StartError> {
        let Some(generation) = &self.current else {
            return Ok(());
        };
        if self.stale {
            bpf.keep_links_only(&self.pins)?;
            self.pins.remove_stale(generation)?;
            self.previous = None;
            self.stale = false;
        }
        bpf.pin_links_again(&self.pins)?;
        let maps = shape::pinned_maps().all(|name| generation.path.join(name).exists());
        if maps && Record::is_there(&generation.path) {
            return Ok(());
        }
        warn!(
            "pins are gone from {}: pinned again",
            generation.path.display()
        );
        self.pins.begin_again(generation)?;
        bpf.pin(generation)?;
        if let Some(record) = &self.written {
            record.write(&generation.path)?;
        }
        Ok(())
    }
}

/// Backends that the daemon before had found to be down.
pub fn down(model: &Model, state: &State, tables: &Tables) -> BTreeSet<BackendKey> {
    let members = model.pools.iter().flat_map(|pool| {
        let enabled = pool.backends.iter();
        let enabled = enabled.filter(|backend| backend.state != BackendState::Disabled);
        enabled.map(|backend| BackendKey::new(&pool.name, backend))
    });
    let is_down = |key: &BackendKey| {
        let entry = state
            .backend(key)
            .and_then(|index| tables.backends.get(&index));
        entry.is_some_and(|entry| entry.flags & backend_flags::KEEPS_FLOWS == 0)
    };
    members.filter(is_down).collect()
}

/// Next hops stay as they are where none has been resolved yet.
pub fn hold_next_hops(actual: &Tables, desired: &mut Tables) {
    let interfaces = &desired.interfaces;
    for (index, entry) in &mut desired.backends {
        if let Some(known) = actual.backends.get(index)
            && entry.ifindex == 0
            && entry.address == known.address
            && interfaces.contains_key(&known.ifindex)
        {
            entry.ifindex = known.ifindex;
            entry.destination_mac = known.destination_mac;
            entry.source_mac = known.source_mac;
        }
    }
}

/// An object to load in place of the embedded one.
pub fn read_object(path: Option<&Path>) -> Result<Arc<[u8]>, LoadError> {
    match path {
        None => Ok(load::OBJECT.into()),
        Some(path) => std::fs::read(path)
            .map(Into::into)
            .map_err(|error| LoadError::Missing(format!("the file {}: {error}", path.display()))),
    }
}

#[cfg(test)]
mod tests {
    use forwarder_common::{Backend, Interface};

    use super::*;

    #[test]
    fn next_hops_are_held_until_they_are_resolved() {
        let backend = |address, ifindex, mac| Backend {
            address: [address, 0, 0, 0],
            ifindex,
            destination_mac: [mac; 3],
            ..Backend::default()
        };
        let mut actual = Tables::default();
        let mut desired = Tables::default();
        desired.interfaces.insert(2, Interface::default());
        for (index, before, after) in [
            (1, backend(1, 2, 7), backend(1, 0, 0)),
            (2, backend(2, 2, 7), backend(2, 2, 8)),
            (3, backend(3, 2, 7), backend(4, 0, 0)),
            (4, backend(5, 9, 7), backend(5, 0, 0)),
        ] {
            actual.backends.insert(index, before);
            desired.backends.insert(index, after);
        }
        hold_next_hops(&actual, &mut desired);
        let macs: Vec<_> = desired
            .backends
            .values()
            .map(|entry| entry.destination_mac[0])
            .collect();
        assert_eq!(
            macs,
            [7, 8, 0, 0],
            "resolved, another address, no such interface"
        );
    }
}
