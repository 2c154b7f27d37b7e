//! Leases of a pair's node: until when it may do something for a group of virtual servers, in ticks of the
//! kernel (`jiffies64`), which cost a packet nothing to read. The daemon writes them again and again; when it
//! no longer does, the data plane stops by itself.

/// Groups that a node has leases for.
pub const GROUPS: usize = 16;
/// Index of the node's own lease: to answer the peer's echoes.
pub const NODE: u32 = GROUPS as u32 * 2;
/// Index of what is no lease: the tick at which the daemon asked for it last.
pub const CLOCK: u32 = NODE + 1;
/// How many words there are.
pub const COUNT: usize = CLOCK as usize + 1;

/// Index of a group's lease to forward what is for its VIPs.
#[inline(always)]
pub const fn forward(group: u32) -> u32 {
    group % GROUPS as u32 * 2
}

/// Index of a group's lease to answer for its VIPs: ARP, neighbour discovery, echo.
#[inline(always)]
pub const fn answer(group: u32) -> u32 {
    forward(group) + 1
}
