//! A way to know that a shard has looked.

use std::thread;

use super::backend::Stage;
use super::frames::{BINARY, client_frame, payload, server_frame};
use super::proxy::Proxy;
use super::raw::Raw;

/// A second session on a proxy of one shard. A shard looks at all its sockets before it looks at one of them again:
/// so once a frame has passed here, the shard has read whatever was sent before on any other session.
pub(crate) struct Witness {
    client: Raw,
    backend: Raw,
}

impl Witness {
    pub(crate) fn new(proxy: &Proxy, stage: &Stage) -> Self {
        let (client, backend) = stage.open(proxy);
        Self { client, backend }
    }

    /// Returns when the shard has read all that was sent so far.
    pub(crate) fn wait(&mut self) {
        // Twice: the first frame may pass in a round of events that was fetched before.
        for round in [b"1", b"2"] {
            self.client.send(&client_frame(BINARY, true, round));
            assert_eq!(self.backend.frame().payload, round);
        }
    }

    /// Carries a message of this size each way, one after the other.
    pub(crate) fn carry(&mut self, len: usize) {
        let bytes = payload(len);
        carry(&self.client, &mut self.backend, client_frame(BINARY, true, &bytes));
        carry(&self.backend, &mut self.client, server_frame(BINARY, true, &bytes));
    }
}

fn carry(from: &Raw, to: &mut Raw, frame: Vec<u8>) {
    let mut writer = Raw::new(from.stream.try_clone().expect("a descriptor"));
    let len = frame.len();
    let writing = thread::spawn(move || writer.send(&frame));
    to.exactly(len);
    writing.join().expect("it writes all");
}
