//! The shell around the tunnel: two connections, what was kept from each and what could not leave yet.

use std::rc::Rc;
use std::time::{Duration, Instant};

use selat::protocol::frame::{MaskKey, Rsv, Scanner};
use selat::session::{Backlog, Disposition, Ending, Peer, Random, Settings, Then, Tunnel};

use super::pipe::{Connection, Read};

/// From the first sign of an end to cutting what is left.
pub(crate) const CLOSE: Duration = Duration::from_secs(10);

/// Without a byte in either direction.
pub(crate) const IDLE: Duration = Duration::from_secs(60);

/// What it forwarded for the client in one read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Relayed {
    pub(crate) at: Instant,
    pub(crate) bytes: u64,
    pub(crate) messages: u64,
}

/// One connection as the proxy holds it.
#[derive(Debug, Default)]
struct Lane {
    kept: Vec<u8>,
    unsent: Vec<u8>,
    /// The socket is full.
    is_stuck: bool,
    has_seen_end: bool,
    has_seen_reset: bool,
    is_finished: bool,
    is_closed: bool,
}

/// The tunnel and its shell.
pub(crate) struct Proxy {
    pub(crate) tunnel: Tunnel,
    lanes: [Lane; 2],
    read_max: usize,
    /// When each peer last showed that it is there.
    pub(crate) life_at: [Instant; 2],
    /// Of the client's, before the session began to end.
    pub(crate) relayed: Vec<Relayed>,
}

impl Proxy {
    pub(crate) fn new(read_max: usize, settings: Rc<Settings>, now: Instant) -> Self {
        let tunnel = Tunnel::new(Rsv::NONE, settings, now);
        Self { tunnel, lanes: Default::default(), read_max, life_at: [now; 2], relayed: Vec::new() }
    }

    fn lane(&mut self, peer: Peer) -> &mut Lane {
        &mut self.lanes[index(peer)]
    }

    pub(crate) fn is_over(&self) -> bool {
        self.lanes.iter().all(|lane| lane.is_closed)
    }

    /// Whether there is something to read, and room for it: while bytes wait for one peer, the other is not read.
    pub(crate) fn can_read(&self, peer: Peer, connection: &Connection) -> bool {
        let lane = &self.lanes[index(peer)];
        let is_wanted = !lane.is_closed && !lane.has_seen_end && self.tunnel.reads(peer);
        let has_room = self.lanes[index(peer.other())].unsent.is_empty();
        is_wanted && has_room && (connection.is_reset || connection.up.is_readable())
    }

    pub(crate) fn read(&mut self, peer: Peer, connection: &mut Connection, now: Instant) -> String {
        if connection.is_reset {
            return self.reset(peer, now);
        }
        match connection.up.read(self.read_max) {
            Read::Nothing => "reads nothing".to_owned(),
            Read::Fin => {
                self.lane(peer).has_seen_end = true;
                self.tunnel.handle_ending(peer, Ending::Fin, now);
                "sees its FIN".to_owned()
            }
            Read::Bytes(bytes) => {
                let len = bytes.len();
                self.life_at[index(peer)] = now;
                let presented = [std::mem::take(&mut self.lane(peer).kept), bytes].concat();
                let forwarded = self.take(peer, presented, now);
                format!("reads {len} bytes, forwards {forwarded}")
            }
        }
    }

    /// Judges and forwards what was read.
    fn take(&mut self, peer: Peer, mut presented: Vec<u8>, now: Instant) -> usize {
        let before = self.tunnel.traffic(peer);
        loop {
            let flow = self.tunnel.handle_bytes(peer, &presented, now);
            self.write(peer.other(), &presented[..flow.forward]);
            presented = flow.rest(&presented).to_vec();
            if flow.then != Then::Judge {
                break;
            }
            self.speak(now);
        }
        assert!(presented.len() <= Scanner::KEEP_BYTES_MAX, "to keep {} bytes", presented.len());
        self.lane(peer).kept = presented;
        let after = self.tunnel.traffic(peer);
        let (bytes, messages) = (after.bytes - before.bytes, after.messages - before.messages);
        if peer == Peer::Client && !self.tunnel.is_ending() {
            self.relayed.push(Relayed { at: now, bytes, messages });
        }
        usize::try_from(bytes).unwrap_or(usize::MAX)
    }

