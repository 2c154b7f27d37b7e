//! A node that comes later is told what slots remember.

use super::*;
use crate::config::model::Pool;

#[test]
fn who_was_told_of_the_past_sends_older_flows_where_the_other_does() {
    let model = model();
    let facts = facts(&model);
    let count = |pool: &Pool| pool.backends.len();
    let last = model.pools.iter().map(count).sum::<usize>() - 1;
    let step = |drained: &[usize], state: &State| {
        let mut model = model.clone();
        let backends = model.pools.iter_mut().flat_map(|pool| &mut pool.backends);
        for (at, backend) in backends.enumerate() {
            if drained.contains(&at) {
                backend.state = BackendState::Drained;
            }
        }
        let input = Input {
            model: &model,
            facts: &facts,
            down: &BTreeSet::new(),
            ramps: NO_RAMPS,
            now: Duration::ZERO,
        };
        compile(input, state).state
    };
    let seen = |state: &State| {
        let name = |index: u32| {
            state
                .backends()
                .find(|(_, id)| *id == index)
                .map(|(key, _)| key.clone())
        };
        let slots = state.pools.values().flat_map(|table| table.slots.iter());
        let slots = slots.map(|slot| {
            let previous = slot.is_changed().then(|| name(slot.previous()));
            (name(slot.current()), previous, slot.in_grace())
        });
        slots.collect::<Vec<_>>()
    };
    for history in [
        &[&[][..], &[0]][..],
        &[&[0], &[last], &[]],
        &[&[], &[0], &[0, last], &[last]],
        &[&[0]],
    ] {
        let mut active = State::new(&model.limits);
        for drained in history {
            active = step(drained, &active);
        }
        let end = history[history.len() - 1];
        // The other one begins with the file, or with what there is; or remembers something else.
        for before in [&[][..], end, &[last]] {
            let mut standby = step(end, &step(before, &State::new(&model.limits)));
            let text = serde_json::to_string(&Memory::of(&active).past()).expect("text");
            let past: Past = serde_json::from_str(&text).expect("the past");
            standby.recall(&past, Duration::from_secs(1));
            assert_eq!(seen(&standby), seen(&active), "{history:?} {before:?}");
            assert!(Memory::of(&active).is_of(&active) && !Memory::of(&active).is_of(&standby));
            // It stays so.
            standby = step(end, &standby);
            assert_eq!(seen(&standby), seen(&active), "{history:?} {before:?}");
        }
    }
    // What makes no sense does no harm.
    let mut state = step(&[], &State::new(&model.limits));
    let name = &model.pools[0].name;
    let text = format!(
        r#"{{"pools":[{{"name":"{name}","slots":3,"ends":[["192.0.2.99",1]],"changed":[[4294967295,9,1],[7,1,0]]}},{{"name":"?","slots":0,"ends":[],"changed":[]}}]}}"#
    );
    let past: Past = serde_json::from_str(&text).expect("the past");
    state.recall(&past, Duration::ZERO);
}
