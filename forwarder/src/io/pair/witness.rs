//! Who is asked while the peer is lost, and how that goes.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use thiserror::Error;

use super::etcd::{Etcd, LoginError, Wishes};
use super::{Requests, gateway};
use crate::config::model::Partition;
use crate::io::worker::Worker;

/// A witness that cannot be asked.
#[derive(Debug, Error)]
pub enum WitnessError {
    /// There is no thread or socket.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Of the files that it is asked with one is no good.
    #[error("etcd: {0}")]
    Login(#[from] LoginError),
}

/// What is to be seen of a witness that keeps a lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WitnessView {
    /// What it is.
    pub kind: &'static str,
    /// Whether it was asked at all yet.
    pub asked: bool,
    /// Until when this node has the lease, or had it.
    pub until: Option<Duration>,
    /// Why it does not answer.
    pub problem: Option<String>,
}

/// Where that is written.
#[derive(Clone, Debug)]
pub struct Report(Arc<Mutex<WitnessView>>);

impl Report {
    /// Of a witness that was not asked yet.
    pub fn new(kind: &'static str) -> Self {
        Self(Arc::new(Mutex::new(WitnessView {
            kind,
            asked: false,
            until: None,
            problem: None,
        })))
    }

    /// To read and write it.
    pub fn lock(&self) -> MutexGuard<'_, WitnessView> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A thread that asks.
#[derive(Debug)]
pub struct Witness {
    _worker: Worker,
    /// Of one that keeps a lease.
    pub report: Option<Report>,
}

/// Starts to ask, if there is anybody to ask. `node`: this one's name; `name`: the pair's.
pub fn start(
    partition: &Partition,
    node: &str,
    name: &str,
    wishes: Wishes,
    requests: &Requests,
) -> Result<Option<Witness>, WitnessError> {
    let mut report = None;
    let worker = match partition {
        Partition::Stay | Partition::Yield => return Ok(None),
        Partition::Gateway(gateways) => {
            let worker = Worker::start("witness")?;
            for gateway in gateways {
                let watch = gateway::watch(*gateway, requests.try_clone()?);
                worker.handle().spawn(watch);
            }
            worker
        }
        Partition::Etcd(settings) => {
            let shown = report.insert(Report::new("etcd"));
            let etcd = Etcd::new(settings, node, name, shown.clone())?;
            let worker = Worker::start("witness")?;
            let watch = etcd.watch(wishes, requests.try_clone()?);
            worker.handle().spawn(watch);
            worker
        }
    };
    Ok(Some(Witness {
        _worker: worker,
        report,
    }))
}
