//! Questions to etcd: its v3 API as JSON over HTTP/1.1, on a connection that is kept.

use std::error::Error;
use std::net::SocketAddr;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, USER_AGENT};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::login::{self, Login, LoginError};
use crate::config::model;
use crate::io::clock;
use crate::io::health::tls;

/// How long an answer may take before the next server is asked, at least and at most: see [`Client::patience`].
const PATIENCE: [Duration; 2] = [Duration::from_millis(250), Duration::from_secs(2)];
/// An answer is a few hundred bytes.
const LARGEST: usize = 64 << 10;

/// Why there is no answer.
#[derive(Debug, Error)]
pub enum Failure {
    /// The server is silent.
    #[error("{0} does not answer")]
    Silent(SocketAddr),
    /// It can't be reached, or is not to be trusted.
    #[error("{server}: {reason}")]
    Unreached { server: SocketAddr, reason: String },
    /// It refuses, and says why.
    #[error("{server} refuses: {reason}")]
    Refused { server: SocketAddr, reason: String },
    /// It answers what no etcd does.
    #[error("the answer is not one of etcd's")]
    Nonsense,
}

/// An open connection, and what it is asked with.
struct Connection {
    sender: SendRequest<Full<Bytes>>,
    /// Proves a name.
    token: Option<String>,
}

/// Who asks.
pub struct Client {
    servers: Vec<SocketAddr>,
    /// Which one is asked first: the last that answered.
    current: usize,
    connector: Option<TlsConnector>,
    login: Option<Login>,
    connection: Option<Connection>,
    /// Several times what the last answer took.
    patience: Duration,
}

impl Client {
    /// Reads what the files hold.
    pub fn new(settings: &model::Etcd) -> Result<Self, LoginError> {
        Ok(Self {
            servers: settings.address.clone(),
            current: 0,
            connector: login::connector(settings)?,
            login: login::login(settings)?,
            connection: None,
            patience: PATIENCE[0],
        })
    }

    /// Asks one server after the other.
    pub async fn call(&mut self, path: &str, body: &Value) -> Result<Value, Failure> {
        let mut failure = Failure::Nonsense;
        for _ in 0..self.servers.len() {
            let server = self.servers[self.current];
            let since = clock::monotonic();
            let answer = timeout(self.patience, self.ask(server, path, body)).await;
            let took = clock::monotonic().saturating_sub(since);
            let [least, most] = PATIENCE;
            failure = match answer {
                Ok(Ok(answer)) => {
                    self.patience = (took * 4).clamp(least, most);
                    return Ok(answer);
                }
                Ok(Err(failure)) => failure,
                Err(_) => {
                    self.patience = (self.patience * 2).min(most);
                    Failure::Silent(server)
                }
            };
            self.connection = None;
            self.current = (self.current + 1) % self.servers.len();
        }
        Err(failure)
    }

    async fn ask(
        &mut self,
        server: SocketAddr,
        path: &str,
        body: &Value,
    ) -> Result<Value, Failure> {
        // Whoever gives up in between leaves no connection with an answer to come.
        let mut connection = match self.connection.take() {
            Some(connection) if !connection.sender.is_closed() => connection,
            _ => self.connect(server).await?,
        };
        let (mut status, mut answer) = connection.post(server, path, body).await?;
        if status == StatusCode::UNAUTHORIZED && self.login.is_some() {
            // The token is too old.
            connection.token = None;
            self.log_in(server, &mut connection).await?;
            (status, answer) = connection.post(server, path, body).await?;
        }
        self.connection = Some(connection);
        match status.is_success() {
            true => Ok(answer),
            false => Err(refused(server, status, &answer)),
        }
    }

    async fn connect(&self, server: SocketAddr) -> Result<Connection, Failure> {
        let failed = |error: &dyn Error| unreached(server, error);
        let stream = TcpStream::connect(server)
            .await
            .map_err(|error| failed(&error))?;
        // One small question at a time.
        stream.set_nodelay(true).map_err(|error| failed(&error))?;
        let sender = match &self.connector {
            None => open(stream).await,
            Some(connector) => {
                let stream = tls::handshake(Some(connector), stream, None, server).await;
                open(stream.map_err(|error| failed(&error))?).await
            }
        };
        let mut connection = Connection {
            sender: sender.map_err(|error| failed(&error))?,
            token: None,
        };
        self.log_in(server, &mut connection).await?;
        Ok(connection)
    }

    async fn log_in(&self, server: SocketAddr, connection: &mut Connection) -> Result<(), Failure> {
        let Some(login) = &self.login else {
            return Ok(());
        };
        let body = json!({ "name": login.user, "password": login.password });
        let (status, answer) = connection
            .post(server, "/v3/auth/authenticate", &body)
            .await?;
        match answer["token"].as_str() {
            Some(token) => connection.token = Some(token.to_owned()),
            None => return Err(refused(server, status, &answer)),
        }
        Ok(())
    }
}

impl Connection {
    async fn post(
        &mut self,
        server: SocketAddr,
        path: &str,
        body: &Value,
    ) -> Result<(StatusCode, Value), Failure> {
        let failed = |error: &dyn Error| unreached(server, error);
        let mut request = Request::post(path)
            .header(HOST, server.to_string())
            .header(CONTENT_TYPE, "application/json")
            .header(USER_AGENT, concat!("forwarder/", env!("CARGO_PKG_VERSION")));
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, token);
        }
        let body = Full::new(Bytes::from(body.to_string()));
        let request = request.body(body).map_err(|error| failed(&error))?;
        self.sender.ready().await.map_err(|error| failed(&error))?;
        let answer = self.sender.send_request(request).await;
        let answer = answer.map_err(|error| failed(&error))?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), LARGEST).collect().await;
        let bytes = body.map_err(|error| failed(&*error))?.to_bytes();
        // Whoever refuses may do so in plain words.
        let words = || Value::from(String::from_utf8_lossy(&bytes).trim());
        match serde_json::from_slice(&bytes) {
            Ok(answer) => Ok((status, answer)),
            Err(_) if !status.is_success() => Ok((status, json!({ "message": words() }))),
            Err(_) => Err(Failure::Nonsense),
        }
    }
}

async fn open<S>(stream: S) -> Result<SendRequest<Full<Bytes>>, hyper::Error>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = http1::Builder::new()
        .max_buf_size(16 * 1024)
        .handshake(TokioIo::new(stream))
        .await?;
    // Its end is noticed by whoever asks next.
    tokio::spawn(async move { drop(connection.await) });
    Ok(sender)
}

/// With the cause: hyper's own words alone say little.
fn unreached(server: SocketAddr, error: &dyn Error) -> Failure {
    let cause = error.source().map(|cause| format!(": {cause}"));
    let reason = format!("{error}{}", cause.unwrap_or_default());
    Failure::Unreached { server, reason }
}

fn refused(server: SocketAddr, status: StatusCode, answer: &Value) -> Failure {
    let words = answer["message"].as_str().or(answer["error"].as_str());
    // From the network: it goes to a terminal.
    let words = words.unwrap_or_default().chars().take(200);
    let words: String = words.filter(|letter| !letter.is_control()).collect();
    let reason = match words.is_empty() {
        true => status.to_string(),
        false => words,
    };
    Failure::Refused { server, reason }
}
