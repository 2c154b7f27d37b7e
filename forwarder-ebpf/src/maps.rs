//! The maps, and the packet path's tables made of them.

use core::ptr::NonNull;

use aya_ebpf::Global;
use aya_ebpf::bindings::{BPF_F_MMAPABLE, BPF_F_NO_PREALLOC, BPF_NOEXIST, xdp_md};
use aya_ebpf::btf_maps::lpm_trie::Key;
use aya_ebpf::btf_maps::{
    Array, DevMap, HashMap, LpmTrie, LruHashMap, PerCpuArray, ProgramArray, RingBuf,
};
use aya_ebpf::macros::btf_map;
use forwarder_common::flow::event;
use forwarder_common::hash::HashKey;
use forwarder_common::peer::{self, Arrival, PathKey, Peer};
use forwarder_common::programs::CALLEES;
use forwarder_common::trace::ENTRIES;
use forwarder_common::{
    AddressKey, Backend, Churn, Counter, Egress, Flow, FlowKey, FragmentKey, Interface, LastDrop,
    Link, PortRange, PrefixKey, Reason, Slot, SnatPool, Stage, TraceEntry, TraceLog, V4, V6,
    VipAddress, VipEntry, VipEntry4, VipEntry6, VipKey, VirtualServer, drop, lease, limits, vip,
};
use forwarder_ebpf::context::Context;
use forwarder_ebpf::decapsulate::Accepts;
use forwarder_ebpf::lookup::{Draft, Entry, FamilyTables, Route, Tables};

use crate::clock::{self, Read};
use crate::events;
use crate::route::route;

const NO_PREALLOC: usize = BPF_F_NO_PREALLOC as usize;

/// Key of the flow hash; set at load.
#[unsafe(no_mangle)]
static HASH_KEY: Global<HashKey> = Global::new([0, 0]);
/// Destination port of GUE, wire order; set at load.
#[unsafe(no_mangle)]
static GUE_PORT: Global<u16> = Global::new(6080_u16.to_be());

/// UDP port of the pair, wire order; 0: this node is not one of a pair, and the verifier deletes what only
/// such a node does. Set at load.
#[unsafe(no_mangle)]
static PAIR: Global<u16> = Global::new(0);

/// Elements of `VIP_BUCKETS4` and `VIP_BUCKETS6`; set at load.
#[unsafe(no_mangle)]
static VIP_BUCKETS: Global<u32> = Global::new(vip::buckets(limits::VIRTUAL_SERVERS as u32));

macro_rules! maps {
    ($($name:ident: $type:ty;)*) => {$(
        #[btf_map]
        pub static $name: $type = <$type>::new();
    )*};
}

