//! Egress SNAT: hosts behind us reach out under our address.

use forwarder_common::virtual_server::AUTOMAP;
use forwarder_common::{Interface, Link, Reason, protocol};

use crate::context::Context;
use crate::link;
use crate::lookup::{FamilyTables, Route};
use crate::packet::Packet;
use crate::parse::Headers;
use crate::pipeline::Stages;
use crate::verdict::Step;

/// A packet that belongs to no virtual server and no flow: if a rule has its source, the way out is asked
/// of the kernel, and a flow is made.
#[inline(always)]
pub fn egress<F: Stages, P: Packet, T: FamilyTables<F::Address>>(
    packet: &mut P,
    tables: &T,
    _interface: &Interface,
    context: &mut Context,
) -> Step {
    let Some(headers) = Headers::<F>::kept(packet, context) else {
        return Reason::DropInternal.into();
    };
    let Some(rule) = tables.egress(headers.source) else {
        return Reason::PassNotOurs.into();
    };
    let key = headers.key();
    let (link, mtu) = match tables.route(&key, context.ifindex, headers.length) {
        Route::Found { link, mtu } if link.ifindex == rule.ifindex => (link, mtu),
        Route::Unresolved { ifindex } if ifindex == rule.ifindex => {
            tables.want_neighbour(ifindex, F::widen(headers.destination));
            return Reason::DropNoNextHop.into();
        }
        _ => return Reason::PassNotOurs.into(),
    };
    if headers.protocol == protocol::TCP && !headers.is_syn() {
        return Reason::DropNoFlow.into();
    }
    let automap = match tables.interface(link.ifindex) {
        Some(out) if F::IS_V6 => out.automap6,
        Some(out) => out.automap4,
        None => return Reason::DropInternal.into(),
    };
    let pool = if rule.snat_pool == AUTOMAP {
        automap
    } else {
        rule.snat_pool
    };
    // Only what a new flow reads: zeroing the rest would be a call that goes byte by byte.
    context.virtual_server.id = rule.id;
    context.virtual_server.snat_pool = pool;
    context.virtual_server.new_flow_interval = 0;
    context.link = Link {
        tags: link::kept_tags(context, link.ifindex),
        ..link
    };
    context.mtu = mtu;
    Step::Next(F::NEW_FLOW_STAGE)
}
