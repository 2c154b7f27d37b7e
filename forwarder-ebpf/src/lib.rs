//! The packet path of the forwarder: everything but the kernel.
//!
//! [`pipeline::enter`] is where to start reading. Every stage is generic over a [`packet::Packet`] and
//! over the [`lookup::Tables`], so that the same code runs in the kernel on BPF maps, in the kernel
//! without writing anything (`trace`), and on any host in a unit test.
#![cfg_attr(not(test), no_std)]

pub mod answer;
pub mod checksum;
pub mod choose;
pub mod context;
pub mod decapsulate;
pub mod egress;
pub mod family;
pub mod header;
pub mod icmp;
pub mod icmp_flow;
pub mod link;
pub mod lookup;
#[cfg(test)]
mod memory;
pub mod mss;
pub mod nat;
pub mod new_flow;
pub mod packet;
pub mod parse;
pub mod pipeline;
pub mod reflect;
pub mod reset;
#[cfg(test)]
mod tests;
pub mod too_big;
pub mod translate;
pub mod tunnel;
pub mod verdict;
