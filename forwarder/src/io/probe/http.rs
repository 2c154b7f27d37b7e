//! A port that answers HTTP with 200 or 503.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::listener::listen;
use super::{AGAIN, Port};

/// Connections at once; further ones are closed.
const CONNECTIONS: usize = 64;
/// For a whole connection.
const PATIENCE: Duration = Duration::from_secs(5);

/// Answers always; what it says depends on the role.
pub async fn serve(port: Port, path: Arc<str>) {
    loop {
        let listener = listen(port.number, None);
        let result = match &listener {
            Ok(_) => Ok(()),
            Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
        };
        port.board.opened(port.number, &result);
        let Ok(listener) = listener else {
            tokio::time::sleep(AGAIN).await;
            continue;
        };
        let places = Arc::new(Semaphore::new(CONNECTIONS));
        let mut connections = JoinSet::new();
        loop {
            while connections.try_join_next().is_some() {}
            let Ok((stream, from)) = listener.accept().await else {
                // Out of descriptors, most likely.
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            };
            let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
                continue;
            };
            let (port, path) = (port.clone(), Arc::clone(&path));
            connections.spawn(async move {
                // Whoever asked may be slow, or gone.
                let _ = tokio::time::timeout(PATIENCE, connection(stream, from, port, path)).await;
                drop(place);
            });
        }
    }
}

async fn connection(
    stream: TcpStream,
    from: SocketAddr,
    port: Port,
    path: Arc<str>,
) -> hyper::Result<()> {
    let service = service_fn(|request: Request<Incoming>| {
        let asked = request.uri().path_and_query().map(|asked| asked.as_str());
        let answer = match asked == Some(&*path) {
            true => {
                let active = port.watch.is_active();
                port.board.probed(port.number, active, from.ip());
                match active {
                    true => answer(StatusCode::OK, "active\n"),
                    false => answer(StatusCode::SERVICE_UNAVAILABLE, "standby\n"),
                }
            }
            false => answer(StatusCode::NOT_FOUND, "nothing here\n"),
        };
        async move { Ok::<_, Infallible>(answer) }
    });
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .max_headers(64)
        .max_buf_size(16 << 10)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service)
        .await
}

fn answer(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = status;
    response
}
