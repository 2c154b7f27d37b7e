//! Which backend a packet goes to: stateless, but for slots that changed.

use forwarder_common::hash::{flow_hash, slot_of};
use forwarder_common::slot::NOWHERE;
use forwarder_common::virtual_server::backend_flags;
use forwarder_common::{Affinity, FlowKey, Reason, Slot, Stage, VirtualServer, protocol};

use crate::family::Family;
use crate::lookup::FamilyTables;

/// What a packet says about its flow's age.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Age {
    /// The flow begins with this packet.
    New,
    /// The flow may have begun before.
    Older,
    /// The flow begins and its backend is remembered elsewhere, by NAT.
    Flow,
    /// As `Older`, for a packet about the flow (an ICMP error): nothing is written down.
    Asked,
}

/// Why nothing goes to a backend that has no next hop.
#[inline(always)]
pub fn no_way(backend: u32) -> Reason {
    if backend == NOWHERE {
        Reason::DropNoBackend
    } else {
        Reason::DropNoNextHop
    }
}

/// The backend for a packet with this 5-tuple.
#[inline(always)]
pub fn backend<F: Family, T: FamilyTables<F::Address>>(
    tables: &T,
    server: &VirtualServer,
    key: &FlowKey<F::Address>,
    age: Age,
) -> Result<u32, Reason> {
    if server.table_size == 0 {
        return Err(Reason::DropNoBackend);
    }
    let hash = flow_hash(
        key.source,
        key.destination,
        key.ports,
        key.protocol as u8,
        Affinity::from_abi(server.affinity),
        tables.hash_key(),
    );
    let position = slot_of(hash, server.table_size);
    let slot = tables
        .slot(server.table_base + position)
        .ok_or(Reason::DropInternal)?;
    tables.note(Stage::Slot, position, slot.0);
    if !slot.is_changed() {
        return Ok(slot.current());
    }
    Ok(changed::<F, T>(tables, slot, key, age))
}

/// A slot whose backend changed: older flows keep the one they have.
#[inline(always)]
fn changed<F: Family, T: FamilyTables<F::Address>>(
    tables: &T,
    slot: Slot,
    key: &FlowKey<F::Address>,
    age: Age,
) -> u32 {
    let keeps = |index: u32| {
        tables
            .backend(index)
            .is_some_and(|backend| backend_flags::keeps(backend.flags, key.protocol))
    };
    if age == Age::Flow {
        return slot.current();
    }
    if key.protocol != protocol::TCP as u32 {
        let stays = slot.in_grace() && keeps(slot.previous());
        return if stays {
            slot.previous()
        } else {
            slot.current()
        };
    }
    let write = T::WRITE && age != Age::Asked;
    if age == Age::New {
        if write {
            // The ports may have been used before: what was kept for them is over.
            tables.remove_exception(key);
            tables.add_embryonic_exception(key, slot.current());
        }
        return slot.current();
    }
    if let Some(kept) = tables.exception(key)
        && keeps(kept)
    {
        tables.note(Stage::Exception, kept, 0);
        return kept;
    }
    let kept = match tables.embryonic_exception(key) {
        Some(kept) if keeps(kept) => kept,
        _ if keeps(slot.previous()) => slot.previous(),
        _ => return slot.current(),
    };
    tables.note(Stage::Exception, kept, 1);
    if write {
        tables.add_exception(key, kept);
    }
    kept
}
