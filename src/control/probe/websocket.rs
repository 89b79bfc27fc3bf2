//! The WebSocket probe: the handshake, a question and its answer if wanted, and a Close.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::time::{self, timeout_at};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::handshake::client::Request;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::http::header::{HOST, USER_AGENT};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use super::http::AGENT;
use super::{Deadline, Stream, secure, target};
use crate::config::BackendUrl;
use crate::health::{Exchange, ProbeFault};

/// Bytes of one message of an answer, and messages (of any kind) until the expected one.
const MESSAGE_BYTES_MAX: usize = 64 * 1024;
const MESSAGES_MAX: usize = 64;

/// How long the backend has to answer our Close. One that is slower finds the connection gone.
const FAREWELL: Duration = Duration::from_millis(200);

/// Opens a connection. tungstenite bounds the head of the answer (64 KiB).
pub(super) async fn open(
    stream: Stream,
    url: &BackendUrl,
    path: &str,
) -> Result<WebSocketStream<Stream>, ProbeFault> {
    let config = WebSocketConfig::default()
        .read_buffer_size(4 * 1024)
        .write_buffer_size(0)
        .max_message_size(Some(MESSAGE_BYTES_MAX))
        .max_frame_size(Some(MESSAGE_BYTES_MAX));
    let opened = client_async_with_config(request(url, path)?, stream, Some(config)).await;
    opened.map(|(socket, _)| socket).map_err(fault)
}

/// Says what the exchange says, and waits for a message with what it expects.
pub(super) async fn converse(
    socket: &mut WebSocketStream<Stream>,
    exchange: &Exchange,
    deadline: Deadline,
) -> Result<(), ProbeFault> {
    let question = Message::text(exchange.send.clone());
    deadline.wait(socket.send(question)).await?.map_err(fault)?;
    let mut last = None;
    let mut missing = ProbeFault::TooLong;
    for _ in 0..MESSAGES_MAX {
        let message = match deadline.wait(socket.next()).await {
            Ok(Some(Ok(message))) => message,
            Ok(Some(Err(error))) => {
                missing = fault(error);
                break;
            }
            Ok(None) => {
                missing = ProbeFault::Ended;
                break;
            }
            Err(timed_out) => {
                missing = timed_out;
                break;
            }
        };
        if let Message::Text(_) | Message::Binary(_) = message
            && let Ok(text) = message.to_text()
        {
            if text.contains(&exchange.expect) {
                return Ok(());
            }
            last = Some(ProbeFault::wrong_answer(text));
        }
    }
    // What it did say tells more than that it then said nothing.
    Err(last.unwrap_or(missing))
}

/// Says goodbye, and waits a little for the same.
pub(super) async fn leave(mut socket: WebSocketStream<Stream>, deadline: Deadline) {
    let goodbye = CloseFrame { code: CloseCode::Normal, reason: "".into() };
    let farewell = async {
        let mut said = socket.close(Some(goodbye)).await.is_ok();
        for _ in 0..MESSAGES_MAX {
            said = said && matches!(socket.next().await, Some(Ok(_)));
        }
    };
    // The verdict stands already.
    let _ = timeout_at(deadline.at.min(time::Instant::now() + FAREWELL), farewell).await;
}

fn request(url: &BackendUrl, path: &str) -> Result<Request, ProbeFault> {
    let unaskable = |reason: String| ProbeFault::Unaskable { reason };
    // A stand-in: the backend's own host may be one that `http` takes for no authority (an IPv6 zone).
    let request = format!("ws://backend{}", target(url, path)).into_client_request();
    let mut request = request.map_err(|error| unaskable(error.to_string()))?;
    let host = HeaderValue::try_from(url.host_header()).map_err(|error| unaskable(error.to_string()))?;
    request.headers_mut().insert(HOST, host);
    request.headers_mut().insert(USER_AGENT, HeaderValue::from_static(AGENT));
    Ok(request)
}

fn fault(error: Error) -> ProbeFault {
    match error {
        Error::Http(response) => {
            ProbeFault::Status { status: response.status().as_u16(), wanted: "101 (Switching Protocols)" }
        }
        Error::Io(error) => secure::complaint(&error).unwrap_or(ProbeFault::Ended),
        Error::ConnectionClosed | Error::AlreadyClosed => ProbeFault::Ended,
        Error::Protocol(ProtocolError::HandshakeIncomplete | ProtocolError::ResetWithoutClosingHandshake) => {
            ProbeFault::Ended
        }
        Error::Capacity(_) | Error::AttackAttempt | Error::WriteBufferFull(_) => ProbeFault::TooLong,
        Error::Protocol(_) | Error::Utf8(_) | Error::HttpFormat(_) | Error::Tls(_) | Error::Url(_) => {
            ProbeFault::malformed(&error.to_string())
        }
    }
}
