//! A dispatcher decides the same, however the bytes of its peers are cut up.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use selat::balance::{BackendId, Weight};
use selat::dispatch::{Board, Candidate, Context, Dispatcher, LineId, Port, Ports, Settings, Start};
use selat::protocol::frame::{Header, Opcode};
use selat::session::{self, Peer};

use super::cuts::pieces;

const LINE: Port = Port::Line(LineId(0));

/// What was written, to whom.
#[derive(Default)]
struct Wires(BTreeMap<Port, Vec<u8>>);

impl Ports for Wires {
    fn write(&mut self, to: Port, bytes: &[u8]) {
        self.0.entry(to).or_default().extend_from_slice(bytes);
    }

    fn count(&mut self, _: LineId, _: Peer) {}

    fn is_flushed(&self, _: Port) -> bool {
        true
    }
}

/// What one run comes to.
#[derive(Debug, PartialEq)]
struct Outcome {
    to_client: Vec<u8>,
    to_backend: Vec<u8>,
    cause: Option<session::Cause>,
    replies: u64,
}

/// Feeds a dispatcher all that its client says, then all that its one backend says; in pieces of these sizes it comes to
/// the same as at once.
pub(crate) fn check(settings: &Settings, client: &[u8], backend: &[u8], sizes: &[usize]) {
    #[expect(clippy::disallowed_methods, reason = "virtual time needs some instant to count from")]
    let now = Instant::now();
    let whole = run(settings, &[client], &[backend], now);
    let cut = run(settings, &pieces(client, sizes), &pieces(backend, sizes), now);
    assert_eq!(cut, whole);
}

fn run(settings: &Settings, client: &[&[u8]], backend: &[&[u8]], now: Instant) -> Outcome {
    let start = Start {
        settings: Arc::new(settings.clone()),
        session: Rc::new(session::Settings::default()),
        backend: BackendId(0),
    };
    let mut dispatcher = Dispatcher::new(start, now);
    let (mut board, mut wires) = (Board::default(), Wires::default());
    let candidates = [Candidate { backend: BackendId(0), weight: Weight::ONE, identity: 7 }];
    // As every shell begins: with what the first backend has said early.
    let mut context = Context { now, random: 1, board: &mut board, candidates: &candidates };
    dispatcher.handle_bytes(LINE, &[], &mut wires, &mut context);
    let mut kept: BTreeMap<Port, Vec<u8>> = BTreeMap::new();
    for (port, pieces) in [(Port::Client, client), (LINE, backend)] {
        for piece in pieces {
            kept.entry(port).or_default().extend_from_slice(piece);
            present(&mut dispatcher, (port, &mut kept), &mut wires, (&mut board, &candidates, now));
        }
        // A reply may have made room for what the client has said.
        present(&mut dispatcher, (Port::Client, &mut kept), &mut wires, (&mut board, &candidates, now));
    }
    Outcome {
        to_client: forwarded(wires.0.get(&Port::Client)),
        to_backend: forwarded(wires.0.get(&LINE)),
        cause: dispatcher.cause(),
        replies: board.counters.replies,
    }
}

/// The data frames, and the kinds of others but pongs: of several pings that come together only the last is answered.
fn forwarded(written: Option<&Vec<u8>>) -> Vec<u8> {
    let (mut rest, mut forwarded) = (written.map_or(&[][..], Vec::as_slice), Vec::new());
    while let Some((header, len)) = Header::parse(rest).unwrap() {
        let end = rest.len().min(len + usize::try_from(header.payload_len).unwrap());
        let (frame, behind) = rest.split_at(end);
        match header.opcode {
            Opcode::Pong => {}
            // Its mask is nobody's to foresee.
            Opcode::Close | Opcode::Ping => forwarded.push(frame[0]),
            Opcode::Text | Opcode::Binary | Opcode::Continuation => forwarded.extend_from_slice(frame),
        }
        rest = behind;
    }
    assert!(rest.is_empty(), "a frame without a beginning");
    forwarded
}

/// Presents what is kept of a peer's bytes, and keeps what is not used.
fn present(
    dispatcher: &mut Dispatcher,
    (port, kept): (Port, &mut BTreeMap<Port, Vec<u8>>),
    wires: &mut Wires,
    (board, candidates, now): (&mut Board, &[Candidate], Instant),
) {
    if !dispatcher.reads(port, wires) {
        return;
    }
    let bytes = kept.entry(port).or_default();
    let mut context = Context { now, random: 1, board, candidates };
    let used = dispatcher.handle_bytes(port, bytes, wires, &mut context);
    bytes.drain(..used);
}
