//! One file of every kind of thing, compiled.

mod notes;
mod past;
mod sequences;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use forwarder_common::virtual_server::{AUTOMAP, NO_SNAT, backend_flags, flags};
use forwarder_common::{VirtualServer, interface};

use super::*;
use crate::config::model::{BackendState, InterfaceAddress, Snat, Transmit, WhenDown};
use crate::config::{self, Prefix};
use crate::core::facts::{Device, LinkState, Route};
use crate::core::health::FULL;
use crate::core::key::{Network, Source, Vip, mac_words, wide};
use crate::core::next_hop::{neighbours_wanted, routes_wanted};

const NO_RAMPS: &BTreeMap<BackendKey, u8> = &BTreeMap::new();
const FILE: &str = include_str!("tests/everything.toml");

pub(in crate::core) fn model() -> Model {
    let config = config::parse("everything.toml", FILE).unwrap_or_else(|errors| panic!("{errors}"));
    config
        .for_node(Some("lb1"))
        .unwrap_or_else(|errors| panic!("{errors}"))
}

pub(super) fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

pub(super) fn device(ifindex: u32, addresses: &[(&str, u8)]) -> Device {
    let own = |(text, length): &(&str, u8)| InterfaceAddress {
        address: address(text),
        subnet: Prefix::of(address(text), *length).expect("a prefix"),
    };
    Device {
        ifindex,
        mac: [2, 0, 0, 0, 0, ifindex as u8],
        mtu: 1_500,
        state: LinkState::Up,
        addresses: addresses.iter().map(own).collect(),
        driver: "veth".to_owned(),
        forwards: [true, true],
    }
}

/// Everything there and every neighbour resolved.
pub(super) fn facts(model: &Model) -> Facts {
    let mut facts = Facts {
        devices: BTreeMap::from([
            (
                "eth0".to_owned(),
                device(2, &[("198.51.100.4", 24), ("2001:db8:1::4", 64)]),
            ),
            (
                "eth1".to_owned(),
                device(3, &[("10.0.2.1", 24), ("2001:db8:2::1", 64)]),
            ),
            ("eth2".to_owned(), device(4, &[("10.0.2.2", 24)])),
        ]),
        ..Facts::default()
    };
    for address in routes_wanted(model, &facts) {
        facts.routes.insert(
            address,
            Route {
                ifindex: 2,
                gateway: None,
            },
        );
    }
    for (ifindex, address) in neighbours_wanted(model, &facts) {
        facts
            .neighbours
            .insert((ifindex, address), [4, 0, 0, 0, 0, 1]);
    }
    facts
}

fn compiled(model: &Model, facts: &Facts, down: &[BackendKey]) -> Compiled {
    let down: BTreeSet<BackendKey> = down.iter().cloned().collect();
    let input = Input {
        model,
        facts,
        down: &down,
        ramps: NO_RAMPS,
        now: Duration::ZERO,
    };
    compile(input, &State::new(&model.limits))
}

fn server(compiled: &Compiled, text: &str, port: u16, protocol: u8) -> VirtualServer {
    compiled.tables.virtual_servers[&Vip {
        address: address(text),
        port,
        protocol,
    }]
}

fn key(pool: &str, text: &str, port: u16) -> BackendKey {
    BackendKey {
        pool: pool.to_owned(),
        address: address(text),
        port,
    }
}

