//! Random sequences of changes: every prefix of every plan is safe, and each plan arrives.

use forwarder_common::{Mode, Slot};
use proptest::prelude::*;

use super::*;
use crate::core::plan::plan;
use crate::core::slots::NOWHERE;
use crate::core::table;
use crate::core::tables::Tables;
use crate::dataplane::DataPlane;
use crate::dataplane::fake::Fake;

/// What differs from the file.
#[derive(Clone, Debug)]
struct Differing {
    /// Bit per virtual server: there.
    servers: u8,
    /// Per backend of the first pools: state, weight, down, there.
    backends: Vec<(u8, u8, bool, bool)>,
    egress: bool,
    /// Bit per device: there.
    devices: u8,
    snat_address: u8,
    resolved: bool,
    settle: bool,
    restart: bool,
}

fn change() -> impl Strategy<Value = Differing> {
    let backend = (
        0u8..4,
        0u8..3,
        prop::bool::weighted(0.3),
        prop::bool::weighted(0.7),
    );
    let backends = proptest::collection::vec(backend, 7);
    let rest = (
        any::<bool>(),
        1u8..8,
        1u8..4,
        prop::bool::weighted(0.8),
        any::<bool>(),
        prop::bool::weighted(0.3),
    );
    (any::<u8>(), backends, rest).prop_map(
        |(servers, backends, (egress, devices, snat_address, resolved, settle, restart))| {
            Differing {
                servers,
                backends,
                egress,
                devices,
                snat_address,
                resolved,
                settle,
                restart,
            }
        },
    )
}

/// Backends in slow start.
type Ramps = BTreeMap<BackendKey, u8>;

fn inputs(change: &Differing) -> (Model, Facts, BTreeSet<BackendKey>, Ramps) {
    let mut model = model();
    let mut ramps = Ramps::new();
    model.limits.table_slots = 1 << 11;
    let mut down = BTreeSet::new();
    let mut at = 0;
    for pool in &mut model.pools {
        let first = at;
        pool.slow_start = Some(Duration::from_secs(60));
        for backend in &mut pool.backends {
            let (state, weight, is_down, _) = change.backends[at];
            at += 1;
            backend.weight = weight;
            backend.state = match state {
                0 => BackendState::Drained,
                1 => BackendState::Disabled,
                _ => BackendState::Enabled,
            };
            if weight == 1 {
                ramps.insert(BackendKey::new(&pool.name, backend), 1 + state);
            }
            if is_down {
                down.insert(BackendKey::new(&pool.name, backend));
            }
        }
        let mut position = first;
        pool.backends.retain(|_| {
            position += 1;
            position - 1 == first || change.backends[position - 1].3
        });
    }
    let mut bit = 0;
    model.virtual_servers.retain(|_| {
        bit += 1;
        change.servers >> bit & 1 == 1
    });
    if !change.egress {
        model.egress.clear();
    }
    model.snat_pools[0].addresses = (0..change.snat_address)
        .map(|last| IpAddr::from([198, 51, 100, 200 + last]))
        .collect();
    let mut facts = facts(&model);
    let mut bit = 0;
    facts.devices.retain(|_, _| {
        bit += 1;
        change.devices >> (bit - 1) & 1 == 1
    });
    if !change.resolved {
        facts.neighbours.clear();
    }
    (model, facts, down, ramps)
}

