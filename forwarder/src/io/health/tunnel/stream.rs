//! A TCP connection through a tunnel.

use std::collections::VecDeque;
use std::collections::hash_map::RandomState;
use std::future::{Future as _, poll_fn};
use std::hash::BuildHasher as _;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{Checksum, Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::socket::tcp::{RecvError, Socket, SocketBuffer, State};
use smoltcp::time::Instant;
use smoltcp::wire::{HardwareAddress, IpAddress, IpCidr};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use super::{HOP_LIMIT, INNER_MTU, Path, ProbeError};
use crate::io::clock;

/// Bytes on their way, in each direction.
const BUFFER: usize = 16 * 1024;

/// An open connection. Dropping it resets it.
pub struct TunnelStream {
    path: Path,
    queues: Queues,
    interface: Interface,
    sockets: SocketSet<'static>,
    socket: SocketHandle,
    timer: Pin<Box<Sleep>>,
}

impl TunnelStream {
    /// Connects.
    pub async fn connect(path: Path) -> Result<Self, ProbeError> {
        let mut stream = Self::new(path)?;
        poll_fn(|context| {
            if let Err(error) = stream.advance(context) {
                return Poll::Ready(Err(error));
            }
            match stream.tcp().state() {
                State::SynSent | State::SynReceived => Poll::Pending,
                State::Closed => {
                    let text = "Connection refused".to_owned();
                    Poll::Ready(Err(ProbeError::Refused(text)))
                }
                _ => Poll::Ready(Ok(())),
            }
        })
        .await?;
        Ok(stream)
    }

    fn new(path: Path) -> Result<Self, ProbeError> {
        let flow = path.flow;
        let (local, vip) = (
            IpAddress::from(flow.local.address),
            IpAddress::from(flow.vip),
        );
        let mut config = Config::new(HardwareAddress::Ip);
        // Sequence numbers begin where nobody can guess.
        config.random_seed = RandomState::new().hash_one(flow.local.number);
        let mut queues = Queues::default();
        let mut interface = Interface::new(config, &mut queues, now());
        let everything = IpCidr::new(local, 0);
        interface.update_ip_addrs(|addresses| {
            let _ = addresses.push(everything);
        });
        let buffer = || SocketBuffer::new(vec![0; BUFFER]);
        let mut tcp = Socket::new(buffer(), buffer());
        tcp.set_hop_limit(Some(HOP_LIMIT));
        tcp.set_nagle_enabled(false);
        let ends = ((vip, flow.port), (local, flow.local.number));
        let begun = tcp.connect(interface.context(), ends.0, ends.1);
        begun.map_err(|error| ProbeError::NotMade(format!("{vip} port {}: {error}", flow.port)))?;
        let mut sockets = SocketSet::new(Vec::new());
        let socket = sockets.add(tcp);
        Ok(Self {
            path,
            queues,
            interface,
            sockets,
            socket,
            timer: Box::pin(sleep(Duration::ZERO)),
        })
    }

    fn tcp(&mut self) -> &mut Socket<'static> {
        self.sockets.get_mut(self.socket)
    }

    /// Takes in what has come, sends what is to go, and makes sure that the task is woken for more.
    fn advance(&mut self, context: &mut Context<'_>) -> Result<(), ProbeError> {
        loop {
            while let Poll::Ready(reply) = self.path.poll_reply(context) {
                self.queues.arrived.push_back(reply?);
            }
            self.exchange()?;
            match self.interface.poll_delay(now(), &self.sockets) {
                None => return Ok(()),
                Some(delay) => self.timer.set(sleep(delay.into())),
            }
            if self.timer.as_mut().poll(context).is_pending() {
                return Ok(());
            }
        }
    }

    fn exchange(&mut self) -> Result<(), ProbeError> {
        self.interface
            .poll(now(), &mut self.queues, &mut self.sockets);
        let mut packets = self.queues.leaving.drain(..);
        packets.try_for_each(|packet| self.path.send(&packet))
    }
}

impl Drop for TunnelStream {
    fn drop(&mut self) {
        self.tcp().abort();
        // The other end finds out by itself if that is lost.
        let _ = self.exchange();
    }
}

impl AsyncRead for TunnelStream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let stream = self.get_mut();
        stream.advance(context).map_err(io::Error::other)?;
        let tcp = stream.tcp();
        if !tcp.can_recv() && tcp.may_recv() {
            return Poll::Pending;
        }
        match tcp.recv_slice(into.initialize_unfilled()) {
            Ok(length) => into.advance(length),
            // No more will come.
            Err(RecvError::Finished) => {}
            Err(RecvError::InvalidState) => {
                return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
            }
        }
        // There is more room now, which the other end is told.
        stream.advance(context).map_err(io::Error::other)?;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for TunnelStream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let stream = self.get_mut();
        stream.advance(context).map_err(io::Error::other)?;
        let tcp = stream.tcp();
        if !tcp.can_send() && tcp.may_send() {
            return Poll::Pending;
        }
        let Ok(length) = tcp.send_slice(bytes) else {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        };
        stream.advance(context).map_err(io::Error::other)?;
        Poll::Ready(Ok(length))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let stream = self.get_mut();
        stream.tcp().close();
        ready!(Poll::Ready(
            stream.advance(context).map_err(io::Error::other)
        ))?;
        Poll::Ready(Ok(()))
    }
}

fn now() -> Instant {
    Instant::from_micros(i64::try_from(clock::monotonic().as_micros()).unwrap_or(i64::MAX))
}

/// Between the connection and the tunnel.
#[derive(Default)]
struct Queues {
    arrived: VecDeque<Vec<u8>>,
    leaving: Vec<Vec<u8>>,
}

struct Arrived(Vec<u8>);
struct Leaving<'q>(&'q mut Vec<Vec<u8>>);

impl Device for Queues {
    type RxToken<'q> = Arrived;
    type TxToken<'q> = Leaving<'q>;

    fn receive(&mut self, _: Instant) -> Option<(Arrived, Leaving<'_>)> {
        let packet = self.arrived.pop_front()?;
        Some((Arrived(packet), Leaving(&mut self.leaving)))
    }

    fn transmit(&mut self, _: Instant) -> Option<Leaving<'_>> {
        Some(Leaving(&mut self.leaving))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        capabilities.max_transmission_unit = INNER_MTU;
        // The interface has verified what came in, or, between hosts of one machine, nobody has made it yet.
        capabilities.checksum.ipv4 = Checksum::Tx;
        capabilities.checksum.tcp = Checksum::Tx;
        capabilities
    }
}

impl RxToken for Arrived {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, take: F) -> R {
        take(&self.0)
    }
}

impl TxToken for Leaving<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, fill: F) -> R {
        let mut packet = vec![0; length];
        let result = fill(&mut packet);
        self.0.push(packet);
        result
    }
}
