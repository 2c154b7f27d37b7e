//! The order in which a member visits the slots of a table, and when.

/// Orders of all members are of this size: slots, a power of two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    bits: u32,
}

/// What tells one member's order from another's.
#[derive(Clone, Copy, Debug, Default)]
pub struct Order {
    start: u32,
    /// Odd, as the factor: so multiplying is a bijection of the slots.
    step: u32,
    factor: u32,
}

/// An order the other way round: from slots to turns.
#[derive(Clone, Copy, Debug, Default)]
pub struct Back {
    pub start: u32,
    pub step: u32,
    pub factor: u32,
}

impl Order {
    /// The order that two numbers give whose bits look random.
    pub fn new(seed: u64, again: u64) -> Self {
        Self {
            start: (seed >> 32) as u32,
            step: seed as u32 | 1,
            factor: again as u32 | 1,
        }
    }

    /// The other way round.
    pub fn back(self) -> Back {
        Back {
            start: self.start,
            step: inverse(self.step),
            factor: inverse(self.factor),
        }
    }
}

/// Each round of Newton's doubles the bits that are right; at first three are.
const fn inverse(odd: u32) -> u32 {
    let mut found = odd;
    let mut round = 0;
    while round < 4 {
        found = found.wrapping_mul(2u32.wrapping_sub(odd.wrapping_mul(found)));
        round += 1;
    }
    found
}

impl Size {
    /// Of so many slots.
    pub fn new(slots: u32) -> Self {
        Self {
            bits: slots.trailing_zeros(),
        }
    }

    /// Slots.
    pub fn slots(self) -> u32 {
        1 << self.bits
    }

    fn mask(self) -> u32 {
        self.slots() - 1
    }

    /// Undone by doing it again.
    #[inline(always)]
    fn fold(self, word: u32) -> u32 {
        word ^ word >> self.bits.div_ceil(2)
    }

    /// The slot that is visited at a turn.
    ///
    /// Steps alone would do, but those of two members run in parallel for long stretches; mixed,
    /// the orders are independent.
    pub fn slot(self, order: Order, turn: u32) -> u32 {
        let word = turn.wrapping_mul(order.step).wrapping_add(order.start) & self.mask();
        let word = self.fold(word).wrapping_mul(order.factor) & self.mask();
        self.fold(word)
    }

    /// The turn at which a slot is visited.
    #[inline(always)]
    pub fn turn(self, back: Back, slot: u32) -> u32 {
        let word = self.fold(slot).wrapping_mul(back.factor) & self.mask();
        let word = self.fold(word).wrapping_sub(back.start);
        word.wrapping_mul(back.step) & self.mask()
    }

    /// When a member of weight 1 has its turn, as if it visited every slot after a random time that is
    /// exponentially distributed: the binary logarithm of all slots ÷ those not visited yet, in 2⁻²⁴.
    pub fn time(self, turn: u32) -> u64 {
        let left = (u64::from(self.slots() - turn) << 32) >> self.bits;
        let whole = left.ilog2();
        let fraction = (left << (40 - whole)) - (1 << 40);
        let (at, between) = ((fraction >> 32) as usize, fraction & u64::from(u32::MAX));
        let (low, high) = (LOGARITHMS[at], LOGARITHMS[at + 1]);
        let logarithm = (u64::from(whole) << 24) + low + (((high - low) * between) >> 32);
        (32 << 24) - logarithm
    }
}

/// Binary logarithms of 1 to 2 in steps of 1/256, in 2⁻²⁴.
static LOGARITHMS: [u64; 257] = {
    let mut table = [1 << 24; 257];
    let mut at = 0;
    while at < 256 {
        table[at] = logarithm(256 + at as u64);
        at += 1;
    }
    table
};

/// Of 256ths, 1 to 2; squaring doubles the logarithm, whose next binary digit is then before the point.
const fn logarithm(number: u64) -> u64 {
    let (mut square, mut digits, mut digit) = (number << 23, 0, 0);
    while digit < 24 {
        square = (square * square) >> 31;
        let one = square >> 32;
        digits = digits << 1 | one;
        square >>= one;
        digit += 1;
    }
    digits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_slot_has_one_turn() {
        for bits in [0, 1, 2, 7, 14] {
            let size = Size::new(1 << bits);
            let order = Order::new(0x1234_5678_9abc_def0, 0x0fed_cba9_8765_4321);
            for turn in 0..size.slots() {
                let slot = size.slot(order, turn);
                assert!(slot < size.slots());
                assert_eq!(size.turn(order.back(), slot), turn);
            }
        }
    }

    #[test]
    fn times_are_logarithms_and_go_up() {
        for bits in [0, 1, 14, 20] {
            let size = Size::new(1 << bits);
            let mut last = None;
            for turn in 0..size.slots() {
                let time = size.time(turn);
                let exact = -(1.0 - f64::from(turn) / f64::from(size.slots())).log2();
                assert!((time as f64 / f64::from(1 << 24) - exact).abs() < 1e-5);
                // Else members of other weights could stand in a circle.
                assert!(last.is_none_or(|last| time > last));
                last = Some(time);
            }
        }
    }
}
