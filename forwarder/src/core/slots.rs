//! From the slots there are and the table there is to be, to the slots that lose no flow.
//!
//! Table sizes are powers of two and a slot is the top bits of the flow hash, so slot `s` of a
//! table is slots `2s` and `2s + 1` of one twice as large: a table can change its size and every
//! flow still finds the slot with its history.
//!
//! What is relied on (the packet path, section 5.4): in a changed slot, flows that begin are
//! written down as exceptions, and so are older ones when they next speak. In an unchanged slot
//! no exception names another backend than the slot's: [`settle`] sees to it, and so does whoever
//! runs this by forgetting a backend's exceptions when it stops keeping flows.

use forwarder_common::Slot;
pub use forwarder_common::slot::NOWHERE;

/// The slots after a change to `table` (see [`super::table::build`]); `keeps` tells whether a
/// backend keeps flows after the change.
///
/// The result is as large as the larger of both while that is needed to tell histories apart.
/// Without any member, backends that keep flows are left with them and nobody gets new ones.
pub fn transition(old: &[Slot], table: &[u32], keeps: impl Fn(u32) -> bool) -> Vec<Slot> {
    if old.is_empty() {
        return table.iter().map(|&backend| Slot::new(backend)).collect();
    }
    let table = if table.is_empty() { &[NOWHERE] } else { table };
    let size = old.len().max(table.len());
    let (old_step, new_step) = (size / old.len(), size / table.len());
    let mut slots: Vec<Slot> = (0..size)
        .map(|at| next(old[at / old_step], table[at / new_step], &keeps))
        .collect();
    if new_step > 1
        && slots
            .chunks(new_step)
            .all(|group| group.iter().all(|slot| *slot == group[0]))
    {
        slots = slots.into_iter().step_by(new_step).collect();
    }
    slots
}

/// As [`transition`] to a table of the same size that differs in these slots at most, each with its backend.
/// Returns those that have changed, in the same order.
pub fn change(slots: &mut [Slot], changes: &[(u32, u32)], keeps: impl Fn(u32) -> bool) -> Vec<u32> {
    let mut changed = Vec::with_capacity(changes.len());
    for &(at, backend) in changes {
        let slot = &mut slots[at as usize];
        let next = next(*slot, backend, &keeps);
        if *slot != next {
            *slot = next;
            changed.push(at);
        }
    }
    changed
}

/// One slot's next state.
///
/// A → B → C: the previous backend stays A while A keeps flows. Flows of B all began in a changed
/// slot, so they are exceptions; quiet flows of A are not, only `previous` leads them home.
/// A → B → A: likewise the slot stays changed, from A to A: flows of B are exceptions and must
/// go on being looked up.
/// If A keeps no flows when the slot leaves it, there is nothing to remember.
fn next(old: Slot, backend: u32, keeps: impl Fn(u32) -> bool) -> Slot {
    let current = old.current();
    if current == backend {
        return old;
    }
    if !old.is_changed() {
        return if keeps(current) {
            Slot::changed(backend, current, true)
        } else {
            Slot::new(backend)
        };
    }
    if keeps(old.previous()) {
        // UDP has no exceptions. Out of grace its flows are at `current` and cannot be kept beside
        // those of `previous`; they move.
        return Slot::changed(backend, old.previous(), old.in_grace());
    }
    Slot::changed(backend, current, keeps(current))
}

/// Whether [`forget`] has something to do.
pub fn forgettable(slots: &[Slot], keeps: impl Fn(u32) -> bool) -> bool {
    slots.iter().any(|slot| is_forgettable(*slot, &keeps))
}

/// Takes previous backends that keep no flows out of the slots, which stay changed. So no slot
/// names a backend that is gone, whose index may one day be another's. Returns those that have changed.
pub fn forget(slots: &mut [Slot], keeps: impl Fn(u32) -> bool) -> Vec<u32> {
    let mut changed = Vec::new();
    for (at, slot) in (0..).zip(slots) {
        if is_forgettable(*slot, &keeps) {
            *slot = Slot::changed(slot.current(), slot.current(), false);
            changed.push(at);
        }
    }
    changed
}

fn is_forgettable(slot: Slot, keeps: impl Fn(u32) -> bool) -> bool {
    let previous = slot.previous();
    slot.is_changed() && previous != slot.current() && !keeps(previous)
}

/// Ends the time in which UDP stays with the previous backend. Returns whether anything changed.
pub fn end_grace(slots: &mut [Slot]) -> bool {
    let mut any = false;
    for slot in slots.iter_mut().filter(|slot| slot.in_grace()) {
        *slot = Slot::changed(slot.current(), slot.previous(), false);
        any = true;
    }
    any
}

/// Makes changed slots plain again where nothing is to be remembered. Returns whether any was.
///
/// `quiet`: so long since the last change that every older flow either has spoken (and is an
/// exception) or is over. `keeps`: whether a backend keeps flows. `excepted`: whether an exception,
/// embryonic or not, of a flow in that slot names another backend than the slot's current one.
pub fn settle(
    slots: &mut [Slot],
    quiet: bool,
    keeps: impl Fn(u32) -> bool,
    excepted: impl Fn(usize) -> bool,
) -> bool {
    let mut any = false;
    for (at, slot) in slots.iter_mut().enumerate() {
        let over = quiet || !keeps(slot.previous()) || slot.previous() == slot.current();
        if slot.is_changed() && (over && !slot.in_grace()) && !excepted(at) {
            *slot = Slot::new(slot.current());
            any = true;
        }
    }
    any
}

/// Makes plain slots such that exceptions are consulted, where there is one: `excepted` as for [`settle`].
/// A node of a pair is told of exceptions to changes that it has not seen. Returns whether any was.
pub fn consult(slots: &mut [Slot], excepted: impl Fn(usize) -> bool) -> bool {
    let mut any = false;
    for (at, slot) in slots.iter_mut().enumerate() {
        if !slot.is_changed() && excepted(at) {
            *slot = Slot::changed(slot.current(), slot.current(), false);
            any = true;
        }
    }
    any
}

#[cfg(test)]
mod tests;
