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
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use log::debug;
use serde::Serialize;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::timeout;

use super::api::{Failure, Status, Trace, TraceRequest};

/// Largest request body, bytes.
const MAX_BODY: usize = 64 << 10;
/// Connections at once.
const MAX_CONNECTIONS: usize = 64;
/// For the request's head, and again for the rest.
const PATIENCE: Duration = Duration::from_secs(5);

/// A question to the node, with where the answer goes.
#[derive(Debug)]
pub enum Command {
    /// `GET /v1/status`.
    Status(oneshot::Sender<Result<Status, String>>),
    /// `POST /v1/trace`.
    Trace(TraceRequest, oneshot::Sender<Result<Trace, String>>),
}

/// The listening socket; its file goes with it.
#[derive(Debug)]
pub struct Socket {
    listener: UnixListener,
    path: PathBuf,
}

/// Makes the directory that the socket lies in.
pub fn make_directory(socket: &Path) -> io::Result<()> {
    match socket.parent() {
        Some(directory) if !directory.as_os_str().is_empty() => fs::DirBuilder::new()
            .recursive(true)
            .mode(0o750)
            .create(directory),
        _ => Ok(()),
    }
}

impl Socket {
    /// Listens. The caller holds the daemon's lock, so a socket that is there is a dead one's.
    /// Anything else that is there stays, and is an error.
    pub fn bind(path: &Path) -> io::Result<Self> {
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
        fs::set_permissions(path, Permissions::from_mode(0o660))?;
        Ok(Self {
            listener,
            path: path.to_owned(),
        })
    }

    /// Serves until the future is dropped.
    pub async fn serve(&self, commands: mpsc::Sender<Command>) -> io::Result<()> {
        let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
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
            let commands = commands.clone();
            tokio::spawn(async move {
                if let Err(error) = connection(stream, commands).await {
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

async fn connection(stream: UnixStream, commands: mpsc::Sender<Command>) -> hyper::Result<()> {
    let service = service_fn(|request| {
        let commands = commands.clone();
        async move { Ok::<_, std::convert::Infallible>(answer(request, &commands).await) }
    });
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .max_headers(32)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service)
        .await
}

async fn answer(
    request: Request<Incoming>,
    commands: &mpsc::Sender<Command>,
) -> Response<Full<Bytes>> {
    match (request.uri().path(), request.method()) {
        ("/v1/status", &Method::GET) => ask(commands, Command::Status).await,
        ("/v1/trace", &Method::POST) => match body(request).await {
            Ok(trace) => ask(commands, |reply| Command::Trace(trace, reply)).await,
            Err(error) => failure(StatusCode::BAD_REQUEST, error),
        },
        ("/v1/status", _) => not_allowed("GET"),
        ("/v1/trace", _) => not_allowed("POST"),
        (path, _) => failure(StatusCode::NOT_FOUND, format!("there is nothing at {path}")),
    }
}

async fn body<T: serde::de::DeserializeOwned>(request: Request<Incoming>) -> Result<T, String> {
    let body = Limited::new(request.into_body(), MAX_BODY).collect();
    let body = timeout(PATIENCE, body)
        .await
        .map_err(|_| "the request's body did not arrive in time".to_owned())?
        .map_err(|error| error.to_string())?;
    serde_json::from_slice(&body.to_bytes()).map_err(|error| error.to_string())
}

async fn ask<T: Serialize>(
    commands: &mpsc::Sender<Command>,
    command: impl FnOnce(oneshot::Sender<Result<T, String>>) -> Command,
) -> Response<Full<Bytes>> {
    let (reply, answer) = oneshot::channel();
    let answered = async {
        commands.send(command(reply)).await.ok()?;
        answer.await.ok()
    };
    match timeout(PATIENCE, answered).await {
        Ok(Some(Ok(value))) => json(StatusCode::OK, &value),
        Ok(Some(Err(error))) => failure(StatusCode::UNPROCESSABLE_ENTITY, error),
        Ok(None) => failure(
            StatusCode::SERVICE_UNAVAILABLE,
            "the daemon is stopping".into(),
        ),
        Err(_) => failure(StatusCode::SERVICE_UNAVAILABLE, "the daemon is busy".into()),
    }
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
