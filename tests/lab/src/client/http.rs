//! An HTTP/1.1 client.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::Answer;
use crate::pattern;
use crate::server::send_pattern;

/// One request on a connection of its own.
///
/// # Errors
/// When there is no right answer in time.
pub fn get(server: SocketAddr, path: &str, timeout: Duration) -> Result<Answer> {
    Connection::open(server, timeout)?.get(path)
}

/// A connection that is kept alive.
pub struct Connection {
    stream: BufReader<TcpStream>,
}

impl Connection {
    /// Connects; `timeout` holds for this and for every later read and write.
    pub fn open(server: SocketAddr, timeout: Duration) -> Result<Self> {
        let stream = TcpStream::connect_timeout(&server, timeout)
            .with_context(|| format!("connect to {server}"))?;
        stream.set_read_timeout(Some(timeout))?;
        stream.set_write_timeout(Some(timeout))?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream: BufReader::new(stream),
        })
    }

    /// Requests `path` and expects status 200.
    pub fn get(&mut self, path: &str) -> Result<Answer> {
        self.send(&format!("GET {path} HTTP/1.1\r\nhost: vip\r\n\r\n"))?;
        let (answer, length) = self.head()?;
        let mut body = vec![0; usize::try_from(length)?];
        self.stream.read_exact(&mut body).context("read the body")?;
        Ok(answer)
    }

    /// Fetches `length` bytes and checks every one.
    pub fn download(&mut self, length: u64) -> Result<Answer> {
        let answer = self.begin_download(length)?;
        let mut buffer = vec![0; 65536];
        let mut received = 0;
        while received < length {
            let part = (length - received).min(buffer.len() as u64) as usize;
            received += self.read_pattern(received, &mut buffer[..part])?;
        }
        Ok(answer)
    }

    /// Asks for `length` bytes; [`Self::read_pattern`] reads them.
    pub(crate) fn begin_download(&mut self, length: u64) -> Result<Answer> {
        self.send(&format!(
            "GET /bytes/{length} HTTP/1.1\r\nhost: vip\r\n\r\n"
        ))?;
        let (answer, announced) = self.head()?;
        ensure!(
            announced == length,
            "asked for {length} bytes, {announced} announced"
        );
        Ok(answer)
    }

    /// Reads and checks the next part of a download, which stands at `position`: how many bytes.
    pub(crate) fn read_pattern(&mut self, position: u64, part: &mut [u8]) -> Result<u64> {
        let count = self.stream.read(part)?;
        ensure!(count > 0, "the connection ended after {position} bytes");
        if let Some(at) = pattern::first_difference(position, &part[..count]) {
            bail!("byte {at} is wrong");
        }
        Ok(count as u64)
    }

    /// Sends `length` bytes, every one of which the server checks.
    pub fn upload(&mut self, length: u64) -> Result<Answer> {
        self.send(&format!(
            "POST / HTTP/1.1\r\nhost: vip\r\ncontent-length: {length}\r\n\r\n"
        ))?;
        send_pattern(self.stream.get_mut(), length).context("send the body")?;
        let (answer, length) = self.head()?;
        let mut body = vec![0; usize::try_from(length)?];
        self.stream.read_exact(&mut body)?;
        Ok(answer)
    }

    fn send(&mut self, head: &str) -> Result<()> {
        self.stream
            .get_mut()
            .write_all(head.as_bytes())
            .context("send the request")
    }

    /// Reads the head of an answer with status 200: who answered, and the length of the body.
    fn head(&mut self) -> Result<(Answer, u64)> {
        let status = self.line()?;
        let (mut backend, mut client, mut length) = (None, None, None);
        loop {
            let line = self.line()?;
            if line.is_empty() {
                break;
            }
            match line.split_once(": ") {
                Some(("backend", value)) => backend = Some(value.to_owned()),
                Some(("client", value)) => client = Some(value.parse()?),
                Some(("content-length", value)) => length = Some(value.parse()?),
                _ => {}
            }
        }
        ensure!(
            status.starts_with("HTTP/1.1 200 "),
            "the answer is {status:?}"
        );
        let (Some(backend), Some(client), Some(length)) = (backend, client, length) else {
            bail!("the answer lacks headers of ours");
        };
        let local = self.stream.get_ref().local_addr()?;
        Ok((
            Answer {
                backend,
                client,
                local,
            },
            length,
        ))
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        self.stream
            .read_line(&mut line)
            .context("read the answer")?;
        ensure!(line.ends_with('\n'), "the connection ended");
        Ok(line.trim_end().to_owned())
    }
}