maps! {
    INTERFACES: Array<Interface, { limits::IFINDEX }>;
    DEVICES: DevMap<{ limits::IFINDEX }>;
    DEVICES_FRAGS: DevMap<{ limits::IFINDEX }>;
    LEASES: Array<u64, { lease::COUNT }, { BPF_F_MMAPABLE as usize }>;
    PEER: Array<Peer, 1>;
    PATHS4: HashMap<PathKey<V4>, u32, { peer::PATHS }>;
    PATHS6: HashMap<PathKey<V6>, u32, { peer::PATHS }>;
    ARRIVALS: Array<Arrival, { peer::PATHS }, { BPF_F_MMAPABLE as usize }>;
    SLOTS: Array<Slot, { limits::SLOTS }, { BPF_F_MMAPABLE as usize }>;
    BACKENDS: Array<Backend, { limits::BACKENDS }>;
    SNAT_POOLS: Array<SnatPool, { limits::SNAT_POOLS }>;
    SNAT_ADDRESSES: Array<[u32; 4], { limits::SNAT_ADDRESSES }>;
    RATES: Array<u64, { limits::VIRTUAL_SERVERS * 2 }>;
    COUNTERS: PerCpuArray<Counter, { limits::INTERFACES * Reason::COUNT }>;
    VIRTUAL_SERVER_COUNTERS: PerCpuArray<Counter, { limits::VIRTUAL_SERVERS * 2 * 2 }>;
    BACKEND_COUNTERS: PerCpuArray<Counter, { limits::BACKENDS * 2 }>;
    SNAT_COUNTERS: PerCpuArray<Counter, { limits::SNAT_POOLS }>;
    EMBRYONIC_COUNTERS: PerCpuArray<Churn, 2>;

    VIP_BUCKETS4: Array<u64, { vip::buckets(limits::VIRTUAL_SERVERS as u32) as usize }, { BPF_F_MMAPABLE as usize }>;
    VIPS4: Array<VipEntry4, { vip::entries(limits::VIRTUAL_SERVERS as u32) as usize }>;
    VIP_ADDRESSES4: HashMap<AddressKey<V4>, VipAddress, { limits::VIP_ADDRESSES }>;
    SNAT_RANGES4: HashMap<AddressKey<V4>, PortRange, { limits::SNAT_ADDRESSES }>;
    ADMISSION4: LpmTrie<PrefixKey<V4>, u32, { limits::ADMISSION_PREFIXES }>;
    EGRESS4: LpmTrie<AddressKey<V4>, Egress, { limits::EGRESS_PREFIXES }>;
    FLOWS4: HashMap<FlowKey<V4>, Flow<V4>, { limits::FLOWS * 2 }, NO_PREALLOC>;
    EMBRYONIC4: LruHashMap<FlowKey<V4>, Flow<V4>, { limits::EMBRYONIC }>;
    EXCEPTIONS4: LruHashMap<FlowKey<V4>, u32, { limits::EXCEPTIONS }>;
    EMBRYONIC_EXCEPTIONS4: LruHashMap<FlowKey<V4>, u32, { limits::EXCEPTIONS }>;
    FRAGMENTS4: LruHashMap<FragmentKey<V4>, u32, { limits::FRAGMENTS }>;

    VIP_BUCKETS6: Array<u64, { vip::buckets(limits::VIRTUAL_SERVERS as u32) as usize }, { BPF_F_MMAPABLE as usize }>;
    VIPS6: Array<VipEntry6, { vip::entries(limits::VIRTUAL_SERVERS as u32) as usize }>;
    VIP_ADDRESSES6: HashMap<AddressKey<V6>, VipAddress, { limits::VIP_ADDRESSES }>;
    SNAT_RANGES6: HashMap<AddressKey<V6>, PortRange, { limits::SNAT_ADDRESSES }>;
    ADMISSION6: LpmTrie<PrefixKey<V6>, u32, { limits::ADMISSION_PREFIXES }>;
    EGRESS6: LpmTrie<AddressKey<V6>, Egress, { limits::EGRESS_PREFIXES }>;
    FLOWS6: HashMap<FlowKey<V6>, Flow<V6>, { limits::FLOWS * 2 }, NO_PREALLOC>;
    EMBRYONIC6: LruHashMap<FlowKey<V6>, Flow<V6>, { limits::EMBRYONIC }>;
    EXCEPTIONS6: LruHashMap<FlowKey<V6>, u32, { limits::EXCEPTIONS }>;
    EMBRYONIC_EXCEPTIONS6: LruHashMap<FlowKey<V6>, u32, { limits::EXCEPTIONS }>;
    FRAGMENTS6: LruHashMap<FragmentKey<V6>, u32, { limits::FRAGMENTS }>;

    DRAFTS4: PerCpuArray<Draft<V4>, 1>;
    DRAFTS6: PerCpuArray<Draft<V6>, 1>;
    FORGET: PerCpuArray<u64, 1>;
    CLOCK: PerCpuArray<Read, 1>;
    SCRATCH: PerCpuArray<Context, 1>;
    LAST_DROPS: PerCpuArray<LastDrop, { drop::REASONS }>;
    TRACE: Array<TraceLog, 1>;
    STAGES: ProgramArray<CALLEES>;
    STAGES_FRAGS: ProgramArray<CALLEES>;
    STAGES_TRACE: ProgramArray<CALLEES>;
    NEIGHBOUR_EVENTS: RingBuf<(), 65_536>;
    FLOW_EVENTS: RingBuf<(), 4_096>;
    FLOW_EVENT_COUNTERS: PerCpuArray<u64, 2>;

    DECAP_VIPS4: HashMap<AddressKey<V4>, u32, { limits::VIP_ADDRESSES }>;
    DECAP_VIPS6: HashMap<AddressKey<V6>, u32, { limits::VIP_ADDRESSES }>;
    DECAP_SOURCES4: LpmTrie<AddressKey<V4>, u32, { limits::EGRESS_PREFIXES }>;
    DECAP_SOURCES6: LpmTrie<AddressKey<V6>, u32, { limits::EGRESS_PREFIXES }>;
    DECAP_COUNTERS: PerCpuArray<Counter, 2>;
}

