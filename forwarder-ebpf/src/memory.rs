//! The packet path without a kernel: a packet in a vector, the tables in ordinary memory. For tests.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ptr::NonNull;

use forwarder_common::hash::HashKey;
use forwarder_common::peer::{Arrival, PathKey, Peer};
use forwarder_common::programs::StageProgram;
use forwarder_common::{
    AddressKey, Backend, Egress, Flow, FlowKey, FragmentKey, Interface, PortRange, Slot, SnatPool,
    Stage, V4, V6, VipAddress, VipKey, VirtualServer,
};

use crate::context::Context;
use crate::family::{FamilyV4, FamilyV6};
use crate::lookup::{Draft, Entry, FamilyTables, Route, Tables};
use crate::packet::{Header, Packet};
use crate::verdict::{Step, Verdict};
use crate::{
    answer, egress, icmp, icmp_flow, link, nat, new_flow, pipeline, reflect, reset, too_big, tunnel,
};

/// A frame with room in front.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bytes {
    buffer: Vec<u8>,
    start: usize,
}

impl Bytes {
    const HEADROOM: usize = 256;

    /// A frame.
    pub fn new(frame: &[u8]) -> Self {
        let mut buffer = vec![0; Self::HEADROOM];
        buffer.extend_from_slice(frame);
        Self {
            buffer,
            start: Self::HEADROOM,
        }
    }

    /// The frame as it is now.
    pub fn frame(&self) -> &[u8] {
        &self.buffer[self.start..]
    }
}

impl Packet for Bytes {
    fn at<H: Header>(&self, offset: usize) -> Option<&H> {
        let bytes = self.frame().get(offset..offset + size_of::<H>())?;
        // SAFETY: as long as a `Header`, whose alignment is 1 and for which any bytes are valid.
        Some(unsafe { &*bytes.as_ptr().cast::<H>() })
    }

    fn at_mut<H: Header>(&mut self, offset: usize) -> Option<&mut H> {
        let start = self.start;
        let bytes = self.buffer[start..].get_mut(offset..offset + size_of::<H>())?;
        // SAFETY: as above, and `&mut self` makes it the only view.
        Some(unsafe { &mut *bytes.as_mut_ptr().cast::<H>() })
    }

    fn length(&self) -> u32 {
        self.frame().len() as u32
    }

    fn adjust_head(&mut self, delta: i32) -> Option<()> {
        let start = self.start.checked_add_signed(delta as isize)?;
        (start + 14 <= self.buffer.len()).then(|| self.start = start)
    }

    fn adjust_tail(&mut self, delta: i32) -> Option<()> {
        let end = self.buffer.len().checked_add_signed(delta as isize)?;
        (end >= self.start + 14).then(|| self.buffer.resize(end, 0))
    }
}

/// The tables of one family.
#[derive(Default)]
pub struct FamilyMemory<A> {
    pub servers: BTreeMap<VipKey<A>, VirtualServer>,
    pub addresses: BTreeMap<AddressKey<A>, VipAddress>,
    pub ranges: BTreeMap<AddressKey<A>, PortRange>,
    pub established: RefCell<BTreeMap<FlowKey<A>, Box<Flow<A>>>>,
    pub embryonic: RefCell<BTreeMap<FlowKey<A>, Box<Flow<A>>>>,
    pub exceptions: RefCell<BTreeMap<FlowKey<A>, u32>>,
    pub embryonic_exceptions: RefCell<BTreeMap<FlowKey<A>, u32>>,
    pub fragments: RefCell<BTreeMap<FragmentKey<A>, u32>>,
    pub paths: BTreeSet<PathKey<A>>,
    draft: RefCell<Box<Draft<A>>>,
}

/// All tables.
#[derive(Default)]
pub struct Memory {
    pub interfaces: BTreeMap<u32, Interface>,
    pub slots: Vec<Slot>,
    pub backends: Vec<Backend>,
    pub pools: Vec<SnatPool>,
    pub snat_addresses: Vec<[u32; 4]>,
    pub v4: FamilyMemory<V4>,
    pub v6: FamilyMemory<V6>,
    pub rate: RefCell<Box<u64>>,
    /// Wire order; 0: no pair.
    pub pair_port: u16,
    pub peer: Peer,
    pub arrival: RefCell<Box<Arrival>>,
}

/// A run over the tables; `WRITE` as in the programs.
pub struct Run<'a, const WRITE: bool>(pub &'a Memory);

fn entry<'a, V>(value: &mut V) -> Entry<'a, V> {
    // SAFETY: boxed, so it stays where it is while the test's map holds it; one thread.
    unsafe { Entry::new(NonNull::from(value)) }
}

