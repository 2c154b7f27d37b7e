//! Health checks as they go over the wire: one probe, one result.

mod content;
mod error;
mod http;
mod icmp;
mod tcp;
#[cfg(test)]
mod tests;
mod tls;
mod udp;

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU16;
use std::time::Duration;

use tokio::time::timeout;
use tokio_rustls::TlsConnector;

pub use error::ProbeError;
pub use tls::TlsError;

use crate::config::model::Probe;

/// Who is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// Address.
    pub address: IpAddr,
    /// Port; `None`: the probe has none.
    pub port: Option<NonZeroU16>,
}

impl Target {
    fn socket(self) -> SocketAddr {
        SocketAddr::new(self.address, self.port.map_or(0, NonZeroU16::get))
    }
}

/// A probe that is ready to ask any number of times.
#[derive(Clone)]
pub struct Prober {
    probe: Probe,
    tls: Option<TlsConnector>,
}

impl Prober {
    /// Reads the files that the probe names.
    pub fn new(probe: &Probe) -> Result<Self, TlsError> {
        let tls = match probe {
            Probe::Https { ca_file, .. } => Some(tls::connector(ca_file.as_deref())?),
            _ => None,
        };
        Ok(Self {
            probe: probe.clone(),
            tls,
        })
    }

    /// Asks once.
    pub async fn ask(&self, target: Target, limit: Duration) -> Result<(), ProbeError> {
        let to = target.socket();
        let asked = async {
            match &self.probe {
                Probe::Tcp { send, expect } => tcp::ask(to, &send.0, expect.as_ref()).await,
                Probe::Http(request) => http::get(tcp::connect(to).await?, request, to).await,
                Probe::Https { request, .. } => {
                    let stream = tcp::connect(to).await?;
                    let host = request.host.as_deref();
                    let stream = tls::handshake(self.tls.as_ref(), stream, host, to).await?;
                    http::get(stream, request, to).await
                }
                Probe::Udp { send, expect } => udp::ask(to, &send.0, expect.as_ref()).await,
                Probe::Icmp => icmp::ask(target.address).await,
            }
        };
        match timeout(limit, asked).await {
            Ok(answer) => answer,
            // Nobody said that it is closed.
            Err(_) if matches!(self.probe, Probe::Udp { expect: None, .. }) => Ok(()),
            Err(_) => Err(ProbeError::Timeout(limit)),
        }
    }
}
