//! A datagram.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::net::UdpSocket;

use super::ProbeError;
use super::content::Content;
use crate::config::model::Payload;

/// Without `expect` this may wait for ever: it ends when something comes back.
pub async fn ask(to: SocketAddr, send: &[u8], expect: Option<&Payload>) -> Result<(), ProbeError> {
    let any: SocketAddr = match to {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any).await?;
    // Connected: answers of nobody else, and errors about what was sent.
    socket.connect(to).await?;
    socket.send(send).await?;
    let mut answer = vec![0; 65536];
    let length = socket.recv(&mut answer).await?;
    let Some(expect) = expect else {
        return Ok(());
    };
    let mut content = Content::new(expect);
    if content.add(&answer[..length]) {
        Ok(())
    } else {
        Err(content.lacking())
    }
}
