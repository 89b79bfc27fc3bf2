//! One HTTP exchange with an admin interface, over TCP or a Unix socket.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{AUTHORIZATION, HOST};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use crate::config::ListenAddress;
use crate::control::admin::Failure;

use super::OpsError;
use super::units::printable;

pub(super) use hyper::Method;

/// How long an exchange may take: longer than the control plane may think.
const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(15);

/// Bytes of an answer: a status of ten thousand backends has a tenth of it.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Somebody to ask.
#[derive(Clone)]
pub(super) struct Client {
    address: ListenAddress,
    token: Option<String>,
}

impl Client {
    pub(super) fn new(address: ListenAddress, token: Option<String>) -> Self {
        Self { address, token }
    }

    pub(super) fn address(&self) -> &ListenAddress {
        &self.address
    }

    /// Asks, and returns the body of an answer that is a success.
    ///
    /// # Errors
    /// [`OpsError`], when there is none.
    ///
    /// # Cancel safety
    /// The answer is lost; what was asked for may be done.
    pub(super) async fn exchange(&self, method: Method, path: &str) -> Result<Bytes, OpsError> {
        let late = |_| self.unreachable(io::Error::from(io::ErrorKind::TimedOut));
        timeout(EXCHANGE_TIMEOUT, self.dial(method, path)).await.map_err(late)?
    }

    async fn dial(&self, method: Method, path: &str) -> Result<Bytes, OpsError> {
        let unreachable = |source| self.unreachable(source);
        match &self.address {
            ListenAddress::Tcp(address) => {
                let address = nearest(*address);
                let stream = TcpStream::connect(address).await.map_err(unreachable)?;
                self.send(stream, self.request(method, path, &address.to_string())?).await
            }
            ListenAddress::Unix(path_of_socket) => {
                let stream = UnixStream::connect(path_of_socket).await.map_err(unreachable)?;
                self.send(stream, self.request(method, path, "localhost")?).await
            }
        }
    }

    fn request(&self, method: Method, path: &str, host: &str) -> Result<Request<Empty<Bytes>>, OpsError> {
        let mut request = Request::builder().method(method).uri(path).header(HOST, host);
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        request.body(Empty::new()).map_err(|error| self.not_understood(&error))
    }

    async fn send(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin,
        request: Request<Empty<Bytes>>,
    ) -> Result<Bytes, OpsError> {
        let io = TokioIo::new(stream);
        let (mut sender, connection) =
            http1::handshake(io).await.map_err(|error| self.not_understood(&error))?;
        let exchange = async {
            let response = sender.send_request(request).await.map_err(|error| self.not_understood(&error))?;
            self.read(response).await
        };
        // The connection moves the bytes; it must be polled for the answer to come, and has no news of its own.
        let (answer, _) = tokio::join!(exchange, connection);
        answer
    }

    async fn read(&self, response: Response<Incoming>) -> Result<Bytes, OpsError> {
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
        let body = body.map_err(|error| self.not_understood(&*error))?.to_bytes();
        if status.is_success() {
            return Ok(body);
        }
        let Failure { error } = parse(self, &body)?;
        Err(OpsError::Refused { status: status.as_u16(), error: printable(&error) })
    }

    fn unreachable(&self, source: io::Error) -> OpsError {
        OpsError::Unreachable { address: self.address.clone(), source }
    }

    fn not_understood(&self, error: &dyn std::error::Error) -> OpsError {
        // What a library wraps says more than the wrapping.
        let what = error.source().map_or_else(|| error.to_string(), ToString::to_string);
        OpsError::NotUnderstood { address: self.address.clone(), what }
    }
}

/// Takes an answer apart.
///
/// # Errors
/// [`OpsError::NotUnderstood`].
pub(super) fn parse<T: DeserializeOwned>(client: &Client, answer: &[u8]) -> Result<T, OpsError> {
    serde_json::from_slice(answer).map_err(|error| client.not_understood(&error))
}

/// Where to connect to what listens on every address.
fn nearest(address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        return (Ipv4Addr::LOCALHOST, address.port()).into();
    }
    address
}
