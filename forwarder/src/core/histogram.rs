//! Durations in buckets.

use std::time::Duration;

/// Upper bounds of the buckets, seconds.
pub const BOUNDS: [f64; 12] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0,
];

/// How many observations were how long.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Histogram {
    /// Observations by the first bound that they do not exceed; the last: beyond every bound.
    buckets: [u64; BOUNDS.len() + 1],
    sum: Duration,
}

impl Histogram {
    /// Takes in an observation.
    pub fn observe(&mut self, duration: Duration) {
        let seconds = duration.as_secs_f64();
        let bucket = BOUNDS.iter().position(|bound| seconds <= *bound);
        self.buckets[bucket.unwrap_or(BOUNDS.len())] += 1;
        self.sum += duration;
    }

    /// How many observations do not exceed each bound.
    pub fn cumulative(&self) -> impl Iterator<Item = u64> {
        let mut total = 0;
        self.buckets[..BOUNDS.len()].iter().map(move |count| {
            total += count;
            total
        })
    }

    /// How many observations there were.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// All durations together.
    pub fn sum(&self) -> Duration {
        self.sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn observations_fall_into_their_buckets() {
        let mut histogram = Histogram::default();
        for milliseconds in [0, 1, 2, 100, 60_000] {
            histogram.observe(Duration::from_millis(milliseconds));
        }
        let cumulative: Vec<u64> = histogram.cumulative().collect();
        assert_eq!(cumulative, [1, 2, 3, 3, 3, 3, 3, 4, 4, 4, 4, 4]);
        assert_eq!(histogram.count(), 5);
        assert_eq!(histogram.sum(), Duration::from_millis(60_103));
    }
}
