//! The daemon's socket: HTTP/1.1 with JSON over a unix socket, for the command line and programs.

pub mod access;
pub mod api;
pub mod client;
pub mod metrics;
pub mod openapi;
pub mod routes;
pub mod server;

use std::path::PathBuf;

/// Where the socket is unless told otherwise.
pub const DEFAULT_SOCKET: &str = "/run/forwarder/forwarder.sock";

/// The default socket's path.
pub fn default_socket() -> PathBuf {
    DEFAULT_SOCKET.into()
}