/// Adds a packet to a per-CPU counter.
#[inline(always)]
fn count<const N: usize>(counters: &PerCpuArray<Counter, N>, index: u32, bytes: u32) {
    if let Some(counter) = counters.get_ptr_mut(index) {
        // SAFETY: this CPU's own copy; XDP programs on one CPU don't interrupt each other.
        unsafe {
            (*counter).packets += 1;
            (*counter).bytes += bytes as u64;
        }
    }
}

/// Counts a packet that ended in `reason` on the interface in `slot`.
#[inline(always)]
pub fn count_reason(slot: u32, reason: Reason, bytes: u32) {
    count(
        &COUNTERS,
        slot * Reason::COUNT as u32 + reason as u32,
        bytes,
    );
}

/// Counts a packet of the decapsulator: 0 taken off, 1 left alone.
#[inline(always)]
pub fn count_decapsulated(taken: bool, bytes: u32) {
    count(&DECAP_COUNTERS, if taken { 0 } else { 1 }, bytes);
}

/// The tables in BPF maps. `WRITE`: the live run; else the read-only one, which writes its trace.
pub struct Maps<const WRITE: bool> {
    /// The program's context, which the FIB lookup wants.
    pub context: *mut xdp_md,
}

impl<const WRITE: bool> Tables for Maps<WRITE> {
    const WRITE: bool = WRITE;

    #[inline(always)]
    fn hash_key(&self) -> HashKey {
        HASH_KEY.load()
    }

    #[inline(always)]
    fn gue_port(&self) -> u16 {
        GUE_PORT.load()
    }

    #[inline(always)]
    fn now_seconds(&self) -> u32 {
        let read = CLOCK.get_ptr_mut(0).filter(|_| WRITE);
        // SAFETY: this CPU's own copy; XDP programs on one CPU don't interrupt each other.
        clock::seconds(read.map(|read| unsafe { &mut *read }))
    }

    #[inline(always)]
    fn now_nanoseconds(&self) -> u64 {
        clock::coarse()
    }

    #[inline(always)]
    fn tells(&self) -> bool {
        WRITE && PAIR.load() != 0
    }

    #[inline(always)]
    fn leased(&self, index: u32) -> bool {
        PAIR.load() == 0
            || LEASES
                .get(index)
                .is_some_and(|until| clock::ticks() < *until)
    }

    #[inline(always)]
    fn pair_port(&self) -> u16 {
        PAIR.load()
    }

    #[inline(always)]
    fn peer(&self) -> Option<&Peer> {
        PEER.get(0)
    }

