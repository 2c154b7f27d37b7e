//! Small HTTP servers on this host, for requests that go through no network of the lab.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use forwarder_lab::certificate::Certificate;
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// A request.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// The first line, without the version.
    pub line: String,
    /// The headers, as they came.
    pub head: String,
    /// The body.
    pub body: String,
}

/// Status and body of the answer; `None`: there is none.
pub type Handler = Arc<dyn Fn(&Request) -> Option<(u16, String)> + Send + Sync>;

/// A server; it ends with the runtime.
pub struct Server {
    /// Where it is.
    pub address: SocketAddr,
    seen: Arc<Mutex<Vec<Request>>>,
}

impl Server {
    /// Answers requests; with a certificate over TLS.
    pub async fn start(certificate: Option<&Certificate>, handler: Handler) -> Self {
        let (listener, server) = Self::new().await;
        let tls = certificate.map(acceptor);
        let seen = Arc::clone(&server.seen);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (handler, seen, tls) = (Arc::clone(&handler), Arc::clone(&seen), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => serve(stream, &handler, &seen).await,
                        Some(tls) => serve(tls.accept(stream).await?, &handler, &seen).await,
                    }
                });
            }
        });
        server
    }

    /// A proxy: whatever it is asked for is at this address. With another status than 200 it refuses.
    pub async fn proxy(to: SocketAddr, status: u16) -> Self {
        let (listener, server) = Self::new().await;
        let seen = Arc::clone(&server.seen);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let seen = Arc::clone(&seen);
                tokio::spawn(async move {
                    let request = read(&mut stream).await?.unwrap_or_default();
                    seen.lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .push(request);
                    let answer = format!("HTTP/1.1 {status} Answer\r\n\r\n");
                    stream.write_all(answer.as_bytes()).await?;
                    if status == 200 {
                        let mut other = TcpStream::connect(to).await?;
                        copy_bidirectional(&mut stream, &mut other).await?;
                    }
                    io::Result::Ok(())
                });
            }
        });
        server
    }

    async fn new() -> (TcpListener, Self) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let seen = Arc::default();
        (listener, Self { address, seen })
    }

    /// Every request so far.
    pub fn seen(&self) -> Vec<Request> {
        let seen = self.seen.lock();
        seen.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn acceptor(certificate: &Certificate) -> TlsAcceptor {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let chain = vec![CertificateDer::from(certificate.der.clone())];
    let key = PrivatePkcs8KeyDer::from(certificate.key.clone());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(chain, key.into())
        .expect("a certificate");
    TlsAcceptor::from(Arc::new(config))
}

async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    handler: &Handler,
    seen: &Mutex<Vec<Request>>,
) -> io::Result<()> {
    while let Some(request) = read(&mut stream).await? {
        let answer = handler(&request);
        seen.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(request);
        let Some((status, body)) = answer else {
            // Nothing more comes, and nothing is closed.
            return std::future::pending().await;
        };
        let length = body.len();
        let text = format!("HTTP/1.1 {status} Answer\r\ncontent-length: {length}\r\n\r\n{body}");
        stream.write_all(text.as_bytes()).await?;
        stream.flush().await?;
    }
    Ok(())
}

async fn read<S: AsyncRead + Unpin>(stream: &mut S) -> io::Result<Option<Request>> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if stream.read(&mut byte).await? == 0 {
            return Ok(None);
        }
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).to_lowercase();
    let mut lengths = head
        .lines()
        .filter_map(|line| line.strip_prefix("content-length: "));
    let length = lengths.next().and_then(|length| length.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    stream.read_exact(&mut body).await?;
    let (line, head) = head.split_once("\r\n").unwrap_or_default();
    Ok(Some(Request {
        line: line.trim_end_matches(" http/1.1").to_owned(),
        head: head.to_owned(),
        body: String::from_utf8_lossy(&body).into_owned(),
    }))
}
