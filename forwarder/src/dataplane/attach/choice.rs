//! Which program goes where: a pure choice from facts.

use super::{AttachError, Features};
use crate::io::netlink::Link;

/// The largest MTU that every common driver takes in one buffer: ENA has 3498, veth 3502 with VLAN
/// tags, virtio 3506.
pub const SINGLE_BUFFER_MTU: u32 = 3498;

/// What was found out about an interface.
#[derive(Clone, Debug)]
pub struct Facts {
    /// As the kernel lists it.
    pub link: Link,
    /// Driver's name.
    pub driver: String,
    /// XDP features; `None`: the kernel does not tell (before 6.3).
    pub features: Option<Features>,
    /// Name of the XDP program that is attached; `None`: there is none, or it is not to be known.
    pub program: Option<String>,
    /// Whether generic XDP will do.
    pub allow_generic: bool,
    /// Whether the program that is there is ours, by a pinned link.
    pub ours: bool,
}

/// How to attach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    /// In the driver; else in the network stack.
    pub native: bool,
    /// With the program for frames of several buffers.
    pub frags: bool,
    /// If the driver turns out to have no native XDP, generic will do.
    pub may_fall_back: bool,
}

/// Chooses, or says what stands against it.
pub fn choose(facts: &Facts) -> Result<Choice, AttachError> {
    let device = facts.link.name.clone();
    let driver = facts.driver.clone();
    if facts.link.mac.is_none() {
        return Err(AttachError::NotEthernet { device });
    }
    if let Some((mode, program)) = facts.link.xdp.filter(|_| !facts.ours) {
        return Err(AttachError::ForeignProgram {
            device,
            program,
            name: facts.program.clone(),
            mode,
        });
    }
    let jumbo = facts.link.mtu > SINGLE_BUFFER_MTU;
    if let Some(features) = facts.features {
        if !features.native() && facts.allow_generic {
            return Ok(Choice {
                native: false,
                frags: false,
                may_fall_back: false,
            });
        }
        if !features.native() {
            return Err(AttachError::NoNative { device, driver });
        }
        if jumbo && !features.frags() {
            return Err(AttachError::mtu_too_big(facts));
        }
    }
    Ok(Choice {
        native: true,
        frags: jumbo,
        may_fall_back: facts.allow_generic && facts.features.is_none(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::facts::LinkState;
    use crate::io::netlink::XdpAttachment;

    fn facts(mtu: u32, features: Option<u64>) -> Facts {
        Facts {
            link: Link {
                ifindex: 2,
                name: "eth0".into(),
                mtu,
                mac: Some([2, 0, 0, 0, 0, 1]),
                state: LinkState::Up,
                xdp: None,
            },
            driver: "ena".into(),
            features: features.map(Features),
            program: None,
            allow_generic: false,
            ours: false,
        }
    }

    const NATIVE: u64 = 1 | 2;
    const FRAGS: u64 = 1 << 5;

    #[test]
    fn native_where_the_driver_has_it() {
        let choice = choose(&facts(1500, Some(NATIVE))).expect("native");
        assert_eq!(
            choice,
            Choice {
                native: true,
                frags: false,
                may_fall_back: false
            }
        );
    }

    #[test]
    fn generic_only_where_it_is_allowed() {
        assert!(matches!(
            choose(&facts(1500, Some(0))),
            Err(AttachError::NoNative { .. })
        ));
        let allowed = Facts {
            allow_generic: true,
            ..facts(1500, Some(0))
        };
        assert!(!choose(&allowed).expect("generic").native);
        let has_native = Facts {
            allow_generic: true,
            ..facts(1500, Some(NATIVE))
        };
        assert!(choose(&has_native).expect("native").native);
    }

    #[test]
    fn jumbo_wants_frags() {
        assert!(
            choose(&facts(9001, Some(NATIVE | FRAGS)))
                .expect("frags")
                .frags
        );
        assert!(
            !choose(&facts(SINGLE_BUFFER_MTU, Some(NATIVE | FRAGS)))
                .expect("linear")
                .frags
        );
        let error = choose(&facts(9001, Some(NATIVE))).expect_err("too big");
        assert!(
            matches!(error, AttachError::MtuTooBig { mtu: 9001, .. }),
            "{error}"
        );
    }

    #[test]
    fn foreign_programs_stay() {
        let mut facts = facts(1500, Some(NATIVE));
        facts.link.xdp = Some((XdpAttachment::Native, 7));
        assert!(matches!(
            choose(&facts),
            Err(AttachError::ForeignProgram { program: 7, .. })
        ));
        facts.program = Some("forwarder".into());
        let error = choose(&facts).expect_err("a program is there").to_string();
        assert!(error.contains("(\"forwarder\", id 7, native)"), "{error}");
        assert!(error.contains("another daemon"), "{error}");
    }

    #[test]
    fn our_own_program_makes_room() {
        let mut facts = facts(1500, Some(NATIVE));
        facts.link.xdp = Some((XdpAttachment::Native, 7));
        facts.ours = true;
        assert!(choose(&facts).expect("native").native);
    }

    #[test]
    fn unknown_features_are_tried() {
        assert!(!choose(&facts(1500, None)).expect("native").may_fall_back);
        let allowed = Facts {
            allow_generic: true,
            ..facts(1500, None)
        };
        assert!(choose(&allowed).expect("native").may_fall_back);
    }
}