/// Nothing points at what is not there.
fn assert_safe(tables: &Tables) {
    let has_snat = |index: u32| index >= NO_SNAT || tables.snat_pools.contains_key(&index);
    // An interface that only now appears, as the last NAT goes, need not have it.
    let nat = tables.interfaces.is_empty()
        || tables
            .interfaces
            .values()
            .any(|entry| entry.flags & interface::flags::NAT != 0);
    for (vip, server) in &tables.virtual_servers {
        assert!(has_snat(server.snat_pool), "{vip}: no SNAT pool");
        let mode = Mode::from_abi(server.mode).expect("a mode");
        assert!(
            !matches!(mode, Mode::Dnat | Mode::FullNat) || nat,
            "{vip}: no NAT"
        );
        if server.table_size > 0 {
            let slots = tables
                .slots
                .get(&server.table_base)
                .unwrap_or_else(|| panic!("{vip}: no table"));
            assert_eq!(slots.len(), server.table_size as usize, "{vip}");
            for slot in slots.iter() {
                let known = |index| index == NOWHERE || tables.backends.contains_key(&index);
                assert!(
                    known(slot.current()),
                    "{vip}: no backend {}",
                    slot.current()
                );
                assert!(
                    !slot.is_changed() || known(slot.previous()),
                    "{vip}: no previous"
                );
            }
        }
        assert!(tables.vip_addresses.contains_key(&vip.address) || server.id < u32::MAX);
    }
    for backend in tables.backends.values() {
        assert!(backend.ifindex == 0 || tables.interfaces.contains_key(&backend.ifindex));
        assert!(has_snat(backend.automap));
    }
    for entry in tables.interfaces.values() {
        assert!(has_snat(entry.automap4) && has_snat(entry.automap6));
    }
    for rule in tables.egress.values() {
        assert!(has_snat(rule.snat_pool) && tables.interfaces.contains_key(&rule.ifindex));
    }
    for pool in tables.snat_pools.values() {
        assert!(
            (pool.first..pool.first + pool.count).all(|at| tables.snat_addresses.contains_key(&at))
        );
    }
    let mut end = 0;
    for (base, slots) in &tables.slots {
        assert!(*base >= end, "tables overlap");
        end = base + slots.len() as u32;
    }
}

