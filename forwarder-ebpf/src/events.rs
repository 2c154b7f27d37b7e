//! Tells the daemon what happens to flows.

use forwarder_common::flow::event_counter;
use forwarder_common::{Flow, FlowEvent, FlowKey};

use crate::maps::{FLOW_EVENT_COUNTERS, FLOW_EVENTS};

/// Puts an event into the ring, if there is room. Both are counted.
#[inline(always)]
fn emit<A: 'static>(write: impl FnOnce(*mut FlowEvent<A>)) {
    let counter = match FLOW_EVENTS.reserve_untyped::<FlowEvent<A>>(0) {
        Some(mut event) => {
            write(event.as_mut_ptr());
            event.submit(0);
            event_counter::MADE
        }
        None => event_counter::LOST,
    };
    if let Some(count) = FLOW_EVENT_COUNTERS.get_ptr_mut(counter) {
        // SAFETY: this CPU's own copy; XDP programs on one CPU don't interrupt each other.
        unsafe { *count += 1 };
    }
}

/// Says what has happened to a flow.
#[inline(always)]
pub fn flow<A: Copy + 'static>(what: u32, key: &FlowKey<A>, flow: &Flow<A>, other_state: u32) {
    emit::<A>(|event| {
        // SAFETY: memory of the ring. Field by field: the whole would first be made on the
        // stack, which has no room for it.
        unsafe {
            (&raw mut (*event).what).write(what);
            (&raw mut (*event).other_state).write(other_state);
            core::ptr::copy_nonoverlapping(key, &raw mut (*event).key, 1);
            core::ptr::copy_nonoverlapping(flow, &raw mut (*event).flow, 1);
        }
    });
}

/// Says what an older flow of a changed slot keeps.
#[inline(always)]
pub fn exception<A: Copy + 'static>(what: u32, key: &FlowKey<A>, backend: u32) {
    emit::<A>(|event| {
        // SAFETY: memory of the ring, all of which the kernel counts as written.
        unsafe {
            (&raw mut (*event).what).write(what);
            core::ptr::copy_nonoverlapping(key, &raw mut (*event).key, 1);
            (&raw mut (*event).flow.backend).write(backend);
        }
    });
}
