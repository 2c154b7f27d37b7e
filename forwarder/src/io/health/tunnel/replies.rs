//! What comes back from VIPs: read beside the kernel's own network stack, which may not expect it (a reverse
//! path filter, a firewall, a VIP that this host has itself).

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::UdpSocket;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::packet::{self, Local};
use super::{ProbeError, Reply, filter};

/// Packets of one flow that wait to be looked at, at most.
const QUEUE: usize = 64;
/// The largest packet, many segments in one.
const LARGEST: usize = 65_536;
const FAMILIES: [(libc::c_int, bool); 2] = [(libc::ETH_P_IP, true), (libc::ETH_P_IPV6, false)];

/// Who waits for what. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Replies(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    waiting: BTreeMap<Local, (IpAddr, mpsc::Sender<Reply>)>,
    vips: BTreeSet<IpAddr>,
    sockets: BTreeMap<bool, Reader>,
    /// Why there is no socket.
    failed: Option<String>,
}

/// A socket that is read by a task.
#[derive(Debug)]
struct Reader {
    socket: Arc<UdpSocket>,
    task: JoinHandle<()>,
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Somebody waits; no longer when this is dropped.
#[derive(Debug)]
pub struct Registered {
    replies: Replies,
    local: Local,
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.replies.state().waiting.remove(&self.local);
    }
}

impl Replies {
    /// Listens for packets from exactly these VIPs, by tasks of this runtime. Needs CAP_NET_RAW; a failure
    /// is said by each check.
    pub fn watch(&self, vips: BTreeSet<IpAddr>, runtime: &Handle) {
        let mut state = self.state();
        if state.vips == vips && state.failed.is_none() {
            return;
        }
        state.failed = None;
        for (protocol, ipv4) in FAMILIES {
            if !vips.iter().any(|vip| vip.is_ipv4() == ipv4) {
                state.sockets.remove(&ipv4);
                continue;
            }
            let program = if ipv4 {
                filter::from4(&vips)
            } else {
                filter::from6(&vips)
            };
            let done = match state.sockets.get(&ipv4) {
                Some(reader) => SockRef::from(&*reader.socket).attach_filter(&program),
                None => self.open(protocol, &program, runtime).map(|reader| {
                    state.sockets.insert(ipv4, reader);
                }),
            };
            if let Err(error) = done {
                state.failed = Some(format!("a packet socket: {error}"));
            }
        }
        state.vips = vips;
    }

    fn open(
        &self,
        protocol: libc::c_int,
        program: &[socket2::SockFilter],
        runtime: &Handle,
    ) -> io::Result<Reader> {
        // In network order in the low half.
        let protocol = i32::from((protocol as u16).to_be());
        let kind = Type::DGRAM.nonblocking().cloexec();
        let socket = Socket::new(Domain::PACKET, kind, Some(Protocol::from(protocol)))?;
        socket.attach_filter(program)?;
        let _runtime = runtime.enter();
        // There is no type for it; for what is done from here on, a datagram is a datagram.
        let socket = Arc::new(UdpSocket::from_std(socket.into())?);
        let task = runtime.spawn(self.clone().read(Arc::clone(&socket)));
        Ok(Reader { socket, task })
    }

    async fn read(self, socket: Arc<UdpSocket>) {
        let mut packet = vec![0; LARGEST];
        loop {
            // An interface that goes down is an error of this socket, too.
            let Ok(length) = socket.recv(&mut packet).await else {
                continue;
            };
            if let Some((local, from, reply)) = packet.get(..length).and_then(packet::sort)
                && let Some((vip, waiting)) = self.state().waiting.get(&local)
                && *vip == from
            {
                // What finds no room is lost, as on any way.
                let _ = waiting.try_send(reply);
            }
        }
    }

    /// What comes from a VIP for an end of a flow that nobody else has.
    pub fn register(
        &self,
        local: Local,
        vip: IpAddr,
    ) -> Result<(Registered, mpsc::Receiver<Reply>), ProbeError> {
        let mut state = self.state();
        if let Some(failed) = &state.failed {
            return Err(ProbeError::NotMade(failed.clone()));
        }
        let (sender, receiver) = mpsc::channel(QUEUE);
        state.waiting.insert(local, (vip, sender));
        let replies = self.clone();
        Ok((Registered { replies, local }, receiver))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
