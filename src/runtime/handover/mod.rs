//! One selat takes the place of another without a connection being refused (`docs/adr/0009-handover.md`).
//!
//! The one that runs waits at a Unix socket. A starting one asks it there for its listening sockets, accepts from
//! them beside it, and once it does so says that it is ready; then the first one stops accepting and drains. The
//! sockets never close, so nothing that the kernel has queued is lost. If the newcomer dies before it is ready,
//! nothing has changed. Each side believes only a peer of the same user, or root, and waits a bounded time for it.

mod packet;
mod successor;
mod wire;

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

use rustix::net::{Shutdown, shutdown};
use tracing::{info, warn};

use super::inherit::Inherited;
use super::listener::SocketFile;
use crate::config::ListenAddress;
use packet::Packet;
use wire::{Conversation, Post};

pub use successor::Succession;

/// How long each side waits for a peer that has only to read and write.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// How long a newcomer may take to start: to resolve its backends, above all. Others wait meanwhile.
const READY_TIMEOUT: Duration = Duration::from_secs(60);

/// Before the next attempt to accept when descriptors have run out.
const EXHAUSTED_PAUSE: Duration = Duration::from_secs(1);

/// Why a handover failed.
#[derive(Debug, thiserror::Error)]
pub enum HandoverError {
    /// The peer is somebody else's process.
    #[error("it belongs to user {uid}; only processes of our own user and root may hand over")]
    Stranger {
        /// Its owner.
        uid: u32,
    },
    /// The peer speaks something else, or another version.
    #[error("it does not answer in our terms; is it a selat of about this version?")]
    Protocol,
    /// It is alive at best.
    #[error("it does not answer")]
    Silent,
    /// It has hung up, or died.
    #[error("it ended the conversation")]
    Ended,
    /// The path is some other file's.
    #[error("there is a file that is not a socket; remove it, or choose another path")]
    NotASocket,
    /// Anything else the kernel says.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// What a server hands over as long as its owner holds on to it: descriptors of its listening sockets.
pub type Heirlooms = Arc<Vec<Inherited>>;

/// A successor that accepts connections from our sockets.
#[derive(Debug, Clone)]
pub struct Successor {
    /// Its process.
    pub pid: u32,
    /// Where it listens of where we do: the files of Unix sockets are its own now.
    pub addresses: Vec<ListenAddress>,
}

/// The place where successors ask. Dropping it closes it.
pub struct Handover {
    door: Arc<OwnedFd>,
    file: Option<SocketFile>,
}

impl Handover {
    /// Waits at `path` for a successor, in the place of whoever waited there before. `pass_on` is told of the one that
    /// has made it; if it returns false the successor hears that nothing comes of it.
    ///
    /// The heirlooms are not kept alive: once their owner lets go of them there is nothing to hand over.
    ///
    /// # Errors
    /// When nobody can wait there.
    pub fn offer(
        path: &Path,
        heirlooms: &Heirlooms,
        pass_on: impl FnMut(Successor) -> bool + Send + 'static,
    ) -> Result<Self, HandoverError> {
        let (door, file) = wire::listen(path)?;
        let door = Arc::new(door);
        let post = Doorkeeper { door: door.clone(), heirlooms: Arc::downgrade(heirlooms), pass_on };
        thread::Builder::new().name("selat-handover".to_owned()).spawn(|| post.run())?;
        Ok(Self { door, file: Some(file) })
    }
}

impl Drop for Handover {
    fn drop(&mut self) {
        // Wakes the doorkeeper, who leaves. It fails only where he has left already.
        let _ = shutdown(&*self.door, Shutdown::Both);
        if let Some(file) = self.file.take() {
            file.remove();
        }
    }
}

struct Doorkeeper<F> {
    door: Arc<OwnedFd>,
    heirlooms: Weak<Vec<Inherited>>,
    pass_on: F,
}

impl<F: FnMut(Successor) -> bool> Doorkeeper<F> {
    /// Serves one after the other until one has made it, or the door is closed.
    fn run(mut self) {
        loop {
            match wire::accept(&self.door) {
                Ok(conversation) => match self.converse(&conversation) {
                    Ok(pid) => return info!(pid, "a successor accepts connections; it is ours to drain"),
                    Err(error) => {
                        warn!(%error, "a process asked for the listening sockets, and did not take over")
                    }
                },
                // How a shut down door says so.
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => return,
                Err(error) => {
                    warn!(%error, "a handover has to wait");
                    thread::park_timeout(EXHAUSTED_PAUSE);
                }
            }
        }
    }

    /// Hands over to one process, and says which.
    fn converse(&mut self, conversation: &Conversation) -> Result<u32, HandoverError> {
        let pid = conversation.peer()?;
        conversation.set_patience(ANSWER_TIMEOUT)?;
        if !matches!(conversation.receive()?, Post { packet: Packet::Hello, .. }) {
            return Err(HandoverError::Protocol);
        }
        self.show(conversation)?;
        conversation.set_patience(READY_TIMEOUT)?;
        let mut addresses = Vec::new();
        loop {
            match conversation.receive()?.packet {
                Packet::Taken(address) => addresses.push(address),
                Packet::Ready => break,
                Packet::Hello | Packet::Socket(..) | Packet::End | Packet::Draining => {
                    return Err(HandoverError::Protocol);
                }
            }
            if addresses.len() > wire::PACKETS_MAX {
                return Err(HandoverError::Protocol);
            }
        }
        if !(self.pass_on)(Successor { pid, addresses }) {
            return Err(io::Error::other("the control plane does not take the order to drain").into());
        }
        // It takes over whether it hears this or not.
        let _ = conversation.send(&Packet::Draining, &[]);
        Ok(pid)
    }

    /// Sends all sockets. They stay open here at least until this returns.
    fn show(&self, conversation: &Conversation) -> Result<(), HandoverError> {
        let heirlooms = self.heirlooms.upgrade().unwrap_or_default();
        for inherited in heirlooms.iter() {
            for sockets in inherited.sockets.chunks(wire::SOCKETS_MAX) {
                let packet = Packet::Socket(inherited.owner, inherited.address.clone());
                conversation.send(&packet, sockets)?;
            }
        }
        conversation.send(&Packet::End, &[])
    }
}

/// Where a newcomer binds before it takes the place of the one who waits at `path`.
fn antechamber(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}", std::process::id()));
    name.into()
}
