//! `selat demo`: backends, proxy and clients in one process, and a failover to watch; also that of a feed's source,
//! of which its subscribers notice nothing. Beside it, four slow workers do four times the work of one.
//!
//! Everything in it is real: the backends are servers with a respond route, the workers are tungstenite's, the proxy is the one that `selat` runs,
//! and the clients are tungstenite's; so is the certificate, if it is to be in TLS, but that nobody else believes it.

mod certificate;
mod client;
mod servers;
mod subscribers;
mod workers;

use std::io::{self, Write};
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use humantime::format_duration;

pub use certificate::CertificateError;

use crate::config::{ListenAddress, Transport};
use crate::control::{Owner, Signals};
use crate::server::{Running, StartError, start};
use crate::wires::Look;
use certificate::Ends;
use client::{Crew, Dialler, News};
use servers::{ECHO, FEED, any_port, backend};
use workers::Workers;

/// Built-in clients that talk with the backends, and those that listen to the feed.
const CLIENTS: usize = 16;
const SUBSCRIBERS: u32 = 1000;

/// Workers that one client has together; another client has one alone.
const TOGETHER: usize = 4;

/// Of the connections that the proxy can take, those that are no subscriber's. Each is worth a descriptor for the client
/// and one for each worker of the dispatch, of which a subscriber takes two for its two ends; the rest is for the other
/// clients, the backends with their shards, and the user.
const CONNECTIONS_BESIDE: u32 = 64;

/// Between two lines.
const LINE: Duration = Duration::from_secs(1);

/// Answers that may wait to be counted; beyond, a client waits for the counting.
const NEWS_MAX: usize = 4096;

/// What the demo can be told.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where its proxy listens.
    pub listen: ListenAddress,
    /// From the start to the stop of one backend, and from there to its return.
    pub failover_after: Duration,
    /// When it ends by itself; `None` for Ctrl-C.
    pub run_for: Option<Duration>,
    /// How clients speak with the proxy.
    pub transport: Transport,
}

/// Why the demo did not run, or not to its end.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// A server did not start, or did not end well.
    #[error(transparent)]
    Server(#[from] StartError),
    /// There is no certificate to be had.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The feed's subscribers have nothing to live on.
    #[error("cannot start the subscribers of the feed: {0}")]
    Subscribers(io::Error),
    /// The workers have nothing to live on.
    #[error("cannot start the workers: {0}")]
    Workers(io::Error),
}

/// Runs the demo until Ctrl-C; whether everything ended well.
///
/// # Errors
/// [`DemoError`].
pub fn run(settings: Settings) -> Result<bool, DemoError> {
    let tls = match settings.transport {
        Transport::Plain => None,
        Transport::Tls => Some(Ends::make(&settings.listen)?),
    };
    let stays = start(backend(any_port()), Owner::plain(Signals::Ignored))?;
    let stops = start(backend(any_port()), Owner::plain(Signals::Ignored))?;
    let returning_address = stops.address().clone();
    let workers = Workers::start(1 + TOGETHER).map_err(DemoError::Workers)?;
    let backends = [stays.address(), stops.address()];
    let mut config = servers::proxy(settings.listen.clone(), &backends, &workers.addresses);
    for listen in &mut config.listeners {
        listen.tls = tls.as_ref().map(|tls| tls.server.clone());
    }
    let proxy = start(config, Owner::plain(Signals::Handled))?;
    let mut out = Screen::default();
    out.line(&format!(
        "proxy on {}{}, in front of ws://{} and ws://{}, and of {} slow workers",
        proxy.address(),
        if tls.is_some() { " (TLS)" } else { "" },
        stays.address(),
        stops.address(),
        workers.addresses.len()
    ));

    let (news, answers) = sync_channel(NEWS_MAX);
    start_clients(&proxy, tls.as_ref(), &news, &mut out)?;
    drop(news);
    let (since, run_for) = (now(), settings.run_for);
    let mut show = Show { proxy: &proxy, answers, out, since, run_for, seconds: 0, last: Look::default() };

    let mut other = Some(stops);
    show.run(settings.failover_after);
    if let Some(stops) = other.take_if(|_| !show.is_over()) {
        show.out.line(&format!(
            "-- stopping the backend ws://{}: its clients get a Close and come back; the feed was read from there, \
             and goes on from the other",
            stops.address()
        ));
        stops.cut();
        stops.join()?;
        show.run(settings.failover_after);
    }
    if other.is_none() && !show.is_over() {
        let returned = start(backend(returning_address), Owner::plain(Signals::Ignored))?;
        show.out.line(&format!(
            "-- the backend ws://{} is back: new sessions go there once the proxy has found it up",
            returned.address()
        ));
        other = Some(returned);
        show.say_what_to_try(tls.as_ref().map(|tls| tls.authority.path()));
        show.run(Duration::MAX);
    }

    if !proxy.has_ended() {
        proxy.drain();
    }
    let outcome = proxy.join()?;
    for backend in [Some(stays), other].into_iter().flatten() {
        backend.cut();
        backend.join()?;
    }
    Ok(outcome.is_clean)
}

/// Those with something to say, those with work to do, and those that listen.
fn start_clients(
    proxy: &Running,
    tls: Option<&Ends>,
    news: &SyncSender<News>,
    out: &mut Screen,
) -> Result<(), DemoError> {
    let ListenAddress::Tcp(address) = *proxy.address() else { return Ok(()) };
    let dialler = Dialler { address, tls: tls.map(|tls| tls.client.config()) };
    (0..CLIENTS).for_each(|_| client::start(dialler.clone(), news.clone()));
    for crew in [Crew::One, Crew::Many] {
        client::start_work(dialler.clone(), crew, news.clone());
    }
    let count = SUBSCRIBERS.min(proxy.connections_max.saturating_sub(CONNECTIONS_BESIDE));
    if count < SUBSCRIBERS {
        out.line(&format!(
            "open files are limited: the feed gets {count} subscribers instead of {SUBSCRIBERS}; \
             after `ulimit -n 8192` all fit"
        ));
    }
    subscribers::start(dialler, count, news.clone()).map_err(DemoError::Subscribers)
}

