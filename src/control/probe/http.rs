//! The HTTP probe: `GET`, of whose answer only the head is read.

use std::pin::pin;

use hyper::client::conn::http1;
use hyper::header::{CONNECTION, HOST, USER_AGENT};
use hyper::{Error, Request, Response, body};
use hyper_util::rt::TokioIo;

use super::{Stream, secure, target};
use crate::config::BackendUrl;
use crate::health::ProbeFault;

/// Bytes of the answer that are held at most.
const ANSWER_BYTES_MAX: usize = 16 * 1024;

/// What the backend sees in its own log.
pub(super) const AGENT: &str = "selat-probe";

/// Gets `path` and judges the status: 200 to 399 is good.
pub(super) async fn ask(stream: Stream, url: &BackendUrl, path: &str) -> Result<(), ProbeFault> {
    let request = Request::get(target(url, path))
        .header(HOST, url.host_header())
        .header(USER_AGENT, AGENT)
        .header(CONNECTION, "close")
        .body(String::new())
        .map_err(|error| ProbeFault::Unaskable { reason: error.to_string() })?;
    let status = exchange(stream, request).await.map_err(|error| fault(&error))?.status();
    if status.is_success() || status.is_redirection() {
        Ok(())
    } else {
        Err(ProbeFault::Status { status: status.as_u16(), wanted: "200 to 399" })
    }
}

async fn exchange(stream: Stream, request: Request<String>) -> Result<Response<body::Incoming>, Error> {
    let mut builder = http1::Builder::new();
    builder.max_buf_size(ANSWER_BYTES_MAX);
    let (mut sender, connection) = builder.handshake(TokioIo::new(stream)).await?;
    let (mut response, connection) = (pin!(sender.send_request(request)), pin!(connection));
    tokio::select! {
        biased;
        answer = &mut response => answer,
        // Over, but it may have brought the answer before.
        _ = connection => response.await,
    }
}

fn fault(error: &Error) -> ProbeFault {
    if error.is_parse() {
        ProbeFault::malformed(&error.to_string())
    } else {
        secure::complaint(error).unwrap_or(ProbeFault::Ended)
    }
}
