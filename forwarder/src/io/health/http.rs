//! An HTTP GET.

use std::error::Error;
use std::net::SocketAddr;

use http_body_util::{BodyExt as _, Empty};
use hyper::Request;
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, HOST, USER_AGENT};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use super::ProbeError;
use super::content::Content;
use crate::config::model::{HttpRequest, Payload};

/// Asks on a stream, and judges the answer. The body is read only if something is expected of it.
pub async fn get<S>(stream: S, request: &HttpRequest, to: SocketAddr) -> Result<(), ProbeError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(16 * 1024)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(failed)?;
    let host = request.host.clone().unwrap_or_else(|| to.to_string());
    let question = Request::get(&request.path)
        .header(HOST, host)
        .header(USER_AGENT, concat!("forwarder/", env!("CARGO_PKG_VERSION")))
        .header(CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(failed)?;
    let asked = async {
        let answer = sender.send_request(question).await.map_err(failed)?;
        let status = answer.status().as_u16();
        if !request.status.iter().any(|good| good.contains(status)) {
            return Err(ProbeError::Status(status));
        }
        match &request.expect {
            Some(expect) => judge(answer.into_body(), expect).await,
            None => Ok(()),
        }
    };
    tokio::pin!(asked);
    tokio::select! {
        done = &mut asked => done,
        ended = connection => match ended {
            Err(error) => Err(failed(error)),
            // All of the answer has arrived.
            Ok(()) => asked.await,
        },
    }
}

async fn judge(mut body: Incoming, expect: &Payload) -> Result<(), ProbeError> {
    let mut content = Content::new(expect);
    if content.add(&[]) {
        return Ok(());
    }
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(failed)?;
        if frame.data_ref().is_some_and(|part| content.add(part)) {
            return Ok(());
        }
        if content.is_full() {
            break;
        }
    }
    Err(content.lacking())
}

/// With the cause: hyper's own words alone say little.
fn failed(error: impl Error) -> ProbeError {
    let cause = error.source().map(|cause| format!(": {cause}"));
    ProbeError::Http(format!("{error}{}", cause.unwrap_or_default()))
}
