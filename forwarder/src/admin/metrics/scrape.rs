//! Gives the metrics away: to the admin socket, and on a TCP port of their own.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use log::debug;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, Semaphore, mpsc, oneshot};
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};

use super::{exposition, page};
use crate::admin::server::Command;
use crate::io::clock;

/// Connections at once.
const MAX_CONNECTIONS: usize = 16;
/// For a whole connection: a request and its answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// So long a page is given to others who ask: whoever asks faster costs nothing more.
const FRESH: Duration = Duration::from_secs(1);

/// The page as it is now.
pub async fn ask(commands: &mpsc::Sender<Command>) -> Result<Bytes, String> {
    let (reply, answer) = oneshot::channel();
    let stopping = || "the daemon is stopping".to_owned();
    let asked = commands.send(Command::Metrics(reply)).await;
    asked.map_err(|_| stopping())?;
    let sample = answer.await.map_err(|_| stopping())??;
    // Thousands of backends make megabytes of text, and the daemon has but one thread.
    let page = spawn_blocking(move || page(&sample));
    page.await
        .map(Bytes::from)
        .map_err(|error| error.to_string())
}

/// A page as an answer.
pub fn answer(page: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(page));
    let kind = HeaderValue::from_static(exposition::CONTENT_TYPE);
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

/// A TCP port that gives the metrics and nothing else.
#[derive(Debug)]
pub struct Listener {
    listener: TcpListener,
}

impl Listener {
    /// Listens.
    pub async fn bind(address: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        Ok(Self { listener })
    }

    /// Serves until the future is dropped.
    pub async fn serve(self, commands: mpsc::Sender<Command>) {
        let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let last = Arc::new(Last {
            commands,
            page: Mutex::default(),
        });
        loop {
            let stream = match self.listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    debug!("metrics: {error}");
                    sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            // Who comes when all places are taken is turned away; nobody holds one for long.
            let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
                continue;
            };
            let last = Arc::clone(&last);
            tokio::spawn(async move {
                let served = timeout(PATIENCE, connection(stream, last)).await;
                if let Ok(Err(error)) = served {
                    debug!("metrics: {error}");
                }
                drop(place);
            });
        }
    }
}

/// The last page, for as long as it is fresh.
struct Last {
    commands: mpsc::Sender<Command>,
    page: Mutex<Option<(Duration, Bytes)>>,
}

impl Last {
    async fn page(&self) -> Result<Bytes, String> {
        let mut last = self.page.lock().await;
        match &*last {
            Some((at, page)) if clock::monotonic() < *at + FRESH => Ok(page.clone()),
            _ => {
                let page = ask(&self.commands).await?;
                *last = Some((clock::monotonic(), page.clone()));
                Ok(page)
            }
        }
    }

    async fn respond(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        match (request.uri().path(), request.method()) {
            ("/metrics", &Method::GET) => match self.page().await {
                Ok(page) => answer(page),
                Err(error) => plain(StatusCode::SERVICE_UNAVAILABLE, error),
            },
            ("/metrics", _) => {
                let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "use GET".to_owned());
                let allow = HeaderValue::from_static("GET");
                response.headers_mut().insert(ALLOW, allow);
                response
            }
            _ => plain(StatusCode::NOT_FOUND, "there is only /metrics".to_owned()),
        }
    }
}

fn plain(status: StatusCode, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(text + "\n"));
    *response.status_mut() = status;
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

async fn connection(stream: TcpStream, last: Arc<Last>) -> hyper::Result<()> {
    let service = service_fn(|request| {
        let last = Arc::clone(&last);
        async move { Ok::<_, std::convert::Infallible>(last.respond(request).await) }
    });
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .max_headers(32)
        .max_buf_size(16 << 10)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service)
        .await
}
