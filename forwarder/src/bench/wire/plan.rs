//! Which chains there are, and everything that they go through.

use std::net::IpAddr;
use std::path::Path;

use anyhow::{Context as _, Result};
use forwarder_common::Mode;
use forwarder_common::bench::SINK_MAC;

use super::chain::{Chain, Ends, Expected, frame};
use super::daemon::{self, Daemon, MODES, NEAR};
use super::network::Network;
use super::rival::Rival;
use super::router::{BACKENDS, Router, Side};
use crate::bench::Effort;
use crate::bench::cases::{self, TX};
use crate::bench::scene::{self, MAC};

/// What the others are compared with and made sure of by.
pub const REFERENCE: &str = "redirect/ipv4/1k";

/// How names of chains begin that forward nothing: packets are only made; or dropped at the first device.
pub const GENERATOR: &str = "generator/";
pub const DROP: &str = "drop/";

/// Names of all chains, also of those that cannot be measured here.
pub fn names(effort: Effort) -> Vec<String> {
    let bare = ["generator", "drop", "mac-swap", "redirect", "l2-dsr+tx"];
    let rivals = Rival::ALL.map(Rival::name);
    let modes = MODES.map(Mode::name);
    let all = bare.into_iter().chain(modes).chain(rivals);
    let families = all.flat_map(|what| [(what, false), (what, true)]);
    let named = |(what, ipv6)| {
        let counts = flows(effort, true).iter();
        counts.map(move |flows| name(what, ipv6, *flows))
    };
    families.flat_map(named).collect()
}

fn name(what: &str, ipv6: bool, flows: u32) -> String {
    let family = if ipv6 { "ipv6" } else { "ipv4" };
    let count = match flows {
        1_000 => "1k".to_owned(),
        100_000 => "100k".to_owned(),
        flows => flows.to_string(),
    };
    format!("{what}/{family}/{count}")
}

/// The number of flows that everything is measured with, and others where there is time.
fn flows(effort: Effort, more: bool) -> &'static [u32] {
    match effort {
        Effort::Full if more => &[1, 1_000, 100_000],
        Effort::Correctness => &[64],
        _ => &[1_000],
    }
}

/// Everything that is measured with packets.
pub struct Plan {
    /// Where packets come from and go to.
    pub network: Network,
    /// Programs there.
    pub ends: Ends,
    /// What is timed.
    pub chains: Vec<Chain>,
    /// What can't be, and why.
    pub missing: Vec<String>,
    /// Config files.
    pub configs: Vec<String>,
    _routers: Vec<Router>,
    _daemon: Daemon,
}

impl Plan {
    /// Sets everything up.
    pub fn new(effort: Effort, only: &str, binary: &Path) -> Result<Self> {
        let network = Network::new()?;
        let mut ends = Ends::new()?;
        let mut make = Making {
            effort,
            chains: Vec::new(),
        };
        let mut routers = Vec::new();
        let mut missing = Vec::new();
        let mut router = |network: &Network| -> Result<usize> {
            let number = routers.len() as u16;
            routers.push(Router::new(number, network, network)?);
            Ok(routers.len() - 1)
        };
        let forwarder = router(&network)?;
        let bare = [router(&network)?, router(&network)?, router(&network)?];
        let mut rivals = Vec::new();
        for rival in Rival::ALL {
            match rival.missing() {
                Some(why) => missing.push(format!("{}: {why}", rival.name())),
                None => rivals.push((rival, router(&network)?)),
            }
        }
        network.enter()?;
        for router in &routers {
            ends.attach("sink", router.left)?;
            ends.attach("sink", router.right)?;
        }
        for (program, at) in ["sink", "mac_swap", "redirect"].into_iter().zip(bare) {
            let router = &routers[at];
            router.network.enter()?;
            let (from, to) = (
                router.network.ifindex("eth0")?,
                router.network.ifindex("eth1")?,
            );
            ends.attach(program, from)?;
            if program == "redirect" {
                ends.redirect(from, to)?;
            }
            make.bare(program, router)?;
        }
        let config = daemon::config(&routers[forwarder], "udp", BACKENDS);
        let daemon = Daemon::start(binary, &routers[forwarder], &config)?;
        make.forwarder(&routers[forwarder])?;
        for (rival, at) in rivals {
            let vips = [false, true].map(|ipv6| scene::vip(Mode::FullNat, ipv6));
            let set_up = rival.set_up(&routers[at], vips, BACKENDS);
            set_up.with_context(|| rival.name())?;
            make.rival(rival, &routers[at])?;
        }
        let subtracted = |name: &str| {
            [GENERATOR, DROP].iter().any(|what| name.starts_with(what)) || name == REFERENCE
        };
        let mut chains = make.chains;
        chains.retain(|chain| chain.name.contains(only) || subtracted(&chain.name));
        Ok(Self {
            network,
            ends,
            chains,
            missing,
            configs: vec![config],
            _routers: routers,
            _daemon: daemon,
        })
    }
}

