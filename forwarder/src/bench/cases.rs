//! Every case there is.

mod drops;

use std::net::IpAddr;

use anyhow::{Context as _, Result};
use forwarder_common::{Mode, Reason, interface};

use super::Effort;
use super::case::{Becomes, Case, Program, Varies};
use super::flows::{self, MANY, PORT, VERY_MANY};
use super::scene::{self, Kind, MAC, port};
use crate::packet::{self, Kind as Transport, Packet};

/// XDP's answers.
pub const DROP: u32 = 1;
pub const PASS: u32 = 2;
pub const TX: u32 = 3;
pub const REDIRECT: u32 = 4;

/// So many that a run never comes round.
const ENDLESS: u32 = 1 << 24;
/// Bytes of the smallest frame: with IPv6, TCP and what the wrapper puts back, 64 are not enough.
const SMALLEST: [usize; 2] = [64, 80];
/// TCP flags.
const SYN: u8 = 1 << 1;
const ACK: u8 = 1 << 4;
/// Bytes of Ethernet.
const ETHERNET: usize = 14;

/// The cases, baselines first.
pub fn all(beds: &[Kind], effort: Effort) -> Result<Vec<Case>> {
    let mut cases = baselines(effort)?;
    for (at, kind) in beds.iter().enumerate() {
        match *kind {
            Kind::Modes => {
                for ipv6 in [false, true] {
                    for mode in [Mode::L2Dsr, Mode::IpipDsr, Mode::GueDsr] {
                        stateless(&mut cases, at, mode, ipv6, effort)?;
                    }
                    for mode in [Mode::Dnat, Mode::FullNat] {
                        nat(&mut cases, at, mode, ipv6, effort)?;
                    }
                    drops::all(&mut cases, at, ipv6, effort)?;
                }
            }
            Kind::Servers(count) => servers(&mut cases, at, count)?,
            Kind::Leased => leased(&mut cases, at)?,
        }
    }
    Ok(cases)
}

/// A packet and where it goes.
#[derive(Clone, Copy)]
pub struct Wanted<'a> {
    what: &'a str,
    packet: &'a str,
    /// Flags, if it is TCP; else it is UDP.
    tcp: Option<u8>,
    source: (IpAddr, u16),
    destination: (IpAddr, u16),
    bytes: usize,
    flows: u32,
}

impl<'a> Wanted<'a> {
    /// From a client to a VIP.
    fn to(mode: Mode, ipv6: bool, what: &'a str) -> Self {
        Self {
            what,
            packet: "tcp",
            tcp: Some(ACK),
            source: (scene::client(ipv6), PORT),
            destination: (scene::vip(mode, ipv6), port::PLAIN),
            bytes: SMALLEST[usize::from(ipv6)],
            flows: 1,
        }
    }

    fn udp(self) -> Self {
        Self {
            packet: "udp",
            tcp: None,
            ..self
        }
    }

    fn syn(self) -> Self {
        Self {
            packet: "syn",
            tcp: Some(SYN),
            ..self
        }
    }

    fn port(mut self, port: u16) -> Self {
        self.destination.1 = port;
        self
    }

    fn bytes(self, bytes: usize) -> Self {
        Self { bytes, ..self }
    }

    fn flows(self, flows: u32) -> Self {
        Self { flows, ..self }
    }

    /// The case, which a packet ends in `reason` with.
    fn case(self, bed: usize, reason: Reason, becomes: Becomes) -> Result<Case> {
        let ipv6 = self.source.0.is_ipv6();
        let bytes = self.bytes.max(SMALLEST[usize::from(ipv6)]);
        let (from, to) = (self.source.1, self.destination.1);
        let packet = Packet {
            kind: match self.tcp {
                Some(flags) => Transport::Tcp(from, to, flags),
                None => Transport::Udp(from, to),
            },
            source: self.source.0,
            destination: self.destination.0,
            ttl: 64,
            df: true,
            length: Some(u16::try_from(bytes - ETHERNET).context("a packet's length")?),
            fragment: None,
            vlans: Vec::new(),
            to: None,
        };
        let frame = packet::build(&packet, MAC).map_err(anyhow::Error::msg)?;
        let family = if ipv6 { "ipv6" } else { "ipv4" };
        let flows = match self.flows {
            ENDLESS => "new".to_owned(),
            flows => short(flows),
        };
        let (what, packet) = (self.what, self.packet);
        Ok(Case {
            name: format!("{what}/{family}/{packet}/{bytes}B/{flows}"),
            bed,
            program: Program::Path,
            ipv6,
            frame,
            flows: self.flows,
            varies: Varies::Source,
            action: match becomes {
                Becomes::Nothing if (reason as u32) < Reason::L2Dsr as u32 => PASS,
                Becomes::Nothing => DROP,
                _ => TX,
            },
            reason: Some(reason),
            becomes,
            interface_flags: 0,
            mode: None,
            fresh: self.flows == ENDLESS,
        })
    }
}

