//! One peer of a session: what it sends, and what it can be sent.

use std::time::Instant;

use super::keepalive::Keepalive;
use super::{Peer, Settings};
use crate::protocol::Role;
use crate::protocol::frame::{Rsv, Rules, Scanner};

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

/// One peer as the tunnel sees it.
#[derive(Debug)]
pub(crate) struct Half {
    /// Of what it sends.
    pub(crate) scanner: Scanner,
    pub(crate) input: Input,
    pub(crate) output: Output,
    /// Where it is pinged; boxed, for most are not.
    pub(crate) keepalive: Option<Box<Keepalive>>,
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
            keepalive: settings.ping.of(peer).map(|ping| Box::new(Keepalive::new(ping, now))),
        }
    }
}
