//! Filling a table, and filling it otherwise when members change.

use super::order::{Back, Order, Size};
use super::rest::share_out;
use super::{Member, mix, seed};

/// Nobody.
const NONE: u16 = u16::MAX;
/// Larger tables are filled up to where each slot was visited so often on average, in binary logarithms: what
/// is left then, some 0.6 %, is shared out. To the end some members would visit nearly every slot.
const VISITS: u64 = 12 << 24;
const ALWAYS_TO_THE_END: u32 = 65_536;
/// When more members than these come and go at once, filling anew is quicker: it takes as long as some thirty changes,
/// however many members there are.
const MANY: usize = 24;

/// Members that are looked through together.
const LANES: usize = 16;
/// Bits for each slot of a larger table, each for the members of every so many groups.
const GROUPS: usize = u64::BITS as usize;

/// A table with what it takes to change it: see [`super`].
///
/// It is a stable matching. Everybody ranks by time: a slot prefers who visits it earlier, a member what it
/// visits earlier, up to its share. Ranks that agree so allow one stable matching only. So it does
/// not matter in which order it was come to, and from one to the next the way is short.
#[derive(Clone, Debug)]
pub struct Filling {
    size: Size,
    /// As they were given, with their places.
    members: Vec<(Member, u16)>,
    places: Places,
    free: Vec<u16>,
    /// Who took each slot.
    takers: Vec<u16>,
    /// Groups of members some of whom may have visited a slot, a bit each: of larger tables, where a slot has few visitors.
    visitors: Vec<u64>,
    /// Slots that nobody took, and who has them.
    rest: Vec<(u32, u16)>,
    /// Slots that may have changed; they are not counted while it is filled anew.
    touched: Vec<u32>,
    anew: bool,
}

/// Members by place, column by column: that is looked through for every slot that becomes free.
#[derive(Clone, Debug, Default)]
struct Places {
    order: Vec<Order>,
    /// Orders the other way round.
    start: Vec<u32>,
    step: Vec<u32>,
    factor: Vec<u32>,
    /// Turns taken: it visited these slots and has, of them, those that nobody visited earlier.
    turns: Vec<u32>,
    /// Turns that it may take.
    end: Vec<u32>,
    seed: Vec<u64>,
    weight: Vec<u64>,
    backend: Vec<u32>,
    has: Vec<u32>,
    share: Vec<u32>,
}

impl Filling {
    /// A table of so many slots (a power of two) and without members.
    pub fn new(slots: u32) -> Self {
        Self {
            size: Size::new(slots),
            members: Vec::new(),
            places: Places::default(),
            free: Vec::new(),
            takers: vec![NONE; slots as usize],
            visitors: match slots > ALWAYS_TO_THE_END {
                true => vec![0; slots as usize],
                false => Vec::new(),
            },
            rest: Vec::new(),
            touched: Vec::new(),
            anew: true,
        }
    }

    /// Whether it is of so many slots, for these members (in order).
    pub fn is_of(&self, slots: u32, members: &[Member]) -> bool {
        self.size.slots() == slots && self.members.iter().map(|(member, _)| member).eq(members)
    }

    /// The backend of every slot. There must be members.
    pub fn table(&self) -> Vec<u32> {
        let backend = |taker: &u16| self.places.backend.get(usize::from(*taker));
        let mut table: Vec<u32> = self
            .takers
            .iter()
            .map(|taker| backend(taker).copied().unwrap_or(u32::MAX))
            .collect();
        for (slot, place) in &self.rest {
            table[*slot as usize] = self.places.backend[usize::from(*place)];
        }
        table
    }

