//! Health checks as they go over the wire: one probe, one result.

use std::net::SocketAddr;
use std::time::Duration;

use http_body_util::Empty;
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, HOST, USER_AGENT};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use thiserror::Error;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::config::model::Probe;

/// Why a probe failed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ProbeError {
    /// Nothing in time.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// No TCP connection.
    #[error("connection failed: {0}")]
    Connect(String),
    /// No HTTP answer.
    #[error("no HTTP answer: {0}")]
    Http(String),
    /// An answer with another status.
    #[error("HTTP status {0}")]
    Status(u16),
}

/// Asks once.
pub async fn probe(probe: &Probe, to: SocketAddr, limit: Duration) -> Result<(), ProbeError> {
    let asked = async {
        let stream = TcpStream::connect(to)
            .await
            .map_err(|error| ProbeError::Connect(error.to_string()))?;
        match probe {
            Probe::Tcp => Ok(()),
            Probe::Http { path, host, status } => {
                let got = get(stream, path, host.as_deref(), to).await?;
                if status.contains(&got.as_u16()) {
                    Ok(())
                } else {
                    Err(ProbeError::Status(got.as_u16()))
                }
            }
        }
    };
    timeout(limit, asked)
        .await
        .unwrap_or(Err(ProbeError::Timeout(limit)))
}

/// The status of a GET; the body is not read.
async fn get(
    stream: TcpStream,
    path: &str,
    host: Option<&str>,
    to: SocketAddr,
) -> Result<StatusCode, ProbeError> {
    let failed = |error: &dyn std::error::Error| ProbeError::Http(error.to_string());
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| failed(&error))?;
    let host = host.map_or_else(|| to.to_string(), str::to_owned);
    let request = Request::get(path)
        .header(HOST, host)
        .header(USER_AGENT, concat!("forwarder/", env!("CARGO_PKG_VERSION")))
        .header(CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|error| failed(&error))?;
    tokio::select! {
        answer = sender.send_request(request) => {
            Ok(answer.map_err(|error| failed(&error))?.status())
        }
        // The answer may have arrived with the end of the connection: the other branch has it then.
        Err(error) = connection => Err(failed(&error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    const LIMIT: Duration = Duration::from_secs(10);

    fn http(status: &[u16]) -> Probe {
        Probe::Http {
            path: "/health".into(),
            host: Some("a.example".into()),
            status: status.into(),
        }
    }

    fn run(answer: &'static [u8], asked: Probe) -> (Result<(), ProbeError>, String) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            let to = listener.local_addr().expect("its address");
            let server = async {
                let (mut stream, _) = listener.accept().await.expect("a connection");
                let mut request = vec![0; 1024];
                let length = stream.read(&mut request).await.unwrap_or(0);
                request.truncate(length);
                let _ = stream.write_all(answer).await;
                String::from_utf8_lossy(&request).into_owned()
            };
            tokio::join!(probe(&asked, to, LIMIT), server)
        })
    }

    #[test]
    fn http_asks_for_path_and_host_and_compares_the_status() {
        let ok = b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n";
        let (result, request) = run(ok, http(&[200, 204]));
        assert_eq!(result, Ok(()));
        assert!(request.starts_with("GET /health HTTP/1.1\r\n"), "{request}");
        assert!(
            request.to_lowercase().contains("host: a.example\r\n"),
            "{request}"
        );
        assert_eq!(run(ok, http(&[200])).0, Err(ProbeError::Status(204)));
        let body = b"HTTP/1.0 200 OK\r\n\r\nfine";
        assert_eq!(run(body, http(&[200])).0, Ok(()));
    }

    #[test]
    fn what_is_not_http_fails() {
        assert!(matches!(
            run(b"SSH-2.0-x\r\n", http(&[200])).0,
            Err(ProbeError::Http(_))
        ));
        assert!(matches!(run(b"", http(&[200])).0, Err(ProbeError::Http(_))));
    }

    #[test]
    fn tcp_wants_a_connection_only() {
        assert_eq!(run(b"", Probe::Tcp).0, Ok(()));
    }

    #[test]
    fn a_closed_port_and_a_silent_server_fail() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            let to = listener.local_addr().expect("its address");
            let limit = Duration::from_millis(50);
            let silent = probe(&http(&[200]), to, limit).await;
            assert_eq!(silent, Err(ProbeError::Timeout(limit)));
            drop(listener);
            assert!(matches!(
                probe(&Probe::Tcp, to, LIMIT).await,
                Err(ProbeError::Connect(_))
            ));
        });
    }
}
