//! Default map sizes; the loader overrides those that the config file names.

/// Virtual servers (per family).
pub const VIRTUAL_SERVERS: usize = 4_096;
/// Distinct VIP addresses (per family).
pub const VIP_ADDRESSES: usize = 4_096;
/// Pool members over all pools.
pub const BACKENDS: usize = 16_384;
/// Lookup-table slots over all pools, 8 bytes each.
pub const SLOTS: usize = 4_194_304;
/// Established NAT flows per family; each takes two map entries.
pub const FLOWS: usize = 1_000_000;
/// Embryonic NAT flow entries (two per flow), least recently used go first.
pub const EMBRYONIC: usize = 131_072;
/// Exceptions to changed slots.
pub const EXCEPTIONS: usize = 262_144;
/// First fragments remembered.
pub const FRAGMENTS: usize = 16_384;
/// SNAT pools, automap included.
pub const SNAT_POOLS: usize = 256;
/// SNAT addresses over all pools.
pub const SNAT_ADDRESSES: usize = 4_096;
/// Source prefixes in allow and deny lists (per family).
pub const ADMISSION_PREFIXES: usize = 16_384;
/// Egress SNAT source prefixes (per family).
pub const EGRESS_PREFIXES: usize = 256;
/// Interfaces that one daemon serves; a bit each in [`crate::VirtualServer::interfaces`].
pub const INTERFACES: usize = 64;
/// Highest interface index + 1 by default; raised at load when the host has higher ones.
pub const IFINDEX: usize = 1_024;
