//! SipHash-2-4 (Aumasson and Bernstein, 2012) of whole words: what authenticates echoes between nodes.

/// A key: its two words, the first eight bytes little endian, then the others.
pub type SipKey = [u64; 2];

/// The 64-bit tag of a message of whole words, each the little-endian value of eight bytes.
#[inline(always)]
pub fn tag<const N: usize>(key: &SipKey, words: &[u64; N]) -> u64 {
    let mut state = [
        key[0] ^ 0x736f_6d65_7073_6575,
        key[1] ^ 0x646f_7261_6e64_6f6d,
        key[0] ^ 0x6c79_6765_6e65_7261,
        key[1] ^ 0x7465_6462_7974_6573,
    ];
    let mut index = 0;
    while index < N {
        absorb(&mut state, words[index]);
        index += 1;
    }
    // The length in bytes, in the last byte of a word without any rest.
    absorb(&mut state, ((N as u64 * 8) & 0xff) << 56);
    state[2] ^= 0xff;
    round(&mut state);
    round(&mut state);
    round(&mut state);
    round(&mut state);
    state[0] ^ state[1] ^ state[2] ^ state[3]
}

#[inline(always)]
fn absorb(state: &mut [u64; 4], word: u64) {
    state[3] ^= word;
    round(state);
    round(state);
    state[0] ^= word;
}

#[inline(always)]
fn round(state: &mut [u64; 4]) {
    let [mut a, mut b, mut c, mut d] = *state;
    a = a.wrapping_add(b);
    c = c.wrapping_add(d);
    b = b.rotate_left(13) ^ a;
    d = d.rotate_left(16) ^ c;
    a = a.rotate_left(32);
    c = c.wrapping_add(b);
    a = a.wrapping_add(d);
    b = b.rotate_left(17) ^ c;
    d = d.rotate_left(21) ^ a;
    c = c.rotate_left(32);
    *state = [a, b, c, d];
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The reference vectors: key 00 01 … 0f, messages 00 01 02 … of each length.
    #[test]
    fn agrees_with_the_reference_vectors() {
        let key = [0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908];
        assert_eq!(tag::<0>(&key, &[]), 0x726f_db47_dd0e_0e31);
        assert_eq!(tag(&key, &[0x0706_0504_0302_0100]), 0x93f5_f579_9a93_2462);
    }
}
