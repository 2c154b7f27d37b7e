//! Serves the socket.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use log::debug;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::access::{Access, Peer};
use super::api::{
    Change, ConfigRequest, Drops, Failure, FlowQuery, History, OverrideRequest, PairAnswer,
    PairRequest, RunningConfig, Snat, Status, Trace, TraceRequest,
};
use super::metrics::{self, Sample};
use super::openapi;
use super::routes::Ask;
use crate::node::FlowView;

/// Largest request body, bytes.
const MAX_BODY: usize = 64 << 10;
/// The same for one with a config file in it: line ends and quotes take two bytes in JSON.
const MAX_CONFIG_BODY: usize = 2 * crate::config::MAX_FILE_SIZE + MAX_BODY;
/// Bodies with a config file that are read at once.
const MAX_CONFIGS: usize = 2;
/// Connections at once.
const MAX_CONNECTIONS: usize = 64;
/// Largest head of a request, bytes.
const MAX_HEAD: usize = 16 << 10;
/// For a whole connection, also one that does not read its answer.
const CONNECTION_PATIENCE: Duration = Duration::from_secs(30);
/// For the request's head, and again for the rest.
const PATIENCE: Duration = Duration::from_secs(5);
/// For a change to be made.
const CHANGE_PATIENCE: Duration = Duration::from_secs(20);

/// A question to the node, with where the answer goes.
#[derive(Debug)]
pub enum Command {
    /// `GET /v1/status`.
    Status(Reply<Status>),
    /// `GET /v1/flows`.
    Flows(Reply<FlowView>),
    /// `GET /v1/snat`.
    Snat(Reply<Snat>),
    /// `GET /v1/drops`.
    Drops(Reply<Drops>),
    /// `GET /metrics`.
    Metrics(Reply<Sample>),
    /// `GET /v1/history`.
    History(Reply<History>),
    /// `GET /v1/config`.
    Config(Reply<RunningConfig>),
    /// `POST /v1/trace`.
    Trace(TraceRequest, Reply<Trace>),
    /// `POST /v1/plan`.
    Plan(ConfigRequest, Reply<Change>),
    /// `POST /v1/reload`.
    Reload(ConfigRequest, Reply<Change>),
    /// `POST /v1/override`.
    Override(OverrideRequest, Reply<Change>),
    /// `POST /v1/pair`.
    Pair(PairRequest, Reply<PairAnswer>),
}

/// Where an answer goes: the value, or why there is none.
pub type Reply<T> = oneshot::Sender<Result<T, String>>;

/// The listening socket; its file goes with it.
#[derive(Debug)]
pub struct Socket {
    listener: UnixListener,
    path: PathBuf,
    access: Access,
}

/// Makes the directory that the socket lies in. Who may use the socket is the socket's matter.
pub fn make_directory(socket: &Path) -> io::Result<()> {
    match socket.parent() {
        Some(directory) if !directory.as_os_str().is_empty() => fs::DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(directory),
        _ => Ok(()),
    }
}

impl Socket {
    /// Listens. The caller holds the daemon's lock, so a socket that is there is a dead one's.
    /// Anything else that is there stays, and is an error.
    pub fn bind(path: &Path, access: Access) -> io::Result<Self> {
        match fs::symlink_metadata(path) {
            Ok(there) if there.file_type().is_socket() => fs::remove_file(path)?,
            Ok(_) => {
                let message = "there is something else that is not a socket";
                return Err(io::Error::new(io::ErrorKind::AlreadyExists, message));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => (),
            Err(error) => return Err(error),
        }
        let listener = UnixListener::bind(path)?;
        fs::set_permissions(path, Permissions::from_mode(access.mode()))?;
        Ok(Self {
            listener,
            path: path.to_owned(),
            access,
        })
    }

    /// Serves until the future is dropped.
    pub async fn serve(&self, commands: mpsc::Sender<Command>) -> io::Result<()> {
        let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let desk = Desk {
            commands,
            access: Arc::new(self.access.clone()),
            configs: Arc::new(Semaphore::new(MAX_CONFIGS)),
            walks: Arc::new(Semaphore::new(1)),
        };
        loop {
            let place = Arc::clone(&places)
                .acquire_owned()
                .await
                .map_err(io::Error::other)?;
            let stream = match self.listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    // Out of descriptors, most likely: others may be closed meanwhile.
                    debug!("admin socket: {error}");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            let desk = desk.clone();
            tokio::spawn(async move {
                let served = timeout(CONNECTION_PATIENCE, connection(stream, desk)).await;
                if let Ok(Err(error)) = served {
                    debug!("admin connection: {error}");
                }
                drop(place);
            });
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // Nothing is left to do about a file that does not go.
        let _ = fs::remove_file(&self.path);
    }
}

/// What a connection's requests share with those of others.
#[derive(Clone)]
struct Desk {
    commands: mpsc::Sender<Command>,
    access: Arc<Access>,
    configs: Arc<Semaphore>,
    walks: Arc<Semaphore>,
}

async fn connection(stream: UnixStream, desk: Desk) -> hyper::Result<()> {
    // Who cannot be told from others is nobody.
    let peer = Peer::of(&stream).ok();
    let service = service_fn(|request: Request<Incoming>| {
        let (desk, peer) = (desk.clone(), peer.clone());
        async move {
            let refusal = match &peer {
                Some(peer) => desk.access.refusal(peer, request.uri().path()),
                None => Some("the kernel does not say who you are".to_owned()),
            };
            Ok::<_, std::convert::Infallible>(match refusal {
                Some(refusal) => failure(StatusCode::FORBIDDEN, refusal),
                None => desk.answer(request).await,
            })
        }
    });
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .max_headers(32)
        .max_buf_size(MAX_HEAD)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service)
        .await
}

impl Desk {
    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let path = request.uri().path();
        let Some(ask) = Ask::at(path) else {
            return failure(StatusCode::NOT_FOUND, format!("there is nothing at {path}"));
        };
        let method = ask.route().method;
        if request.method() != method {
            return not_allowed(method);
        }
        match ask {
            Ask::Status => self.ask(Command::Status).await,
            Ask::Metrics => self.metrics().await,
            Ask::Flows => self.flows(&request).await,
            Ask::Snat => self.ask(Command::Snat).await,
            Ask::Drops => self.ask(Command::Drops).await,
            Ask::History => self.ask(Command::History).await,
            Ask::Config => self.ask(Command::Config).await,
            Ask::OpenApi => json(StatusCode::OK, &openapi::document()),
            Ask::Trace => self.pass_on(request, Command::Trace).await,
            Ask::Override => self.pass_on(request, Command::Override).await,
            Ask::Pair => self.pass_on(request, Command::Pair).await,
            Ask::Plan => self.config(request, Command::Plan).await,
            Ask::Reload => self.config(request, Command::Reload).await,
        }
    }

