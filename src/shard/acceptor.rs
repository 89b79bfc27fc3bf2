//! Accepts connections and starts a session for each.

use std::cell::RefCell;
use std::fs::File;
use std::future::{Future, pending, poll_fn};
use std::os::fd::OwnedFd;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use super::books::refused;
use super::serve::{self, Slot};
use super::{Shard, refuse};
use crate::balance::ShardId;
use crate::protocol::handshake::Refusal;
use crate::routing::ListenId;
use crate::runtime::listener::{Accepted, BACKLOG, Listener};
use crate::runtime::mailbox::{Sender, TrySendError};
use crate::runtime::send_farewell;
use crate::wires::{Arrival, ToShard};

/// Connections accepted before the sessions get their turn again.
const BATCH: u32 = 64;

/// Batches that a full accept queue may make. A drain takes no more, however fast newcomers fill it again.
const QUEUE_BATCHES_MAX: u32 = BACKLOG.unsigned_abs() / BATCH + 1;

/// How long to let descriptors come back when they have run out.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(50);

/// Accepts until the shard drains; then takes what is already waiting, and closes the listener.
///
/// # Cancel safety
/// Dropped only when the shard ends.
pub(super) async fn run(shard: Rc<Shard>, id: ListenId, listener: OwnedFd) {
    let _end = End(shard.clone());
    let Ok(listener) = Listener::register(&shard.driver, listener) else { return };
    let mut reserve = Reserve::new();
    while !shard.is_draining() {
        if accept_some(&shard, id, &listener, &mut reserve).await {
            wait(&shard, &listener).await;
        }
    }
    // Whoever else has this socket hears of all that comes from here on, but not of what came before: that is ours.
    listener.retire();
    for _ in 0..QUEUE_BATCHES_MAX {
        if accept_some(&shard, id, &listener, &mut reserve).await {
            break;
        }
    }
}

/// The end of an acceptor, also where it never got to accept.
struct End(Rc<Shard>);

impl Drop for End {
    fn drop(&mut self) {
        self.0.acceptors.set(self.0.acceptors.get().saturating_sub(1));
        self.0.stop_if_drained();
    }
}

/// Accepts as many as make a batch; whether the queue was empty after that. If not, others have had their turn.
///
/// # Cancel safety
/// Safe.
async fn accept_some(shard: &Rc<Shard>, id: ListenId, listener: &Listener, reserve: &mut Reserve) -> bool {
    match accept_batch(shard, id, listener) {
        Batch::Full => turn(shard).await,
        Batch::QueueEmpty => return true,
        Batch::Exhausted => {
            shard.count(|counters| counters.accept_failures += 1);
            let is_understood = shard.plan().secure(id).is_none();
            reserve.spend(listener, is_understood);
            pause(shard).await;
        }
    }
    false
}

enum Batch {
    Full,
    QueueEmpty,
    Exhausted,
}

fn accept_batch(shard: &Rc<Shard>, id: ListenId, listener: &Listener) -> Batch {
    for _ in 0..BATCH {
        match listener.accept() {
            Accepted::Connection(fd, peer) => take(shard, Arrival { fd, peer, listener: id }),
            Accepted::Nobody => return Batch::QueueEmpty,
            Accepted::Aborted => {}
            Accepted::Exhausted(_) => return Batch::Exhausted,
        }
    }
    Batch::Full
}

/// Serves a connection that the kernel gave to this shard, or lets another one serve it.
fn take(shard: &Rc<Shard>, arrival: Arrival) {
    shard.count(|counters| counters.accepted += 1);
    // One that drains may end with what it has been given.
    let kept = if shard.is_draining() { Some(arrival) } else { shard.neighbours.place(arrival, shard.id) };
    match kept {
        Some(arrival) => start(shard, arrival),
        None => shard.count(|counters| counters.handed_over += 1),
    }
}

/// Starts a session for a connection, if there is room for it.
pub(super) fn start(shard: &Rc<Shard>, arrival: Arrival) {
    if shard.connections.get() < shard.connections_max {
        shard.driver.spawn(serve::run(Slot::take(shard), arrival));
    } else {
        shard.count_refusal(refused(Refusal::Full), None);
        // Reply before closing: no other shard can take this connection. But where an answer takes a TLS handshake, which
        // costs more than whatever the shard has no room for, it is closed.
        if shard.plan().secure(arrival.listener).is_none() {
            refuse::overflow(shard, arrival.fd);
        }
    }
}

/// The other shards, where connections are placed by how many each has.
#[derive(Default)]
pub(super) struct Neighbours {
    /// By [`ShardId`]; empty where the kernel's choice stands.
    shards: Vec<Sender<ToShard>>,
    /// Connections of each, of this one too: as last reported, and those that this one has placed there since.
    loads: RefCell<Vec<u32>>,
    /// Those that this one has placed on each since the moment at which all report.
    placed: RefCell<Vec<u32>>,
}

