//! A population of flows against the data plane's rule, over random changes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use forwarder_common::hash::slot_of;
use proptest::prelude::*;

use super::*;
use crate::core::table::{self, Member};

const POOL: u32 = 6;

/// What becomes of a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Up,
    Drained,
    Down,
}

#[derive(Clone, Debug)]
enum Event {
    /// SYN of a new flow with this hash; true: the handshake goes on at once.
    Begin(u32, bool),
    /// A packet of one of the flows there are.
    Speak(usize),
    /// Backends' states from now on, and the table's size as bits.
    Change(Vec<State>, u32),
    EndGrace,
    Settle,
}

/// The data plane's part: slots and exceptions.
#[derive(Default)]
struct Lab {
    slots: Vec<Slot>,
    keeps: BTreeSet<u32>,
    embryonic: BTreeMap<usize, u32>,
    exceptions: BTreeMap<usize, u32>,
    /// Hash and backend of each flow; `None`: its backend gave it up.
    flows: Vec<(u32, Option<u32>)>,
}

impl Lab {
    fn slot(&self, hash: u32) -> (usize, Slot) {
        let at = slot_of(hash, self.slots.len() as u32) as usize;
        (at, self.slots[at])
    }

    fn syn(&mut self, flow: usize) -> u32 {
        let (_, slot) = self.slot(self.flows[flow].0);
        if slot.is_changed() {
            self.embryonic.insert(flow, slot.current());
        }
        slot.current()
    }

    fn packet(&mut self, flow: usize) -> u32 {
        let (_, slot) = self.slot(self.flows[flow].0);
        if !slot.is_changed() {
            return slot.current();
        }
        let kept = |backend: &&u32| self.keeps.contains(*backend);
        if let Some(&backend) = self.exceptions.get(&flow).filter(kept) {
            return backend;
        }
        let backend = if let Some(&backend) = self.embryonic.get(&flow).filter(kept) {
            backend
        } else if self.keeps.contains(&slot.previous()) {
            slot.previous()
        } else {
            return slot.current();
        };
        self.exceptions.insert(flow, backend);
        backend
    }

    fn change(&mut self, states: &[State], bits: u32) {
        let index = |at: usize| at as u32 + 1;
        let is_up = |(_, state): &(usize, &State)| **state == State::Up;
        let members: Vec<Member> = states
            .iter()
            .enumerate()
            .filter(is_up)
            .map(|(at, _)| Member {
                address: Ipv4Addr::from_bits(at as u32).into(),
                port: 0,
                weight: 1,
                backend: index(at),
            })
            .collect();
        self.keeps = (0..states.len())
            .filter(|at| states[*at] != State::Down)
            .map(index)
            .collect();
        let table = table::build(&members, 1 << bits);
        let slots = transition(&self.slots, &table, |backend| self.keeps.contains(&backend));
        self.slots = slots;
        forget(&mut self.slots, |backend| self.keeps.contains(&backend));
        let keeps = &self.keeps;
        self.embryonic.retain(|_, backend| keeps.contains(backend));
        self.exceptions.retain(|_, backend| keeps.contains(backend));
        for (_, home) in &mut self.flows {
            *home = home.filter(|backend| keeps.contains(backend));
        }
    }

    /// Every living flow speaks, then slots that need no memory lose it.
    fn settle(&mut self) {
        for flow in 0..self.flows.len() {
            self.check(flow);
        }
        end_grace(&mut self.slots);
        let size = self.slots.len() as u32;
        let mut excepted = BTreeSet::new();
        for (flow, backend) in self.embryonic.iter().chain(&self.exceptions) {
            let (at, slot) = self.slot(self.flows[*flow].0);
            if slot.current() != *backend {
                excepted.insert(at);
            }
        }
        let keeps = self.keeps.clone();
        settle(
            &mut self.slots,
            true,
            |backend| keeps.contains(&backend),
            |at| excepted.contains(&at),
        );
        assert_eq!(self.slots.len() as u32, size);
    }

    fn check(&mut self, flow: usize) {
        if let Some(home) = self.flows[flow].1 {
            assert_eq!(self.packet(flow), home, "flow {flow}");
        }
    }
}

