//! One peer of a session: what it sends, what it can be sent, and what the proxy owes it.

use std::time::Instant;

use super::keepalive::Keepalive;
use super::{Peer, Settings};
use crate::protocol::Role;
use crate::protocol::frame::{CloseCode, Rsv, Rules, Scanner, Unit};
use crate::telemetry::Traffic;

/// What a peer still sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Input {
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
pub(super) enum Output {
    /// Frames.
    Open,
    /// A Close has gone to it: no frame may follow (§5.5.1).
    Closed,
    /// Nothing: its connection is broken, or cut by us.
    Dead,
}

/// Where a frame of the proxy's own may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Boundary {
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
pub(super) struct Owed {
    pub(super) code: CloseCode,
    pub(super) reason: &'static str,
    pub(super) at: Boundary,
}

impl Owed {
    pub(super) fn soon(code: CloseCode, reason: &'static str) -> Self {
        Self { code, reason, at: Boundary::Frame }
    }
}

/// One peer as the tunnel sees it.
#[derive(Debug)]
pub(super) struct Half {
    /// Of what it sends.
    pub(super) scanner: Scanner,
    pub(super) input: Input,
    pub(super) output: Output,
    pub(super) owed: Option<Owed>,
    /// Where it is pinged; boxed, for most are not.
    pub(super) keepalive: Option<Box<Keepalive>>,
    /// What it sent that was forwarded.
    pub(super) traffic: Traffic,
}

impl Half {
    pub(super) fn new(peer: Peer, rsv: Rsv, settings: &Settings, now: Instant) -> Self {
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
    pub(super) fn owe(&mut self, owed: Owed) {
        if self.output == Output::Open {
            self.owed.get_or_insert(owed);
        }
    }

    pub(super) fn cut(&mut self) {
        self.output = Output::Dead;
        self.owed = None;
    }
}