/// The lines that the demo prints.
struct Show<'p> {
    proxy: &'p Running,
    answers: Receiver<News>,
    out: Screen,
    since: Instant,
    /// When the demo ends by itself.
    run_for: Option<Duration>,
    seconds: u32,
    last: Look,
}

impl Show<'_> {
    /// Whether the proxy has ended, or the demo had its time.
    fn is_over(&self) -> bool {
        self.proxy.has_ended() || self.run_for.is_some_and(|limit| self.since.elapsed() >= limit)
    }

    /// Prints a line a second for as long as told, or until all is over.
    fn run(&mut self, how_long: Duration) {
        let begun = self.since.elapsed();
        while !self.is_over() && self.since.elapsed().saturating_sub(begun) < how_long {
            self.second();
        }
    }

    /// Gathers the news of one second, and prints it.
    fn second(&mut self) {
        self.seconds += 1;
        let until = self.since + LINE * self.seconds;
        let mut latency = Histogram::<u64>::new(3).expect("three significant digits are allowed");
        let mut reconnected = 0;
        let (mut by_one, mut by_many) = (0, 0);
        loop {
            match self.answers.recv_timeout(until.saturating_duration_since(now())) {
                Ok(News::Answered(after)) => {
                    latency.saturating_record(u64::try_from(after.as_micros()).unwrap_or(u64::MAX));
                }
                Ok(News::Reconnected) => reconnected += 1,
                Ok(News::Worked(Crew::One)) => by_one += 1,
                Ok(News::Worked(Crew::Many)) => by_many += 1,
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
            }
        }
        let Some(look) = self.proxy.look() else { return };
        let ((sessions, messages), (_, before)) = (relayed(&look), relayed(&self.last));
        let messages = messages.saturating_sub(before);
        let deliveries = deliveries(&look).saturating_sub(deliveries(&self.last));
        let came_back =
            if reconnected > 0 { format!("  {reconnected} clients came back") } else { String::new() };
        self.out.line(&format!(
            "{:4}s  sessions {sessions:3}  messages/s {messages:6}  p50 {:5} µs  p99 {:5} µs  backends up {}  \
             subscribers {:4}  deliveries/s {deliveries:5}  work/s of one worker {by_one:2}  of {TOGETHER} together \
             {by_many:3}{came_back}",
            self.seconds,
            latency.value_at_quantile(0.5),
            latency.value_at_quantile(0.99),
            look.backends_up,
            subscribers(&look),
        ));
        self.last = look;
    }

    fn say_what_to_try(&mut self, authority: Option<&Path>) {
        let address = self.proxy.address();
        let limit = self.run_for.map(|limit| format!(", or {} from the start", format_duration(limit)));
        let until = format!("Serving until Ctrl-C{}.", limit.unwrap_or_default());
        let Some(authority) = authority else {
            return self.out.line(&format!(
                "{until} Try with any WebSocket client:\n  \
                 ws://{address}/        echo, through the proxy\n  \
                 ws://{address}/ticker  a message a second, from the proxy itself\n  \
                 ws://{address}/feed    ten a second, read from a backend once and sent to every client\n  \
                 ws://{address}/work    echo, by whichever of {TOGETHER} slow workers has the least to do"
            ));
        };
        // What listens everywhere has to be called by a name that the certificate has.
        let address = match address {
            ListenAddress::Tcp(at) if at.ip().is_unspecified() => {
                format!("{}:{}", certificate::NAME, at.port())
            }
            ListenAddress::Tcp(_) | ListenAddress::Unix(_) => address.to_string(),
        };
        let authority = authority.display();
        self.out.line(&format!(
            "{until} Try with any WebSocket client:\n  \
             wss://{address}/        echo, through the proxy\n  \
             wss://{address}/ticker  a message a second, from the proxy itself\n  \
             wss://{address}/feed    ten a second, read from a backend once and sent to every client\n  \
             wss://{address}/work    echo, by whichever of {TOGETHER} slow workers has the least to do\n\
             The certificate was made for this run, by an authority that only you can trust. To trust it:\n  \
             SSL_CERT_FILE={authority} python3 -m websockets wss://{address}/\n  \
             curl --no-buffer --cacert {authority} wss://{address}/ticker  (from curl 8.11 on)\n\
             A browser warns of it: open https://{address}/ once and accept the warning; then its pages can connect."
        ));
    }
}

/// Sessions that echoes are for, and the messages of all there were.
fn relayed(look: &Look) -> (u64, u64) {
    look.counters.routes.get(ECHO).map_or((0, 0), |route| {
        let sessions = &route.sessions;
        (sessions.now, sessions.from_clients.messages + sessions.from_backends.messages)
    })
}

fn subscribers(look: &Look) -> u64 {
    look.counters.feeds.get(FEED).map_or(0, |feed| feed.clients_now)
}

fn deliveries(look: &Look) -> u64 {
    look.counters.feeds.get(FEED).map_or(0, |feed| feed.deliveries.messages)
}

/// Standard output, as long as somebody reads it.
#[derive(Default)]
struct Screen {
    is_gone: bool,
}

impl Screen {
    fn line(&mut self, line: &str) {
        self.is_gone = self.is_gone || writeln!(io::stdout(), "{line}").is_err();
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the demo's clients measure from outside, and have a clock of their own"
)]
fn now() -> Instant {
    Instant::now()
}