/// 1000 as 1k.
fn short(count: u32) -> String {
    match count {
        0..1_000 => count.to_string(),
        1_000..1_000_000 => format!("{}k", count / 1_000),
        _ => format!("{}M", count / 1_000_000),
    }
}

fn baselines(effort: Effort) -> Result<Vec<Case>> {
    let mut cases = Vec::new();
    let case = |what: &str, ipv6, program, action, becomes, flows| {
        let wanted = Wanted::to(Mode::FullNat, ipv6, what).flows(flows);
        let case = wanted.case(0, Reason::PassNotOurs, becomes)?;
        anyhow::Ok(Case {
            program,
            action,
            reason: None,
            ..case
        })
    };
    use Program::{Bare, Wrapped};
    for (what, program, action) in [
        ("empty", Bare("empty"), PASS),
        ("mac-swap", Bare("mac_swap"), TX),
    ] {
        cases.push(case(what, false, program, action, Becomes::Nothing, 1)?);
    }
    for ipv6 in [false, true] {
        cases.push(case(
            "wrapper",
            ipv6,
            Wrapped("empty"),
            PASS,
            Becomes::Nothing,
            1,
        )?);
    }
    for (what, program, becomes, flows) in [
        ("wrapped-mac-swap", "mac_swap", Becomes::Answer, 1),
        ("constant-ipip", "constant_ipip", Becomes::Answer, 1),
        ("plain-lru", "plain_lru", Becomes::Answer, 1),
        ("plain-lru", "plain_lru", Becomes::Answer, 1_000),
        ("plain-lru", "plain_lru", Becomes::Answer, MANY),
    ] {
        if effort == Effort::Correctness && flows == MANY {
            continue;
        }
        cases.push(case(what, false, Wrapped(program), TX, becomes, flows)?);
    }
    Ok(cases)
}

fn with_mode(mut case: Case, mode: Mode) -> Case {
    case.mode = Some(mode);
    case
}

/// Modes that keep no state per flow.
fn stateless(
    cases: &mut Vec<Case>,
    bed: usize,
    mode: Mode,
    ipv6: bool,
    effort: Effort,
) -> Result<()> {
    let outer = if ipv6 { 40 } else { 20 };
    let (reason, becomes) = match mode {
        Mode::L2Dsr => (Reason::L2Dsr, Becomes::Switched),
        Mode::IpipDsr => (Reason::IpipDsr, Becomes::Tunnelled(outer)),
        _ => (Reason::GueDsr, Becomes::Tunnelled(outer + 8)),
    };
    let name = mode.name();
    let to = || Wanted::to(mode, ipv6, name);
    let large = format!("{name}+large-pool");
    let mut wanted = vec![
        to(),
        to().syn(),
        to().udp(),
        to().flows(VERY_MANY),
        to().syn().flows(ENDLESS),
    ];
    if effort == Effort::Full {
        wanted.extend([512, 1_514].map(|bytes| to().bytes(bytes)));
        wanted.extend([1_000, MANY].map(|flows| to().flows(flows)));
        for flows in [1, 1_000, MANY, VERY_MANY] {
            let to = Wanted::to(mode, ipv6, &large);
            wanted.push(to.port(port::LARGE).flows(flows));
        }
    }
    for each in wanted {
        cases.push(with_mode(each.case(bed, reason, becomes)?, mode));
    }
    if mode != Mode::L2Dsr {
        return Ok(());
    }
    // What a feature costs when it is on.
    for (what, port, syn) in [
        ("l2-dsr+allow-list", port::LISTED, false),
        ("l2-dsr+rate-guard", port::GUARDED, true),
    ] {
        let to = Wanted::to(mode, ipv6, what).port(port);
        let to = if syn { to.syn() } else { to };
        cases.push(with_mode(to.case(bed, reason, becomes)?, mode));
    }
    let redirected = Wanted::to(mode, ipv6, "l2-dsr+redirect").case(bed, reason, becomes)?;
    cases.push(Case {
        action: REDIRECT,
        interface_flags: interface::flags::TX,
        ..with_mode(redirected, mode)
    });
    Ok(())
}

