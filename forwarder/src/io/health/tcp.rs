//! A TCP connection, perhaps with a question and an answer.

use std::net::SocketAddr;
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::ProbeError;
use super::content::Content;
use crate::config::model::Payload;

pub async fn connect(to: SocketAddr) -> Result<TcpStream, ProbeError> {
    Ok(TcpStream::connect(to).await?)
}

/// A reset leaves nothing behind: no port of this host is taken for a minute.
pub fn reset_at_end(stream: &TcpStream) -> Result<(), ProbeError> {
    Ok(SockRef::from(stream).set_linger(Some(Duration::ZERO))?)
}

/// Asks at an open connection.
pub async fn ask<S>(stream: &mut S, send: &[u8], expect: Option<&Payload>) -> Result<(), ProbeError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    stream.write_all(send).await?;
    let Some(expect) = expect else {
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
