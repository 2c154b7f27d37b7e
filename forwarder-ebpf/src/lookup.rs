//! What the packet path looks up and writes, whoever holds it: BPF maps, or a test's memory.

use core::marker::PhantomData;
use core::ops::{Deref, DerefMut};
use core::ptr::NonNull;

use forwarder_common::hash::HashKey;
use forwarder_common::peer::{Arrival, PathKey, Peer};
use forwarder_common::{
    Backend, Egress, Flow, FlowKey, FragmentKey, Interface, Link, PortRange, Slot, SnatPool, Stage,
    VipAddress, VipKey, VirtualServer,
};

/// A map entry that is changed in place: writing through the pointer costs nothing, an update by key
/// costs half a microsecond.
pub struct Entry<'a, V> {
    pointer: NonNull<V>,
    lifetime: PhantomData<&'a V>,
}

impl<V> Entry<'_, V> {
    /// An entry behind a pointer.
    ///
    /// # Safety
    /// `pointer` is valid for reads and writes while the entry is used. Others may write the same words
    /// at the same time (other CPUs do): every field is a word for which either value is right.
    #[inline(always)]
    pub const unsafe fn new(pointer: NonNull<V>) -> Self {
        Self {
            pointer,
            lifetime: PhantomData,
        }
    }
}

impl<V> Deref for Entry<'_, V> {
    type Target = V;

    #[inline(always)]
    fn deref(&self) -> &V {
        // SAFETY: promised by the creator.
        unsafe { self.pointer.as_ref() }
    }
}

impl<V> DerefMut for Entry<'_, V> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut V {
        // SAFETY: promised by the creator.
        unsafe { self.pointer.as_mut() }
    }
}

/// Both directions of a flow that is being made. They are too large for the 512 bytes of a BPF stack.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Draft<A> {
    /// From the flow's originator.
    pub flow: Flow<A>,
    /// Back to it.
    pub reply: Flow<A>,
    /// Key of `flow`.
    pub key: FlowKey<A>,
    /// Key of `reply`, or whatever other key is looked at.
    pub other: FlowKey<A>,
}

/// The kernel's answer to "how does a packet get there".
#[derive(Clone, Copy, Debug)]
pub enum Route {
    /// Not by forwarding: local, unreachable, prohibited.
    None,
    /// Known, but the neighbour's MAC is not.
    Unresolved {
        /// Egress interface.
        ifindex: u32,
    },
    /// Known.
    Found {
        /// How the frame leaves.
        link: Link,
        /// Largest packet that leaves there.
        mtu: u32,
    },
}

/// What does not depend on the address family.
pub trait Tables {
    /// Whether the run may change anything. The read-only run is the same code with `false`.
    const WRITE: bool;

    /// Key of the flow hash.
    fn hash_key(&self) -> HashKey;
    /// Destination port of GUE, wire order.
    fn gue_port(&self) -> u16;
    /// Seconds of the coarse monotonic clock.
    fn now_seconds(&self) -> u32;
    /// Nanoseconds of the coarse monotonic clock.
    fn now_nanoseconds(&self) -> u64;
    /// Whether somebody wants to know what happens to flows: in the live run on a pair's node.
    fn tells(&self) -> bool;
    /// Whether this node has a lease now (index: `forwarder_common::lease`). Without a pair: yes.
    fn leased(&self, index: u32) -> bool;
    /// UDP port of the pair, wire order; 0: this node is not one of a pair.
    fn pair_port(&self) -> u16;
    /// What this node is in a pair.
    fn peer(&self) -> Option<&Peer>;
    /// The latest answer on a path.
    fn arrival(&self, path: u32) -> Option<Entry<'_, Arrival>>;
    /// Nanoseconds of the monotonic clock, exact.
    fn monotonic(&self) -> u64;
    /// The interface with this index.
    fn interface(&self, ifindex: u32) -> Option<&Interface>;
    /// A lookup-table slot.
    fn slot(&self, index: u32) -> Option<Slot>;
    /// A backend.
    fn backend(&self, index: u32) -> Option<&Backend>;
    /// A SNAT pool.
    fn snat_pool(&self, index: u32) -> Option<&SnatPool>;
    /// A SNAT address.
    fn snat_address(&self, index: u32) -> Option<&[u32; 4]>;
    /// The rate guard of a virtual server: when its bucket is next empty, nanoseconds.
    fn rate(&self, id: u32) -> Option<Entry<'_, u64>>;
    /// Counts a packet of a virtual server.
    fn count_virtual_server(&self, index: u32, bytes: u32);
    /// Counts a packet of a backend.
    fn count_backend(&self, index: u32, bytes: u32);
    /// Counts a packet for which a SNAT pool had no port.
    fn count_exhausted(&self, pool: u32, bytes: u32);
    /// The same value, about which the verifier knows nothing any more.
    fn forget(&self, value: u64) -> u64;
    /// Writes a line of the trace; nothing in a live run.
    fn note(&self, stage: Stage, value: u32, detail: u64);
    /// Asks the control plane to resolve a neighbour.
    fn want_neighbour(&self, ifindex: u32, address: [u32; 4]);
}