    /// From now on for these members, in order and at least one. Returns the slots that may have changed, with their backends.
    pub fn set(&mut self, members: &[Member]) -> Vec<(u32, u32)> {
        self.touched.clear();
        self.touched.extend(self.rest.iter().map(|(slot, _)| *slot));
        let mut vacant = self.exchange(members);
        self.shares();
        self.ends();
        for place in 0..self.places.order.len() {
            while self.places.turns[place] > self.places.end[place] {
                vacant.extend(self.turn_back(place));
            }
        }
        vacant.into_iter().for_each(|slot| self.vacant(slot));
        for place in 0..self.places.order.len() {
            while self.places.has[place] > self.places.share[place] {
                let slot = self.last(place);
                self.vacant(slot);
            }
        }
        self.advance();
        if std::mem::take(&mut self.anew) {
            self.touched = (0..self.size.slots()).collect();
        } else {
            self.touched.sort_unstable();
            self.touched.dedup();
        }
        self.share_out();
        let mut rest = self.rest.iter().peekable();
        let backends = self.touched.iter().map(|&slot| {
            let left = rest.next_if(|(left, _)| *left == slot);
            let taker = left.map_or(self.takers[slot as usize], |(_, place)| *place);
            (slot, self.places.backend[usize::from(taker)])
        });
        backends.collect()
    }

    /// Takes out members that are not among these, takes in those that were not, and weighs those anew that have another
    /// weight. Returns slots that nobody has now.
    fn exchange(&mut self, members: &[Member]) -> Vec<u32> {
        let (mut go, mut come, mut now) = (Vec::new(), Vec::new(), Vec::new());
        let mut weighed = Vec::new();
        let is_same = |one: &Member, other: &Member| {
            (one.address, one.port, one.backend) == (other.address, other.port, other.backend)
        };
        let mut before = self.members.iter().copied().peekable();
        for &member in members {
            while let Some((_, place)) =
                before.next_if(|(before, _)| *before < member && !is_same(before, &member))
            {
                go.push(place);
            }
            let stays = before.next_if(|(before, _)| is_same(before, &member));
            match stays {
                Some((before, place)) if before.weight != member.weight => {
                    weighed.push((place, member.weight));
                }
                Some(_) => (),
                None => come.push(now.len()),
            }
            now.push((member, stays.map_or(NONE, |(_, place)| place)));
        }
        go.extend(before.map(|(_, place)| place));
        if !self.members.is_empty() && go.len() + come.len() + weighed.len() > MANY {
            *self = Self::new(self.size.slots());
            go.clear();
            weighed.clear();
            come = (0..now.len()).collect();
        }
        let mut vacant = Vec::new();
        for place in go {
            self.take_out(place, &mut vacant);
        }
        for (place, weight) in weighed {
            self.weigh(place, u64::from(weight), &mut vacant);
        }
        for at in come {
            now[at].1 = self.take_in(&now[at].0);
        }
        self.members = now;
        vacant
    }

    fn take_out(&mut self, place: u16, vacant: &mut Vec<u32>) {
        let at = usize::from(place);
        while self.places.turns[at] > 0 {
            vacant.extend(self.turn_back(at));
        }
        self.places.weight[at] = 0;
        self.places.share[at] = 0;
        self.free.push(place);
    }

    /// Gives a member another weight. Its time runs otherwise now: of the slots that it visited it takes those that it
    /// visited first, and those that it has are free to whom that is so of.
    fn weigh(&mut self, place: u16, weight: u64, vacant: &mut Vec<u32>) {
        let at = usize::from(place);
        let is_faster = weight > self.places.weight[at];
        self.places.weight[at] = weight;
        for turn in 0..self.places.turns[at] {
            let slot = self.size.slot(self.places.order[at], turn);
            let taker = self.takers[slot as usize];
            if taker == place && !is_faster {
                self.takers[slot as usize] = NONE;
                self.places.has[at] -= 1;
                self.touch(slot);
                vacant.push(slot);
            } else if taker != place && taker != NONE && is_faster {
                self.contend((at, turn), slot, usize::from(taker));
            }
        }
    }

    /// Gives the slot to a member at this turn of its if that is before the taker's. Whether it is.
    fn contend(&mut self, (place, turn): (usize, u32), slot: u32, taker: usize) -> bool {
        let is_earlier = self.is_earlier((place, turn), (taker, self.turn(taker, slot)));
        if is_earlier {
            self.give(slot, place);
            self.places.has[taker] -= 1;
        }
        is_earlier
    }