impl<const WRITE: bool> Tables for Run<'_, WRITE> {
    const WRITE: bool = WRITE;

    fn hash_key(&self) -> HashKey {
        [1, 2]
    }
    fn gue_port(&self) -> u16 {
        6080_u16.to_be()
    }
    fn now_seconds(&self) -> u32 {
        7
    }
    fn now_nanoseconds(&self) -> u64 {
        7 << 30
    }
    fn tells(&self) -> bool {
        false
    }
    fn leased(&self, _index: u32) -> bool {
        true
    }
    fn pair_port(&self) -> u16 {
        self.0.pair_port
    }
    fn peer(&self) -> Option<&Peer> {
        Some(&self.0.peer)
    }
    fn arrival(&self, _path: u32) -> Option<Entry<'_, Arrival>> {
        Some(entry(&mut **self.0.arrival.borrow_mut()))
    }
    fn monotonic(&self) -> u64 {
        self.now_nanoseconds()
    }
    fn interface(&self, ifindex: u32) -> Option<&Interface> {
        self.0.interfaces.get(&ifindex)
    }
    fn slot(&self, index: u32) -> Option<Slot> {
        self.0.slots.get(index as usize).copied()
    }
    fn backend(&self, index: u32) -> Option<&Backend> {
        self.0.backends.get(index as usize)
    }
    fn snat_pool(&self, index: u32) -> Option<&SnatPool> {
        self.0.pools.get(index as usize)
    }
    fn snat_address(&self, index: u32) -> Option<&[u32; 4]> {
        self.0.snat_addresses.get(index as usize)
    }
    fn rate(&self, _id: u32) -> Option<Entry<'_, u64>> {
        Some(entry(&mut **self.0.rate.borrow_mut()))
    }
    fn count_virtual_server(&self, _index: u32, _bytes: u32) {}
    fn count_backend(&self, _index: u32, _bytes: u32) {}
    fn count_exhausted(&self, _pool: u32, _bytes: u32) {}
    fn forget(&self, value: u64) -> u64 {
        value
    }
    fn note(&self, _stage: Stage, _value: u32, _detail: u64) {}
    fn want_neighbour(&self, _ifindex: u32, _address: [u32; 4]) {}
}

macro_rules! family {
    ($address:ty, $field:ident) => {
        impl<const WRITE: bool> FamilyTables<$address> for Run<'_, WRITE> {
            fn virtual_server(&self, key: &VipKey<$address>) -> Option<&VirtualServer> {
                self.0.$field.servers.get(key)
            }
            fn vip_address(&self, address: $address) -> Option<&VipAddress> {
                self.0.$field.addresses.get(&AddressKey { address })
            }
            fn snat_range(&self, address: $address) -> Option<&PortRange> {
                self.0.$field.ranges.get(&AddressKey { address })
            }
            fn admission(&self, _id: u32, _source: $address) -> Option<u32> {
                None
            }
            fn egress(&self, _source: $address) -> Option<&Egress> {
                None
            }
            fn is_path(&self, ends: &PathKey<$address>) -> bool {
                self.0.$field.paths.contains(ends)
            }
            fn route(&self, _key: &FlowKey<$address>, _ifindex: u32, _length: u32) -> Route {
                Route::None
            }
            fn draft(&self) -> Option<Entry<'_, Draft<$address>>> {
                Some(entry(&mut **self.0.$field.draft.borrow_mut()))
            }
            fn established(&self, key: &FlowKey<$address>) -> Option<Entry<'_, Flow<$address>>> {
                self.0
                    .$field
                    .established
                    .borrow_mut()
                    .get_mut(key)
                    .map(|flow| entry(&mut **flow))
            }
            fn embryonic(&self, key: &FlowKey<$address>) -> Option<Entry<'_, Flow<$address>>> {
                self.0
                    .$field
                    .embryonic
                    .borrow_mut()
                    .get_mut(key)
                    .map(|flow| entry(&mut **flow))
            }
            fn add_established(&self, key: &FlowKey<$address>, flow: &Flow<$address>) -> bool {
                self.0
                    .$field
                    .established
                    .borrow_mut()
                    .insert(*key, Box::new(*flow));
                true
            }
            fn claim_embryonic(&self, key: &FlowKey<$address>, flow: &Flow<$address>) -> bool {
                let mut flows = self.0.$field.embryonic.borrow_mut();
                if flows.contains_key(key) {
                    return false;
                }
                flows.insert(*key, Box::new(*flow));
                true
            }
            fn add_embryonic(&self, key: &FlowKey<$address>, flow: &Flow<$address>) -> bool {
                self.0
                    .$field
                    .embryonic
                    .borrow_mut()
                    .insert(*key, Box::new(*flow));
                true
            }
            fn remove_established(&self, key: &FlowKey<$address>) {
                self.0.$field.established.borrow_mut().remove(key);
            }
            fn remove_embryonic(&self, key: &FlowKey<$address>) {
                self.0.$field.embryonic.borrow_mut().remove(key);
            }
            fn withdraw_embryonic(&self, key: &FlowKey<$address>) {
                self.remove_embryonic(key);
            }
            fn count_embryonic(&self, _made: u32, _removed: u32) {}
            fn tell(&self, _: u32, _: &FlowKey<$address>, _: &Flow<$address>, _: u32) {}
            fn exception(&self, key: &FlowKey<$address>) -> Option<u32> {
                self.0.$field.exceptions.borrow().get(key).copied()
            }
            fn embryonic_exception(&self, key: &FlowKey<$address>) -> Option<u32> {
                self.0
                    .$field
                    .embryonic_exceptions
                    .borrow()
                    .get(key)
                    .copied()
            }
            fn add_exception(&self, key: &FlowKey<$address>, backend: u32) {
                self.0.$field.exceptions.borrow_mut().insert(*key, backend);
            }
            fn remove_exception(&self, key: &FlowKey<$address>) {
                self.0.$field.exceptions.borrow_mut().remove(key);
            }
            fn add_embryonic_exception(&self, key: &FlowKey<$address>, backend: u32) {
                self.0
                    .$field
                    .embryonic_exceptions
                    .borrow_mut()
                    .insert(*key, backend);
            }
            fn fragment(&self, key: &FragmentKey<$address>) -> Option<u32> {
                self.0.$field.fragments.borrow().get(key).copied()
            }
            fn add_fragment(&self, key: &FragmentKey<$address>, ports: u32) {
                self.0.$field.fragments.borrow_mut().insert(*key, ports);
            }
        }
    };
}

