//! A port that is open only while the node is active.

use std::io::Write as _;
use std::net::Shutdown;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;

use super::listener::listen;
use super::{AGAIN, Port};

/// Listens while the node is active.
pub async fn serve(mut port: Port, message: Arc<[u8]>) {
    loop {
        port.watch.until(true).await;
        let listener = listen(port.number, Some(&port.filter));
        port.board
            .opened(port.number, &listener.as_ref().map(|_| ()).map_err(copy));
        let Ok(listener) = listener else {
            tokio::time::sleep(AGAIN).await;
            continue;
        };
        let mut watch = port.watch.clone();
        tokio::select! {
            () = accept(&listener, &port, &message) => {}
            () = watch.until(false) => {}
        }
        drop(listener);
        port.board.closed(port.number);
    }
}

fn copy(error: &std::io::Error) -> std::io::Error {
    std::io::Error::new(error.kind(), error.to_string())
}

/// Nobody is waited for: what fits in the socket's buffer is sent, and the connection is closed.
async fn accept(listener: &TcpListener, port: &Port, message: &[u8]) {
    loop {
        match listener.accept().await {
            Ok((stream, from)) => {
                port.board.probed(port.number, true, from.ip());
                if let Ok(mut stream) = stream.into_std() {
                    // Whoever asked may be gone.
                    let _ = stream.write(message);
                    let _ = stream.shutdown(Shutdown::Write);
                }
            }
            // Out of descriptors, most likely.
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}
