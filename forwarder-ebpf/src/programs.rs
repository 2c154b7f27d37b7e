//! The programs: an entry and its stages, in three variants.

use core::hint::black_box;

use aya_ebpf::bindings::xdp_action;
use aya_ebpf::btf_maps::ProgramArray;
use aya_ebpf::macros::{socket_filter, xdp};
use aya_ebpf::programs::{SkBuffContext, XdpContext};
use aya_log_ebpf::{debug, trace};
use forwarder_common::programs::{CALLEES, RECORD, StageProgram};
use forwarder_common::{Interface, Reason, interface, lease};
use forwarder_ebpf::context::Context;
use forwarder_ebpf::family::{FamilyV4, FamilyV6};
use forwarder_ebpf::lookup::Tables as _;
use forwarder_ebpf::packet::Packet;
use forwarder_ebpf::verdict::{Action, Step, Verdict};
use forwarder_ebpf::{
    answer, decapsulate, egress, icmp, icmp_flow, link, nat, new_flow, pipeline, reflect, reset,
    too_big, tunnel,
};

use crate::frame::Frame;
use crate::maps::{
    DEVICES, DEVICES_FRAGS, DecapsulationMaps, INTERFACES, Maps, SCRATCH, STAGES, STAGES_FRAGS,
    STAGES_TRACE, count_decapsulated, count_reason,
};
use crate::record;

/// A variant's program array.
type Stages = ProgramArray<CALLEES>;

/// Data-plane logging: nothing at all unless the level is raised at load, since the verifier deletes code
/// behind a constant that is false.
#[inline(always)]
fn log(xdp: &XdpContext, context: &Context, verdict: Verdict) {
    let reason = verdict.reason as u32;
    if let Action::Drop = verdict.action {
        debug!(
            xdp,
            "interface {}: {} bytes dropped, reason {}", context.ifindex, context.bytes, reason
        );
    } else {
        trace!(
            xdp,
            "interface {}: {} bytes, reason {}", context.ifindex, context.bytes, reason
        );
    }
}

/// The program's answer to the driver.
///
/// The kernel ties a devmap to programs with or without frags (`__bpf_prog_map_compatible`), so each kind
/// has its own.
#[inline(always)]
fn end<const WRITE: bool, const FRAGS: bool, P: Packet>(
    xdp: &XdpContext,
    packet: &mut P,
    interface: &Interface,
    context: &mut Context,
    stages: &Stages,
    verdict: Verdict,
) -> u32 {
    let verdict = link::restore(packet, context, verdict);
    if WRITE {
        log(xdp, context, verdict);
        count_reason(interface.slot, verdict.reason, context.bytes);
    } else {
        trace_end(verdict);
    }
    match verdict.action {
        Action::Pass => xdp_action::XDP_PASS,
        Action::Drop => {
            if WRITE && record::is_first(verdict.reason) {
                context.reason = verdict.reason as u32;
                // SAFETY: a tail call returns only when it fails, and then the packet is dropped all the same.
                unsafe { stages.tail_call(xdp, RECORD) };
            }
            xdp_action::XDP_DROP
        }
        Action::Transmit => xdp_action::XDP_TX,
        Action::Redirect if !WRITE => xdp_action::XDP_REDIRECT,
        Action::Redirect if FRAGS => DEVICES_FRAGS
            .redirect(verdict.ifindex, 0)
            .unwrap_or(xdp_action::XDP_ABORTED),
        Action::Redirect => DEVICES
            .redirect(verdict.ifindex, 0)
            .unwrap_or(xdp_action::XDP_ABORTED),
    }
}

/// The reason stands at the end of a trace.
#[inline(always)]
fn trace_end(verdict: Verdict) {
    if let Some(log) = crate::maps::TRACE.get_ptr_mut(0) {
        // SAFETY: the trace's only writer is this run.
        unsafe { (*log).reason = verdict.reason as u32 };
    }
}

/// Goes on in a stage program; returns only when that fails.
///
/// Where many packets go has a call of its own. The kernel makes a jump of a tail call whose index is the same
/// number whichever way leads there; of any other an indirect one, which costs twenty times as much.
#[inline(always)]
fn call(xdp: &XdpContext, stages: &Stages, stage: StageProgram) {
    // SAFETY: the context is this program's.
    let to = |stage: StageProgram| unsafe {
        stages.tail_call(xdp, stage as u32);
    };
    // What follows each is of another type: LLVM would make one call of those that can be the same.
    match stage {
        StageProgram::Tunnel4 => {
            to(StageProgram::Tunnel4);
            black_box(0_u8);
        }
        StageProgram::Tunnel6 => {
            to(StageProgram::Tunnel6);
            black_box(0_u16);
        }
        StageProgram::Nat4 => {
            to(StageProgram::Nat4);
            black_box(0_u32);
        }
        StageProgram::Nat6 => {
            to(StageProgram::Nat6);
            black_box(0_u64);
        }
        other => to(other),
    }
}

