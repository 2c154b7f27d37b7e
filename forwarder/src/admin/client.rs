//! Asks a running daemon.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::api::{
    Change, ConfigRequest, Drops, Failure, FlowQuery, Flows, History, OverrideRequest, PairAnswer,
    PairRequest, RunningConfig, Snat, Status, Trace, TraceRequest,
};
use super::routes::Ask;

/// How long the daemon has to answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// The daemon did not give what was asked for.
#[derive(Debug, Error)]
pub enum ClientError {
    /// Nobody listens.
    #[error("no daemon answers at {}: {source}\n  is it running?  forwarder run CONFIG", .path.display())]
    NotRunning {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Not allowed.
    #[error("{}: permission denied; be root, or in the socket's group", .0.display())]
    Denied(PathBuf),
    /// The daemon says no.
    #[error("{0}")]
    Refused(String),
    /// The conversation broke.
    #[error("the daemon's answer cannot be read: {0}")]
    Broken(String),
}

/// `GET /v1/status`.
pub async fn status(socket: &Path) -> Result<Status, ClientError> {
    request(socket, Ask::Status, "", None::<&()>).await
}

/// `POST /v1/trace`.
pub async fn trace(socket: &Path, packet: &TraceRequest) -> Result<Trace, ClientError> {
    request(socket, Ask::Trace, "", Some(packet)).await
}

/// `POST /v1/plan`.
pub async fn plan(socket: &Path, config: &ConfigRequest) -> Result<Change, ClientError> {
    request(socket, Ask::Plan, "", Some(config)).await
}

/// `POST /v1/reload`.
pub async fn reload(socket: &Path, config: &ConfigRequest) -> Result<Change, ClientError> {
    request(socket, Ask::Reload, "", Some(config)).await
}

/// `POST /v1/override`.
pub async fn set_override(socket: &Path, wanted: &OverrideRequest) -> Result<Change, ClientError> {
    request(socket, Ask::Override, "", Some(wanted)).await
}

/// `POST /v1/pair`.
pub async fn pair(socket: &Path, request: &PairRequest) -> Result<PairAnswer, ClientError> {
    self::request(socket, Ask::Pair, "", Some(request)).await
}

/// `GET /v1/config`.
pub async fn config(socket: &Path) -> Result<RunningConfig, ClientError> {
    request(socket, Ask::Config, "", None::<&()>).await
}

/// `GET /v1/history`.
pub async fn history(socket: &Path) -> Result<History, ClientError> {
    request(socket, Ask::History, "", None::<&()>).await
}

/// `GET /v1/snat`.
pub async fn snat(socket: &Path) -> Result<Snat, ClientError> {
    request(socket, Ask::Snat, "", None::<&()>).await
}

/// `GET /v1/drops`.
pub async fn drops(socket: &Path) -> Result<Drops, ClientError> {
    request(socket, Ask::Drops, "", None::<&()>).await
}

/// `GET /v1/flows`.
pub async fn flows(socket: &Path, query: &FlowQuery) -> Result<Flows, ClientError> {
    request(socket, Ask::Flows, &query.text(), None::<&()>).await
}

/// `GET /metrics`: the page.
pub async fn metrics(socket: &Path) -> Result<String, ClientError> {
    let page = exchange(socket, Ask::Metrics, "", None::<&()>).await?;
    String::from_utf8(page.into()).map_err(|error| ClientError::Broken(error.to_string()))
}

async fn request<T: DeserializeOwned>(
    socket: &Path,
    ask: Ask,
    query: &str,
    body: Option<&impl Serialize>,
) -> Result<T, ClientError> {
    let answer = exchange(socket, ask, query, body).await?;
    serde_json::from_slice(&answer).map_err(|error| ClientError::Broken(error.to_string()))
}

async fn exchange(
    socket: &Path,
    ask: Ask,
    query: &str,
    body: Option<&impl Serialize>,
) -> Result<Bytes, ClientError> {
    let stream = UnixStream::connect(socket)
        .await
        .map_err(|source| match source.kind() {
            io::ErrorKind::PermissionDenied => ClientError::Denied(socket.to_owned()),
            _ => ClientError::NotRunning {
                path: socket.to_owned(),
                source,
            },
        })?;
    match timeout(PATIENCE, converse(stream, ask, query, body)).await {
        Ok(Ok((StatusCode::OK, bytes))) => Ok(bytes),
        Ok(Ok((status, bytes))) => {
            let failure: Option<Failure> = serde_json::from_slice(&bytes).ok();
            Err(ClientError::Refused(
                failure.map_or_else(|| status.to_string(), |f| f.error),
            ))
        }
        Ok(Err(error)) => Err(ClientError::Broken(error.to_string())),
        Err(_) => Err(ClientError::Broken("it did not come in time".into())),
    }
}

async fn converse(
    stream: UnixStream,
    ask: Ask,
    query: &str,
    body: Option<&impl Serialize>,
) -> Result<(StatusCode, Bytes), Box<dyn std::error::Error>> {
    let body = body
        .map(serde_json::to_vec)
        .transpose()?
        .unwrap_or_default();
    let route = ask.route();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let request = Request::builder()
        .method(route.method)
        .uri(format!("{}?{query}", route.path))
        .header(hyper::header::HOST, "localhost")
        .body(Full::new(Bytes::from(body)))?;
    let asked = async move {
        let answer = sender.send_request(request).await?;
        let status = answer.status();
        Ok::<_, hyper::Error>((status, answer.into_body().collect().await?.to_bytes()))
    };
    let (answer, _) = tokio::join!(asked, connection);
    Ok(answer?)
}