    #[inline(always)]
    fn arrival(&self, path: u32) -> Option<Entry<'_, Arrival>> {
        entry(ARRIVALS.get_ptr_mut(path))
    }

    #[inline(always)]
    fn monotonic(&self) -> u64 {
        clock::monotonic()
    }

    #[inline(always)]
    fn interface(&self, ifindex: u32) -> Option<&Interface> {
        INTERFACES.get(ifindex)
    }

    #[inline(always)]
    fn slot(&self, index: u32) -> Option<Slot> {
        SLOTS.get(index).copied()
    }

    #[inline(always)]
    fn backend(&self, index: u32) -> Option<&Backend> {
        BACKENDS.get(index)
    }

    #[inline(always)]
    fn snat_pool(&self, index: u32) -> Option<&SnatPool> {
        SNAT_POOLS.get(index)
    }

    #[inline(always)]
    fn snat_address(&self, index: u32) -> Option<&[u32; 4]> {
        SNAT_ADDRESSES.get(index)
    }

    #[inline(always)]
    fn rate(&self, id: u32) -> Option<Entry<'_, u64>> {
        entry(RATES.get_ptr_mut(id))
    }

    #[inline(always)]
    fn count_virtual_server(&self, index: u32, bytes: u32) {
        if WRITE {
            count(&VIRTUAL_SERVER_COUNTERS, index, bytes);
        }
    }

    #[inline(always)]
    fn count_backend(&self, index: u32, bytes: u32) {
        if WRITE {
            count(&BACKEND_COUNTERS, index, bytes);
        }
    }

    #[inline(always)]
    fn count_exhausted(&self, pool: u32, bytes: u32) {
        if WRITE {
            count(&SNAT_COUNTERS, pool, bytes);
        }
    }

    #[inline(always)]
    fn forget(&self, value: u64) -> u64 {
        match FORGET.get_ptr_mut(0) {
            // SAFETY: this CPU's own copy. Volatile, so that the value really goes through memory of
            // which the verifier tracks nothing; a stack slot would keep it.
            Some(word) => unsafe {
                word.write_volatile(value);
                word.read_volatile()
            },
            None => value,
        }
    }

    #[inline(always)]
    fn note(&self, stage: Stage, value: u32, detail: u64) {
        if WRITE {
            return;
        }
        let Some(log) = TRACE.get_ptr_mut(0) else {
            return;
        };
        // SAFETY: the only run that writes the trace is the one test run of `trace`; the index is
        // masked into the array.
        unsafe {
            let at = core::hint::black_box((*log).length) as usize & (ENTRIES - 1);
            (*log).entries[at] = TraceEntry {
                stage: stage as u32,
                value,
                detail,
            };
            (*log).length += 1;
        }
    }

    #[inline(always)]
    fn want_neighbour(&self, ifindex: u32, address: [u32; 4]) {
        if WRITE {
            let [a, b, c, d] = address;
            // A full ring is no loss: the next packet asks again.
            let _ = NEIGHBOUR_EVENTS.output_untyped::<[u32; 5]>([ifindex, a, b, c, d], 0);
        }
    }
}

/// Writes down what time it is.
pub fn note_ticks() {
    if let Some(pointer) = LEASES.get_ptr_mut(lease::CLOCK) {
        // SAFETY: map memory stays valid while the program runs, and the word is written whole.
        unsafe { pointer.write_volatile(clock::ticks()) };
    }
}

/// A map entry for change in place.
#[inline(always)]
fn entry<'a, V>(pointer: Option<*mut V>) -> Option<Entry<'a, V>> {
    // SAFETY: map memory stays valid while the program runs (RCU); the words in it are written whole.
    pointer
        .and_then(NonNull::new)
        .map(|pointer| unsafe { Entry::new(pointer) })
}

/// The virtual server with a key: see `forwarder_common::vip`.
#[inline(always)]
fn find_server<'a, E: VipEntry + 'static, const B: usize, const F: usize, const N: usize>(
    buckets: &'a Array<u64, B, F>,
    entries: &'a Array<E, N>,
    key: &E::Key,
) -> Option<&'a VirtualServer> {
    let mut at = *buckets.get(E::bucket(key, VIP_BUCKETS.load()))? as u32;
    for _ in 0..vip::DEPTH {
        if at == vip::END {
            return None;
        }
        let entry = entries.get(at)?;
        if entry.is(key) {
            return Some(entry.server());
        }
        at = entry.next();
    }
    None
}

