//! Changes of the configuration, one after the other: the file is read and checked off the node's
//! task, what it newly leads to is looked for, and only then does the node put it to work.

use std::path::{Path, PathBuf};
use std::time::Duration;

use log::error;
use tokio::sync::{mpsc, oneshot};

use super::reload::Prepared;
use crate::admin::api::{Change, ConfigRequest};
use crate::admin::server::Reply;
use crate::config::{self, Config};

/// Requests that wait, at most.
const QUEUE: usize = 16;
/// How long new next hops have to answer before a reload goes on without them: the kernel asks three times, a
/// second apart, and one question or answer may be lost.
const PATIENCE: Duration = Duration::from_secs(3);
/// Between two looks whether they have.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// What is asked for.
#[derive(Debug)]
pub enum Request {
    /// What would change.
    Plan(ConfigRequest, Reply<Change>),
    /// Change it.
    Reload(ConfigRequest, Reply<Change>),
    /// Read the file again: SIGHUP.
    Again,
}

/// What the node does for a request.
#[derive(Debug)]
pub enum Step {
    /// The path of the running file.
    Path(oneshot::Sender<PathBuf>),
    /// What would change.
    Plan(Box<Config>, Option<String>, Reply<Change>),
    /// Whether it can be done; begin to look for next hops.
    Prepare(Box<Config>, Option<String>, Reply<Box<Prepared>>),
    /// Whether they have answered.
    IsPrepared(oneshot::Sender<bool>),
    /// Do it.
    Apply(Box<Prepared>, Reply<Change>),
    /// Nothing was done, for this reason.
    Refused(String),
}

/// The two ends that the node holds: requests go in, steps come out.
pub fn start() -> (mpsc::Sender<Request>, mpsc::Receiver<Step>) {
    let (requests, receiver) = mpsc::channel(QUEUE);
    let (steps, work) = mpsc::channel(1);
    tokio::spawn(run(receiver, Steps(steps)));
    (requests, work)
}

async fn run(mut requests: mpsc::Receiver<Request>, steps: Steps) {
    while let Some(request) = requests.recv().await {
        // An asker that went away needs no answer.
        match request {
            Request::Plan(request, reply) => drop(reply.send(steps.plan(request).await)),
            Request::Reload(request, reply) => drop(reply.send(steps.reload(request).await)),
            Request::Again => drop(steps.reload(ConfigRequest::default()).await),
        }
    }
}

struct Steps(mpsc::Sender<Step>);

impl Steps {
    async fn plan(&self, request: ConfigRequest) -> Result<Change, String> {
        let node = request.node.clone();
        let config = self.read(request).await?;
        self.ask(|reply| Step::Plan(config, node, reply)).await?
    }

    async fn reload(&self, request: ConfigRequest) -> Result<Change, String> {
        let changed = self.try_reload(request).await;
        if let Err(why) = &changed {
            error!(config = "refused"; "the configuration stays as it is: {why}");
            // A node that is gone needs not know.
            let _ = self.0.send(Step::Refused(why.clone())).await;
        }
        changed
    }

    async fn try_reload(&self, request: ConfigRequest) -> Result<Change, String> {
        let node = request.node.clone();
        let config = self.read(request).await?;
        let prepared = self
            .ask(|reply| Step::Prepare(config, node, reply))
            .await??;
        let mut waited = Duration::ZERO;
        while waited < PATIENCE && !self.ask(Step::IsPrepared).await? {
            tokio::time::sleep(LOOK_EVERY).await;
            waited += LOOK_EVERY;
        }
        self.ask(|reply| Step::Apply(prepared, reply)).await?
    }

    /// The file, checked. Away from the node's task: a large file takes its time.
    async fn read(&self, request: ConfigRequest) -> Result<Box<Config>, String> {
        let path = match request.file {
            Some(path) => path,
            None => self.ask(Step::Path).await?,
        };
        let text = request.text;
        let read = tokio::task::spawn_blocking(move || load(&path, text));
        read.await.map_err(|error| error.to_string())?
    }

    async fn ask<T>(&self, step: impl FnOnce(oneshot::Sender<T>) -> Step) -> Result<T, String> {
        let (reply, answer) = oneshot::channel();
        let stopping = || "the daemon is stopping".to_owned();
        self.0.send(step(reply)).await.map_err(|_| stopping())?;
        answer.await.map_err(|_| stopping())
    }
}

fn load(path: &Path, text: Option<String>) -> Result<Box<Config>, String> {
    let loaded = match text {
        Some(text) => config::parse_bytes(&path.display().to_string(), text.into_bytes()),
        None => config::load(path),
    };
    loaded.map(Box::new).map_err(|errors| errors.to_string())
}
