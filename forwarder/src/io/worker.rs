//! A thread for tasks that must not wait for the node's, nor the node for them.

use std::io;
use std::thread;

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

/// A thread with a runtime of its own. Ends when this is dropped, and all its tasks with it.
#[derive(Debug)]
pub struct Worker {
    handle: Handle,
    _until_dropped: oneshot::Sender<()>,
}

impl Worker {
    /// Starts it.
    pub fn start(name: &str) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (_until_dropped, dropped) = oneshot::channel::<()>();
        let work = move || drop(runtime.block_on(dropped));
        thread::Builder::new().name(name.to_owned()).spawn(work)?;
        Ok(Self {
            handle,
            _until_dropped,
        })
    }

    /// Where tasks are spawned.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }
}