    fn take_in(&mut self, member: &Member) -> u16 {
        let places = &mut self.places;
        let place = self.free.pop().unwrap_or_else(|| {
            let place = places.order.len();
            places.grow(place + 1);
            place as u16
        });
        let (at, seed) = (usize::from(place), seed(member));
        let order = Order::new(seed, mix(seed));
        let Back {
            start,
            step,
            factor,
        } = order.back();
        places.order[at] = order;
        (places.start[at], places.step[at], places.factor[at]) = (start, step, factor);
        places.seed[at] = seed;
        places.weight[at] = u64::from(member.weight);
        places.backend[at] = member.backend;
        place
    }

    /// Exact shares; what is left over goes to those who were cut most (largest remainder).
    fn shares(&mut self) {
        let places = &mut self.places;
        let (slots, total) = (u64::from(self.size.slots()), places.total());
        let mut left = slots;
        let mut cut = Vec::with_capacity(self.members.len());
        for &(member, place) in &self.members {
            let at = usize::from(place);
            let share = slots * places.weight[at] / total;
            places.share[at] = share as u32;
            left -= share;
            let rest = slots * places.weight[at] % total;
            cut.push((u64::MAX - rest, places.seed[at], member, place));
        }
        let left = left as usize;
        if left > 0 {
            // Fewer are left over than there are members.
            cut.select_nth_unstable(left - 1);
            for (_, _, _, place) in &cut[..left] {
                places.share[usize::from(*place)] += 1;
            }
        }
    }

    /// How far each may go: all have the same time.
    fn ends(&mut self) {
        let (size, slots) = (self.size, self.size.slots());
        let total = self.places.total();
        let mut known = (0, 0);
        for (end, &weight) in self.places.end.iter_mut().zip(&self.places.weight) {
            if known.0 != weight {
                let (mut low, mut high) = (0, slots);
                while low < high && slots > ALWAYS_TO_THE_END {
                    let middle = low.midpoint(high);
                    if size.time(middle) * total <= VISITS * weight {
                        low = middle + 1;
                    } else {
                        high = middle;
                    }
                }
                known = (weight, high);
            }
            *end = known.1;
        }
    }

    /// Takes a member's last turn back. Returns the slot, if it had it.
    fn turn_back(&mut self, place: usize) -> Option<u32> {
        let places = &mut self.places;
        places.turns[place] -= 1;
        let slot = self.size.slot(places.order[place], places.turns[place]);
        let taker = &mut self.takers[slot as usize];
        if usize::from(*taker) != place {
            return None;
        }
        *taker = NONE;
        places.has[place] -= 1;
        self.touch(slot);
        Some(slot)
    }

    /// Takes the slot from a member that it visited last of those it has.
    fn last(&mut self, place: usize) -> u32 {
        loop {
            if let Some(slot) = self.turn_back(place) {
                return slot;
            }
        }
    }

    /// Gives a slot to who visited it next; who has too many then gives its last away, and so on. Times go up, so
    /// this ends.
    fn vacant(&mut self, mut slot: u32) {
        while let Some(place) = self.next_visitor(slot) {
            self.give(slot, place);
            if self.places.has[place] <= self.places.share[place] {
                return;
            }
            slot = self.last(place);
        }
    }

    fn give(&mut self, slot: u32, place: usize) {
        self.takers[slot as usize] = place as u16;
        self.places.has[place] += 1;
        self.touch(slot);
    }

    fn touch(&mut self, slot: u32) {
        if !self.anew {
            self.touched.push(slot);
        }
    }

    /// Who visited a slot earliest of all.
    fn next_visitor(&mut self, slot: u32) -> Option<usize> {
        let known = self.visitors.get(slot as usize);
        let (mut groups, mut found) = (known.copied().unwrap_or(u64::MAX), 0);
        let mut first = None;
        while groups != 0 {
            let group = groups.trailing_zeros() as usize;
            groups &= groups - 1;
            for begin in (group * LANES..self.places.order.len()).step_by(GROUPS * LANES) {
                let visited = self.visited(begin, slot);
                found |= u64::from(visited != 0) << group;
                first = self.earliest(begin, visited, slot, first);
            }
        }
        if let Some(known) = self.visitors.get_mut(slot as usize) {
            *known = found;
        }
        first.map(|(place, _)| place)
    }

