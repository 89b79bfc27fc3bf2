//! Whether one peer is still there: pings, their answers, and when silence means death (RFC 6455 §5.5.2, §5.5.3).
//!
//! One ping at a time awaits a sign of life. Any bytes from the peer are one, not only the pong: that may wait behind
//! a long message, or be left out for the sake of a later ping of somebody else (§5.5.3). Toward a peer that does not
//! read, a sign of life is that bytes which waited for it have left: it has made room. That a socket with room takes
//! more is none: the kernel takes bytes for the dead too. So a slow reader lives, and one that makes no room at all is
//! dead between one timeout and two after it last did.

use std::time::{Duration, Instant};

use super::settings::{Ping, after};
use crate::protocol::frame::{Answered, MaskKey, PingSeries};

/// The keepalive of one peer.
#[derive(Debug)]
pub(crate) struct Keepalive {
    ping: Ping,
    stage: Stage,
    /// `None` before the first ping.
    pings: Option<PingSeries>,
    trip: Trip,
    /// Whether bytes waited for the peer when it was last judged, and it has shown no life since.
    is_suspect: bool,
}

/// What is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// For the time of the next ping.
    Resting { due_at: Instant },
    /// For a place to put it, between two frames.
    Due { dead_at: Instant },
    /// For a sign of life.
    Asked { asked_at: Instant, dead_at: Instant },
}

/// What is known of the newest ping.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trip {
    /// Nothing more: there is none, or its round trip was taken.
    None,
    /// It went then, and is not answered.
    Under { since: Instant },
    /// It is answered, and nobody has taken this yet.
    Over { rtt: Duration },
}

/// How a peer's connection stands, when its silence is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Link {
    /// Bytes wait for the peer to make room.
    pub(crate) is_stuck: bool,
    /// It is not being read, for no fault of its own: it may have answered.
    pub(crate) is_unread: bool,
}

/// What is thought of a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Alive,
    Dead,
}

impl Keepalive {
    pub(crate) fn new(ping: Ping, now: Instant) -> Self {
        let stage = Stage::Resting { due_at: after(now, ping.every) };
        Self { ping, stage, pings: None, trip: Trip::None, is_suspect: false }
    }

    /// Something came from the peer.
    pub(crate) fn handle_bytes(&mut self, now: Instant) {
        self.is_suspect = false;
        match self.stage {
            Stage::Resting { .. } => {}
            Stage::Due { .. } => self.wait_longer(now),
            Stage::Asked { asked_at, .. } => {
                self.stage = Stage::Resting { due_at: after(asked_at, self.ping.every) };
            }
        }
    }

    /// The same of a peer that is only pinged while it says nothing.
    pub(crate) fn handle_talk(&mut self, now: Instant) {
        self.handle_bytes(now);
        if let Stage::Resting { due_at } = &mut self.stage {
            *due_at = after(now, self.ping.every);
        }
    }

    /// Some of the bytes that waited for the peer have left.
    pub(crate) fn handle_progress(&mut self, now: Instant) {
        self.wait_longer(now);
    }

    /// The peer has answered one of our pings.
    pub(crate) fn handle_pong(&mut self, answered: Answered, now: Instant) {
        if let (Answered::Newest, Trip::Under { since }) = (answered, self.trip) {
            self.trip = Trip::Over { rtt: now.saturating_duration_since(since) };
        }
    }

    /// Time has come to at least [`Self::deadline`], or not.
    pub(crate) fn handle_time(&mut self, link: Link, now: Instant) -> Verdict {
        if self.deadline() > now {
            return Verdict::Alive;
        }
        let Link { is_stuck, is_unread } = link;
        match self.stage {
            Stage::Resting { .. } => self.stage = Stage::Due { dead_at: after(now, self.ping.timeout) },
            Stage::Asked { .. } if !is_unread => return Verdict::Dead,
            // It made no room all the time since it was last judged.
            Stage::Asked { .. } | Stage::Due { .. } if is_stuck && self.is_suspect => return Verdict::Dead,
            // It could not answer, or not be asked, because of the other peer; or it has only just got stuck.
            Stage::Asked { .. } | Stage::Due { .. } => {
                self.wait_longer(now);
                self.is_suspect = is_stuck;
            }
        }
        Verdict::Alive
    }

    /// When [`Self::handle_time`] is wanted next.
    pub(crate) fn deadline(&self) -> Instant {
        match self.stage {
            Stage::Resting { due_at } => due_at,
            Stage::Due { dead_at } | Stage::Asked { dead_at, .. } => dead_at,
        }
    }

    /// Whether a ping waits for its place.
    pub(crate) fn is_due(&self) -> bool {
        matches!(self.stage, Stage::Due { .. })
    }

    /// The ping that is due. `nonce` is where the payloads begin, the first time.
    pub(crate) fn next_frame(&mut self, key: Option<MaskKey>, nonce: u64, now: Instant) -> Vec<u8> {
        self.stage = Stage::Asked { asked_at: now, dead_at: after(now, self.ping.timeout) };
        self.trip = Trip::Under { since: now };
        self.pings.get_or_insert(PingSeries::new(nonce)).next_frame(key)
    }

    /// The pings whose answers are ours.
    pub(crate) fn pings(&self) -> Option<PingSeries> {
        self.pings
    }

