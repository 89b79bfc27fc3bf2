//! The side of the newcomer: what it inherits at its start, and how it lets its predecessor go.

use std::path::{Path, PathBuf};

use tracing::{info, warn};

use super::packet::Packet;
use super::wire::{self, Conversation, PACKETS_MAX, Post};
use super::{Handover, HandoverError, Heirlooms, Successor};
use crate::config::ListenAddress;
use crate::runtime::inherit::{Inheritance, Inherited};

/// How a starting server comes by its sockets, and passes them on in its turn.
pub struct Succession {
    path: Option<PathBuf>,
    predecessor: Option<Predecessor>,
}

/// A selat that serves, and has shown us its sockets.
struct Predecessor {
    conversation: Conversation,
    pid: u32,
}

impl Succession {
    /// Asks whoever waits at `path` for its sockets, and adds them to `inheritance`. If nobody does, or it does not
    /// answer, the server starts without.
    #[must_use]
    pub fn begin(path: Option<&Path>, inheritance: &mut Inheritance) -> Self {
        let found = path.and_then(|path| {
            let failed = "what waits there hands nothing over: starting without its sockets";
            ask(path).inspect_err(|error| warn!(%error, path = %path.display(), "{failed}")).ok()?
        });
        let (predecessor, inherited) = found.unzip();
        inherited.into_iter().flatten().for_each(|inherited| inheritance.add(inherited));
        if let Some(Predecessor { pid, .. }) = &predecessor {
            info!(pid, "taking over from a selat that runs");
        }
        Self { path: path.map(Path::to_owned), predecessor }
    }

    /// To be called once connections are accepted: waits for a successor in the place where the predecessor did, and
    /// tells that one to drain.
    pub fn complete(
        self,
        heirlooms: &Heirlooms,
        pass_on: impl FnMut(Successor) -> bool + Send + 'static,
    ) -> Option<Handover> {
        let path = self.path?;
        let failed = "no successor will be able to take over from here";
        let handover = Handover::offer(&path, heirlooms, pass_on)
            .inspect_err(|error| warn!(%error, path = %path.display(), "{failed}"));
        if let Some(predecessor) = self.predecessor {
            let pid = predecessor.pid;
            match predecessor.release(heirlooms.iter().map(|heirloom| &heirloom.address)) {
                Ok(()) => info!(pid, "the predecessor drains"),
                Err(error) => warn!(%error, pid, "the predecessor may not drain: look after it, and end it"),
            }
        }
        handover.ok()
    }
}

fn ask(path: &Path) -> Result<Option<(Predecessor, Vec<Inherited>)>, HandoverError> {
    let Some(conversation) = wire::connect(path)? else { return Ok(None) };
    let pid = conversation.peer()?;
    conversation.send(&Packet::Hello, &[])?;
    let mut inherited = Vec::new();
    while inherited.len() <= PACKETS_MAX {
        match conversation.receive()? {
            Post { packet: Packet::Socket(owner, address), sockets } if !sockets.is_empty() => {
                inherited.push(Inherited::new(address, owner, sockets));
            }
            Post { packet: Packet::End, .. } => {
                return Ok(Some((Predecessor { conversation, pid }, inherited)));
            }
            _ => break,
        }
    }
    Err(HandoverError::Protocol)
}

impl Predecessor {
    /// Tells it to drain, for we listen at these `addresses`.
    fn release<'a>(self, addresses: impl Iterator<Item = &'a ListenAddress>) -> Result<(), HandoverError> {
        for address in addresses {
            self.conversation.send(&Packet::Taken(address.clone()), &[])?;
        }
        self.conversation.send(&Packet::Ready, &[])?;
        match self.conversation.receive()?.packet {
            Packet::Draining => Ok(()),
            Packet::Hello | Packet::Socket(..) | Packet::End | Packet::Taken(_) | Packet::Ready => {
                Err(HandoverError::Protocol)
            }
        }
    }
}
