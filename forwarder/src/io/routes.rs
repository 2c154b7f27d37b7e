//! Routes to the VIPs that this node is active for, in a table of the host: a routing daemon redistributes
//! them. A thread of its own, so that nobody waits for the kernel's tables.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use log::{info, warn};
use tokio::sync::watch;

use super::netlink::Netlink;
use super::sign::{Sign, Watch};

/// Between two looks whether the kernel still has what was put there.
const AUDIT: Duration = Duration::from_secs(5);

/// VIPs with the place of their group among the groups.
pub type Vips = BTreeMap<IpAddr, usize>;

/// The thread. When this is dropped the routes go with it.
#[derive(Debug)]
pub struct Routes {
    vips: Option<watch::Sender<Vips>>,
    thread: Option<JoinHandle<()>>,
}

impl Routes {
    /// Puts routes into `table`; `None`: only removes what a daemon before this one has left.
    pub fn start(table: Option<u32>, vips: Vips, sign: &Sign) -> io::Result<Self> {
        let mut kernel = Kernel {
            netlink: Netlink::open()?,
            table,
            there: BTreeSet::new(),
            failed: false,
        };
        kernel.there = kernel.netlink.own_routes()?;
        let Some(_) = table else {
            kernel.set(&BTreeSet::new());
            return Ok(Self {
                vips: None,
                thread: None,
            });
        };
        let (sender, receiver) = watch::channel(vips);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let watch = sign.watch(None);
        let thread = thread::Builder::new()
            .name("routes".to_owned())
            .spawn(move || runtime.block_on(kernel.serve(receiver, watch)))?;
        Ok(Self {
            vips: Some(sender),
            thread: Some(thread),
        })
    }

    /// The routes stay when this is dropped, for as long as packets are forwarded without the daemon.
    pub fn stay(&mut self) {
        if let Some(sender) = self.vips.take() {
            // It never learns that nobody sends any more, and ends with the daemon.
            std::mem::forget(sender);
            self.thread = None;
        }
    }

    /// Other VIPs.
    pub fn set(&self, vips: Vips) {
        if let Some(sender) = &self.vips {
            sender.send_if_modified(|known| {
                let changed = *known != vips;
                *known = vips;
                changed
            });
        }
    }
}

impl Drop for Routes {
    fn drop(&mut self) {
        self.vips = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            warn!("the thread of routes has failed");
        }
    }
}

/// The kernel's tables.
struct Kernel {
    netlink: Netlink,
    table: Option<u32>,
    /// Those of ours that it has.
    there: BTreeSet<(u32, IpAddr)>,
    failed: bool,
}

impl Kernel {
    async fn serve(mut self, mut vips: watch::Receiver<Vips>, mut watch: Watch) {
        loop {
            let active = watch.active();
            let wanted: BTreeSet<IpAddr> = vips
                .borrow_and_update()
                .iter()
                .filter(|(_, group)| active.get(**group).copied().unwrap_or(false))
                .map(|(vip, _)| *vip)
                .collect();
            self.set(&wanted);
            tokio::select! {
                () = watch.changed() => {}
                changed = vips.changed() => if changed.is_err() {
                    self.set(&BTreeSet::new());
                    return;
                },
                () = tokio::time::sleep(AUDIT) => self.look(),
            }
        }
    }

    /// Others may have removed some.
    fn look(&mut self) {
        if let Ok(there) = self.netlink.own_routes() {
            self.there = there;
        }
    }

    fn set(&mut self, wanted: &BTreeSet<IpAddr>) {
        let table = self.table.unwrap_or_default();
        let wanted: BTreeSet<_> = wanted.iter().map(|vip| (table, *vip)).collect();
        let mut error = None;
        for (table, vip) in self.there.clone().difference(&wanted) {
            match self.netlink.remove_own_route(*table, *vip) {
                Ok(()) => {
                    self.there.remove(&(*table, *vip));
                    info!("route to {vip} withdrawn from table {table}");
                }
                Err(refused) => error = Some(refused),
            }
        }
        for (table, vip) in wanted.difference(&self.there.clone()) {
            match self.netlink.add_own_route(*table, *vip) {
                Ok(()) => {
                    self.there.insert((*table, *vip));
                    info!("route to {vip} put into table {table}");
                }
                Err(refused) => error = Some(refused),
            }
        }
        if let Some(error) = &error
            && !self.failed
        {
            warn!("routes to VIPs: {error}");
        }
        self.failed = error.is_some();
    }
}