    /// The latest round trip, once.
    pub(crate) fn take_rtt(&mut self) -> Option<Duration> {
        let Trip::Over { rtt } = self.trip else { return None };
        self.trip = Trip::None;
        Some(rtt)
    }

    fn wait_longer(&mut self, now: Instant) {
        self.is_suspect = false;
        match &mut self.stage {
            Stage::Resting { .. } => {}
            Stage::Due { dead_at } | Stage::Asked { dead_at, .. } => *dead_at = after(now, self.ping.timeout),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLEAR: Link = Link { is_stuck: false, is_unread: false };
    const STUCK: Link = Link { is_stuck: true, is_unread: false };
    const UNREAD: Link = Link { is_stuck: false, is_unread: true };
    const JAMMED: Link = Link { is_stuck: true, is_unread: true };
    const EVERY: Duration = Duration::from_secs(20);
    const TIMEOUT: Duration = Duration::from_secs(5);

    fn keepalive() -> (Keepalive, Instant) {
        #[expect(clippy::disallowed_methods, reason = "virtual time needs some instant to count from")]
        let start = Instant::now();
        (Keepalive::new(Ping { every: EVERY, timeout: TIMEOUT }, start), start)
    }

    /// A keepalive whose first ping has just gone, and when.
    fn asked() -> (Keepalive, Instant) {
        let (mut keepalive, start) = keepalive();
        let now = start + EVERY;
        assert_eq!(keepalive.deadline(), now);
        assert_eq!(keepalive.handle_time(CLEAR, now), Verdict::Alive);
        assert!(keepalive.is_due());
        keepalive.next_frame(None, 7, now);
        assert!(!keepalive.is_due());
        (keepalive, now)
    }

    #[test]
    fn silence_behind_a_ping_is_death() {
        let (mut keepalive, asked_at) = asked();
        assert_eq!(keepalive.deadline(), asked_at + TIMEOUT);
        assert_eq!(keepalive.handle_time(CLEAR, asked_at + TIMEOUT / 2), Verdict::Alive);
        assert_eq!(keepalive.handle_time(CLEAR, asked_at + TIMEOUT), Verdict::Dead);
    }

    #[test]
    fn any_bytes_are_life_and_the_next_ping_comes_on_time() {
        let (mut keepalive, asked_at) = asked();
        keepalive.handle_bytes(asked_at + TIMEOUT / 2);
        assert_eq!(keepalive.deadline(), asked_at + EVERY);
        assert_eq!(keepalive.take_rtt(), None, "bytes are no answer");
        // The answer may come later, behind a long message.
        keepalive.handle_pong(Answered::Newest, asked_at + TIMEOUT * 2);
        assert_eq!(keepalive.take_rtt(), Some(TIMEOUT * 2));
        assert_eq!(keepalive.take_rtt(), None);
        // A second answer to the same ping measures nothing.
        keepalive.handle_pong(Answered::Newest, asked_at + TIMEOUT * 3);
        assert_eq!(keepalive.take_rtt(), None);
    }

    #[test]
    fn an_answer_to_an_earlier_ping_measures_nothing() {
        let (mut keepalive, asked_at) = asked();
        keepalive.handle_bytes(asked_at);
        keepalive.handle_time(CLEAR, asked_at + EVERY);
        keepalive.next_frame(None, 99, asked_at + EVERY);
        keepalive.handle_pong(Answered::Earlier, asked_at + EVERY);
        assert_eq!(keepalive.take_rtt(), None);
        keepalive.handle_pong(Answered::Newest, asked_at + EVERY + TIMEOUT / 5);
        assert_eq!(keepalive.take_rtt(), Some(TIMEOUT / 5));
    }

    #[test]
    fn who_is_not_read_is_not_judged() {
        let (mut keepalive, asked_at) = asked();
        let mut now = asked_at;
        for _ in 0..3 {
            now += TIMEOUT;
            assert_eq!(keepalive.handle_time(UNREAD, now), Verdict::Alive);
        }
        assert_eq!(keepalive.handle_time(CLEAR, now + TIMEOUT), Verdict::Dead);
    }

    #[test]
    fn who_makes_room_now_and_then_is_slow_and_who_makes_none_is_dead() {
        let (mut keepalive, mut now) = asked();
        for _ in 0..3 {
            now += TIMEOUT;
            assert_eq!(keepalive.handle_time(JAMMED, now), Verdict::Alive);
            now += TIMEOUT / 2;
            keepalive.handle_progress(now);
        }
        assert_eq!(
            keepalive.handle_time(JAMMED, now + TIMEOUT),
            Verdict::Alive,
            "it may just have got stuck"
        );
        assert_eq!(keepalive.handle_time(JAMMED, now + TIMEOUT * 2), Verdict::Dead);
    }

    #[test]
    fn a_ping_without_a_place_blames_only_a_peer_that_is_stuck() {
        for (link, verdict) in [
            (CLEAR, Verdict::Alive),
            (UNREAD, Verdict::Alive),
            (STUCK, Verdict::Dead),
            (JAMMED, Verdict::Dead),
        ] {
            let (mut keepalive, start) = keepalive();
            let mut now = start + EVERY;
            keepalive.handle_time(link, now);
            assert!(keepalive.is_due());
            now += TIMEOUT;
            assert_eq!(keepalive.handle_time(link, now), Verdict::Alive, "{link:?}");
            now += TIMEOUT;
            assert_eq!(keepalive.handle_time(link, now), verdict, "{link:?}");
        }
    }
}
