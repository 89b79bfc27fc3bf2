//! Messages between threads: a bounded crossbeam channel, and an eventfd that wakes who waits for it.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::Arc;

pub use crossbeam_channel::TrySendError;
use crossbeam_channel::{Receiver, bounded};
use rustix::event::{EventfdFlags, eventfd};

/// The sending end. Many threads may have one.
pub struct Sender<T> {
    channel: crossbeam_channel::Sender<T>,
    bell: Arc<OwnedFd>,
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        Self { channel: self.channel.clone(), bell: self.bell.clone() }
    }
}

/// The message could not be sent: the box is full, or nobody reads it any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("mailbox full or abandoned")]
pub struct Undelivered;

impl<T> Sender<T> {
    /// Sends and wakes the receiver.
    ///
    /// # Errors
    /// [`Undelivered`]; never waits.
    pub fn send(&self, message: T) -> Result<(), Undelivered> {
        self.give(message).map_err(|_| Undelivered)
    }

    /// Sends and wakes the receiver; the message comes back where it cannot be sent.
    ///
    /// # Errors
    /// The message, and whether there may be room for it later or nobody is left to read it; never waits.
    pub fn give(&self, message: T) -> Result<(), TrySendError<T>> {
        self.channel.try_send(message)?;
        self.ring();
        Ok(())
    }

    /// Sends without waking the receiver, who will find it when it looks for itself.
    ///
    /// # Errors
    /// [`Undelivered`]; never waits.
    pub fn post(&self, message: T) -> Result<(), Undelivered> {
        self.channel.try_send(message).map_err(|_| Undelivered)
    }

    /// Sends and wakes the receiver, waiting for room: for the last message of a thread.
    pub fn send_last(&self, message: T) {
        // Nobody is left to read it if this fails.
        let _ = self.channel.send(message);
        self.ring();
    }

    fn ring(&self) {
        // It fails only when the counter is full, and then the receiver has been woken often enough.
        let _ = rustix::io::write(&*self.bell, &1u64.to_ne_bytes());
    }
}

/// The receiving end: readable, as a descriptor, after a [`Sender::send`].
pub struct Mailbox<T> {
    channel: Receiver<T>,
    bell: Arc<OwnedFd>,
}

impl<T> Mailbox<T> {
    /// The next message; `None` if there is none. Look until there is none after each time it was readable.
    pub fn take(&self) -> Option<T> {
        self.channel.try_recv().ok()
    }

    /// Makes it unreadable until the next [`Sender::send`]; call it before taking, so that none is missed.
    pub fn hush(&self) {
        let mut count = [0; 8];
        // It fails only if nobody rang.
        let _ = rustix::io::read(&*self.bell, &mut count);
    }

    /// The descriptor to watch.
    ///
    /// # Errors
    /// When there is no descriptor left.
    pub fn bell(&self) -> io::Result<OwnedFd> {
        self.bell.try_clone()
    }
}

impl<T> AsFd for Mailbox<T> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }
}

impl<T> AsRawFd for Mailbox<T> {
    fn as_raw_fd(&self) -> RawFd {
        self.bell.as_raw_fd()
    }
}

/// A mailbox that holds at most `messages_max`.
///
/// # Errors
/// When there is no descriptor left.
pub fn mailbox<T>(messages_max: usize) -> io::Result<(Sender<T>, Mailbox<T>)> {
    let (sender, receiver) = bounded(messages_max);
    let bell = Arc::new(eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?);
    Ok((Sender { channel: sender, bell: bell.clone() }, Mailbox { channel: receiver, bell }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_sent_comes_back_with_the_reason() {
        let (sender, receiver) = mailbox(1).unwrap();
        assert_eq!(sender.give(1), Ok(()));
        assert_eq!(sender.give(2), Err(TrySendError::Full(2)));
        assert_eq!(receiver.take(), Some(1));
        drop(receiver);
        assert_eq!(sender.give(3), Err(TrySendError::Disconnected(3)));
    }
}
