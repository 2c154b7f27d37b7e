//! Questions of one packet.

use std::future::poll_fn;

use super::packet::{self, datagram, echo_request};
use super::{Path, ProbeError};
use crate::config::model::Payload;
use crate::io::health::content::Content;
use crate::io::health::icmp::PAYLOAD;

/// Sends a datagram and waits for its answer.
pub async fn udp(mut path: Path, send: &[u8], expect: Option<&Payload>) -> Result<(), ProbeError> {
    path.send(&datagram(&path.flow, send))?;
    let answer = loop {
        let packet = poll_fn(|context| path.poll_reply(context)).await?;
        if let Some(answer) = packet::payload(&path.flow, &packet) {
            break answer.to_vec();
        }
    };
    let Some(expect) = expect else {
        return Ok(());
    };
    let mut content = Content::new(expect);
    if content.add(&answer) {
        Ok(())
    } else {
        Err(content.lacking())
    }
}

/// Sends an echo request and waits for its reply.
pub async fn echo(mut path: Path) -> Result<(), ProbeError> {
    path.send(&echo_request(&path.flow, PAYLOAD))?;
    loop {
        let packet = poll_fn(|context| path.poll_reply(context)).await?;
        if packet::is_echo(&packet, PAYLOAD) {
            return Ok(());
        }
    }
}