family!(V4, v4);
family!(V6, v6);

impl<const WRITE: bool> Run<'_, WRITE> {
    /// The whole packet path: entry, stages, and the tags back on what passes.
    pub fn packet(&self, ifindex: u32, packet: &mut Bytes) -> Verdict {
        let interface = self.0.interfaces[&ifindex];
        let mut context = Context::default();
        context.begin(ifindex, packet.length());
        let mut step = pipeline::enter(packet, self, &interface, &mut context);
        loop {
            let stage = match step {
                Step::Done(verdict) => return link::restore(packet, &context, verdict),
                Step::Next(stage) => stage,
            };
            let context = &mut context;
            step = match stage {
                StageProgram::Tunnel4 => {
                    tunnel::tunnel::<FamilyV4, _, _>(packet, self, &interface, context)
                }
                StageProgram::Tunnel6 => {
                    tunnel::tunnel::<FamilyV6, _, _>(packet, self, &interface, context)
                }
                StageProgram::Nat4 => nat::nat::<FamilyV4, _, _>(packet, self, &interface, context),
                StageProgram::Nat6 => nat::nat::<FamilyV6, _, _>(packet, self, &interface, context),
                StageProgram::NewFlow4 => {
                    new_flow::new_flow::<FamilyV4, _, _>(packet, self, &interface, context)
                }
                StageProgram::NewFlow6 => {
                    new_flow::new_flow::<FamilyV6, _, _>(packet, self, &interface, context)
                }
                StageProgram::Egress4 => {
                    egress::egress::<FamilyV4, _, _>(packet, self, &interface, context)
                }
                StageProgram::Egress6 => {
                    egress::egress::<FamilyV6, _, _>(packet, self, &interface, context)
                }
                StageProgram::Icmp4 => {
                    icmp::icmp::<FamilyV4, _, _>(packet, self, &interface, context)
                }
                StageProgram::Icmp6 => {
                    icmp::icmp::<FamilyV6, _, _>(packet, self, &interface, context)
                }
                StageProgram::IcmpFlow4 => {
                    icmp_flow::icmp_flow::<FamilyV4, _, _>(packet, self, &interface, context)
                }
                StageProgram::IcmpFlow6 => {
                    icmp_flow::icmp_flow::<FamilyV6, _, _>(packet, self, &interface, context)
                }
                StageProgram::Answer => answer::answer(packet, self, &interface, context),
                StageProgram::TooBig4 => {
                    too_big::too_big::<FamilyV4, _, _>(packet, self, &interface, context)
                }
                StageProgram::TooBig6 => {
                    too_big::too_big::<FamilyV6, _, _>(packet, self, &interface, context)
                }
                StageProgram::Reset4 => {
                    reset::reset::<FamilyV4, _, _>(packet, self, &interface, context)
                }
                StageProgram::Reset6 => {
                    reset::reset::<FamilyV6, _, _>(packet, self, &interface, context)
                }
                StageProgram::Reflect4 => {
                    reflect::reflect::<FamilyV4, _, _>(packet, self, &interface, context)
                }
                StageProgram::Reflect6 => {
                    reflect::reflect::<FamilyV6, _, _>(packet, self, &interface, context)
                }
            };
        }
    }
}
