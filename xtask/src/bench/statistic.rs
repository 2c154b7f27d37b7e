//! What can be said about times that scatter.

use std::time::Duration;

/// The smallest value that so many percent do not exceed; 0 of none. With 50 it is the median, of an even
/// number the lower one.
pub fn percentile(values: &mut [f64], percent: usize) -> f64 {
    values.sort_by(f64::total_cmp);
    let rank = (values.len() * percent).div_ceil(100).max(1);
    values.get(rank - 1).copied().unwrap_or(0.0)
}

/// Times in milliseconds.
pub fn milliseconds(times: &[Duration]) -> Vec<f64> {
    times.iter().map(|time| time.as_secs_f64() * 1e3).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_of_few_and_of_many() {
        let of =
            |values: &[f64]| [50, 95, 100].map(|percent| percentile(&mut values.to_vec(), percent));
        assert_eq!(of(&[30.0, 10.0, 20.0]), [20.0, 30.0, 30.0]);
        let twenty: Vec<f64> = (1..=20).map(f64::from).collect();
        assert_eq!(of(&twenty), [10.0, 19.0, 20.0]);
        assert_eq!(of(&[7.0]), [7.0; 3]);
        assert_eq!(of(&[]), [0.0; 3]);
    }

    #[test]
    fn times_are_milliseconds() {
        assert_eq!(milliseconds(&[Duration::from_micros(1_500)]), [1.5]);
    }
}
