//! One peer of a session: what it sends, what it can be sent, and what the proxy owes it.

use std::time::Instant;

use super::keepalive::Keepalive;
use super::{Peer, Settings};
use crate::protocol::Role;
use crate::protocol::frame::{CloseCode, Rsv, Rules, Scanner, Unit};
use crate::telemetry::Traffic;

/// What a peer still sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Input {
    /// Frames.
    Open,
    /// Its Close has come: nothing that follows counts (§5.5.1).
    Closed,
    /// It broke the rules: nothing that follows can be understood.
    Broken,
    /// Its stream has ended.
    Ended,
}

/// What a peer can still be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Output {
    /// Frames.
    Open,
    /// A Close has gone to it: no frame may follow (§5.5.1).
    Closed,
    /// Nothing: its connection is broken, or cut by us.
    Dead,
}

/// Where a frame of the proxy's own may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Boundary {
    /// Between any two frames; control frames may stand between fragments (§5.4).
    Frame,
    /// Between two messages: kinder, when there is time.
    Message,
    /// Behind all that the other peer has to say, in place of its Close.
    LastWord,
}

impl Boundary {
    /// What has to end in the stream that is forwarded, if that is all there is to it.
    pub(super) fn unit(self) -> Option<Unit> {
        match self {
            Self::Frame => Some(Unit::Frame),
            Self::Message => Some(Unit::Message),
            Self::LastWord => None,
        }
    }
}

/// A Close of the proxy's own that waits for its place.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Owed {
    pub(crate) code: CloseCode,
    pub(crate) reason: &'static str,
    pub(crate) at: Boundary,
}

impl Owed {
    pub(crate) fn soon(code: CloseCode, reason: &'static str) -> Self {
        Self { code, reason, at: Boundary::Frame }
    }
}

/// One peer as the tunnel sees it.
#[derive(Debug)]
pub(crate) struct Half {
    /// Of what it sends.
    pub(crate) scanner: Scanner,
    pub(crate) input: Input,
    pub(crate) output: Output,
    pub(crate) owed: Option<Owed>,
    /// Where it is pinged; boxed, for most are not.
    pub(crate) keepalive: Option<Box<Keepalive>>,
    /// What it sent that was forwarded.
    pub(crate) traffic: Traffic,
}

impl Half {
    pub(crate) fn new(peer: Peer, rsv: Rsv, settings: &Settings, now: Instant) -> Self {
        let sender = match peer {
            Peer::Client => Role::Client,
            Peer::Backend => Role::Server,
        };
        let &Settings { message_bytes_max, frame_bytes_max, .. } = settings;
        Self {
            scanner: Scanner::new(Rules { sender, rsv, message_bytes_max, frame_bytes_max }),
            input: Input::Open,
            output: Output::Open,
            owed: None,
            keepalive: settings.ping.of(peer).map(|ping| Box::new(Keepalive::new(ping, now))),
            traffic: Traffic::default(),
        }
    }

    /// Owes the peer a Close, unless it has had one or is owed one already.
    pub(crate) fn owe(&mut self, owed: Owed) {
        if self.output == Output::Open {
            self.owed.get_or_insert(owed);
        }
    }

    pub(crate) fn cut(&mut self) {
        self.output = Output::Dead;
        self.owed = None;
    }
}
