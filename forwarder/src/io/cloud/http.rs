//! Requests over HTTP/1.1, on connections that are kept.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::Request;
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::ETAG;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::config::model::Url;
use crate::io::health::tls::connector;

/// More than any answer that is expected.
const LARGEST: usize = 8 << 20;
/// Connections that are kept for the next request.
const KEPT: usize = 16;
/// A proxy says no more than this.
const PROXY: usize = 8 << 10;
/// Where hosts have the authorities that they trust.
const AUTHORITIES: [&str; 3] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
];

/// No answer.
#[derive(Debug, Error)]
pub enum HttpError {
    /// The server can't be reached.
    #[error("{0}: {1}")]
    Connect(String, String),
    /// It took too long.
    #[error("no answer within {0:?}")]
    Late(Duration),
    /// The conversation broke.
    #[error("{0}")]
    Broken(String),
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The body.
    pub body: String,
    /// Its tag.
    pub etag: Option<String>,
}

type Sender = SendRequest<Full<Bytes>>;

/// A server, and how it is reached.
pub struct Client {
    server: Url,
    proxy: Option<Url>,
    tls: Option<TlsConnector>,
    idle: Mutex<Vec<Sender>>,
}

impl Client {
    /// Nothing is connected yet. `ca_file`: authorities in place of those that the host trusts.
    pub fn new(server: Url, proxy: Option<Url>, ca_file: Option<&Path>) -> Result<Self, String> {
        let authorities = || -> Option<PathBuf> {
            let known = AUTHORITIES.map(PathBuf::from);
            known.into_iter().find(|path| path.exists())
        };
        let tls = match (server.tls, ca_file) {
            (false, _) => None,
            (true, Some(path)) => Some(connector(Some(path)).map_err(|error| error.to_string())?),
            (true, None) => {
                let path = authorities().ok_or("the host has no list of authorities: ca_file")?;
                Some(connector(Some(&path)).map_err(|error| error.to_string())?)
            }
        };
        Ok(Self {
            server,
            proxy,
            tls,
            idle: Mutex::default(),
        })
    }

    /// The server.
    pub fn server(&self) -> &Url {
        &self.server
    }

    /// Asks. A connection that was kept may be dead by now: then a new one is asked.
    pub async fn send(
        &self,
        request: Request<Full<Bytes>>,
        deadline: Duration,
    ) -> Result<Answer, HttpError> {
        let asked = async {
            while let Some(mut kept) = self.take() {
                if kept.ready().await.is_err() {
                    continue;
                }
                match self.ask(kept, request.clone()).await {
                    Ok(answer) => return Ok(answer),
                    Err(_) => break,
                }
            }
            let new = self.connect().await?;
            self.ask(new, request).await
        };
        match tokio::time::timeout(deadline, asked).await {
            Ok(answer) => answer,
            Err(_) => Err(HttpError::Late(deadline)),
        }
    }

    fn take(&self) -> Option<Sender> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.pop()
    }

    async fn ask(
        &self,
        mut sender: Sender,
        request: Request<Full<Bytes>>,
    ) -> Result<Answer, HttpError> {
        let answer = sender.send_request(request).await.map_err(broken)?;
        let status = answer.status().as_u16();
        let etag = answer.headers().get(ETAG);
        let etag = etag.and_then(|tag| tag.to_str().ok()).map(str::to_owned);
        let body = read(answer.into_body()).await?;
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < KEPT {
            idle.push(sender);
        }
        Ok(Answer { status, body, etag })
    }

    async fn connect(&self) -> Result<Sender, HttpError> {
        let to = self.proxy.as_ref().unwrap_or(&self.server);
        let failed = |error: String| HttpError::Connect(to.to_string(), error);
        let stream = TcpStream::connect((to.host.as_str(), to.port)).await;
        let mut stream = stream.map_err(|error| failed(error.to_string()))?;
        stream.set_nodelay(true).map_err(broken)?;
        if self.proxy.is_some() {
            tunnel(&mut stream, &self.server).await.map_err(failed)?;
        }
        let Some(tls) = &self.tls else {
            return start(stream).await;
        };
        let name = ServerName::try_from(self.server.host.clone())
            .map_err(|error| failed(error.to_string()))?;
        let stream = tls.connect(name, stream).await;
        start(stream.map_err(|error| failed(error.to_string()))?).await
    }
}

/// Speaks HTTP on a stream, in a task that ends with it.
async fn start<S>(stream: S) -> Result<Sender, HttpError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(broken)?;
    // Whoever waits for an answer learns how it ended.
    tokio::spawn(async move { drop(connection.await) });
    Ok(sender)
}

async fn read(body: Incoming) -> Result<String, HttpError> {
    let body = Limited::new(body, LARGEST).collect().await;
    let body = body.map_err(|error| HttpError::Broken(error.to_string()))?;
    String::from_utf8(body.to_bytes().into()).map_err(broken)
}

/// Asks a proxy for a connection to the server.
async fn tunnel(stream: &mut TcpStream, server: &Url) -> Result<(), String> {
    let host = match server.host.contains(':') {
        true => format!("[{}]:{}", server.host, server.port),
        false => format!("{}:{}", server.host, server.port),
    };
    let question = format!("CONNECT {host} HTTP/1.1\r\nHost: {host}\r\n\r\n");
    let text = |error: std::io::Error| error.to_string();
    stream.write_all(question.as_bytes()).await.map_err(text)?;
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        if answer.len() >= PROXY {
            return Err("the proxy's answer does not end".to_owned());
        }
        answer.push(stream.read_u8().await.map_err(text)?);
    }
    let answer = String::from_utf8_lossy(&answer);
    let line = answer.lines().next().unwrap_or_default();
    match line.split(' ').nth(1) {
        Some("200") => Ok(()),
        _ => Err(format!("the proxy says {line:?}")),
    }
}

/// With the cause: hyper's own words alone say little.
fn broken(error: impl Error) -> HttpError {
    let cause = error.source().map(|cause| format!(": {cause}"));
    HttpError::Broken(format!("{error}{}", cause.unwrap_or_default()))
}
