//! The connection between the two sides: packets, the descriptors that come with them, and whom to believe.

use std::fs;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::time::Duration;

use rustix::cmsg_space;
use rustix::io::retry_on_intr;
use rustix::net::sockopt::socket_peercred;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, accept_with, recvmsg, sendmsg,
};
use rustix::process::{Uid, geteuid};
use socket2::{Domain, SockAddr, Socket, Type};

use super::packet::Packet;
use super::{ANSWER_TIMEOUT, HandoverError, antechamber};
use crate::runtime::listener::SocketFile;

/// Descriptors in one packet. The kernel takes 253.
pub(super) const SOCKETS_MAX: usize = 64;

/// Packets of a kind in one conversation: far more than there are listeners.
pub(super) const PACKETS_MAX: usize = 1024;

/// Bytes of a packet: a word or two and a path, which a Unix socket limits to 108.
const PACKET_BYTES_MAX: usize = 512;

/// Newcomers that wait to be heard.
const BACKLOG: i32 = 8;

/// One connection.
pub(super) struct Conversation(Socket);

/// A packet, with what came along.
pub(super) struct Post {
    pub(super) packet: Packet,
    pub(super) sockets: Vec<OwnedFd>,
}

/// Begins to wait at `path`; a connection to it finds the one who waited there before, or us, but always somebody.
pub(super) fn listen(path: &Path) -> Result<(OwnedFd, SocketFile), HandoverError> {
    if fs::symlink_metadata(path).is_ok_and(|metadata| !metadata.file_type().is_socket()) {
        return Err(HandoverError::NotASocket);
    }
    let antechamber = antechamber(path);
    // From a process that had our id and died in this very place.
    let _ = fs::remove_file(&antechamber);
    let door = Socket::new(Domain::UNIX, Type::SEQPACKET, None)?;
    door.bind(&SockAddr::unix(&antechamber)?)?;
    let file = door
        .listen(BACKLOG)
        .and_then(|()| fs::rename(&antechamber, path))
        .and_then(|()| SocketFile::new(path));
    let file = file.inspect_err(|_| {
        // It is where it was, or gone.
        let _ = fs::remove_file(&antechamber);
    })?;
    Ok((door.into(), file))
}

/// The next newcomer.
pub(super) fn accept(door: &OwnedFd) -> io::Result<Conversation> {
    let accepted = retry_on_intr(|| accept_with(door, SocketFlags::CLOEXEC))?;
    Ok(Conversation(Socket::from(accepted)))
}

/// Speaks to whoever waits at `path`; `None` if nobody does.
pub(super) fn connect(path: &Path) -> Result<Option<Conversation>, HandoverError> {
    let socket = Socket::new(Domain::UNIX, Type::SEQPACKET, None)?;
    let conversation = Conversation(socket);
    // Before it connects: that waits, too, where the backlog is full.
    conversation.set_patience(ANSWER_TIMEOUT)?;
    let address = SocketAddrUnix::new(path).map_err(io::Error::from)?;
    match retry_on_intr(|| rustix::net::connect(&conversation.0, &address)).map_err(io::Error::from) {
        Ok(()) => Ok(Some(conversation)),
        Err(error) if is_any(&error, [io::ErrorKind::NotFound, io::ErrorKind::ConnectionRefused]) => Ok(None),
        Err(error) => Err(failed(error)),
    }
}

impl Conversation {
    /// The peer's process, if it may be trusted.
    pub(super) fn peer(&self) -> Result<u32, HandoverError> {
        let peer = socket_peercred(&self.0).map_err(io::Error::from)?;
        if peer.uid != geteuid() && peer.uid != Uid::ROOT {
            return Err(HandoverError::Stranger { uid: peer.uid.as_raw() });
        }
        u32::try_from(peer.pid.as_raw_pid()).map_err(|_| HandoverError::Protocol)
    }

    /// How long a packet may take, either way.
    pub(super) fn set_patience(&self, patience: Duration) -> Result<(), HandoverError> {
        self.0.set_read_timeout(Some(patience))?;
        Ok(self.0.set_write_timeout(Some(patience))?)
    }

    /// Sends a packet and at most [`SOCKETS_MAX`] sockets.
    pub(super) fn send(&self, packet: &Packet, sockets: &[OwnedFd]) -> Result<(), HandoverError> {
        let text = packet.to_string();
        let descriptors: Vec<_> = sockets.iter().map(AsFd::as_fd).collect();
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(SOCKETS_MAX))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if !sockets.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(&descriptors)) {
            return Err(HandoverError::Protocol);
        }
        let text = [IoSlice::new(text.as_bytes())];
        // The kernel does not restart a call that has a time limit.
        retry_on_intr(|| sendmsg(&self.0, &text, &mut ancillary, SendFlags::NOSIGNAL))
            .map_err(|error| failed(error.into()))?;
        Ok(())
    }

    /// Receives a packet. The sockets are close-on-exec.
    pub(super) fn receive(&self) -> Result<Post, HandoverError> {
        let mut bytes = [0; PACKET_BYTES_MAX];
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(SOCKETS_MAX))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let mut into = [IoSliceMut::new(&mut bytes)];
        let message = retry_on_intr(|| recvmsg(&self.0, &mut into, &mut ancillary, RecvFlags::CMSG_CLOEXEC))
            .map_err(|error| failed(error.into()))?;
        // Taken out first of all: what is left in there would be leaked.
        let mut sockets = Vec::new();
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                sockets.extend(descriptors);
            }
        }
        if message.bytes == 0 {
            return Err(HandoverError::Ended);
        }
        if message.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
            return Err(HandoverError::Protocol);
        }
        let text = bytes.get(..message.bytes).and_then(|bytes| std::str::from_utf8(bytes).ok());
        let packet = text.and_then(|text| text.parse().ok()).ok_or(HandoverError::Protocol)?;
        Ok(Post { packet, sockets })
    }
}

/// What an error means for a conversation.
fn failed(error: io::Error) -> HandoverError {
    if is_any(&error, [io::ErrorKind::WouldBlock, io::ErrorKind::TimedOut]) {
        HandoverError::Silent
    } else if is_any(&error, [io::ErrorKind::BrokenPipe, io::ErrorKind::ConnectionReset]) {
        HandoverError::Ended
    } else {
        HandoverError::Io(error)
    }
}

fn is_any(error: &io::Error, kinds: [io::ErrorKind; 2]) -> bool {
    kinds.contains(&error.kind())
}
