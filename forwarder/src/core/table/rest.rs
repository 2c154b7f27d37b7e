//! Slots that nobody took in time, for members that have not got their share.

/// A thing on the ring.
enum Thing {
    Slot(u32),
    /// A member, by its place.
    Wanting(u16),
}

/// Shares out: `slots`, and members with their seeds and how many slots they want; as many as there are.
/// Returns slots and places of members.
///
/// Slots and wants lie on a ring where a hash puts them, and a slot goes to the want before it that has none
/// yet, as brackets match: so one of each more changes little.
pub fn share_out(
    slots: impl Iterator<Item = (u64, u32)>,
    wanting: impl Iterator<Item = (u64, u16)>,
) -> Vec<(u32, u16)> {
    let slots = slots.map(|(point, slot)| (point, Thing::Slot(slot)));
    let wanting = wanting.map(|(point, place)| (point, Thing::Wanting(place)));
    let mut ring: Vec<(u64, Thing)> = slots.chain(wanting).collect();
    ring.sort_unstable_by_key(|(point, _)| *point);
    let (mut open, mut early, mut shared) = (Vec::new(), Vec::new(), Vec::new());
    for (_, thing) in ring {
        match thing {
            Thing::Wanting(place) => open.push(place),
            Thing::Slot(slot) => match open.pop() {
                Some(place) => shared.push((slot, place)),
                None => early.push(slot),
            },
        }
    }
    // Once more around.
    shared.extend(early.into_iter().zip(open.into_iter().rev()));
    shared
}