/// A packet that has read its slot before the slot changed is written down a moment after it.
#[test]
fn no_slot_forgets_while_packets_are_under_way() {
    let (whole, grace) = (model(), Duration::from_secs(30));
    let facts = facts(&whole);
    let pool = whole.pools.iter().position(|pool| pool.name == "web");
    let mut drained = whole.clone();
    drained.pools[pool.expect("the pool")].backends[0].state = BackendState::Drained;
    let mut state = State::new(&whole.limits);
    for (model, seconds) in [(&whole, 0), (&drained, 10), (&whole, 60)] {
        let now = Duration::from_secs(seconds);
        let (down, ramps) = (&BTreeSet::new(), NO_RAMPS);
        state.end_grace(now, grace);
        let input = Input {
            model,
            facts: &facts,
            down,
            ramps,
            now,
        };
        state = compile(input, &state).state;
    }
    let mut changed = |milliseconds| {
        state.settle(Duration::from_millis(milliseconds), grace, |_| false);
        let slots = &state.pool("web").expect("a table").slots;
        slots.iter().filter(|slot| slot.is_changed()).count()
    };
    let all = changed(60_000);
    assert!(all > 0, "there and back");
    assert_eq!(changed(60_900), all, "soon after the change");
    assert_eq!(changed(62_000), 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_prefix_is_safe_and_every_plan_arrives(
        changes in proptest::collection::vec(change(), 1..12),
    ) {
        let (first, ..) = inputs(&changes[0]);
        let mut state = State::new(&first.limits);
        let mut fake = Fake::default();
        for (step, change) in (0u32..).zip(&changes) {
            let (model, facts, down, ramps) = inputs(change);
            let now = Duration::from_secs(60) * step;
            let input = Input { model: &model, facts: &facts, down: &down, ramps: &ramps, now };
            let outcome = compile(input, &state);
            for op in plan(&fake.tables, &outcome.tables) {
                fake.apply(&op).expect("the fake takes it");
                assert_safe(&fake.tables);
            }
            prop_assert!(fake.tables == outcome.tables, "the plan did not arrive");
            prop_assert!(plan(&fake.tables, &outcome.tables).is_empty());
            if !outcome.notes.iter().any(|note| matches!(note, Note::NoRoom { .. })) {
                let again = compile(input, &outcome.state).tables;
                let still = plan(&outcome.tables, &again);
                prop_assert!(still.is_empty(), "a second compilation changes {}", still[0]);
            }
            state = outcome.state;
            for table in state.pools.values().filter(|table| !table.members.is_empty()) {
                let anew = table::build(&table.members, table.size);
                let each = table.slots.len() / anew.len();
                let at = |(at, slot): (usize, &Slot)| slot.current() == anew[at / each];
                prop_assert!(table.slots.iter().enumerate().all(at), "other than a table made anew");
            }
            for index in &outcome.lost {
                prop_assert!(state.backends().any(|(_, each)| each == *index), "{} is gone", index);
            }
            let gone = outcome.gone.iter().copied();
            for index in gone.clone() {
                prop_assert!(!state.backends().any(|(_, each)| each == index), "{} is there", index);
            }
            for index in outcome.lost.iter().copied().chain(gone.clone()) {
                prop_assert!(!state.keeps_flows(index));
                for slots in fake.tables.slots.values() {
                    let names = |slot: &Slot| slot.current() == index || slot.is_changed() && slot.previous() == index;
                    prop_assert!(!slots.iter().any(names), "a slot names lost backend {}", index);
                }
            }
            gone.for_each(|index| state.release(index));
            if change.settle {
                let later = now + Duration::from_secs(30);
                state.end_grace(later, Duration::from_secs(30));
                state.settle(later, Duration::from_secs(30), |at| at % 3 == 0);
            }
            if change.restart {
                let text = serde_json::to_string(&Snapshot::of(&state)).expect("text");
                let snapshot = serde_json::from_str(&text).expect("a snapshot");
                let slots = |base, _| Some(fake.tables.slots.get(&base)?.to_vec());
                let restored = State::restore(snapshot, &model.limits, slots);
                let again = compile(input, &restored).tables;
                let changes = plan(&compile(input, &state).tables, &again);
                prop_assert!(change.settle || changes.is_empty(), "a restart changes {}", changes[0]);
                state = restored;
            }
        }
    }
}

/// What becomes of one backend: pool, backend, state, weight, whether it is down; and whether slots settle.
type Step = (usize, usize, u8, u8, bool, bool);

fn step() -> impl Strategy<Value = Step> {
    let down = prop::bool::weighted(0.4);
    (0usize..8, 0usize..8, 0u8..6, 0u8..4, down, any::<bool>())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn one_backend_that_changes_comes_to_what_everything_does(
        steps in proptest::collection::vec(step(), 1..40),
    ) {
        let mut model = model();
        let facts = facts(&model);
        model.limits.table_slots = 1 << 13;
        model.pools.iter_mut().for_each(|pool| pool.slow_start = None);
        model.pools[0].when_down = WhenDown::KeepTcp;
        let mut down = BTreeSet::new();
        let mut now = Duration::ZERO;
        let compiled = |model: &Model, down: &BTreeSet<BackendKey>, now, state: &State| {
            let input = Input { model, facts: &facts, down, ramps: NO_RAMPS, now };
            compile(input, state)
        };
        let first = compiled(&model, &down, now, &State::new(&model.limits));
        let mut fake = Fake { tables: first.tables, ..Fake::default() };
        let (mut state, mut alone) = (first.state, 0);
        for (pool, backend, kind, weight, is_down, settles) in steps {
            now += Duration::from_secs(7);
            let pool = pool % model.pools.len();
            let backend = backend % model.pools[pool].backends.len();
            let each = &mut model.pools[pool].backends[backend];
            each.weight = weight;
            each.state = match kind {
                0 => BackendState::Drained,
                1 => BackendState::Disabled,
                2 => BackendState::Forced,
                _ => BackendState::Enabled,
            };
            let (pool, backend) = (&model.pools[pool], &model.pools[pool].backends[backend]);
            let key = BackendKey::new(&pool.name, backend);
            if is_down { down.insert(key) } else { down.remove(&key) };
            let all = compiled(&model, &down, now, &state);
            let ops = plan(&fake.tables, &all.tables);
            let known = state.pool(&pool.name).map(|table| (table.stale, table.members.len()));
            let wanted = Change { pool, backend, is_down, now };
            let mut tables = fake.tables.clone();
            let before = state.clone();
            if let Some(done) = state.change(&mut tables, wanted) {
                alone += 1;
                prop_assert_eq!(&done.ops, &ops);
                prop_assert_eq!(done.lost, all.lost.first().copied());
                prop_assert!(all.lost.len() < 2 && all.gone.is_empty());
                done.ops.iter().for_each(|op| tables.apply(op));
                prop_assert!(tables == all.tables, "other tables");
                prop_assert!(state == all.state, "another state");
            } else {
                prop_assert!(tables == fake.tables && state == before, "half a change");
                prop_assert!(known.is_none_or(|(stale, members)| stale || members < 2));
                state = all.state;
            }
            for op in &ops {
                fake.apply(op).expect("the fake takes it");
                assert_safe(&fake.tables);
            }
            prop_assert!(fake.tables == all.tables);
            if settles {
                state.end_grace(now, Duration::from_secs(5));
                state.settle(now + Duration::from_secs(2), Duration::from_secs(1), |at| at % 3 == 0);
                // The pass after that.
                let all = compiled(&model, &down, now, &state);
                (fake.tables, state) = (all.tables, all.state);
            }
        }
        prop_assume!(alone > 0);
    }
}
