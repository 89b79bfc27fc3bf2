//! Asks a backend how it is: one question, one bounded wait, a bounded answer; many backends at once.

mod http;
mod secure;
mod websocket;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{self, timeout_at};

use super::errands::Errands;
use crate::config::{BackendUrl, Transport};
use crate::health::{Probe, ProbeFault};
use crate::protocol::proxy_protocol::{self, Version};
use crate::tls;

/// Probes under way, each a descriptor. With 10,000 backends every 5 s each may take 32 ms on average; one that hangs
/// takes its timeout, so that with 160 of those (64 × 5 s / 2 s) probes begin to come late. Late is all they come: the
/// longest overdue goes first.
const IN_FLIGHT_MAX: usize = 64;

/// The longest that a timeout is taken for; so that none overflows the clock.
const TIMEOUT_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// Whom to ask what.
#[derive(Debug, Clone)]
pub struct Question {
    /// The backend; of those that its URL may mean, this one.
    pub address: SocketAddr,
    /// What it is called.
    pub url: BackendUrl,
    /// What to ask.
    pub probe: Probe,
    /// For the whole answer.
    pub timeout: Duration,
    /// The PROXY protocol header that the backend expects first.
    pub send_proxy: Option<Version>,
    /// How TLS is spoken with it, if its URL wants that.
    pub tls: Option<Arc<tls::Client>>,
}

impl Question {
    /// Asks. How long the answer took.
    ///
    /// A TCP probe is content with a connection; the others speak TLS with a backend whose URL says so.
    ///
    /// # Errors
    /// [`ProbeFault`], at the latest after [`Self::timeout`].
    ///
    /// # Cancel safety
    /// Safe: the connection is dropped, and nothing else knows of it.
    pub async fn ask(&self) -> Result<Duration, ProbeFault> {
        let Self { address, url, probe, timeout, send_proxy, tls: _ } = self;
        let begun = time::Instant::now();
        let deadline = Deadline { at: begun + (*timeout).min(TIMEOUT_MAX), after: *timeout };
        let connected = timeout_at(deadline.at, TcpStream::connect(address)).await;
        let connected = connected.map_err(|_| ProbeFault::ConnectTimedOut { after: *timeout })?;
        let stream = connected.map_err(|error| unconnected(&error))?;
        if let Some(version) = send_proxy {
            deadline.wait(announce(&stream, *version)).await?.map_err(|error| unconnected(&error))?;
        }
        // What follows is boxed: the futures of a whole protocol are large, and only one of them is needed.
        match probe {
            Probe::Tcp => Ok(begun.elapsed()),
            Probe::Http { path } => {
                let stream = deadline.wait(Box::pin(self.secure(stream))).await??;
                deadline.wait(Box::pin(http::ask(stream, url, path))).await??;
                Ok(begun.elapsed())
            }
            Probe::WebSocket { path, exchange } => {
                let path = path.as_deref().unwrap_or_default();
                let stream = deadline.wait(Box::pin(self.secure(stream))).await??;
                let mut socket = deadline.wait(Box::pin(websocket::open(stream, url, path))).await??;
                let answered = match exchange {
                    Some(exchange) => websocket::converse(&mut socket, exchange, deadline).await,
                    None => Ok(()),
                };
                let took = begun.elapsed();
                websocket::leave(socket, deadline).await;
                answered.map(|()| took)
            }
        }
    }

    /// Speaks TLS from here on, if the URL says so.
    async fn secure(&self, stream: TcpStream) -> Result<Stream, ProbeFault> {
        match self.url.transport {
            Transport::Plain => Ok(Box::new(stream)),
            Transport::Tls => {
                let client = self.tls.as_deref().ok_or(ProbeFault::Internal)?;
                Ok(Box::new(secure::shake(stream, &self.url.host, client).await?))
            }
        }
    }
}

/// A connection to a backend, of which nobody has to know whether it is in TLS.
type Stream = Box<dyn Connection>;

trait Connection: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Connection for S {}

/// Says in front of everything that the connection is our own, with its own addresses: some servers reject a header
/// without any.
///
/// # Cancel safety
/// Safe: the connection is of no further use.
async fn announce(stream: &TcpStream, version: Version) -> io::Result<()> {
    let mut header = Vec::new();
    proxy_protocol::encode(version, Some((stream.local_addr()?, stream.peer_addr()?)), &mut header);
    stream.writable().await?;
    // A connection that nothing was written to yet takes some hundred bytes at once.
    if stream.try_write(&header)? < header.len() { Err(io::ErrorKind::WriteZero.into()) } else { Ok(()) }
}

fn unconnected(error: &io::Error) -> ProbeFault {
    if error.kind() == io::ErrorKind::ConnectionRefused {
        ProbeFault::Refused
    } else {
        ProbeFault::Unreachable { reason: error.to_string() }
    }
}

/// The end of a probe's patience.
#[derive(Debug, Clone, Copy)]
struct Deadline {
    at: time::Instant,
    /// What people know it by.
    after: Duration,
}

impl Deadline {
    /// Waits for an answer, but no longer.
    async fn wait<T>(self, answer: impl Future<Output = T>) -> Result<T, ProbeFault> {
        timeout_at(self.at, answer).await.map_err(|_| ProbeFault::AnswerTimedOut { after: self.after })
    }
}

/// The target of a request: the backend's base path, then the probe's own.
fn target(url: &BackendUrl, path: &str) -> String {
    let target = format!("{}{path}", url.base_path);
    if target.starts_with('/') { target } else { format!("/{target}") }
}

/// The probes of all backends, planned and under way.
pub(super) struct Probes<K> {
    errands: Errands<K, Result<Duration, ProbeFault>>,
}

impl<K: Copy + Ord> Probes<K> {
    pub(super) fn new() -> Self {
        Self { errands: Errands::new(IN_FLIGHT_MAX) }
    }

    /// Says when a backend is to be probed, as its [`Health`](crate::health::Health) wants it: after each change of
    /// that. `None`, as for a backend that is gone: no more, and nobody hears of a probe that is under way.
    pub(super) fn plan(&mut self, key: K, at: Option<Instant>) {
        self.errands.plan(key, at);
    }

    /// When [`Self::start_due`] has something to do.
    pub(super) fn wake_at(&self) -> Option<Instant> {
        self.errands.wake_at()
    }

    /// Starts the probes that are due; a backend without a `question` is forgotten.
    pub(super) fn start_due(&mut self, now: Instant, mut question: impl FnMut(K) -> Option<Question>) {
        self.errands.start_due(now, |key| {
            let question = question(key)?;
            Some(async move { question.ask().await })
        });
    }

    /// The next result; never, while no probe is under way. The backend is to be [planned](Self::plan) again.
    ///
    /// # Cancel safety
    /// Safe: a result that was not returned is still there.
    pub(super) async fn next(&mut self) -> (K, Result<Duration, ProbeFault>) {
        let (key, result) = self.errands.next().await;
        (key, result.unwrap_or(Err(ProbeFault::Internal)))
    }
}
