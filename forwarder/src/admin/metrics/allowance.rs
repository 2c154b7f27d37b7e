//! What the cloud has held back.

use super::Allowance;
use super::catalogue as metric;
use super::exposition::Page;

/// Counters of interfaces whose driver has any.
pub fn allowances(page: &mut Page, interfaces: &[Allowance]) {
    let mut family = page.family(&metric::ALLOWANCE_EXCEEDED);
    for each in interfaces {
        for (name, count) in &each.allowances.exceeded {
            family.sample([&each.interface, name], *count);
        }
    }
    let mut family = page.family(&metric::ALLOWANCE_AVAILABLE);
    for each in interfaces {
        for (name, count) in &each.allowances.available {
            family.sample([&each.interface, name], *count);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::allowance::{Allowances, tests::statistics};

    #[test]
    fn each_allowance_has_a_series() {
        let mut page = Page::default();
        let outside = Allowance {
            interface: "outside".to_owned(),
            allowances: Allowances::of(&statistics()),
        };
        allowances(&mut page, &[outside]);
        let text = page.finish();
        for line in [
            "forwarder_interface_allowance_exceeded_total{interface=\"outside\",allowance=\"pps\"} 3481",
            "forwarder_interface_allowance_exceeded_total{interface=\"outside\",allowance=\"bw_out\"} 0",
            "forwarder_interface_allowance_available{interface=\"outside\",allowance=\"conntrack\"} 136812",
        ] {
            assert!(
                text.lines().any(|each| each == line),
                "no {line} in\n{text}"
            );
        }
        assert!(!text.contains("queue_0"), "{text}");
    }
}
