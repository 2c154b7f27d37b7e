//! Traffic while something changes.

use std::net::SocketAddr;

use anyhow::{Result, ensure};
use forwarder_lab::{Namespace, Tally, Traffic};

/// Asks virtual servers of HTTP and echo while `work` goes on.
///
/// # Errors
/// What `work` returns, and when there was no traffic to speak of.
pub fn during(
    client: &Namespace,
    web: &[SocketAddr],
    echo: &[SocketAddr],
    work: impl FnOnce(&Traffic) -> Result<()>,
) -> Result<Tally> {
    let traffic = Traffic::start(client, web, echo)?;
    let worked = work(&traffic);
    let tally = traffic.end()?;
    worked?;
    ensure!(tally.sent() > 200, "hardly any traffic: {tally:?}");
    Ok(tally)
}