#[test]
fn everything_is_in_its_place() {
    let model = model();
    let Compiled {
        tables,
        state,
        notes,
        lost,
        gone,
    } = compiled(&model, &facts(&model), &[]);
    let nobody = BTreeSet::new();
    assert_eq!((notes, &lost, &gone), (vec![], &nobody, &nobody));
    let web = tables.virtual_servers[&Vip {
        address: address("203.0.113.10"),
        port: 80,
        protocol: 6,
    }];
    assert_eq!(Some(web.id), state.virtual_server("web"));
    assert_eq!(
        (web.table_size, web.snat_pool, web.mss),
        (16_384, AUTOMAP, 1_360)
    );
    assert_eq!(web.flags, flags::LISTED | flags::DENY_UNLISTED);
    assert_eq!(
        (web.new_flow_interval, web.new_flow_burst),
        (100_000, 10_000)
    );
    assert_eq!(web.interfaces, 0b001);
    let source = |text, length| Source {
        virtual_server: web.id,
        address: address(text),
        length,
    };
    assert_eq!(tables.admission.get(&source("10.0.0.0", 8)), Some(&true));
    assert_eq!(tables.admission.get(&source("10.6.6.0", 24)), Some(&false));

    let index = state
        .backend(&key("web", "10.0.2.11", 8_080))
        .expect("an index");
    let backend = tables.backends[&index];
    assert_eq!(
        (backend.address, backend.ifindex, backend.mtu),
        (wide(address("10.0.2.11")), 3, 1_500)
    );
    assert_eq!(backend.port, 8_080u16.to_be());
    assert_eq!(backend.flags, backend_flags::KEEPS_FLOWS);
    assert_eq!(backend.tunnel_source, wide(address("10.0.2.1")));
    assert_eq!(backend.destination_mac, mac_words([4, 0, 0, 0, 0, 1]));
    assert_eq!(backend.source_mac, mac_words([2, 0, 0, 0, 0, 3]));
    let pool = tables.snat_pools[&backend.automap];
    assert_eq!((pool.port_low, pool.port_high), (16_384, 24_575));
    assert_eq!(
        tables.snat_addresses[&pool.first],
        wide(address("10.0.2.1"))
    );
    let range = tables.snat_ranges[&address("10.0.2.1")];
    assert_eq!((range.low, range.high), (16_384, 32_767));
    assert_eq!(tables.interfaces[&3].automap4, backend.automap);
}

#[test]
fn far_backends_go_by_a_gateway() {
    let model = model();
    let mut facts = facts(&model);
    assert_eq!(
        routes_wanted(&model, &facts),
        BTreeSet::from([address("192.0.2.50")])
    );
    let gateway = (2, address("198.51.100.1"));
    assert!(neighbours_wanted(&model, &facts).contains(&gateway));
    facts.neighbours.remove(&gateway);
    let outcome = compiled(&model, &facts, &[]);
    let unresolved =
        |note: &Note| matches!(note, Note::Unresolved { neighbour, .. } if *neighbour == gateway.1);
    assert!(outcome.notes.iter().all(unresolved) && outcome.notes.len() == 1);
    let index = outcome
        .state
        .backend(&key("far", "192.0.2.50", 0))
        .expect("an index");
    assert_eq!(outcome.tables.backends[&index].ifindex, 0);
}

#[test]
fn one_interface_of_a_subnet_answers() {
    let model = model();
    let tables = compiled(&model, &facts(&model), &[]).tables;
    let everywhere = tables.vip_addresses[&address("203.0.113.20")];
    assert_eq!((everywhere.interfaces, everywhere.answers), (0b111, 0b011));
    let second = tables.vip_addresses[&address("203.0.113.30")];
    assert_eq!((second.interfaces, second.answers), (0b100, 0b100));
}

#[test]
fn a_snat_pool_of_both_families_serves_each_with_its_own() {
    let mut model = model();
    let (four, six) = (address("198.51.100.200"), address("2001:db8:1::200"));
    model.snat_pools[0].addresses = vec![six, four];
    let mut rule = model.egress[0].clone();
    rule.source = Prefix::of(address("2001:db8:2::"), 64).expect("a prefix");
    rule.snat = Snat::Pool("out".to_owned());
    model.egress.push(rule);
    let compiled = compiled(&model, &facts(&model), &[]);
    let any = server(&compiled, "203.0.113.30", 0, 6);
    let tables = compiled.tables;
    let addresses = |index| {
        let pool = tables.snat_pools[&index];
        (pool.first..pool.first + pool.count)
            .map(|at| tables.snat_addresses[&at])
            .collect::<Vec<_>>()
    };
    assert_eq!(addresses(any.snat_pool), [wide(four)]);
    let of_six = |network: &&Network| network.address.is_ipv6();
    let rule = tables.egress.keys().find(of_six).expect("the rule");
    assert_eq!(addresses(tables.egress[rule].snat_pool), [wide(six)]);
}

