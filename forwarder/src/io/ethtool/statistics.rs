//! The counters that a driver keeps by itself.

use super::{ask_at, info};

const ETHTOOL_GSTRINGS: u32 = 0x1b;
const ETHTOOL_GSTATS: u32 = 0x1d;
/// The string set of `ETHTOOL_GSTATS`.
const ETH_SS_STATS: u32 = 1;
/// Length of a counter's name.
const NAME: usize = 32;
/// More counters than any driver has.
const MOST_COUNTERS: usize = 16_384;

/// The driver's own counters, by name; empty where it has none.
pub fn statistics(device: &str) -> Vec<(String, u64)> {
    read_statistics(device).unwrap_or_default()
}

fn read_statistics(device: &str) -> Option<Vec<(String, u64)>> {
    let count = info(device)?.n_stats as usize;
    if count == 0 || count > MOST_COUNTERS {
        return None;
    }
    // The kernel writes as many as the driver has by then, which may be more than it just said: there is
    // always room for the most. Words of eight bytes, since counters are.
    let mut names = vec![0_u64; 2 + MOST_COUNTERS * NAME / 8];
    names[0] = u64::from_ne_bytes(words(ETHTOOL_GSTRINGS, ETH_SS_STATS));
    // SAFETY: `struct ethtool_gstrings` is 12 bytes and the names, for which there is room.
    unsafe { ask_at(device, names.as_mut_ptr().cast()) }.ok()?;
    let mut values = vec![0_u64; 1 + MOST_COUNTERS];
    values[0] = u64::from_ne_bytes(words(ETHTOOL_GSTATS, u32::try_from(count).ok()?));
    // SAFETY: `struct ethtool_stats` is 8 bytes and the counters, for which there is room.
    unsafe { ask_at(device, values.as_mut_ptr().cast()) }.ok()?;
    let bytes: Vec<u8> = names.iter().flat_map(|word| word.to_ne_bytes()).collect();
    Some(named(&bytes[12..], &values[1..=count]))
}

/// Values with the names that stand in the driver's text, [`NAME`] bytes each.
fn named(names: &[u8], values: &[u64]) -> Vec<(String, u64)> {
    let names = names.chunks_exact(NAME).map(|name| {
        let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
        String::from_utf8_lossy(name).into_owned()
    });
    names.zip(values.iter().copied()).collect()
}

fn words(first: u32, second: u32) -> [u8; 8] {
    let mut both = [0; 8];
    both[..4].copy_from_slice(&first.to_ne_bytes());
    both[4..].copy_from_slice(&second.to_ne_bytes());
    both
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_end_where_the_driver_ends_them() {
        let mut names = Vec::new();
        for name in ["rx_packets", "a_name_of_thirty_two_bytes_12345"] {
            let mut field = [0; NAME];
            field[..name.len()].copy_from_slice(name.as_bytes());
            names.extend(field);
        }
        let expected = [
            ("rx_packets".to_owned(), 7),
            ("a_name_of_thirty_two_bytes_12345".to_owned(), u64::MAX),
        ];
        assert_eq!(named(&names, &[7, u64::MAX]), expected);
        // A driver that says less than it announced.
        assert_eq!(named(&names, &[7]), expected[..1]);
        assert_eq!(named(&names[..40], &[7, 8]), expected[..1]);
    }
}
