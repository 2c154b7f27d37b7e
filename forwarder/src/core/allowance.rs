//! What a cloud allows an instance, by the counters that its network adapter keeps.

/// Of the counters of a driver, those about allowances, without the ends of their names: `pps`, `conntrack` and
/// others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Allowances {
    /// Packets that were held back or dropped because they were more than is allowed.
    pub exceeded: Vec<(String, u64)>,
    /// What is left of an allowance.
    pub available: Vec<(String, u64)>,
}

impl Allowances {
    /// Those among a driver's counters.
    pub fn of(statistics: &[(String, u64)]) -> Self {
        let with = |end: &str| {
            let named = statistics.iter();
            let named = named
                .filter_map(|(name, count)| Some((name.strip_suffix(end)?.to_owned(), *count)));
            named.collect()
        };
        Self {
            exceeded: with("_allowance_exceeded"),
            available: with("_allowance_available"),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// The end of `ethtool -S` of an instance whose connections are tracked.
    pub const SHOWN: &str = "\
     bw_in_allowance_exceeded: 12
     bw_out_allowance_exceeded: 0
     pps_allowance_exceeded: 3481
     conntrack_allowance_exceeded: 0
     linklocal_allowance_exceeded: 2
     conntrack_allowance_available: 136812
     queue_0_rx_cnt: 991204
     queue_0_rx_xdp_tx: 17";

    /// The same as a driver gives it.
    pub fn statistics() -> Vec<(String, u64)> {
        let pairs = SHOWN.lines().filter_map(|line| line.split_once(": "));
        let pairs = pairs.map(|(name, count)| (name.trim().to_owned(), count.parse().unwrap_or(0)));
        pairs.collect()
    }

    #[test]
    fn allowances_are_found_among_other_counters() {
        let named = |pairs: &[(&str, u64)]| -> Vec<(String, u64)> {
            pairs
                .iter()
                .map(|(name, count)| ((*name).to_owned(), *count))
                .collect()
        };
        let found = Allowances::of(&statistics());
        let exceeded = [
            ("bw_in", 12),
            ("bw_out", 0),
            ("pps", 3481),
            ("conntrack", 0),
            ("linklocal", 2),
        ];
        assert_eq!(found.exceeded, named(&exceeded));
        assert_eq!(found.available, named(&[("conntrack", 136_812)]));
        assert_eq!(Allowances::of(&[]), Allowances::default());
    }
}
