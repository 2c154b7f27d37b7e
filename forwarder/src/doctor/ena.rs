//! What is special about Amazon's network adapter. There are two drivers of that name: the kernel's own, and
//! Amazon's, which comes with Amazon Linux and whose version ends in `g`.

use super::interface::Interface;
use super::{Finding, Severity};

/// Amazon's driver from this version on shares its transmit queues with XDP.
const SHARES_QUEUES: (u32, u32) = (2, 17);

/// Version of Amazon's driver; `None`: the kernel's own.
fn amazon(version: &str) -> Option<(u32, u32)> {
    let mut numbers = version.strip_suffix('g')?.split('.');
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// What there is to say beside what holds for every card.
pub fn findings(interface: &Interface) -> Vec<Finding> {
    let version = interface.version.as_deref().and_then(amazon);
    let device = interface.device();
    let mut all = Vec::new();
    if let Some(channels) = interface.channels
        && version.is_none_or(|version| version < SHARES_QUEUES)
        && interface.facts.link.xdp.is_none()
        && channels.receive * 2 > channels.most
    {
        let half = (channels.most / 2).max(1);
        let text = format!(
            "{} of {} queues are in use; this driver gives XDP as many again, so {half} are the most",
            channels.receive, channels.most
        );
        all.push(
            interface
                .say(Severity::Error, "ena-channels", text)
                // The link is reset.
                .fix([format!("ethtool -L {device} combined {half}")]),
        );
    }
    if version.is_some_and(|version| version < (2, 14)) || version.is_none() {
        all.push(interface.say(
            Severity::Note,
            "ena-jumbo",
            "with XDP this driver takes an MTU of at most 3498",
        ));
    }
    if version.is_none() {
        all.push(interface.say(
            Severity::Note,
            "ena-transmit",
            "the kernel's own driver rings its doorbell for every packet of XDP_TX: packets leave by redirect",
        ));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::super::interface::Interface;
    use super::*;
    use crate::core::allowance::{Allowances, tests::statistics};
    use crate::core::facts::LinkState;
    use crate::dataplane::attach::{Facts, Features};
    use crate::io::ethtool::{Channels, Offloads};
    use crate::io::netlink::Link;

    fn interface(driver: &str, version: &str, receive: u32, most: u32) -> Interface {
        Interface {
            facts: Facts {
                link: Link {
                    ifindex: 2,
                    name: "eth0".into(),
                    mtu: 1500,
                    mac: Some([2, 0, 0, 0, 0, 1]),
                    state: LinkState::Up,
                    xdp: None,
                },
                driver: driver.into(),
                features: Some(Features(0x23)),
                program: None,
                allow_generic: false,
                ours: false,
            },
            version: Some(version.into()),
            channels: Some(Channels { receive, most }),
            offloads: Offloads::default(),
            rp_filter: 0,
            used: 2,
            cpus: 16,
            allowances: Allowances::default(),
        }
    }

    fn worse_than_notes(interface: &Interface) -> Vec<String> {
        let all = interface.findings().into_iter();
        let all = all.filter(|finding| finding.severity > Severity::Note);
        all.map(|finding| format!("{}: {}", finding.code, finding.message))
            .collect()
    }

    #[test]
    fn half_of_the_queues_unless_they_are_shared() {
        let kernel = interface("ena", "6.8.0-1044-aws", 8, 8);
        let said = worse_than_notes(&kernel);
        assert_eq!(said.len(), 1);
        assert!(
            said[0].starts_with("ena-channels: 8 of 8 queues are in use"),
            "{said:?}"
        );
        assert!(said[0].ends_with("so 4 are the most"), "{said:?}");
        assert_eq!(
            worse_than_notes(&interface("ena", "2.16.1g", 8, 8)).len(),
            1
        );
        assert_eq!(
            worse_than_notes(&interface("ena", "2.17.0g", 8, 8)),
            [""; 0]
        );
        assert_eq!(
            worse_than_notes(&interface("ena", "6.8.0-1044-aws", 4, 8)),
            [""; 0]
        );
        assert_eq!(
            worse_than_notes(&interface("ixgbe", "6.8.0", 8, 8)),
            [""; 0]
        );
    }

    #[test]
    fn each_wrong_setting_of_a_card_is_found() {
        let good = interface("hv_netvsc", "6.8.0", 8, 8);
        assert_eq!(worse_than_notes(&good), [""; 0]);
        let codes = |interface: &Interface| -> Vec<_> {
            let all = interface.findings().into_iter();
            let all = all.filter(|finding| finding.severity > Severity::Note);
            all.map(|finding| (finding.code, finding.severity))
                .collect()
        };
        let mut lro = good.clone();
        lro.offloads.lro = true;
        assert_eq!(codes(&lro), [("lro", Severity::Error)]);
        lro.facts.driver = "ixgbe".into();
        assert_eq!(codes(&lro), [("lro", Severity::Warning)]);
        let mut strict = good.clone();
        strict.rp_filter = 1;
        assert_eq!(codes(&strict), [("rp-filter", Severity::Warning)]);
        strict.used = 1;
        assert_eq!(codes(&strict), []);
        let mut gve = good.clone();
        gve.facts.driver = "gve".into();
        gve.facts.link.mtu = 2048;
        assert_eq!(codes(&gve), [("mtu", Severity::Warning)]);
        let mut lost = good.clone();
        lost.allowances.exceeded = vec![("pps".into(), 0)];
        assert_eq!(codes(&lost), []);
        lost.allowances = Allowances::of(&statistics());
        assert_eq!(codes(&lost), [("allowance", Severity::Warning)]);
        let said = worse_than_notes(&lost).concat();
        assert!(said.ends_with("bw_in 12, pps 3481, linklocal 2"), "{said}");
        let mut jumbo = good;
        jumbo.facts.link.mtu = 9001;
        jumbo.facts.features = Some(Features(3));
        assert_eq!(codes(&jumbo), [("xdp", Severity::Error)]);
    }
}
