//! Leases of a pair's node: until when it may do something, on the coarse monotonic clock in nanoseconds.
//! The daemon writes them again and again; when it no longer does, the data plane stops by itself.

/// Index of the lease to forward what is for VIPs.
pub const FORWARD: u32 = 0;
/// Index of the lease to answer for VIPs: ARP, neighbour discovery, echo.
pub const ANSWER: u32 = 1;
/// How many there are.
pub const COUNT: usize = 2;
