//! What is not forwarded: passed, answered or dropped, for a reason each.

use anyhow::Result;
use forwarder_common::{Mode, Reason, interface};

use super::super::case::{Becomes, Case, Varies};
use super::super::scene::{self, port};
use super::{Effort, Wanted};

/// Where the IP header begins.
const IP: usize = 14;

pub fn all(cases: &mut Vec<Case>, bed: usize, ipv6: bool, effort: Effort) -> Result<()> {
    let to = |mode, what| Wanted::to(mode, ipv6, what);
    let nothing = |wanted: Wanted<'_>, reason| wanted.case(bed, reason, Becomes::Nothing);
    let l2 = Mode::L2Dsr;

    let miss = nothing(to(l2, "miss").port(port::NONE), Reason::PassNotOurs)?;
    cases.push(Case {
        interface_flags: interface::flags::NAT,
        ..miss
    });
    let what = "miss+nat";
    cases.push(nothing(to(l2, what).port(port::NONE), Reason::PassNotOurs)?);
    cases.push(nothing(to(Mode::Local, "local"), Reason::PassLocal)?);
    if effort != Effort::Full && ipv6 {
        return Ok(());
    }
    for (wanted, reason) in [
        (to(l2, "denied").port(port::DENIED), Reason::DropDenied),
        (to(l2, "rate").port(port::RATE).syn(), Reason::DropRate),
        (
            to(l2, "no-backend").port(port::EMPTY),
            Reason::DropNoBackend,
        ),
        (
            to(l2, "no-next-hop").port(port::NO_NEXT_HOP),
            Reason::DropNoNextHop,
        ),
        (
            to(Mode::FullNat, "no-flow").port(port::LISTED),
            Reason::DropNoFlow,
        ),
    ] {
        cases.push(nothing(wanted, reason)?);
    }
    let mut bad = to(l2, "bad-source");
    bad.source.0 = bad.destination.0;
    cases.push(nothing(bad, Reason::DropBadSource)?);

    let mut stray = to(Mode::FullNat, "snat-no-flow");
    stray.destination = (scene::fresh(0, ipv6), 50_000);
    let stray = nothing(stray, Reason::DropSnatNoFlow)?;
    cases.push(Case {
        varies: Varies::Destination,
        ..stray
    });

    let mut changed = |what, mode, reason, change: &dyn Fn(&mut [u8])| -> Result<()> {
        let mut case = nothing(to(mode, what), reason)?;
        change(&mut case.frame);
        cases.push(case);
        Ok(())
    };
    changed("other-host", l2, Reason::PassOtherHost, &|frame| {
        frame[0] = 6
    })?;
    changed("not-ip", l2, Reason::PassNotIp, &|frame| {
        frame[12..14].copy_from_slice(&[0x88, 0x47]);
    })?;
    changed("ttl", Mode::IpipDsr, Reason::DropTtl, &|frame| {
        frame[IP + if ipv6 { 7 } else { 8 }] = 1;
    })?;
    changed("malformed", l2, Reason::DropMalformed, &|frame| {
        // TCP's data offset.
        frame[IP + if ipv6 { 40 } else { 20 } + 12] = 0;
    })?;
    if !ipv6 {
        changed("truncated", l2, Reason::DropTruncated, &|frame| {
            frame[IP + 2..IP + 4].copy_from_slice(&[0, 30]);
        })?;
        changed("fragment", l2, Reason::DropFragment, &|frame| {
            frame[IP + 6..IP + 8].copy_from_slice(&[0, 9]);
        })?;
        let mut large = nothing(
            to(Mode::IpipDsr, "too-big").bytes(IP + 1_590),
            Reason::DropTooBig,
        )?;
        large.frame[IP + 6] = 0;
        cases.push(large);
    }
    Ok(())
}