impl Neighbours {
    pub(super) fn new(shards: Vec<Sender<ToShard>>) -> Self {
        let [loads, placed] = [(), ()].map(|()| RefCell::new(vec![0; shards.len()]));
        Self { shards, loads, placed }
    }

    /// What the shards have reported.
    pub(super) fn handle_loads(&self, loads: &[u32]) {
        if loads.len() == self.shards.len() {
            let placed = self.placed.borrow();
            let sums = loads.iter().zip(placed.iter()).map(|(load, placed)| load.saturating_add(*placed));
            self.loads.replace(sums.collect());
        }
    }

    /// All shards report now: what is placed from here on is not in what they say.
    pub(super) fn handle_report(&self) {
        self.placed.borrow_mut().fill(0);
    }

    /// Gives `arrival` to the shard with the fewest connections; if that is this one, `own`, it comes back.
    ///
    /// What is known of the others is some time old. This shard goes by what it knew of itself then: a count of now
    /// would look high beside theirs, and in a rush each would hand all that it gets to the others.
    fn place(&self, arrival: Arrival, own: ShardId) -> Option<Arrival> {
        let mut loads = self.loads.borrow_mut();
        let least = loads.iter_mut().enumerate().min_by_key(|(id, load)| (**load, *id != own.index()));
        let Some((id, load)) = least else { return Some(arrival) };
        *load = load.saturating_add(1);
        if let Some(placed) = self.placed.borrow_mut().get_mut(id) {
            *placed += 1;
        }
        let Some(shard) = self.shards.get(id).filter(|_| id != own.index()) else { return Some(arrival) };
        // A shard that takes no messages gets no connection either.
        let unsent = shard.give(ToShard::Connection(arrival)).err().map(TrySendError::into_inner);
        unsent
            .and_then(|message| if let ToShard::Connection(arrival) = message { Some(arrival) } else { None })
    }
}

/// Lets every other task have its turn.
///
/// # Cancel safety
/// Safe.
async fn turn(shard: &Shard) {
    let mut has_yielded = false;
    poll_fn(|_| {
        if has_yielded {
            return Poll::Ready(());
        }
        has_yielded = true;
        shard.driver.poll_again();
        Poll::Pending
    })
    .await;
}

/// Waits for a connection, or for the order to drain, which polls every task.
///
/// # Cancel safety
/// Safe: readiness stays noted.
async fn wait(shard: &Shard, listener: &Listener) {
    let mut readable = pin!(listener.readable());
    poll_fn(|context| if shard.is_draining() { Poll::Ready(()) } else { readable.as_mut().poll(context) })
        .await;
}

/// Waits for descriptors to come back.
///
/// # Cancel safety
/// Safe.
async fn pause(shard: &Shard) {
    // That it elapses is the point.
    let _ = shard.driver.until(shard.now() + EXHAUSTED_PAUSE, pending::<()>()).await;
}

/// A descriptor held back, so that there is one to refuse with when there is none to serve with.
struct Reserve(Option<File>);

impl Reserve {
    fn new() -> Self {
        Self(File::open("/dev/null").ok())
    }

    /// Answers one waiting client with 503 instead of leaving it in the queue; where that would not be understood, it is
    /// closed.
    fn spend(&mut self, listener: &Listener, is_understood: bool) {
        self.0 = None;
        if let Accepted::Connection(fd, _) = listener.accept()
            && is_understood
        {
            send_farewell(&fd, &Refusal::Full.response());
        }
        *self = Self::new();
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::{TcpListener, TcpStream};

    use super::*;
    use crate::runtime::Driver;
    use crate::session::Settings;
    use crate::shard::pump::tests::shard;
    use crate::wires::{Drain, Latecomers};

    #[test]
    fn a_drain_takes_what_waits_in_the_queue_and_leaves_the_rest_to_those_who_share_it() {
        let driver = Driver::new().unwrap();
        let shard = shard(&driver, Settings::default());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let mut waiting = TcpStream::connect(address).unwrap();
        let deadline = driver.now() + Duration::from_secs(10);
        let drain = Drain { window: Duration::ZERO, deadline, latecomers: Latecomers::Refused };
        shard.drain.set(Some(drain));
        shard.acceptors.set(1);
        driver.spawn(run(shard.clone(), ListenId(0), listener.try_clone().unwrap().into()));
        driver.run();
        assert_eq!((shard.report().counters.accepted, shard.acceptors.get()), (1, 0));
        let mut answer = Vec::new();
        waiting.read_to_end(&mut answer).unwrap();
        assert!(answer.starts_with(b"HTTP/1.1 503"));
        let _late = TcpStream::connect(address).unwrap();
        assert!(listener.accept().is_ok());
    }
}
