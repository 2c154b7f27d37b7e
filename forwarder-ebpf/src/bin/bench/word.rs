//! Words of a packet, at an address whose bounds the caller has checked.

#[inline(always)]
pub fn load(address: usize) -> u32 {
    // SAFETY: the callers have checked the bounds; packets have no alignment.
    unsafe { (address as *const u32).read_unaligned() }
}

#[inline(always)]
pub fn store(address: usize, word: u32) {
    // SAFETY: as above.
    unsafe { (address as *mut u32).write_unaligned(word) };
}
