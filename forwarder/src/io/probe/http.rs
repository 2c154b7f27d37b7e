//! A port that answers HTTP with 200 or 503.

use std::cmp::Reverse;
use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};

use super::listener::listen;
use super::{AGAIN, Port};

/// Connections at once.
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
        accept(&listener, &port, &path).await;
    }
}

/// Whoever comes is let in: where there are too many, the oldest of the address that has the most has to go. So
/// clients that connect and say nothing do not keep out a load balancer, which asks at once.
pub(super) async fn accept(listener: &TcpListener, port: &Port, path: &Arc<str>) -> Infallible {
    let mut places: VecDeque<(IpAddr, AbortHandle)> = VecDeque::new();
    // Dropped with this, and with them what they serve.
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok((stream, from)) = listener.accept().await else {
            // Out of descriptors, most likely.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        places.retain(|(_, connection)| !connection.is_finished());
        if places.len() >= CONNECTIONS
            && let Some(place) = most(places.iter().map(|(from, _)| *from))
            && let Some((_, connection)) = places.remove(place)
        {
            connection.abort();
        }
        let (port, path) = (port.clone(), Arc::clone(path));
        let served = connections.spawn(async move {
            // Whoever asked may be slow, or gone.
            let _ = tokio::time::timeout(PATIENCE, connection(stream, from, port, path)).await;
        });
        places.push_back((from.ip(), served));
    }
}

/// The first place of the address that is there most often.
fn most(addresses: impl Iterator<Item = IpAddr>) -> Option<usize> {
    let mut places: BTreeMap<IpAddr, (usize, usize)> = BTreeMap::new();
    for (place, address) in addresses.enumerate() {
        places.entry(address).or_insert((0, place)).0 += 1;
    }
    let most = places.into_values();
    let most = most.max_by_key(|(count, first)| (*count, Reverse(*first)))?;
    Some(most.1)
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