/// Ends the packet, or goes on in a stage program, which finds the context in the scratch.
#[inline(always)]
fn follow<const WRITE: bool, const FRAGS: bool, P: Packet>(
    xdp: &XdpContext,
    packet: &mut P,
    interface: &Interface,
    context: &mut Context,
    stages: &Stages,
    step: Step,
) -> u32 {
    let verdict = match step {
        Step::Done(verdict) => verdict,
        Step::Next(stage) => {
            call(xdp, stages, stage);
            Verdict::drop(Reason::DropInternal)
        }
    };
    end::<WRITE, FRAGS, P>(xdp, packet, interface, context, stages, verdict)
}

/// An entry program.
#[inline(always)]
fn enter<const WRITE: bool, const FRAGS: bool>(xdp: &XdpContext, stages: &Stages) -> u32 {
    let ifindex = xdp.ingress_ifindex() as u32;
    let Some(interface) = INTERFACES.get(ifindex) else {
        return xdp_action::XDP_PASS;
    };
    if interface.flags & interface::flags::ACTIVE == 0 {
        return xdp_action::XDP_PASS;
    }
    let Some(scratch) = SCRATCH.get_ptr_mut(0) else {
        return xdp_action::XDP_PASS;
    };
    // SAFETY: this CPU's own copy; nothing but this packet's programs uses it meanwhile.
    let context: &mut Context = unsafe { &mut *scratch };
    let mut packet = Frame::<FRAGS>::new(xdp.ctx);
    let tables = Maps::<WRITE> { context: xdp.ctx };
    context.begin(ifindex, packet.length());
    let step = pipeline::enter(&mut packet, &tables, interface, &mut *context);
    follow::<WRITE, FRAGS, _>(xdp, &mut packet, interface, context, stages, step)
}

/// A stage program: `$run` on what the stage before left in the scratch.
macro_rules! stage {
    ($xdp:ident, $stages:ident, $write:literal, $frags:literal, $run:expr) => {{
        let Some(scratch) = SCRATCH.get_ptr_mut(0) else {
            return xdp_action::XDP_ABORTED;
        };
        // SAFETY: this CPU's own copy; nothing else uses it while this program runs.
        let context: &mut Context = unsafe { &mut *scratch };
        let Some(interface) = INTERFACES.get(context.ifindex) else {
            return xdp_action::XDP_ABORTED;
        };
        let mut packet = Frame::<$frags>::new($xdp.ctx);
        let tables = Maps::<$write> { context: $xdp.ctx };
        let step: Step = $run(&mut packet, &tables, interface, &mut *context);
        follow::<$write, $frags, _>(&$xdp, &mut packet, interface, context, &$stages, step)
    }};
}

