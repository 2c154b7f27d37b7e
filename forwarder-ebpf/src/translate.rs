//! Address and port translation: every checksum exact, nothing else touched.

use forwarder_common::{Interface, Link, Reason, protocol};

use crate::context::Context;
use crate::family::{IP, Readdress};
use crate::header::{Half, Tcp, Udp, Words};
use crate::lookup::Tables;
use crate::packet::Packet;
use crate::parse::{Fragment, Headers, OFFSET_MASK};
use crate::pipeline::Stages;
use crate::verdict::{Step, Verdict};
use crate::{link, mss};

/// What a packet becomes, and how it leaves.
pub struct Translation<A> {
    /// New source address.
    pub source: A,
    /// New destination address.
    pub destination: A,
    /// New ports.
    pub ports: u32,
    /// How it leaves.
    pub link: Link,
    /// MSS clamp for SYN and SYN-ACK, host order; 0: none.
    pub mss: u16,
    /// The reason it ends in.
    pub reason: Reason,
}

/// The checks that come before anything is changed: hop count, next hop, size.
#[inline(always)]
pub fn check<F: Stages, P: Packet>(
    packet: &P,
    context: &mut Context,
    headers: &Headers<F>,
    ifindex: u32,
    mtu: u32,
) -> Result<(), Step> {
    if ifindex == 0 {
        return Err(Reason::DropNoNextHop.into());
    }
    if F::ttl(packet) <= 1 {
        return Err(Reason::DropTtl.into());
    }
    if headers.length > mtu {
        context.mtu = mtu;
        return Err(Step::Next(F::TOO_BIG_STAGE));
    }
    Ok(())
}

/// Rewrites the packet and sends it.
#[inline(always)]
pub fn send<F: Stages, P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    interface: &Interface,
    context: &Context,
    headers: &Headers<F>,
    translation: &Translation<F::Address>,
) -> Step {
    use crate::header::tcp::SYN;
    if translation.mss != 0 && headers.tcp_flags & SYN != 0 {
        mss::clamp(packet, headers.transport, headers.end(), translation.mss);
    }
    match rewrite(packet, headers, translation) {
        Some(()) => Step::Done(link::transmit(
            packet,
            tables,
            interface,
            context,
            &translation.link,
            translation.reason,
        )),
        None => Step::Done(Verdict::drop(Reason::DropInternal)),
    }
}

#[inline(always)]
fn rewrite<F: Stages, P: Packet>(
    packet: &mut P,
    headers: &Headers<F>,
    to: &Translation<F::Address>,
) -> Option<()> {
    F::decrement_ttl(packet, IP)?;
    let addresses = Readdress {
        source: to.source,
        destination: to.destination,
    };
    let change = F::readdress(packet, IP, addresses)?;
    if headers.fragment == Fragment::Later {
        return Some(());
    }
    let change = change.word(headers.ports, to.ports);
    let transport = core::hint::black_box(headers.transport) & OFFSET_MASK;
    if headers.protocol == protocol::TCP {
        let tcp = packet.at_mut::<Tcp>(transport)?;
        tcp.ports = to.ports;
        tcp.checksum = change.apply(tcp.checksum);
    } else {
        let udp = packet.at_mut::<Udp>(transport)?;
        udp.ports = to.ports;
        udp.checksum = change.apply_udp(udp.checksum);
    }
    Some(())
}

/// Reads the word at `offset`.
#[inline(always)]
pub fn word<P: Packet>(packet: &P, offset: usize) -> Option<u32> {
    packet.at::<Words<1>>(offset).map(|words| { words.0 }[0])
}

/// The half-word at `offset`, for writing.
#[inline(always)]
pub fn half<P: Packet>(packet: &mut P, offset: usize) -> Option<&mut Half> {
    packet.at_mut::<Half>(offset)
}