    /// Looks through the flows in a thread of its own, one at a time.
    async fn flows(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        let query = match FlowQuery::read(request.uri().query().unwrap_or_default()) {
            Ok(query) => query,
            Err(error) => return failure(StatusCode::BAD_REQUEST, error),
        };
        let _place = self.walks.acquire().await;
        match self.value(PATIENCE, Command::Flows).await {
            Ok(view) => match spawn_blocking(move || view.look(&query)).await {
                Ok(Ok(flows)) => json(StatusCode::OK, &flows),
                Ok(Err(error)) => failure(StatusCode::INTERNAL_SERVER_ERROR, error),
                Err(error) => failure(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
            },
            Err((status, error)) => failure(status, error),
        }
    }

    async fn metrics(&self) -> Response<Full<Bytes>> {
        match metrics::ask(&self.commands).await {
            Ok(page) => metrics::answer(page),
            Err(error) => failure(StatusCode::SERVICE_UNAVAILABLE, error),
        }
    }

    async fn pass_on<B: DeserializeOwned, T: Serialize>(
        &self,
        request: Request<Incoming>,
        command: impl FnOnce(B, Reply<T>) -> Command,
    ) -> Response<Full<Bytes>> {
        match body(request, MAX_BODY).await {
            Ok(body) => self.ask(|reply| command(body, reply)).await,
            Err(error) => failure(StatusCode::BAD_REQUEST, error),
        }
    }

    async fn config(
        &self,
        request: Request<Incoming>,
        command: impl FnOnce(ConfigRequest, Reply<Change>) -> Command,
    ) -> Response<Full<Bytes>> {
        let body = {
            let _place = self.configs.acquire().await;
            body(request, MAX_CONFIG_BODY).await
        };
        match body {
            Ok(body) => {
                self.wait(CHANGE_PATIENCE, |reply| command(body, reply))
                    .await
            }
            Err(error) => failure(StatusCode::BAD_REQUEST, error),
        }
    }

    async fn ask<T: Serialize>(
        &self,
        command: impl FnOnce(Reply<T>) -> Command,
    ) -> Response<Full<Bytes>> {
        self.wait(PATIENCE, command).await
    }

    async fn wait<T: Serialize>(
        &self,
        patience: Duration,
        command: impl FnOnce(Reply<T>) -> Command,
    ) -> Response<Full<Bytes>> {
        match self.value(patience, command).await {
            Ok(value) => json(StatusCode::OK, &value),
            Err((status, error)) => failure(status, error),
        }
    }

    /// What the node answers, or why it does not.
    async fn value<T>(
        &self,
        patience: Duration,
        command: impl FnOnce(Reply<T>) -> Command,
    ) -> Result<T, (StatusCode, String)> {
        let (reply, answer) = oneshot::channel();
        let answered = async {
            self.commands.send(command(reply)).await.ok()?;
            answer.await.ok()
        };
        match timeout(patience, answered).await {
            Ok(Some(Ok(value))) => Ok(value),
            Ok(Some(Err(error))) => Err((StatusCode::UNPROCESSABLE_ENTITY, error)),
            Ok(None) => Err((
                StatusCode::SERVICE_UNAVAILABLE,
                "the daemon is stopping".into(),
            )),
            Err(_) => Err((StatusCode::SERVICE_UNAVAILABLE, "the daemon is busy".into())),
        }
    }
}

async fn body<T: DeserializeOwned>(request: Request<Incoming>, limit: usize) -> Result<T, String> {
    let body = Limited::new(request.into_body(), limit).collect();
    let body = timeout(PATIENCE, body)
        .await
        .map_err(|_| "the request's body did not arrive in time".to_owned())?
        .map_err(|error| error.to_string())?;
    serde_json::from_slice(&body.to_bytes()).map_err(|error| error.to_string())
}

fn not_allowed(method: &'static str) -> Response<Full<Bytes>> {
    let mut response = failure(StatusCode::METHOD_NOT_ALLOWED, format!("use {method}"));
    response
        .headers_mut()
        .insert(ALLOW, hyper::header::HeaderValue::from_static(method));
    response
}

fn failure(status: StatusCode, error: String) -> Response<Full<Bytes>> {
    json(status, &Failure { error })
}

fn json(status: StatusCode, value: &impl Serialize) -> Response<Full<Bytes>> {
    let (status, body) = match serde_json::to_vec(value) {
        Ok(body) => (status, body),
        Err(error) => (
            StatusCode::INTERNAL_SERVER_ERROR,
            error.to_string().into_bytes(),
        ),
    };
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(
        CONTENT_TYPE,
        hyper::header::HeaderValue::from_static("application/json"),
    );
    response
}
