//! The internet checksum, changed incrementally (RFC 1071, RFC 1624).
//!
//! A ones' complement sum does not care about byte order, so everything works on words as loaded.

/// Folds a sum of 16- and 32-bit words to 16 bits.
#[inline(always)]
pub const fn fold(sum: u64) -> u16 {
    let sum = (sum & 0xffff_ffff) + (sum >> 32);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    sum as u16
}

/// What changed under a checksum: a sum of old words taken out and new words put in.
#[derive(Clone, Copy, Debug, Default)]
pub struct Change(u64);

impl Change {
    /// Nothing changed yet.
    #[inline(always)]
    pub const fn none() -> Self {
        Self(0)
    }

    /// A 32-bit word changed.
    #[inline(always)]
    #[must_use]
    pub const fn word(self, old: u32, new: u32) -> Self {
        Self(self.0 + !old as u64 + new as u64)
    }

    /// A 16-bit word changed.
    #[inline(always)]
    #[must_use]
    pub const fn half(self, old: u16, new: u16) -> Self {
        Self(self.0 + !old as u64 + new as u64)
    }

    /// Both changes.
    #[inline(always)]
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }

    /// The checksum after the change (RFC 1624, equation 3).
    #[inline(always)]
    pub const fn apply(self, checksum: u16) -> u16 {
        !fold(!checksum as u64 + self.0)
    }

    /// A UDP checksum after the change: zero (none) stays zero, a result of zero is sent as 0xffff.
    #[inline(always)]
    pub const fn apply_udp(self, checksum: u16) -> u16 {
        if checksum == 0 {
            return 0;
        }
        match self.apply(checksum) {
            0 => 0xffff,
            changed => changed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full(words: &[u16]) -> u16 {
        !fold(words.iter().map(|word| u64::from(*word)).sum())
    }

    #[test]
    fn incremental_equals_full_for_corner_words() {
        let corners = [0u16, 1, 0x7fff, 0x8000, 0xfffe, 0xffff, 0x1234];
        for old in corners {
            for new in corners {
                for rest in corners {
                    for other in corners {
                        if rest == 0 && other == 0 && (old == 0 || new == 0) {
                            continue; // A header is never all zero.
                        }
                        let before = full(&[old, rest, other]);
                        let after = Change::none().half(old, new).apply(before);
                        assert_eq!(
                            after,
                            full(&[new, rest, other]),
                            "{old:x} {new:x} {rest:x} {other:x}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn udp_zero_stays_zero_and_is_never_made() {
        assert_eq!(Change::none().word(1, 2).apply_udp(0), 0);
        for new in 0..=0xffffu16 {
            let before = full(&[0x1234, 0x5678]);
            assert_ne!(Change::none().half(0x1234, new).apply_udp(before), 0);
        }
    }
}
