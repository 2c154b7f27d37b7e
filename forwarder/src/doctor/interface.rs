//! One interface that the data plane is to be attached to, judged without attaching.

use super::ena;
use super::{Finding, Severity};
use crate::core::allowance::Allowances;
use crate::core::facts::LinkState;
use crate::dataplane::attach::{self, AttachError, choose};
use crate::io::ethtool::{Channels, Offloads};
use crate::io::netlink::XdpAttachment;

/// Drivers that refuse XDP while the card puts packets together.
const NO_LRO: [&str; 2] = ["hv_netvsc", "gve"];
/// `gve` before Linux 6.4 or so takes no larger packets with XDP.
const GVE_MTU: u32 = 2032;

/// What is known about an interface.
#[derive(Clone, Debug)]
pub struct Interface {
    /// What decides how to attach.
    pub facts: attach::Facts,
    /// The driver's version.
    pub version: Option<String>,
    /// Its queues.
    pub channels: Option<Channels>,
    /// Its offloads.
    pub offloads: Offloads,
    /// What the kernel goes by: 0 off, 1 strict, 2 loose.
    pub rp_filter: u32,
    /// Interfaces of the host that are used.
    pub used: usize,
    /// CPUs.
    pub cpus: usize,
    /// What the cloud allows, as the driver counts it.
    pub allowances: Allowances,
}

impl Interface {
    /// Everything there is to say.
    pub fn findings(&self) -> Vec<Finding> {
        let mut all = vec![self.link(), self.driver(), self.xdp(), self.mtu()];
        all.extend(self.channels());
        all.extend(self.offloads());
        all.push(self.rp_filter());
        all.extend(self.allowances());
        if self.facts.driver == "ena" {
            all.extend(ena::findings(self));
        }
        all
    }

    /// Its name.
    pub fn device(&self) -> &str {
        &self.facts.link.name
    }

    /// Something about it.
    pub(super) fn say(
        &self,
        severity: Severity,
        code: &'static str,
        message: impl Into<String>,
    ) -> Finding {
        Finding::new(severity, self.device(), code, message)
    }

    fn link(&self) -> Finding {
        match self.facts.link.state {
            LinkState::Up => self.say(Severity::Ok, "link", "up"),
            LinkState::NoCarrier => self.say(
                Severity::Error,
                "link",
                "it is up, but has no carrier: nobody is at the other end of the cable",
            ),
            LinkState::Down => self
                .say(Severity::Error, "link", "it is down")
                .safe_fix([format!("ip link set dev {} up", self.device())]),
        }
    }

    fn driver(&self) -> Finding {
        let version = self.version.as_deref().unwrap_or("of unknown version");
        let text = format!("{} {version}", self.facts.driver);
        self.say(Severity::Ok, "driver", text)
    }

    fn xdp(&self) -> Finding {
        if let (Some((mode, program)), Some(name)) = (self.facts.link.xdp, &self.facts.program)
            && attach::is_ours(name)
        {
            let text = format!("the daemon's program is attached (id {program}, {mode})");
            return match mode {
                XdpAttachment::Generic => self.say(
                    Severity::Warning,
                    "xdp",
                    format!("{text}: in the network stack, which is slow"),
                ),
                _ => self.say(Severity::Ok, "xdp", text),
            };
        }
        match choose(&self.facts) {
            Ok(choice) if choice.native => {
                let frags = if choice.frags {
                    ", with frames of several buffers"
                } else {
                    ""
                };
                let sure = match self.facts.features {
                    Some(_) => "the driver has native XDP",
                    None => {
                        "the kernel does not tell whether the driver has native XDP; it will be tried"
                    }
                };
                self.say(Severity::Ok, "xdp", format!("{sure}{frags}"))
            }
            Ok(_) => self.say(
                Severity::Warning,
                "xdp",
                "the driver has no native XDP: it will run in the network stack, which is slow",
            ),
            Err(error) => self.refused(&error),
        }
    }

