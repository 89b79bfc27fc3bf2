//! Answers a client that gets no session, so that the answer arrives.

use std::cell::Cell;
use std::future::poll_fn;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use super::Shard;
use crate::protocol::handshake::Refusal;
use crate::runtime::{Socket, Stream, send_farewell};

/// How long a refused client may take to read its answer and hang up.
const LINGER: Duration = Duration::from_secs(2);

/// Bytes of a refused client that are read and dropped, before it is cut off.
const LINGER_BYTES_MAX: usize = 1024 * 1024;

/// Clients beyond the limit that get to linger; further ones may see a reset in place of their 503.
/// Bounds the descriptors that refusing takes; they are part of those a process is given beside its sessions.
const OVERFLOW_MAX: u32 = 16;

/// Sends `answer`, then FIN, then reads until the client hangs up: closing with its bytes unread would reset the
/// connection, and the answer with it (RFC 9112 §9.6).
///
/// # Cancel safety
/// Dropping it may cut the answer off.
pub(super) async fn answer(shard: &Shard, client: &Stream, answer: &[u8]) {
    let at = shard.now() + LINGER;
    // A client that does not take its answer in time is cut off.
    let _ = shard.driver.until(at, answer_and_linger(client, answer)).await;
}

/// As [`answer`], without its time limit.
///
/// # Cancel safety
/// Dropping it may cut the answer off.
async fn answer_and_linger(client: &Stream, answer: &[u8]) {
    if client.write_all(answer).await.is_err() {
        return;
    }
    poll_fn(|_| if client.finish() { Poll::Ready(()) } else { Poll::Pending }).await;
    let mut dropped = 0;
    let mut buffer = [0; 1024];
    while dropped < LINGER_BYTES_MAX {
        match client.read(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(len) => dropped += len,
        }
    }
}

/// Refuses a connection that the shard has no room for.
pub(super) fn overflow(shard: &Rc<Shard>, fd: OwnedFd) {
    let response = Refusal::Full.response();
    if shard.overflowing.get() >= OVERFLOW_MAX {
        send_farewell(&fd, &response);
        return;
    }
    let shard_of_task = shard.clone();
    shard.driver.spawn(async move {
        let _place = Place::take(&shard_of_task.overflowing);
        if let Ok(client) = Socket::accepted(&shard_of_task.driver, fd) {
            answer(&shard_of_task, &Stream::Plain(client), &response).await;
        }
    });
}

/// One more, as long as it lives.
struct Place<'c>(&'c Cell<u32>);

impl<'c> Place<'c> {
    fn take(count: &'c Cell<u32>) -> Self {
        count.set(count.get() + 1);
        Self(count)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get().saturating_sub(1));
    }
}
