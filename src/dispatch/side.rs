//! One peer of a client's session, the client or a backend, as far as it is the same for both: pings and pongs
//! (RFC 6455 §5.5.2, §5.5.3) end here.

use std::time::Instant;

use super::hearing::{Heard, payload};
use crate::protocol::frame::{MaskKey, Opcode, Rsv, control_frame};
use crate::session::{Half, Link, Peer, Settings, Verdict};

/// One peer.
#[derive(Debug)]
pub(super) struct Side {
    pub(super) half: Half,
    /// The latest ping's payload, if it was not answered. §5.5.3: a pong may answer only the most recent ping.
    asked: Option<Box<[u8]>>,
}

impl Side {
    pub(super) fn new(peer: Peer, settings: &Settings, now: Instant) -> Self {
        Self { half: Half::new(peer, Rsv::NONE, settings, now), asked: None }
    }

    /// Something came.
    pub(super) fn handle_bytes(&mut self, now: Instant) {
        if let Some(keepalive) = &mut self.half.keepalive {
            keepalive.handle_bytes(now);
        }
    }

    /// A ping or a pong came, whole.
    pub(super) fn handle_control(&mut self, heard: Heard, frame: &[u8], now: Instant) {
        let said = payload(frame);
        if heard == Heard::Ping {
            self.asked = Some(said.as_ref().into());
        } else if let Some(keepalive) = &mut self.half.keepalive
            && let Some(answered) = keepalive.pings().and_then(|pings| pings.answered_by(&said))
        {
            keepalive.handle_pong(answered, now);
        }
    }

    /// Some of what waited for it has left.
    pub(super) fn handle_progress(&mut self, now: Instant) {
        if let Some(keepalive) = &mut self.half.keepalive {
            keepalive.handle_progress(now);
        }
    }

    /// Judges its silence.
    pub(super) fn handle_time(&mut self, link: Link, now: Instant) -> Verdict {
        self.half.keepalive.as_mut().map_or(Verdict::Alive, |keepalive| keepalive.handle_time(link, now))
    }

    /// Whether [`Self::poll_control`] has something.
    #[inline]
    pub(super) fn has_control(&self) -> bool {
        self.asked.is_some() || self.half.keepalive.as_ref().is_some_and(|keepalive| keepalive.is_due())
    }

    /// A pong or a ping that is due. Nothing is to wait for the peer: else they would pile up.
    pub(super) fn poll_control(&mut self, key: Option<MaskKey>, nonce: u64, now: Instant) -> Option<Vec<u8>> {
        if let Some(asked) = self.asked.take() {
            return Some(control_frame(Opcode::Pong, &asked, key));
        }
        let keepalive = self.half.keepalive.as_mut().filter(|keepalive| keepalive.is_due())?;
        Some(keepalive.next_frame(key, nonce, now))
    }

    /// When its silence is to be judged.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.half.keepalive.as_ref().map(|keepalive| keepalive.deadline())
    }
}
