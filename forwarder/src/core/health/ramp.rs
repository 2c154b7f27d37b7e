//! Slow start: a backend that came up gets its share of new flows little by little.

use std::time::Duration;

/// The whole weight. Weights grow in so many steps: each moves slots of the lookup table, so a few
/// larger ones are better than many small ones.
pub const FULL: u8 = 10;

/// The part of its weight, of [`FULL`], that a backend has so long after it came up. Never 0.
pub fn ramp(up: Duration, slow_start: Duration) -> u8 {
    if up >= slow_start {
        return FULL;
    }
    let steps = up.as_nanos() * u128::from(FULL) / slow_start.as_nanos().max(1);
    u8::try_from(steps).unwrap_or(FULL).clamp(1, FULL)
}
