//! Real clients. They use the namespace of the thread they run on: see [`crate::Namespace::run`].

pub mod http;
pub mod icmp;
pub mod udp;

use std::net::SocketAddr;

/// Who answered, and whom it saw as the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Name of the server.
    pub backend: String,
    /// The client as the server saw it.
    pub client: SocketAddr,
    /// The client as it knows itself.
    pub local: SocketAddr,
}

impl Answer {
    /// Whether the server saw the client's own address.
    pub fn client_address_kept(&self) -> bool {
        self.client.ip() == self.local.ip()
    }
}