#[test]
fn interface_flags_say_what_is_configured() {
    let mut model = model();
    let mut facts = facts(&model);
    let bits = |model: &Model, facts: &Facts| -> Vec<u32> {
        compiled(model, facts, &[])
            .tables
            .interfaces
            .values()
            .map(|entry| entry.flags)
            .collect()
    };
    use interface::flags::{ACTIVE, ANY_PORT, EGRESS, NAT, TX};
    let all = ACTIVE | NAT | EGRESS;
    assert_eq!(
        bits(&model, &facts),
        [all | TX, all | TX, all | TX | ANY_PORT]
    );
    model.egress.clear();
    model
        .virtual_servers
        .retain(|server| server.name == "floating");
    facts.devices.get_mut("eth0").expect("eth0").driver = "ena".to_owned();
    model.interfaces[1].transmit = Transmit::Redirect;
    assert_eq!(bits(&model, &facts), [ACTIVE, ACTIVE, ACTIVE | TX]);
    let tables = compiled(&model, &facts, &[]).tables;
    assert_eq!(
        tables.snat_ranges.len(),
        1,
        "automap's ports are the host's while nothing uses them"
    );
    assert!(
        tables
            .backends
            .values()
            .all(|backend| backend.automap == NO_SNAT)
    );
}

#[test]
fn the_dead_are_lost_and_the_removed_are_gone() {
    let mut model = model();
    let facts = facts(&model);
    let first = key("web", "10.0.2.11", 8_080);
    let compiled = |model: &Model, down: &[BackendKey], previous: &State| {
        let down = down.iter().cloned().collect();
        let now = Duration::ZERO;
        let facts = &facts;
        compile(
            Input {
                model,
                facts,
                down: &down,
                ramps: NO_RAMPS,
                now,
            },
            previous,
        )
    };
    let outcome = compiled(&model, &[], &State::new(&model.limits));
    let index = outcome.state.backend(&first).expect("an index");
    let dead = compiled(&model, std::slice::from_ref(&first), &outcome.state);
    assert_eq!((dead.lost, dead.gone), ([index].into(), [].into()));
    model.pools[0].backends.remove(0);
    let removed = compiled(&model, &[first], &dead.state);
    assert_eq!((removed.lost, removed.gone), ([].into(), [index].into()));
}

#[test]
fn states_and_health_decide_who_takes_and_who_keeps_flows() {
    let mut model = model();
    let facts = facts(&model);
    let shares = |model: &Model, down: &[BackendKey]| -> Vec<(bool, usize)> {
        let outcome = compiled(model, &facts, down);
        let slots = outcome.state.pool("web").map(|table| table.slots.clone());
        model
            .pools
            .iter()
            .find(|pool| pool.name == "web")
            .expect("the pool")
            .backends
            .iter()
            .map(|backend| {
                let index = outcome
                    .state
                    .backend(&BackendKey::new("web", backend))
                    .expect("an index");
                let own = slots.iter().flat_map(|slots| slots.iter());
                let count = own.filter(|slot| slot.current() == index).count();
                (outcome.state.keeps_flows(index), count)
            })
            .collect()
    };
    assert_eq!(shares(&model, &[]), [(true, 5_461), (true, 10_923)]);
    let first = key("web", "10.0.2.11", 8_080);
    assert_eq!(
        shares(&model, std::slice::from_ref(&first)),
        [(false, 0), (true, 16_384)]
    );
    let web = model
        .pools
        .iter()
        .position(|pool| pool.name == "web")
        .expect("the pool");
    model.pools[web].backends[0].state = BackendState::Drained;
    assert_eq!(shares(&model, &[]), [(true, 0), (true, 16_384)]);
    model.pools[web].backends[0].state = BackendState::Disabled;
    assert_eq!(shares(&model, &[]), [(false, 0), (true, 16_384)]);
    model.pools[web].backends[0].state = BackendState::Forced;
    let down = std::slice::from_ref(&first);
    assert_eq!(shares(&model, down), [(true, 5_461), (true, 10_923)]);
    // Down and not forgotten: what it keeps, it keeps of TCP.
    model.pools[web].backends[0].state = BackendState::Enabled;
    model.pools[web].when_down = WhenDown::KeepTcp;
    assert_eq!(shares(&model, down), [(true, 0), (true, 16_384)]);
    let outcome = compiled(&model, &facts, down);
    let flags = outcome.tables.backends[&outcome.state.backend(&first).expect("it")].flags;
    assert_eq!(flags, backend_flags::KEEPS_TCP);
    // An operator who takes one out there means what the check would say.
    model.pools[web].backends[0].state = BackendState::Drained;
    assert_eq!(shares(&model, &[]), [(true, 0), (true, 16_384)]);
    let outcome = compiled(&model, &facts, &[]);
    let flags = outcome.tables.backends[&outcome.state.backend(&first).expect("it")].flags;
    assert_eq!(flags, backend_flags::KEEPS_TCP);
    model.pools[web].when_down = WhenDown::Move;
    model.pools[web].backends[0].state = BackendState::Disabled;
    model.pools[web].backends[1].weight = 0;
    assert_eq!(shares(&model, &[]), [(false, 0), (true, 0)]);
    let all = [first, key("web", "10.0.2.12", 8_080)];
    let outcome = compiled(&model, &facts, &all);
    assert_eq!(server(&outcome, "203.0.113.10", 80, 6).table_size, 0);
    assert!(outcome.notes.contains(&Note::NoBackend {
        pool: "web".to_owned()
    }));
}