fn state() -> impl Strategy<Value = State> {
    prop_oneof![4 => Just(State::Up), 1 => Just(State::Drained), 1 => Just(State::Down)]
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        8 => (any::<u32>(), any::<bool>()).prop_map(|(hash, more)| Event::Begin(hash, more)),
        4 => any::<usize>().prop_map(Event::Speak),
        3 => (proptest::collection::vec(state(), POOL as usize), 2u32..6)
            .prop_map(|(states, bits)| Event::Change(states, bits)),
        1 => Just(Event::EndGrace),
        1 => Just(Event::Settle),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn a_flow_stays_while_its_backend_keeps_flows(
        events in proptest::collection::vec(event(), 1..120),
    ) {
        let mut lab = Lab::default();
        lab.change(&[State::Up; POOL as usize], 4);
        for event in events {
            match event {
                Event::Begin(hash, more) => {
                    let flow = lab.flows.len();
                    lab.flows.push((hash, None));
                    let home = lab.syn(flow);
                    lab.flows[flow].1 = Some(home).filter(|home| *home != NOWHERE);
                    if more {
                        lab.check(flow);
                    }
                }
                Event::Speak(flow) if !lab.flows.is_empty() => {
                    let flow = flow % lab.flows.len();
                    lab.check(flow);
                }
                Event::Speak(_) => {}
                Event::Change(states, bits) => lab.change(&states, bits),
                Event::EndGrace => {
                    end_grace(&mut lab.slots);
                }
                Event::Settle => lab.settle(),
            }
        }
        for flow in 0..lab.flows.len() {
            lab.check(flow);
        }
    }
}

#[test]
fn new_flows_never_go_to_a_drained_backend() {
    let mut lab = Lab::default();
    lab.change(&[State::Up; 2], 4);
    lab.change(&[State::Up, State::Drained], 4);
    assert!(lab.slots.iter().all(|slot| slot.current() == 1));
    lab.change(&[State::Drained, State::Drained], 4);
    assert!(
        lab.slots
            .iter()
            .all(|slot| slot.current() == NOWHERE && slot.is_changed())
    );
}

#[test]
fn a_dead_backend_leaves_no_trace() {
    let slots = transition(&[Slot::new(1), Slot::new(2)], &[2, 2], |backend| {
        backend == 2
    });
    assert_eq!(slots, [Slot::new(2), Slot::new(2)]);
}

#[test]
fn udp_follows_its_flows() {
    let all = |_| true;
    let first = next(Slot::new(1), 2, all);
    assert_eq!(first, Slot::changed(2, 1, true));
    assert_eq!(next(first, 3, all), Slot::changed(3, 1, true));
    let mut ended = [first];
    assert!(end_grace(&mut ended));
    assert!(!end_grace(&mut ended));
    assert_eq!(next(ended[0], 3, all), Slot::changed(3, 1, false));
}

#[test]
fn a_table_grows_and_shrinks_without_forgetting() {
    let all = |_| true;
    let grown = transition(&[Slot::new(1)], &[1, 2], all);
    assert_eq!(grown, [Slot::new(1), Slot::changed(2, 1, true)]);
    let shrunk = transition(&grown, &[1], all);
    assert_eq!(shrunk, [Slot::new(1), Slot::changed(1, 1, true)]);
    let mut settled = shrunk;
    end_grace(&mut settled);
    assert!(settle(&mut settled, true, all, |_| false));
    assert_eq!(transition(&settled, &[1], all), [Slot::new(1)]);
}

#[test]
fn exceptions_that_were_told_are_consulted_until_they_are_over() {
    let mut slots = vec![
        Slot::new(1),
        Slot::new(2),
        Slot::changed(3, 4, true),
        Slot::changed(3, 4, true),
    ];
    assert!(consult(&mut slots, |at| at > 0));
    let told = [
        Slot::new(1),
        Slot::changed(2, 2, false),
        Slot::changed(3, 4, true),
        Slot::changed(3, 4, true),
    ];
    assert_eq!(slots, told);
    assert!(!consult(&mut slots, |at| at > 0));
    // Flows of 2 that are no exceptions keep it when the slot changes now.
    let next = transition(&slots, &[1, 5, 3, 3], |_| true);
    assert!(
        next.iter()
            .any(|slot| slot.current() == 5 && slot.previous() == 2)
    );
    assert!(settle(&mut slots, false, |_| true, |_| false));
    assert_eq!(slots[1], Slot::new(2));
}
