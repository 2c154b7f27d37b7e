//! Bytes whose every position is known: what a transfer must deliver, checked without keeping it.

/// The byte at a position of every transfer. Neighbouring packets and equal offsets in them differ.
pub fn byte(position: u64) -> u8 {
    let mixed = (position / 8)
        .wrapping_mul(0x9e37_79b9_7f4a_7c15)
        .rotate_left(17);
    mixed.to_le_bytes()[(position % 8) as usize]
}

/// Fills a buffer that stands at `position`.
pub fn fill(position: u64, buffer: &mut [u8]) {
    for (at, byte) in (position..).zip(buffer) {
        *byte = self::byte(at);
    }
}

/// Where a buffer that stands at `position` first differs from the pattern.
pub fn first_difference(position: u64, buffer: &[u8]) -> Option<u64> {
    (position..)
        .zip(buffer)
        .find(|(at, found)| byte(*at) != **found)
        .map(|(at, _)| at)
}

#[cfg(test)]
mod tests {
    use super::{fill, first_difference};

    #[test]
    fn finds_the_first_wrong_byte() {
        let mut buffer = [0; 5000];
        fill(1461, &mut buffer);
        assert_eq!(first_difference(1461, &buffer), None);
        assert!(first_difference(1460, &buffer).is_some());
        buffer[4000] ^= 1;
        assert_eq!(first_difference(1461, &buffer), Some(5461));
    }
}