macro_rules! family_tables {
    ($address:ty, $bits:literal, $paths:ident, $buckets:ident, $vips:ident, $addresses:ident, $ranges:ident, $admission:ident, $egress:ident,
     $flows:ident, $embryonic:ident, $exceptions:ident, $embryonic_exceptions:ident, $fragments:ident, $drafts:ident) => {
        impl<const WRITE: bool> FamilyTables<$address> for Maps<WRITE> {
            #[inline(always)]
            fn virtual_server(&self, key: &VipKey<$address>) -> Option<&VirtualServer> {
                find_server(&$buckets, &$vips, key)
            }

            #[inline(always)]
            fn vip_address(&self, address: $address) -> Option<&VipAddress> {
                // SAFETY: the daemon replaces elements whole (RCU); this program never removes one.
                unsafe { $addresses.get(AddressKey { address }) }
            }

            #[inline(always)]
            fn snat_range(&self, address: $address) -> Option<&PortRange> {
                // SAFETY: as above.
                unsafe { $ranges.get(AddressKey { address }) }
            }

            #[inline(always)]
            fn admission(&self, id: u32, source: $address) -> Option<u32> {
                let key = Key::new(
                    32 + $bits,
                    PrefixKey {
                        scope: id.to_be(),
                        address: source,
                    },
                );
                $admission.get(&key).copied()
            }

            #[inline(always)]
            fn egress(&self, source: $address) -> Option<&Egress> {
                $egress.get(&Key::new($bits, AddressKey { address: source }))
            }

            #[inline(always)]
            fn is_path(&self, ends: &PathKey<$address>) -> bool {
                $paths.get_ptr(ends).is_some()
            }

            #[inline(always)]
            fn route(&self, key: &FlowKey<$address>, ifindex: u32, _length: u32) -> Route {
                route(self.context, key, ifindex)
            }

            #[inline(always)]
            fn draft(&self) -> Option<Entry<'_, Draft<$address>>> {
                entry($drafts.get_ptr_mut(0))
            }

            #[inline(always)]
            fn established(&self, key: &FlowKey<$address>) -> Option<Entry<'_, Flow<$address>>> {
                entry($flows.get_ptr_mut(key))
            }

            #[inline(always)]
            fn embryonic(&self, key: &FlowKey<$address>) -> Option<Entry<'_, Flow<$address>>> {
                entry($embryonic.get_ptr_mut(key))
            }

            #[inline(always)]
            fn add_established(&self, key: &FlowKey<$address>, flow: &Flow<$address>) -> bool {
                $flows.insert(key, flow, 0).is_ok()
            }

            #[inline(always)]
            fn claim_embryonic(&self, key: &FlowKey<$address>, flow: &Flow<$address>) -> bool {
                $embryonic.insert(key, flow, BPF_NOEXIST as u64).is_ok()
            }

            #[inline(always)]
            fn add_embryonic(&self, key: &FlowKey<$address>, flow: &Flow<$address>) -> bool {
                $embryonic.insert(key, flow, 0).is_ok()
            }

            #[inline(always)]
            fn remove_established(&self, key: &FlowKey<$address>) {
                let _ = $flows.remove(key);
            }

            #[inline(always)]
            fn remove_embryonic(&self, key: &FlowKey<$address>) {
                let removed = $embryonic.remove(key).is_ok();
                FamilyTables::<$address>::count_embryonic(self, 0, removed as u32);
            }

            #[inline(always)]
            fn withdraw_embryonic(&self, key: &FlowKey<$address>) {
                let _ = $embryonic.remove(key);
            }

            #[inline(always)]
            fn count_embryonic(&self, made: u32, removed: u32) {
                let of_family = if $bits == 32 { 0 } else { 1 };
                if WRITE && let Some(churn) = EMBRYONIC_COUNTERS.get_ptr_mut(of_family) {
                    // SAFETY: this CPU's own copy; XDP programs on one CPU don't interrupt each other.
                    unsafe {
                        (*churn).made += made as u64;
                        (*churn).removed += removed as u64;
                    }
                }
            }

            #[inline(always)]
            fn tell(
                &self,
                what: u32,
                key: &FlowKey<$address>,
                flow: &Flow<$address>,
                other_state: u32,
            ) {
                if self.tells() {
                    events::flow(what, key, flow, other_state);
                }
            }

            #[inline(always)]
            fn exception(&self, key: &FlowKey<$address>) -> Option<u32> {
                // SAFETY: one word, copied at once.
                unsafe { $exceptions.get(key) }.copied()
            }

            #[inline(always)]
            fn embryonic_exception(&self, key: &FlowKey<$address>) -> Option<u32> {
                // SAFETY: as above.
                unsafe { $embryonic_exceptions.get(key) }.copied()
            }

            #[inline(always)]
            fn add_exception(&self, key: &FlowKey<$address>, backend: u32) {
                let _ = $exceptions.insert(key, backend, 0);
                if self.tells() {
                    events::exception::<$address>(event::KEPT, key, backend);
                }
            }

            #[inline(always)]
            fn remove_exception(&self, key: &FlowKey<$address>) {
                if $exceptions.remove(key).is_ok() && self.tells() {
                    events::exception::<$address>(event::RELEASED, key, 0);
                }
            }

            #[inline(always)]
            fn add_embryonic_exception(&self, key: &FlowKey<$address>, backend: u32) {
                let _ = $embryonic_exceptions.insert(key, backend, 0);
            }

            #[inline(always)]
            fn fragment(&self, key: &FragmentKey<$address>) -> Option<u32> {
                // SAFETY: as above.
                unsafe { $fragments.get(key) }.copied()
            }

            #[inline(always)]
            fn add_fragment(&self, key: &FragmentKey<$address>, ports: u32) {
                let _ = $fragments.insert(key, ports, 0);
            }
        }
    };
}

