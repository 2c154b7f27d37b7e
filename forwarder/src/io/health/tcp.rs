//! A TCP connection, perhaps with a question and an answer.

use std::net::SocketAddr;
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::ProbeError;
use super::content::Content;
use crate::config::model::Payload;

pub async fn connect(to: SocketAddr) -> Result<TcpStream, ProbeError> {
    Ok(TcpStream::connect(to).await?)
}

pub async fn ask(to: SocketAddr, send: &[u8], expect: Option<&Payload>) -> Result<(), ProbeError> {
    let mut stream = connect(to).await?;
    stream.write_all(send).await?;
    let Some(expect) = expect else {
        if send.is_empty() {
            // A reset leaves nothing behind: no port of this host is taken for a minute.
            SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
        }
        return Ok(());
    };
    let mut content = Content::new(expect);
    let mut part = [0; 4096];
    loop {
        let length = stream.read(&mut part).await?;
        if length == 0 {
            return Err(content.lacking());
        }
        if content.add(&part[..length]) {
            return Ok(());
        }
        if content.is_full() {
            return Err(content.lacking());
        }
    }
}
