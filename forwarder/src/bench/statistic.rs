//! What can be said about numbers that scatter.

use serde::{Deserialize, Serialize};

/// A median and how far off the others are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// Median.
    pub median: f64,
    /// Median absolute deviation from it.
    pub mad: f64,
}

impl Spread {
    /// Of some values; zeros of none.
    pub fn of(values: impl Iterator<Item = f64>) -> Self {
        let values: Vec<f64> = values.collect();
        let median = median(values.clone());
        let mad = median_of(values.iter().map(|value| (value - median).abs()));
        Self { median, mad }
    }

    /// Whether the difference is larger than what both scatter by.
    pub fn differs(self, other: Self) -> bool {
        (self.median - other.median).abs() > self.mad + other.mad
    }
}

/// The median; 0 of none.
pub fn median_of(values: impl Iterator<Item = f64>) -> f64 {
    median(values.collect())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => 0.0,
        length if length % 2 == 1 => values[middle],
        _ => f64::midpoint(values[middle - 1], values[middle]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spread(values: &[f64]) -> Spread {
        Spread::of(values.iter().copied())
    }

    #[test]
    fn one_wild_value_moves_nothing() {
        let calm = spread(&[9.0, 10.0, 11.0, 10.0, 10.0]);
        let wild = spread(&[9.0, 10.0, 11.0, 10.0, 1e6]);
        assert_eq!((calm.median, calm.mad), (10.0, 0.0));
        assert_eq!((wild.median, wild.mad), (10.0, 1.0));
        assert_eq!(spread(&[1.0, 2.0, 3.0, 10.0]).median, 2.5);
        assert_eq!(spread(&[1.0, 2.0, 3.0, 10.0]).mad, 1.0);
        assert_eq!(spread(&[]), Spread::default());
    }

    #[test]
    fn what_scatters_has_no_winner() {
        let (one, two) = (spread(&[8.0, 10.0, 12.0]), spread(&[9.0, 11.0, 13.0]));
        assert!(!one.differs(two));
        assert!(!one.differs(one));
        assert!(one.differs(spread(&[19.0, 20.0, 21.0])));
    }
}
