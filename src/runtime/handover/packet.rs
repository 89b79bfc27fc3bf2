//! What the two sides say. One packet of a SOCK_SEQPACKET connection each, in words, so that `strace` shows them.

use std::fmt;
use std::str::FromStr;

use crate::config::ListenAddress;
use crate::runtime::inherit::Owner;

/// One packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Packet {
    /// The newcomer asks for the sockets. Holds the version: another one is another greeting, and not understood.
    Hello,
    /// These sockets, which come with it, listen there, and are so-and-so's.
    Socket(Owner, ListenAddress),
    /// There are no more.
    End,
    /// The newcomer listens there too.
    Taken(ListenAddress),
    /// The newcomer accepts connections, in all the places it has named.
    Ready,
    /// So the other one drains.
    Draining,
}

/// Not a packet that this version knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unknown;

const HELLO: &str = "selat-handover/1";

impl fmt::Display for Packet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hello => f.write_str(HELLO),
            Self::Socket(Owner::Selat, address) => write!(f, "socket selat {address}"),
            Self::Socket(Owner::Manager, address) => write!(f, "socket manager {address}"),
            Self::End => f.write_str("end"),
            Self::Taken(address) => write!(f, "taken {address}"),
            Self::Ready => f.write_str("ready"),
            Self::Draining => f.write_str("draining"),
        }
    }
}

impl FromStr for Packet {
    type Err = Unknown;

    fn from_str(text: &str) -> Result<Self, Unknown> {
        let address = |text: &str| text.parse().map_err(|_| Unknown);
        match text {
            HELLO => return Ok(Self::Hello),
            "end" => return Ok(Self::End),
            "ready" => return Ok(Self::Ready),
            "draining" => return Ok(Self::Draining),
            _ => {}
        }
        if let Some(rest) = text.strip_prefix("socket selat ") {
            Ok(Self::Socket(Owner::Selat, address(rest)?))
        } else if let Some(rest) = text.strip_prefix("socket manager ") {
            Ok(Self::Socket(Owner::Manager, address(rest)?))
        } else if let Some(rest) = text.strip_prefix("taken ") {
            Ok(Self::Taken(address(rest)?))
        } else {
            Err(Unknown)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_understood() {
        let tcp: ListenAddress = "[::1]:8765".parse().unwrap();
        let unix: ListenAddress = "unix:/run/a name with spaces".parse().unwrap();
        let packets = [
            Packet::Hello,
            Packet::Socket(Owner::Selat, tcp.clone()),
            Packet::Socket(Owner::Manager, unix.clone()),
            Packet::End,
            Packet::Taken(tcp),
            Packet::Taken(unix),
            Packet::Ready,
            Packet::Draining,
        ];
        for packet in packets {
            assert_eq!(packet.to_string().parse(), Ok(packet));
        }
    }

    #[test]
    fn anything_else_is_not() {
        for text in ["", "selat-handover/2", "socket 127.0.0.1:1", "socket root 127.0.0.1:1", "taken", "END"]
        {
            assert_eq!(text.parse::<Packet>(), Err(Unknown), "{text}");
        }
    }
}