    fn refused(&self, error: &AttachError) -> Finding {
        let text = error.to_string();
        let first = text.lines().next().unwrap_or_default().to_owned();
        let finding = self.say(Severity::Error, "xdp", first);
        let device = self.device();
        match error {
            AttachError::ForeignProgram { program, .. } => finding.fix([
                format!("bpftool prog show id {program}"),
                format!("ip link set dev {device} xdp off"),
            ]),
            AttachError::MtuTooBig { limit, .. } => {
                finding.fix([format!("ip link set dev {device} mtu {limit}")])
            }
            _ => finding,
        }
    }

    fn mtu(&self) -> Finding {
        let mtu = self.facts.link.mtu;
        if self.facts.driver == "gve" && mtu > GVE_MTU {
            return self
                .say(
                    Severity::Warning,
                    "mtu",
                    format!("{mtu} bytes; older versions of gve take at most {GVE_MTU} with XDP"),
                )
                .fix([format!("ip link set dev {} mtu {GVE_MTU}", self.device())]);
        }
        self.say(Severity::Ok, "mtu", format!("{mtu} bytes"))
    }

    fn channels(&self) -> Option<Finding> {
        let channels = self.channels?;
        let text = format!(
            "{} of {} CPUs receive (at most {} queues)",
            (channels.receive as usize).min(self.cpus),
            self.cpus,
            channels.most
        );
        Some(self.say(Severity::Ok, "channels", text))
    }

    fn offloads(&self) -> Vec<Finding> {
        let device = self.device();
        let off = |what: &str| [format!("ethtool -K {device} {what} off")];
        let mut all = Vec::new();
        if self.offloads.lro {
            let refuses = NO_LRO.contains(&self.facts.driver.as_str());
            let (severity, text) = if refuses {
                (
                    Severity::Error,
                    "large receive offload is on: this driver refuses XDP then",
                )
            } else {
                (
                    Severity::Warning,
                    "large receive offload is on: packets are put together, and do not fit when they leave",
                )
            };
            all.push(self.say(severity, "lro", text).safe_fix(off("lro")));
        }
        let generic = choose(&self.facts).is_ok_and(|choice| !choice.native);
        if self.offloads.gro && generic {
            all.push(
                self.say(
                    Severity::Error,
                    "gro",
                    "generic receive offload is on: XDP in the network stack sees packets that were put \
                     together, and they do not fit when they leave",
                )
                .safe_fix(off("gro")),
            );
        }
        if self.offloads.rx_vlan {
            all.push(
                self.say(
                    Severity::Note,
                    "rx-vlan",
                    "the card takes VLAN tags off: XDP can't see what comes in which VLAN. With VLANs, switch it off",
                )
                .fix(off("rxvlan")),
            );
        }
        all
    }

    fn rp_filter(&self) -> Finding {
        let device = self.device();
        if self.rp_filter == 1 && self.used > 1 {
            return self
                .say(
                    Severity::Warning,
                    "rp-filter",
                    "the reverse-path filter is strict: the host itself hears nobody whose way back is by another interface",
                )
                .safe_fix([format!("sysctl -q -w net/ipv4/conf/{device}/rp_filter=2")]);
        }
        self.say(
            Severity::Ok,
            "rp-filter",
            ["off", "strict", "loose"]
                .get(self.rp_filter as usize)
                .copied()
                .unwrap_or("unknown"),
        )
    }

    fn allowances(&self) -> Option<Finding> {
        let exceeded = &self.allowances.exceeded;
        let lost: Vec<_> = exceeded
            .iter()
            .filter(|(_, count)| *count > 0)
            .map(|(name, count)| format!("{name} {count}"))
            .collect();
        if exceeded.is_empty() {
            return None;
        }
        Some(if lost.is_empty() {
            self.say(
                Severity::Ok,
                "allowance",
                "the instance has kept to its allowances",
            )
        } else {
            self.say(
                Severity::Warning,
                "allowance",
                format!(
                    "the cloud has held packets back or dropped them since the start: {}",
                    lost.join(", ")
                ),
            )
        })
    }
}