/// The tables of one address family.
pub trait FamilyTables<A>: Tables {
    /// A virtual server.
    fn virtual_server(&self, key: &VipKey<A>) -> Option<&VirtualServer>;
    /// What is known of an address as a VIP.
    fn vip_address(&self, address: A) -> Option<&VipAddress>;
    /// The SNAT ports of an address.
    fn snat_range(&self, address: A) -> Option<&PortRange>;
    /// The longest matching prefix of a virtual server's allow and deny lists.
    fn admission(&self, id: u32, source: A) -> Option<u32>;
    /// The egress rule of a source address.
    fn egress(&self, source: A) -> Option<&Egress>;
    /// Whether the nodes of the pair reach each other by these addresses.
    fn is_path(&self, ends: &PathKey<A>) -> bool;
    /// The way to an address.
    fn route(&self, key: &FlowKey<A>, ifindex: u32, length: u32) -> Route;

    /// Room to make a flow in.
    fn draft(&self) -> Option<Entry<'_, Draft<A>>>;
    /// An established flow.
    fn established(&self, key: &FlowKey<A>) -> Option<Entry<'_, Flow<A>>>;
    /// An embryonic flow.
    fn embryonic(&self, key: &FlowKey<A>) -> Option<Entry<'_, Flow<A>>>;
    /// Writes an established flow; `false`: no room.
    fn add_established(&self, key: &FlowKey<A>, flow: &Flow<A>) -> bool;
    /// Writes an embryonic flow if the key is new there; `false`: it is not, or no room.
    fn claim_embryonic(&self, key: &FlowKey<A>, flow: &Flow<A>) -> bool;
    /// Writes an embryonic flow; `false`: no room.
    fn add_embryonic(&self, key: &FlowKey<A>, flow: &Flow<A>) -> bool;
    /// Removes an established flow.
    fn remove_established(&self, key: &FlowKey<A>);
    /// Removes an embryonic flow.
    fn remove_embryonic(&self, key: &FlowKey<A>);
    /// Takes back what was claimed for this very packet.
    fn withdraw_embryonic(&self, key: &FlowKey<A>);
    /// Counts entries of embryonic flows; withdrawn ones are neither.
    fn count_embryonic(&self, made: u32, removed: u32);

    /// Says what has happened to a flow (`forwarder_common::flow::event`), if [`Tables::tells`].
    fn tell(&self, what: u32, key: &FlowKey<A>, flow: &Flow<A>, other_state: u32);

    /// The backend that a flow of a changed slot keeps.
    fn exception(&self, key: &FlowKey<A>) -> Option<u32>;
    /// The same, for flows of which only the SYN was seen.
    fn embryonic_exception(&self, key: &FlowKey<A>) -> Option<u32>;
    /// Writes down that a flow keeps a backend.
    fn add_exception(&self, key: &FlowKey<A>, backend: u32);
    /// Forgets what a flow kept.
    fn remove_exception(&self, key: &FlowKey<A>);
    /// Writes down where a SYN went.
    fn add_embryonic_exception(&self, key: &FlowKey<A>, backend: u32);

    /// The ports of a fragmented packet.
    fn fragment(&self, key: &FragmentKey<A>) -> Option<u32>;
    /// Remembers the ports of a fragmented packet.
    fn add_fragment(&self, key: &FragmentKey<A>, ports: u32);
}
