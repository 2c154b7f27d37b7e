//! Ports that are asked by others than a load balancer, too.

use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

use super::listener::listen;
use super::{Board, Port, http};
use crate::io::sign::Sign;

/// Nothing takes longer, however busy the machine is.
const LIMIT: Duration = Duration::from_secs(30);
/// More than have a place.
const IDLE: usize = 300;

async fn connect(from: [u8; 4], to: SocketAddr) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::from((from, 0)))?;
    socket.connect(to).await
}

async fn ask(to: SocketAddr) -> io::Result<String> {
    let mut stream = connect([127, 0, 0, 2], to).await?;
    let question = b"GET /active HTTP/1.1\r\nHost: probe\r\n\r\n";
    stream.write_all(question).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

#[test]
fn who_connects_and_says_nothing_keeps_no_load_balancer_out() {
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.enable_all().build().expect("a runtime");
    let answers = runtime.block_on(async {
        let listener = listen(0, None).expect("a port");
        let number = listener.local_addr().expect("an address").port();
        let port = Port {
            number,
            watch: Sign::always().watch(None),
            filter: Arc::new(File::open("/dev/null").expect("a file").into()),
            board: Board::default(),
        };
        tokio::spawn(async move { http::accept(&listener, &port, &"/active".into()).await });
        let to = SocketAddr::from(([127, 0, 0, 1], number));
        let asked = async {
            let (mut idle, mut answers) = (Vec::new(), Vec::new());
            for count in 0..IDLE {
                let mut stream = connect([127, 0, 0, 3], to).await?;
                if count % 2 == 0 {
                    stream.write_all(b"GET /active HTTP/1.1\r\nSlow").await?;
                }
                idle.push(stream);
                if count % 50 == 49 {
                    answers.push(ask(to).await?);
                }
            }
            Ok::<_, io::Error>(answers)
        };
        tokio::time::timeout(LIMIT, asked).await
    });
    let answers = answers.expect("in time").expect("answers");
    assert_eq!(answers.len(), IDLE / 50);
    for answer in answers {
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer:?}");
    }
}
