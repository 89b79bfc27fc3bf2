//! What a seed is about: a configuration, and how bad the world is.

use std::num::NonZeroUsize;
use std::time::Duration;

use fastrand::Rng;
use selat::dispatch::{Balance, Exchange, Gather, Order, Replies, Send, Settings, Template, Unanswered};
use selat::json::Pointer;
use selat::session::{self, Ping, Pings};

/// How one world is.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) settings: Settings,
    pub(crate) session: session::Settings,
    pub(crate) backends: usize,
    pub(crate) messages: u32,
    /// Of a thousand steps, how many bring trouble to some backend.
    pub(crate) trouble: u32,
    /// Of a hundred messages, how many are never answered.
    pub(crate) ignored: u32,
    /// From a message to its reply at most.
    pub(crate) delay: Duration,
    /// Whether there are replies that do not fit into what is kept of one that is not whole.
    pub(crate) has_long: bool,
    /// Whether the client stops reading now and then.
    pub(crate) is_slow: bool,
}

impl Plan {
    pub(crate) fn new(rng: &mut Rng) -> Self {
        let is_correlated = rng.bool();
        let timeout = Duration::from_millis(rng.u64(100..1_000));
        let unanswered = match rng.u8(..5) {
            0 | 1 => Unanswered::Drop,
            2 | 3 => Unanswered::Reply(Template::new(r#"{"lost":{id}}"#).unwrap()),
            _ => Unanswered::Close,
        };
        let send = send(rng);
        let is_one = matches!(send, Send::One(_));
        let exchange = Exchange {
            correlate: is_correlated.then(|| Pointer::new("/id").unwrap()),
            order: if rng.bool() { Order::AsTheyCome } else { Order::AsAsked },
            retries: if is_correlated && is_one { rng.u32(..3) } else { 0 },
            timeout,
            unanswered,
        };
        let replies = if rng.u8(..8) == 0 && is_one { Replies::Any } else { Replies::One(exchange) };
        let ping = Ping { every: Duration::from_millis(700), timeout: Duration::from_millis(300) };
        let session = session::Settings {
            close: Duration::from_millis(400),
            ping: if rng.bool() {
                Pings { client: Some(ping), backend: Some(ping) }
            } else {
                Pings::default()
            },
            ..session::Settings::default()
        };
        let is_calm = rng.u8(..4) == 0;
        Self {
            settings: Settings { send, replies, outstanding_max: rng.usize(1..40) },
            session,
            backends: rng.usize(1..5),
            messages: rng.u32(1..200),
            trouble: if is_calm { 0 } else { rng.u32(..30) },
            // Without correlation a message that is never answered has all behind it answered wrongly.
            ignored: if is_calm || !is_correlated { 0 } else { rng.u32(..10) },
            delay: if is_calm { timeout / 4 } else { timeout * rng.u32(1..12) / 8 },
            has_long: rng.u8(..3) == 0,
            is_slow: rng.u8(..3) == 0,
        }
    }

    pub(crate) fn exchange(&self) -> Option<&Exchange> {
        match &self.settings.replies {
            Replies::One(exchange) => Some(exchange),
            Replies::Any => None,
        }
    }

    pub(crate) fn is_correlated(&self) -> bool {
        self.exchange().is_some_and(|exchange| exchange.correlate.is_some())
    }
}

fn send(rng: &mut Rng) -> Send {
    let quorum = NonZeroUsize::new(rng.usize(..4));
    match rng.u8(..9) {
        0 => Send::One(Balance::RoundRobin),
        1 | 2 => Send::One(Balance::LeastOutstanding),
        3 => Send::One(Balance::PowerOfTwo),
        4 => Send::One(Balance::Ewma),
        5 => Send::One(Balance::Hash(Pointer::new("/user").unwrap())),
        6 => Send::All(Gather::First),
        7 => Send::All(Gather::All { quorum }),
        _ => Send::All(Gather::Array { quorum }),
    }
}
