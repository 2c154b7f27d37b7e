//! Internet checksums over whole data (RFC 1071), and what a change of the data does to one.

use std::net::IpAddr;

use crate::wire;

/// Sum of 16-bit words, big endian, an odd last byte padded with zero; not folded.
pub fn sum(bytes: &[u8]) -> u64 {
    bytes
        .chunks(2)
        .map(|pair| u64::from(pair[0]) << 8 | u64::from(pair.get(1).copied().unwrap_or(0)))
        .sum()
}

/// The checksum of data whose checksum field is zero.
pub fn checksum(total: u64) -> u16 {
    !fold(total)
}

/// One's complement fold: zero only of zero.
pub fn fold(total: u64) -> u16 {
    if total == 0 {
        0
    } else {
        ((total - 1) % 0xffff + 1) as u16
    }
}

/// The pseudo header's sum (RFC 793, RFC 8200 section 8.1).
pub fn pseudo(source: IpAddr, destination: IpAddr, protocol: u8, length: usize) -> u64 {
    sum(&wire::octets(source))
        + sum(&wire::octets(destination))
        + u64::from(protocol)
        + length as u64
}

/// What a stored checksum becomes when the sum of the data it covers (without itself) goes from
/// `before` to `after`: a right one stays right, a wrong one is wrong by as much as it was.
pub fn adjust(stored: u16, before: u64, after: u64) -> u16 {
    let modulus = 0xffff_u64;
    checksum(u64::from(!stored) + after % modulus + modulus - before % modulus)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc_1071_example() {
        let data = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(fold(sum(&data)), 0xddf2);
        assert_eq!(checksum(sum(&data)), 0x220d);
    }

    #[test]
    fn adjusting_a_right_checksum_equals_summing_again() {
        let mut state = 1u64;
        for _ in 0..100_000 {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let (a, b) = (state.to_be_bytes(), state.rotate_left(29).to_be_bytes());
            let before = checksum(sum(&a));
            assert_eq!(adjust(before, sum(&a), sum(&b)), checksum(sum(&b)));
        }
    }

    #[test]
    fn rfc_1624_example() {
        // Section 4: HC = 0xDD2F, m = 0x5555, m' = 0x3285 gives 0x0000.
        assert_eq!(adjust(0xdd2f, 0x5555, 0x3285), 0x0000);
    }
}