#[test]
fn slow_start_moves_slots_to_one_backend_and_moves_no_flow() {
    let mut model = model();
    model.pools[0].slow_start = Some(Duration::from_secs(10));
    let name = model.pools[0].name.clone();
    let (facts, none) = (facts(&model), BTreeSet::new());
    let slow = BackendKey::new(&name, &model.pools[0].backends[0]);
    let down = BTreeSet::from([slow.clone()]);
    let step = |down: &BTreeSet<BackendKey>, ramps: &BTreeMap<BackendKey, u8>, state: &State| {
        let input = Input {
            model: &model,
            facts: &facts,
            down,
            ramps,
            now: Duration::ZERO,
        };
        compile(input, state).state
    };
    let full = step(&none, NO_RAMPS, &State::new(&model.limits));
    let backend = full.backend(&slow).expect("an index");
    let current = |state: &State| -> Vec<u32> {
        let slots = &state.pool(&name).expect("a table").slots;
        slots.iter().map(|slot| slot.current()).collect()
    };
    let mut state = step(&down, NO_RAMPS, &full);
    let mut before = current(&state);
    let mut shares = Vec::new();
    for share in 1..=FULL {
        let ramps = BTreeMap::from([(slow.clone(), share)]);
        state = step(&none, &ramps, &state);
        let now = current(&state);
        let moved = before.iter().zip(&now).filter(|(old, new)| old != new);
        let (to, others): (Vec<_>, Vec<_>) = moved.partition(|(_, new)| **new == backend);
        assert!(
            others.len() * 20 <= to.len(),
            "share {share}: {} to it, {} between others",
            to.len(),
            others.len()
        );
        // Whoever had a flow in a slot that moved is still known there.
        let slots = &state.pool(&name).expect("a table").slots;
        let known = slots.iter().zip(&before).all(|(slot, old)| {
            slot.current() == *old || slot.is_changed() && state.keeps_flows(slot.previous())
        });
        assert!(known, "share {share}");
        shares.push(now.iter().filter(|each| **each == backend).count());
        before = now;
    }
    assert!(
        shares.is_sorted() && shares[0] * 5 < shares[9],
        "{shares:?}"
    );
    assert_eq!(before, current(&full), "as if it had never been down");
}

#[test]
fn both_nodes_choose_alike_whatever_happened_before() {
    let model = model();
    let facts = facts(&model);
    let down = BTreeSet::from([key("web", "10.0.2.11", 8_080)]);
    let none = BTreeSet::new();
    let mut state = State::new(&model.limits);
    for down in [&down, &none, &down, &none] {
        let input = Input {
            model: &model,
            facts: &facts,
            down,
            ramps: NO_RAMPS,
            now: Duration::ZERO,
        };
        state = compile(input, &state).state;
    }
    let fresh = compiled(&model, &facts, &[]).state;
    for (pool, table) in &fresh.pools {
        let other = &state.pools[pool];
        let chosen = |slots: &[forwarder_common::Slot]| -> Vec<u32> {
            slots.iter().map(|slot| slot.current()).collect()
        };
        assert_eq!(chosen(&table.slots), chosen(&other.slots), "{pool}");
    }
}