/// One variant of the packet path. The names are those of `forwarder_common::programs`.
///
/// Each is inlined into the function that `#[xdp]` makes around it: LLVM leaves the large ones outside, and then
/// every program calls its own body, which costs a guarded return for each.
macro_rules! program_set {
    ($stages:ident, $write:literal, $frags:literal, [$($attribute:ident)?], $entry:ident,
     $tunnel4:ident $tunnel6:ident $nat4:ident $nat6:ident $new_flow4:ident $new_flow6:ident
     $egress4:ident $egress6:ident $icmp4:ident $icmp6:ident $icmp_flow4:ident $icmp_flow6:ident $answer:ident $too_big4:ident $too_big6:ident $reset4:ident $reset6:ident $reflect4:ident $reflect6:ident) => {
        #[xdp $(($attribute))?]
        #[inline(always)]
        pub fn $entry(xdp: XdpContext) -> u32 {
            enter::<$write, $frags>(&xdp, &$stages)
        }
        program_set!(@stages $stages, $write, $frags, [$($attribute)?],
            $tunnel4 => tunnel::tunnel::<FamilyV4, _, _>,
            $tunnel6 => tunnel::tunnel::<FamilyV6, _, _>,
            $nat4 => nat::nat::<FamilyV4, _, _>,
            $nat6 => nat::nat::<FamilyV6, _, _>,
            $new_flow4 => new_flow::new_flow::<FamilyV4, _, _>,
            $new_flow6 => new_flow::new_flow::<FamilyV6, _, _>,
            $egress4 => egress::egress::<FamilyV4, _, _>,
            $egress6 => egress::egress::<FamilyV6, _, _>,
            $icmp4 => icmp::icmp::<FamilyV4, _, _>,
            $icmp6 => icmp::icmp::<FamilyV6, _, _>,
            $icmp_flow4 => icmp_flow::icmp_flow::<FamilyV4, _, _>,
            $icmp_flow6 => icmp_flow::icmp_flow::<FamilyV6, _, _>,
            $answer => answer::answer,
            $too_big4 => too_big::too_big::<FamilyV4, _, _>,
            $too_big6 => too_big::too_big::<FamilyV6, _, _>,
            $reset4 => reset::reset::<FamilyV4, _, _>,
            $reset6 => reset::reset::<FamilyV6, _, _>,
            $reflect4 => reflect::reflect::<FamilyV4, _, _>,
            $reflect6 => reflect::reflect::<FamilyV6, _, _>,
        );
    };
    (@stages $stages:ident, $write:literal, $frags:literal, $attribute:tt, $($name:ident => $run:expr,)*) => {$(
        program_set!(@stage $stages, $write, $frags, $attribute, $name, $run);
    )*};
    (@stage $stages:ident, $write:literal, $frags:literal, [$($attribute:ident)?], $name:ident, $run:expr) => {
        #[xdp $(($attribute))?]
        #[inline(always)]
        pub fn $name(xdp: XdpContext) -> u32 {
            stage!(xdp, $stages, $write, $frags, $run)
        }
    };
}

program_set!(STAGES, true, false, [], forwarder,
    tunnel4 tunnel6 nat4 nat6 new_flow4 new_flow6 egress4 egress6 icmp4 icmp6 icmp_flow4 icmp_flow6 answer too_big4 too_big6
    reset4 reset6 reflect4 reflect6);
program_set!(STAGES_FRAGS, true, true, [frags], forwarder_frags,
    tunnel4_frags tunnel6_frags nat4_frags nat6_frags new_flow4_frags new_flow6_frags
    egress4_frags egress6_frags icmp4_frags icmp6_frags icmp_flow4_frags icmp_flow6_frags answer_frags too_big4_frags too_big6_frags
    reset4_frags reset6_frags reflect4_frags reflect6_frags);
program_set!(STAGES_TRACE, false, false, [], trace,
    tunnel4_trace tunnel6_trace nat4_trace nat6_trace new_flow4_trace new_flow6_trace
    egress4_trace egress6_trace icmp4_trace icmp6_trace icmp_flow4_trace icmp_flow6_trace answer_trace too_big4_trace too_big6_trace
    reset4_trace reset6_trace reflect4_trace reflect6_trace);

#[xdp]
pub fn record(xdp: XdpContext) -> u32 {
    record::keep(&xdp);
    xdp_action::XDP_DROP
}

#[xdp(frags)]
pub fn record_frags(xdp: XdpContext) -> u32 {
    record::keep(&xdp);
    xdp_action::XDP_DROP
}

/// The filter of a probe port's socket: while this node may answer for no VIP, nothing gets in. The daemon
/// closes the port; this holds where the daemon was stopped, and with it all leases end.
#[socket_filter]
pub fn probe(_: SkBuffContext) -> i64 {
    // No packet of XDP's, so no context.
    let tables = Maps::<false> {
        context: core::ptr::null_mut(),
    };
    for group in 0..lease::GROUPS as u32 {
        if tables.leased(lease::answer(group)) {
            return i64::MAX;
        }
    }
    0
}

/// Tells the daemon the time that leases end by: it sends something to a socket of its own that has this filter.
/// Nothing gets in.
#[socket_filter]
pub fn clock(_: SkBuffContext) -> i64 {
    crate::maps::note_ticks();
    0
}

/// On a backend host: takes the tunnel off what the forwarder sent.
#[xdp]
pub fn decapsulate(xdp: XdpContext) -> u32 {
    let mut packet = Frame::<false>::new(xdp.ctx);
    let bytes = packet.length();
    let taken = decapsulate::decapsulate(&mut packet, &DecapsulationMaps).is_some();
    count_decapsulated(taken, bytes);
    xdp_action::XDP_PASS
}
