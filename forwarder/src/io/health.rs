//! Health checks as they go over the wire: one probe, one result.

mod content;
mod error;
mod http;
pub(super) mod icmp;
mod tcp;
#[cfg(test)]
mod tests;
pub(super) mod tls;
mod tunnel;
mod udp;

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU16;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsConnector;

pub use error::ProbeError;
pub use tls::TlsError;
pub use tunnel::Replies;

use crate::config::model::{Probe, TunnelCheck};
use tunnel::{Transport, TunnelStream};

/// Who is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Address; the other end of the tunnel, if there is one.
    pub address: IpAddr,
    /// Port; `None`: the probe has none.
    pub port: Option<NonZeroU16>,
    /// What is asked through the tunnel, one after the other; empty: the address itself is asked.
    pub tunnelled: Vec<TunnelCheck>,
}

impl Target {
    fn socket(&self) -> SocketAddr {
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

    /// Asks once. `replies`: where answers to what goes through tunnels come in.
    pub async fn ask(
        &self,
        target: &Target,
        limit: Duration,
        replies: &Replies,
    ) -> Result<(), ProbeError> {
        if target.tunnelled.is_empty() {
            return match timeout(limit, self.directly(target.socket())).await {
                Ok(answer) => answer,
                // Nobody said that it is closed.
                Err(_) if matches!(self.probe, Probe::Udp { expect: None, .. }) => Ok(()),
                Err(_) => Err(ProbeError::Timeout(limit)),
            };
        }
        let until = Instant::now() + limit;
        for service in &target.tunnelled {
            let vip = service.vip;
            let asked = self.through_tunnel(target.address, service, replies);
            let late = |_| ProbeError::TunnelTimeout { limit, vip };
            timeout_at(until, asked).await.map_err(late)??;
        }
        Ok(())
    }

    async fn directly(&self, to: SocketAddr) -> Result<(), ProbeError> {
        match &self.probe {
            Probe::Udp { send, expect } => udp::ask(to, &send.0, expect.as_ref()).await,
            Probe::Icmp => icmp::ask(to.ip()).await,
            probe => {
                let stream = tcp::connect(to).await?;
                if matches!(probe, Probe::Tcp { send, expect: None } if send.0.is_empty()) {
                    tcp::reset_at_end(&stream)?;
                }
                self.at(stream, to).await
            }
        }
    }

    async fn through_tunnel(
        &self,
        backend: IpAddr,
        service: &TunnelCheck,
        replies: &Replies,
    ) -> Result<(), ProbeError> {
        let path = |transport| tunnel::Path::open(backend, service, transport, replies);
        match &self.probe {
            Probe::Udp { send, expect } => {
                tunnel::udp(path(Transport::Udp)?, &send.0, expect.as_ref()).await
            }
            Probe::Icmp => tunnel::echo(path(Transport::Echo)?).await,
            _ => {
                let stream = TunnelStream::connect(path(Transport::Tcp)?).await?;
                let port = service.port.map_or(0, NonZeroU16::get);
                self.at(stream, SocketAddr::new(service.vip, port)).await
            }
        }
    }

    /// Asks at an open connection.
    async fn at<S>(&self, mut stream: S, to: SocketAddr) -> Result<(), ProbeError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        match &self.probe {
            Probe::Http(request) => http::get(stream, request, to).await,
            Probe::Https { request, .. } => {
                let host = request.host.as_deref();
                let stream = tls::handshake(self.tls.as_ref(), stream, host, to).await?;
                http::get(stream, request, to).await
            }
            Probe::Tcp { send, expect } => tcp::ask(&mut stream, &send.0, expect.as_ref()).await,
            Probe::Udp { .. } | Probe::Icmp => Ok(()),
        }
    }
}