struct Making {
    effort: Effort,
    chains: Vec<Chain>,
}

impl Making {
    #[expect(clippy::too_many_arguments, reason = "each is one column of a table")]
    fn add(
        &mut self,
        what: &str,
        router: &Router,
        vip: IpAddr,
        port: u16,
        to: [u8; 6],
        more: bool,
        reflect: bool,
        expected: Option<Expected>,
    ) -> Result<()> {
        let ipv6 = vip.is_ipv6();
        for flows in flows(self.effort, more) {
            let frame = frame(vip, port, to)?;
            self.chains.push(Chain {
                name: name(what, ipv6, *flows),
                ipv6,
                from: router.left,
                reflect: if reflect { router.right } else { 0 },
                frame,
                flows: *flows,
                action: if what == "generator" { cases::DROP } else { TX },
                expected: expected.clone(),
            });
        }
        Ok(())
    }

    /// Programs that do next to nothing.
    fn bare(&mut self, program: &str, router: &Router) -> Result<()> {
        for ipv6 in [false, true] {
            let vip = scene::vip(Mode::FullNat, ipv6);
            let arrives = Some(Expected {
                outer: 0,
                source: scene::client(ipv6),
                destinations: vec![vip],
            });
            match program {
                "sink" => {
                    self.add("generator", router, vip, 80, SINK_MAC, false, false, None)?;
                    self.add("drop", router, vip, 80, SINK_MAC, true, false, arrives)?;
                }
                "mac_swap" => self.add("mac-swap", router, vip, 80, MAC, false, false, arrives)?,
                other => self.add(other, router, vip, 80, SINK_MAC, false, false, arrives)?,
            }
        }
        Ok(())
    }

    /// Every mode of the daemon.
    fn forwarder(&mut self, router: &Router) -> Result<()> {
        for ipv6 in [false, true] {
            for mode in MODES {
                let (vip, client) = (scene::vip(mode, ipv6), scene::client(ipv6));
                let backends = (0..BACKENDS).map(|at| router.backend(Side::Right, at, ipv6));
                let address = if ipv6 { 40 } else { 20 };
                let nat = matches!(mode, Mode::Dnat | Mode::FullNat);
                let expected = Expected {
                    outer: match mode {
                        Mode::IpipDsr => address,
                        Mode::GueDsr => address + 8,
                        _ => 0,
                    },
                    source: match mode {
                        Mode::FullNat => router.own(Side::Right, ipv6),
                        _ => client,
                    },
                    destinations: if nat { backends.collect() } else { vec![vip] },
                };
                let more = matches!(mode, Mode::L2Dsr | Mode::FullNat) && !ipv6;
                let name = mode.name();
                let arrives = Some(expected);
                self.add(name, router, vip, 80, MAC, more, nat, arrives.clone())?;
                if mode == Mode::L2Dsr {
                    self.add("l2-dsr+tx", router, vip, NEAR, MAC, false, false, arrives)?;
                }
            }
        }
        Ok(())
    }

    /// What a user would run instead.
    fn rival(&mut self, rival: Rival, router: &Router) -> Result<()> {
        for ipv6 in [false, true] {
            let vip = scene::vip(Mode::FullNat, ipv6);
            let backends = (0..BACKENDS).map(|at| router.backend(Side::Right, at, ipv6));
            let (destination, source) = rival.translates();
            let expected = Expected {
                outer: 0,
                source: if source {
                    router.own(Side::Right, ipv6)
                } else {
                    scene::client(ipv6)
                },
                destinations: if destination {
                    backends.collect()
                } else {
                    vec![vip]
                },
            };
            let more = rival == Rival::DnatSnat && !ipv6;
            self.add(
                rival.name(),
                router,
                vip,
                80,
                MAC,
                more,
                destination,
                Some(expected),
            )?;
        }
        Ok(())
    }
}