    /// Who of the members from this one on visited a slot, a byte each.
    fn visited(&self, begin: usize, slot: u32) -> u128 {
        let places = &self.places;
        let (starts, steps) = (&places.start[begin..], &places.step[begin..]);
        let backs = starts.iter().zip(steps).zip(&places.factor[begin..]);
        // To find them is what costs; the compiler makes this loop wide.
        let mut visited = [0; LANES];
        for ((visited, ((&start, &step), &factor)), turns) in
            visited.iter_mut().zip(backs).zip(&places.turns[begin..])
        {
            let back = Back {
                start,
                step,
                factor,
            };
            *visited = u8::from(self.size.turn(back, slot) < *turns);
        }
        u128::from_le_bytes(visited)
    }

    /// Who of those, and of one more, visited the slot earliest, and when.
    fn earliest(
        &self,
        begin: usize,
        mut visited: u128,
        slot: u32,
        mut first: Option<(usize, u32)>,
    ) -> Option<(usize, u32)> {
        while visited != 0 {
            let place = begin + visited.trailing_zeros() as usize / 8;
            visited &= visited - 1;
            let turn = (place, self.turn(place, slot));
            if first.is_none_or(|first| self.is_earlier(turn, first)) {
                first = Some(turn);
            }
        }
        first
    }

    fn turn(&self, place: usize, slot: u32) -> u32 {
        let back = Back {
            start: self.places.start[place],
            step: self.places.step[place],
            factor: self.places.factor[place],
        };
        self.size.turn(back, slot)
    }

    /// Whether a member's turn is before another's.
    fn is_earlier(&self, one: (usize, u32), other: (usize, u32)) -> bool {
        let places = &self.places;
        let (weight, others) = (places.weight[one.0], places.weight[other.0]);
        let order = if weight == others {
            one.1.cmp(&other.1)
        } else {
            // Time runs by the weight.
            let time = self.size.time(one.1) * others;
            time.cmp(&(self.size.time(other.1) * weight))
        };
        let seeds = || places.seed[one.0].cmp(&places.seed[other.0]);
        order.then_with(seeds).is_lt()
    }

    /// Members without their share go on visiting slots, and so do those whose slots they take.
    fn advance(&mut self) {
        let mut wanting: Vec<usize> = (0..self.places.order.len()).collect();
        while let Some(place) = wanting.pop() {
            while self.places.has[place] < self.places.share[place]
                && self.places.turns[place] < self.places.end[place]
            {
                let turn = self.places.turns[place];
                self.places.turns[place] += 1;
                let slot = self.size.slot(self.places.order[place], turn);
                if let Some(visitors) = self.visitors.get_mut(slot as usize) {
                    *visitors |= 1 << (place / LANES % GROUPS);
                }
                let taker = usize::from(self.takers[slot as usize]);
                if taker == usize::from(NONE) {
                    self.give(slot, place);
                    continue;
                }
                if self.contend((place, turn), slot, taker) {
                    wanting.push(taker);
                }
            }
        }
    }

    /// Shares out what nobody took: slots that were touched, and what was shared out before is.
    fn share_out(&mut self) {
        let touched = self.touched.iter().copied();
        let free = touched.filter(|slot| self.takers[*slot as usize] == NONE);
        let slots = free.map(|slot| (mix(u64::from(slot)), slot));
        let places = &self.places;
        let wanting = self.members.iter().flat_map(|(_, place)| {
            let at = usize::from(*place);
            let wants = places.share[at] - places.has[at];
            (0..wants).map(move |number| (mix(places.seed[at] ^ u64::from(number)), *place))
        });
        self.rest = share_out(slots, wanting);
        self.rest.sort_unstable();
    }
}

impl Places {
    fn grow(&mut self, places: usize) {
        self.order.resize(places, Order::default());
        self.seed.resize(places, 0);
        self.weight.resize(places, 0);
        for column in [
            &mut self.start,
            &mut self.step,
            &mut self.factor,
            &mut self.turns,
            &mut self.end,
            &mut self.backend,
            &mut self.has,
            &mut self.share,
        ] {
            column.resize(places, 0);
        }
    }

    fn total(&self) -> u64 {
        self.weight.iter().sum()
    }
}
