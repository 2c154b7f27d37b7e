//! The control plane of the VIP forwarder.

pub mod admin;
pub mod bench;
pub mod cli;
pub mod config;
pub mod core;
pub mod dataplane;
pub mod doctor;
pub mod import;
pub mod io;
pub mod logging;
pub mod node;
pub mod packet;