family_tables!(
    V4,
    32,
    PATHS4,
    VIP_BUCKETS4,
    VIPS4,
    VIP_ADDRESSES4,
    SNAT_RANGES4,
    ADMISSION4,
    EGRESS4,
    FLOWS4,
    EMBRYONIC4,
    EXCEPTIONS4,
    EMBRYONIC_EXCEPTIONS4,
    FRAGMENTS4,
    DRAFTS4
);
family_tables!(
    V6,
    128,
    PATHS6,
    VIP_BUCKETS6,
    VIPS6,
    VIP_ADDRESSES6,
    SNAT_RANGES6,
    ADMISSION6,
    EGRESS6,
    FLOWS6,
    EMBRYONIC6,
    EXCEPTIONS6,
    EMBRYONIC_EXCEPTIONS6,
    FRAGMENTS6,
    DRAFTS6
);

/// What a backend host accepts, in maps.
pub struct DecapsulationMaps;

impl Accepts for DecapsulationMaps {
    #[inline(always)]
    fn gue_port(&self) -> u16 {
        GUE_PORT.load()
    }

    #[inline(always)]
    fn vip4(&self, address: V4) -> bool {
        DECAP_VIPS4.get_ptr(AddressKey { address }).is_some()
    }

    #[inline(always)]
    fn vip6(&self, address: V6) -> bool {
        DECAP_VIPS6.get_ptr(AddressKey { address }).is_some()
    }

    #[inline(always)]
    fn source4(&self, address: V4) -> bool {
        DECAP_SOURCES4
            .get(&Key::new(32, AddressKey { address }))
            .is_some()
    }

    #[inline(always)]
    fn source6(&self, address: V6) -> bool {
        DECAP_SOURCES6
            .get(&Key::new(128, AddressKey { address }))
            .is_some()
    }
}
