//! The shell around the tunnel: two connections, what was kept from each and what could not leave yet.

use std::rc::Rc;
use std::time::{Duration, Instant};

use selat::protocol::frame::{MaskKey, Rsv, Scanner};
use selat::session::{Disposition, Ending, Peer, Timeouts, Tunnel};

use super::pipe::{Connection, Read};

/// From the first sign of an end to cutting what is left.
pub(crate) const CLOSE: Duration = Duration::from_secs(10);

/// Without a byte in either direction.
pub(crate) const IDLE: Duration = Duration::from_secs(60);

/// One connection as the proxy holds it.
#[derive(Debug, Default)]
struct Lane {
    kept: Vec<u8>,
    unsent: Vec<u8>,
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
}

impl Proxy {
    pub(crate) fn new(read_max: usize, now: Instant) -> Self {
        let timeouts = Rc::new(Timeouts { close: CLOSE, idle: IDLE });
        let tunnel = Tunnel::new(Rsv::NONE, u64::MAX, timeouts, now);
        Self { tunnel, lanes: Default::default(), read_max }
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
                let presented = [std::mem::take(&mut self.lane(peer).kept), bytes].concat();
                let flow = self.tunnel.handle_bytes(peer, &presented, now);
                let (forward, rest) = (&presented[..flow.forward], flow.rest(&presented));
                assert!(rest.len() <= Scanner::KEEP_BYTES_MAX, "to keep {} bytes", rest.len());
                self.lane(peer).kept = rest.to_vec();
                self.write(peer.other(), forward);
                format!("reads {} bytes, forwards {}", presented.len(), forward.len())
            }
        }
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
        format!("writes {len} bytes")
    }

    /// After every event: writes what is due, then does with the connections what it is told.
    pub(crate) fn settle(&mut self, connections: &mut [Connection; 2]) {
        for to in Peer::BOTH {
            while let Some(frame) = self.tunnel.poll_frame(to, MaskKey([1, 2, 3, 4])) {
                self.write(to, &frame);
            }
        }
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

/// A peer's place in a pair.
pub(crate) fn index(peer: Peer) -> usize {
    match peer {
        Peer::Client => 0,
        Peer::Backend => 1,
    }
}
