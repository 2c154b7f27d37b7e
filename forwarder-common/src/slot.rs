//! One slot of a lookup table.

/// Bits of a backend index inside a slot.
const INDEX: u64 = 0x00ff_ffff;
const PREVIOUS_SHIFT: u32 = 32;
const CHANGED: u64 = 1 << 63;
const GRACE: u64 = 1 << 62;

/// A backend index that is never given away: no next hop, keeps no flows. The current backend of
/// slots whose pool takes no new flows while some backend still keeps its own.
pub const NOWHERE: u32 = 0;

/// A lookup-table slot in one 64-bit word, so that a change is one atomic store.
///
/// Bits 0–23: current backend. Bits 32–55: previous backend. Bit 63: the slot has changed and
/// exceptions must be consulted. Bit 62: UDP still goes to the previous backend.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Slot(pub u64);

// SAFETY: a transparent u64.
#[cfg(feature = "user")]
unsafe impl aya::Pod for Slot {}

impl Slot {
    /// A slot that never changed.
    #[inline(always)]
    pub const fn new(current: u32) -> Self {
        Self(current as u64 & INDEX)
    }

    /// A slot whose backend changed from `previous`; `grace` keeps UDP on `previous`.
    #[inline(always)]
    pub const fn changed(current: u32, previous: u32, grace: bool) -> Self {
        let grace = if grace { GRACE } else { 0 };
        Self(
            (current as u64 & INDEX)
                | ((previous as u64 & INDEX) << PREVIOUS_SHIFT)
                | CHANGED
                | grace,
        )
    }

    /// The backend that new flows take.
    #[inline(always)]
    pub const fn current(self) -> u32 {
        (self.0 & INDEX) as u32
    }

    /// The backend that flows from before the change keep.
    #[inline(always)]
    pub const fn previous(self) -> u32 {
        ((self.0 >> PREVIOUS_SHIFT) & INDEX) as u32
    }

    /// Whether the slot has changed.
    #[inline(always)]
    pub const fn is_changed(self) -> bool {
        self.0 & CHANGED != 0
    }

    /// Whether UDP still goes to the previous backend.
    #[inline(always)]
    pub const fn in_grace(self) -> bool {
        self.0 & GRACE != 0
    }
}
