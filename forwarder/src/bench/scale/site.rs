//! A router for the daemon, and one host that is all of its backends.

use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::thread;

use anyhow::{Context as _, Result};

use super::usage::Process;
use crate::admin::api::{Change, ConfigRequest, OverrideRequest, Status};
use crate::admin::client;
use crate::bench::wire::daemon::Daemon;
use crate::bench::wire::network::Network;
use crate::bench::wire::router::{Router, Side};

/// The networks. Both ends are one.
pub struct Site {
    /// The ends.
    pub ends: Network,
    /// The middle.
    pub router: Router,
}

impl Site {
    /// Makes them; backends accept connections and close them.
    pub fn new() -> Result<Self> {
        let ends = Network::new()?;
        let router = Router::new(0, &ends, &ends)?;
        let [left, right] = router.devices();
        for (device, side) in [(left, Side::Left), (right, Side::Right)] {
            let (address, own) = (router.end(side, false), router.own(side, false));
            let mac = crate::bench::wire::router::shown(router.mac(side));
            ends.ip(&format!(
                "address add {address}/24 dev {device}\nneighbour add {own} lladdr {mac} nud permanent dev {device}"
            ))?;
        }
        ends.ip("route add local 10.96.0.0/16 dev lo")?;
        let gateway = router.end(Side::Right, false);
        router
            .network
            .ip(&format!("route add 10.96.0.0/16 via {gateway}"))?;
        let listener = ends.run(|| Ok(TcpListener::bind((Ipv4Addr::UNSPECIFIED, 80))?))?;
        // It lasts as long as the process, which has little else to do.
        thread::spawn(move || listener.incoming().for_each(drop));
        Ok(Self { ends, router })
    }

    /// Starts a daemon there.
    pub fn start(&self, binary: &Path, config: &str) -> Result<Running> {
        let runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = { runtime }.enable_all().build()?;
        Ok(Running {
            daemon: Daemon::start(binary, &self.router, config)?,
            runtime,
        })
    }
}

/// A daemon that is asked things.
pub struct Running {
    daemon: Daemon,
    runtime: tokio::runtime::Runtime,
}

impl Running {
    /// What it uses.
    pub fn process(&self) -> Process {
        Process::new(self.daemon.id())
    }

    /// Its state.
    pub fn status(&self) -> Result<Status> {
        let socket = self.daemon.socket();
        Ok(self.runtime.block_on(client::status(&socket))?)
    }

    /// Puts a file to work.
    pub fn reload(&self, config: &str) -> Result<Change> {
        let file = self.daemon.file();
        std::fs::write(&file, config).with_context(|| file.display().to_string())?;
        let request = ConfigRequest::default();
        let socket = self.daemon.socket();
        Ok(self.runtime.block_on(client::reload(&socket, &request))?)
    }

    /// Changes a backend's weight.
    pub fn weight(&self, pool: &str, backend: &str, weight: u8) -> Result<Change> {
        let wanted = OverrideRequest {
            pool: pool.to_owned(),
            backend: backend.to_owned(),
            state: None,
            weight: Some(weight),
        };
        let socket = self.daemon.socket();
        Ok(self
            .runtime
            .block_on(client::set_override(&socket, &wanted))?)
    }
}