/// Modes with flows.
fn nat(cases: &mut Vec<Case>, bed: usize, mode: Mode, ipv6: bool, effort: Effort) -> Result<()> {
    let name = mode.name();
    let to = || Wanted::to(mode, ipv6, name);
    let (reason, translated) = match mode {
        Mode::FullNat => (Reason::FullNat, Some(scene::translated(ipv6))),
        _ => (Reason::Dnat, Some(scene::client(ipv6))),
    };
    let flows: &[u32] = match (effort, mode, ipv6) {
        (Effort::Full, Mode::FullNat, false) => &[1, 1_000, MANY, VERY_MANY],
        (Effort::Full, ..) | (Effort::Quick, Mode::FullNat, false) => &[1, 1_000, MANY],
        _ => &[1, 1_000],
    };
    let forward = Becomes::Translated(translated, Some(flows::backend(ipv6)));
    let back = Becomes::Translated(Some(scene::vip(mode, ipv6)), Some(scene::client(ipv6)));
    let pair = |cases: &mut Vec<Case>, to: Wanted<'_>| -> Result<()> {
        let reply = Wanted {
            packet: if to.packet == "udp" {
                "udp-reply"
            } else {
                "reply"
            },
            source: (flows::backend(ipv6), port::PLAIN),
            destination: (translated.context("an address")?, PORT),
            ..to
        };
        cases.push(with_mode(to.case(bed, reason, forward)?, mode));
        let reply = reply.case(bed, Reason::NatReply, back)?;
        cases.push(Case {
            varies: Varies::Destination,
            ..with_mode(reply, mode)
        });
        Ok(())
    };
    for flows in flows {
        pair(cases, to().flows(*flows))?;
    }
    pair(cases, to().udp())?;
    if effort == Effort::Full {
        pair(cases, to().bytes(512))?;
        pair(cases, to().bytes(1_514))?;
    }
    let fresh = to().port(port::LARGE).syn().flows(ENDLESS);
    let case = fresh.case(bed, reason, Becomes::Translated(None, None))?;
    cases.push(with_mode(case, mode));
    Ok(())
}

/// What a node of a pair looks at beside: to be compared with one virtual server alone.
fn leased(cases: &mut Vec<Case>, bed: usize) -> Result<()> {
    for ipv6 in [false, true] {
        let to = Wanted::to(Mode::L2Dsr, ipv6, "1-servers+lease");
        let case = to.case(bed, Reason::L2Dsr, Becomes::Switched)?;
        cases.push(with_mode(case, Mode::L2Dsr));
    }
    Ok(())
}

/// Nothing but virtual servers without flows: the interface has no NAT.
fn servers(cases: &mut Vec<Case>, bed: usize, count: u32) -> Result<()> {
    let what = format!("{}-servers", short(count));
    for ipv6 in [false, true] {
        let to = Wanted::to(Mode::L2Dsr, ipv6, &what).flows(count);
        let case = to.case(bed, Reason::L2Dsr, Becomes::Switched)?;
        cases.push(Case {
            varies: Varies::Server,
            ..with_mode(case, Mode::L2Dsr)
        });
        let what = format!("miss+{what}");
        let to = Wanted::to(Mode::L2Dsr, ipv6, &what).port(port::NONE);
        cases.push(to.case(bed, Reason::PassNotOurs, Becomes::Nothing)?);
    }
    Ok(())
}
