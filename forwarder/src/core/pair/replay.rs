//! Which numbered messages of a process have come already, whatever their order.

/// So far behind the latest a message may come, and is new all the same.
const WINDOW: u64 = 4096;

/// A window of numbers, as in RFC 4303 section 3.4.3.
#[derive(Clone, Debug)]
pub struct Replay {
    latest: u64,
    seen: [u64; (WINDOW / 64) as usize],
}

impl Default for Replay {
    fn default() -> Self {
        Self {
            latest: 0,
            seen: [0; (WINDOW / 64) as usize],
        }
    }
}

impl Replay {
    /// Whether an authentic message with this number (they begin with 1) is new; from now on it is not.
    pub fn is_new(&mut self, number: u64) -> bool {
        if number > self.latest {
            // Places that numbers in between will have: whoever had them is out of the window.
            let passed = (number - self.latest).min(WINDOW);
            for number in number - passed + 1..=number {
                self.set(number, false);
            }
            self.latest = number;
        } else if number == 0 || self.latest - number >= WINDOW || self.has(number) {
            return false;
        }
        self.set(number, true);
        true
    }

    fn has(&self, number: u64) -> bool {
        let at = number % WINDOW;
        self.seen[(at / 64) as usize] >> (at % 64) & 1 == 1
    }

    fn set(&mut self, number: u64, seen: bool) {
        let at = number % WINDOW;
        let word = &mut self.seen[(at / 64) as usize];
        *word = *word & !(1 << (at % 64)) | u64::from(seen) << (at % 64);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_number_is_new_once_in_any_order() {
        let mut replay = Replay::default();
        assert!(!replay.is_new(0));
        for number in [1, 3, 2, 5, 4 + WINDOW, 5 + WINDOW] {
            assert!(replay.is_new(number), "{number}");
            assert!(!replay.is_new(number), "{number}");
        }
        assert!(!replay.is_new(4), "behind the window");
        assert!(replay.is_new(6));
        assert!(replay.is_new(u64::MAX));
        assert!(!replay.is_new(6) && !replay.is_new(u64::MAX));
    }

    proptest! {
        #[test]
        fn nothing_is_new_twice_and_what_is_in_the_window_is_new_once(
            steps in prop::collection::vec((0..3 * WINDOW, 0..2 * WINDOW), 1..300)
        ) {
            let (mut replay, mut seen, mut latest) = (Replay::default(), BTreeSet::new(), 1);
            for (forward, back) in steps {
                let number = (latest + forward / 8).saturating_sub(back);
                let expected = number > 0 && number + WINDOW > latest && !seen.contains(&number);
                prop_assert_eq!(replay.is_new(number), expected || number > latest);
                latest = latest.max(number);
                seen.insert(number);
            }
        }
    }
}