    /// Lets the time in: behind what can be written and read, for that may be a sign of life.
    pub(crate) fn wake(&mut self, connections: &mut [Connection; 2], now: Instant) {
        self.flush_both(connections, now);
        for peer in Peer::BOTH {
            let connection = &mut connections[index(peer)];
            if self.can_read(peer, connection) {
                self.read(peer, connection, now);
            }
        }
        self.flush_both(connections, now);
        self.tunnel.handle_time(now, self.backlog());
    }

    fn flush_both(&mut self, connections: &mut [Connection; 2], now: Instant) {
        for peer in Peer::BOTH {
            let connection = &mut connections[index(peer)];
            if self.can_flush(peer, connection) {
                self.flush(peer, connection, now);
            }
        }
    }

    fn backlog(&self) -> Backlog {
        let [client, backend] = [0, 1].map(|at| !self.lanes[at].unsent.is_empty());
        Backlog { client, backend }
    }

    fn reset(&mut self, peer: Peer, now: Instant) -> String {
        let lane = self.lane(peer);
        lane.has_seen_end = true;
        lane.has_seen_reset = true;
        self.tunnel.handle_ending(peer, Ending::Reset, now);
        "sees its reset".to_owned()
    }

    fn write(&mut self, to: Peer, bytes: &[u8]) {
        let lane = self.lane(to);
        assert!(
            bytes.is_empty() || !lane.is_closed && !lane.is_finished,
            "written behind the end to the {to:?}"
        );
        lane.unsent.extend_from_slice(bytes);
    }

    pub(crate) fn can_flush(&self, peer: Peer, connection: &Connection) -> bool {
        let lane = &self.lanes[index(peer)];
        let is_open = !lane.is_closed && !lane.has_seen_reset && !lane.unsent.is_empty();
        is_open && (connection.is_reset || connection.down.room() > 0)
    }

    pub(crate) fn flush(&mut self, peer: Peer, connection: &mut Connection, now: Instant) -> String {
        if connection.is_reset {
            return self.reset(peer, now);
        }
        let lane = self.lane(peer);
        let len = connection.down.write(&lane.unsent);
        lane.unsent.drain(..len);
        let was_stuck = std::mem::replace(&mut lane.is_stuck, !lane.unsent.is_empty());
        if was_stuck && len > 0 {
            self.life_at[index(peer)] = now;
            self.tunnel.handle_progress(peer, now);
        }
        format!("writes {len} bytes")
    }

    /// After every event: writes what is due, then does with the connections what it is told.
    pub(crate) fn settle(&mut self, connections: &mut [Connection; 2], now: Instant) {
        if !self.tunnel.is_busy() {
            return;
        }
        self.speak(now);
        for peer in Peer::BOTH {
            let disposition = self.tunnel.disposition(peer);
            let most = self.read_max + Scanner::KEEP_BYTES_MAX + 256;
            let lane = self.lane(peer);
            let connection = &mut connections[index(peer)];
            assert!(lane.unsent.len() <= most, "holds {} bytes", lane.unsent.len());
            let is_flushed = lane.unsent.is_empty();
            match disposition {
                Disposition::Finish if is_flushed && !lane.is_finished => {
                    lane.is_finished = true;
                    connection.down.finish();
                }
                Disposition::Drop if is_flushed && !lane.is_closed => {
                    lane.is_closed = true;
                    connection.close();
                }
                Disposition::Abandon if !lane.is_closed => {
                    lane.is_closed = true;
                    connection.close();
                }
                Disposition::Keep | Disposition::Finish | Disposition::Drop | Disposition::Abandon => {}
            }
        }
    }
}

impl Proxy {
    /// Writes the frames that are due.
    fn speak(&mut self, now: Instant) {
        let random = Random { key: MaskKey([1, 2, 3, 4]), nonce: 0x5EED_5EED_5EED_5EED };
        for to in Peer::BOTH {
            while let Some(frame) = self.tunnel.poll_frame(to, random, self.backlog(), now) {
                self.write(to, &frame);
            }
        }
    }
}

/// A peer's place in a pair.
pub(crate) fn index(peer: Peer) -> usize {
    match peer {
        Peer::Client => 0,
        Peer::Backend => 1,
    }
}