#[test]
fn four_thousand_of_everything_fit() {
    let mut model = model();
    let facts = facts(&model);
    let server = model
        .virtual_servers
        .iter()
        .find(|server| server.name == "floating")
        .cloned();
    let server = server.expect("the virtual server");
    let pool = model
        .pools
        .iter()
        .find(|pool| pool.name == "floating")
        .cloned()
        .expect("the pool");
    model.virtual_servers.clear();
    model.pools.clear();
    for number in 0..4_096u32 {
        let name = format!("number{number}");
        let mut pool = pool.clone();
        pool.name = name.clone();
        while pool.backends.len() < 3 {
            let mut backend = pool.backends[0].clone();
            backend.address =
                IpAddr::from((0x0a00_0240 + pool.backends.len() as u32).to_be_bytes());
            pool.backends.push(backend);
        }
        let mut server = server.clone();
        server.name = name.clone();
        server.address = IpAddr::from((0xcb00_0000 + number).to_be_bytes());
        server.action = config::model::Action::L2Dsr { pool: name };
        model.pools.push(pool);
        model.virtual_servers.push(server);
    }
    let outcome = compiled(&model, &facts, &[]);
    assert_eq!(outcome.tables.virtual_servers.len(), 4_096);
    assert!(
        outcome
            .tables
            .virtual_servers
            .values()
            .all(|server| server.table_size == 512)
    );
    assert_eq!(
        outcome
            .notes
            .iter()
            .filter(|note| matches!(note, Note::NoRoom { .. }))
            .count(),
        0
    );
    assert!(outcome.notes.contains(&Note::SmallTables { shift: 5 }));
}

/// Every index is given back, whatever its backend did before it went.
#[test]
fn backends_that_come_and_go_leave_no_index_behind() {
    let full = model();
    let facts = facts(&full);
    let mut state = State::new(&full.limits);
    for round in 0..40 {
        let mut model = full.clone();
        let backends = &mut model.pools[0].backends;
        let mut down = BTreeSet::new();
        match round % 4 {
            0 => backends[0].state = BackendState::Disabled,
            1 => drop(backends.remove(0)),
            2 => drop(down.insert(BackendKey::new("web", &backends[0]))),
            _ => drop(backends.remove(0)),
        }
        let input = Input {
            model: &model,
            facts: &facts,
            down: &down,
            ramps: NO_RAMPS,
            now: Duration::from_secs(round),
        };
        let compiled = compile(input, &state);
        state = compiled.state;
        for index in compiled.gone {
            state.release(index);
        }
        assert_eq!(state.backends.quarantine(), &BTreeSet::new(), "{round}");
    }
}

/// A packet meets the old tables or the new ones: what an interface is known by must be the same.
#[test]
fn a_device_keeps_its_slot_whatever_comes_or_goes_before_it() {
    let full = model();
    let facts = facts(&full);
    let mut fewer = full.clone();
    let gone = fewer.interfaces.remove(0);
    fewer.virtual_servers.clear();
    fewer.egress.clear();
    fewer.snat_pools.clear();
    let slot_of = |compiled: &Compiled, device: &str| compiled.state.interface(device);
    let down = BTreeSet::new();
    let now = Duration::ZERO;
    let input = |model| Input {
        model,
        facts: &facts,
        down: &down,
        ramps: NO_RAMPS,
        now,
    };
    let first = compile(input(&fewer), &State::new(&full.limits));
    let second = compile(input(&full), &first.state);
    let third = compile(input(&fewer), &second.state);
    for interface in &fewer.interfaces {
        let device = &interface.device;
        let slot = slot_of(&first, device);
        assert!(slot.is_some());
        assert_eq!(slot_of(&second, device), slot);
        assert_eq!(slot_of(&third, device), slot);
    }
    assert!(slot_of(&second, &gone.device).is_some());
    assert_eq!(slot_of(&third, &gone.device), None);
}
