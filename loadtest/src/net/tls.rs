//! TLS over a non-blocking socket, with rustls's unbuffered connection (RFC 8446, RFC 5246).
//!
//! An idle connection owns no buffer: records are opened from one shared scratch into another and sealed into a third.
//! What it may have to keep is a part of a record that has not come whole, and sealed bytes that did not leave.

use std::fmt;
use std::sync::Arc;

use rustix::fd::{AsFd, BorrowedFd};
use rustls::client::{ClientConnectionData, UnbufferedClientConnection};
use rustls::pki_types::ServerName;
use rustls::unbuffered::{ConnectionState, EncodeError, EncodeTlsData, EncryptError, UnbufferedStatus};
use rustls::{ClientConfig, Error, HandshakeKind};

use super::stream::{Arrived, Broken, End, Inward};
use super::{Flow, Moved, Outlet, SCRATCH_BYTES, Socket};

/// Bytes of a record beyond its content, at most (RFC 5246 §6.2.3: 5 of header and 2048 of expansion; ours: 29).
const RECORD_OVERHEAD_MAX: usize = 64;

/// Content of a full record (RFC 8446 §5.1).
const RECORD_BYTES_MAX: usize = 16 * 1024;

/// Bytes that are sealed at a time.
const SEALED_BYTES_MAX: usize = SCRATCH_BYTES + (SCRATCH_BYTES / RECORD_BYTES_MAX + 1) * RECORD_OVERHEAD_MAX;

/// How far a connection has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    Handshake,
    Established,
    /// The server has said close_notify.
    Closed,
}

/// What a handshake came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Handshake {
    /// Whether an earlier session was resumed, so that no certificate was needed.
    pub(crate) resumed: bool,
    /// Version, cipher suite and key exchange.
    pub(crate) suite: String,
}

/// A TLS connection to a server, perhaps still being made.
pub(crate) struct Tls {
    connection: UnbufferedClientConnection,
    socket: Socket,
    progress: Progress,
    /// The beginning of a record that has not come whole.
    held: Vec<u8>,
    outlet: Outlet,
}

impl Tls {
    /// Begins TLS with `name` on a socket that is connecting.
    ///
    /// # Errors
    /// `config` and `name` do not fit each other.
    pub(crate) fn new(
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
        socket: Socket,
    ) -> Result<Self, Error> {
        let connection = UnbufferedClientConnection::new(config, name)?;
        Ok(Self {
            connection,
            socket,
            progress: Progress::Handshake,
            held: Vec::new(),
            outlet: Outlet::default(),
        })
    }

    /// Whether content can be sent.
    pub(super) fn is_established(&self) -> bool {
        self.progress != Progress::Handshake
    }

    /// What the handshake came to, once it is over.
    pub(crate) fn handshake(&self) -> Handshake {
        let version = self.connection.protocol_version().and_then(|version| version.as_str());
        let suite = self.connection.negotiated_cipher_suite().and_then(|suite| suite.suite().as_str());
        let group =
            self.connection.negotiated_key_exchange_group().map(|group| format!("{:?}", group.name()));
        let parts = [version, suite, group.as_deref()];
        Handshake {
            resumed: self.connection.handshake_kind() == Some(HandshakeKind::Resumed),
            suite: parts.into_iter().flatten().collect::<Vec<_>>().join(" "),
        }
    }

    /// Sends the first of the handshake, which takes a TCP connection.
    pub(super) fn connect(&mut self) -> Result<Flow, Broken> {
        if !self.outlet.is_blocked() {
            self.open(&mut [], &mut [])?;
        }
        self.flush()
    }

    /// Reads until there is content, or nothing to read.
    pub(super) fn read(&mut self, buffers: &mut Inward) -> Result<Arrived, Broken> {
        while self.progress != Progress::Closed {
            let held = self.held.len();
            if let Some(front) = buffers.sealed.get_mut(..held) {
                front.copy_from_slice(&self.held);
            }
            let room = buffers.sealed.get_mut(held..).unwrap_or_default();
            let (asked, came) = (room.len(), self.socket.read(room)?);
            let come = match came {
                Moved::Bytes(come) => come,
                Moved::Blocked => return Ok(Arrived::Blocked),
                Moved::Ended => return Ok(Arrived::Ended(End::Truncated)),
            };
            let sealed = buffers.sealed.get_mut(..held + come).unwrap_or_default();
            let opened = self.open(sealed, &mut buffers.plain)?;
            self.held = sealed.get(opened.sealed_bytes..).unwrap_or_default().to_vec();
            self.flush()?;
            if opened.plain_bytes > 0 {
                let emptied = come < asked && self.progress != Progress::Closed;
                return Ok(Arrived::Bytes { len: opened.plain_bytes, emptied });
            }
        }
        Ok(Arrived::Ended(End::Clean))
    }

    /// Seals and sends until all has been, or the socket is full; sealed bytes count as sent.
    pub(super) fn write(&mut self, bytes: &[u8], sealed: &mut Vec<u8>) -> Result<Moved, Broken> {
        sealed.resize(SEALED_BYTES_MAX, 0);
        let mut sent = 0;
        while self.flush()? == Flow::Clear {
            let rest = bytes.get(sent..).unwrap_or_default();
            let run = rest.get(..SCRATCH_BYTES).unwrap_or(rest);
            if run.is_empty() {
                break;
            }
            let len = self.seal(run, sealed)?;
            let record = sealed.get(..len).unwrap_or_default();
            if self.outlet.is_blocked() {
                self.outlet.queue(record);
            } else {
                self.outlet.send(&self.socket, record)?;
            }
            sent += run.len();
        }
        Ok(if sent == 0 { Moved::Blocked } else { Moved::Bytes(sent) })
    }

    /// Sends sealed bytes that have not left.
    pub(super) fn flush(&mut self) -> Result<Flow, Broken> {
        Ok(self.outlet.flush(&self.socket)?)
    }

    /// Says close_notify, if everything before it has left.
    pub(super) fn end(&mut self) {
        let mut alert = [0; RECORD_OVERHEAD_MAX];
        if let Ok(ConnectionState::WriteTraffic(mut traffic)) =
            self.connection.process_tls_records(&mut self.held).state
            && let Ok(len) = traffic.queue_close_notify(&mut alert)
            && !self.outlet.is_blocked()
        {
            // The server may have gone already.
            let _ = self.outlet.send(&self.socket, alert.get(..len).unwrap_or_default());
        }
    }

    /// Seals `content` into the front of `sealed`, once the handshake is over. What has to go first is queued.
    fn seal(&mut self, content: &[u8], sealed: &mut [u8]) -> Result<usize, Broken> {
        loop {
            // Given what is held, which rustls remembers places in.
            let UnbufferedStatus { discard, state, .. } = self.connection.process_tls_records(&mut self.held);
            match state? {
                ConnectionState::WriteTraffic(mut traffic) => {
                    let len = traffic.encrypt(content, sealed).map_err(|error| exhausted(&error))?;
                    self.held.drain(..discard);
                    return Ok(len);
                }
                ConnectionState::EncodeTlsData(mut data) => self.outlet.queue(&encoded(&mut data)),
                ConnectionState::TransmitTlsData(data) => data.done(),
                other @ (ConnectionState::ReadTraffic(_)
                | ConnectionState::ReadEarlyData(_)
                | ConnectionState::PeerClosed
                | ConnectionState::Closed
                | ConnectionState::BlockedHandshake
                | _) => return Err(unexpected(&other).into()),
            }
            self.held.drain(..discard);
        }
    }

    /// Opens the records at the front of `sealed`, with their content to the front of `plain`. What they want
    /// answered is queued.
    fn open(&mut self, sealed: &mut [u8], plain: &mut [u8]) -> Result<Opened, Broken> {
        let mut opened = Opened { sealed_bytes: 0, plain_bytes: 0 };
        loop {
            let rest = sealed.get_mut(opened.sealed_bytes..).unwrap_or_default();
            let UnbufferedStatus { mut discard, state, .. } = self.connection.process_tls_records(rest);
            let mut done = false;
            match state? {
                ConnectionState::ReadTraffic(mut traffic) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record?;
                        discard += record.discard;
                        opened.take(record.payload, plain);
                    }
                }
                ConnectionState::EncodeTlsData(mut data) => self.outlet.queue(&encoded(&mut data)),
                ConnectionState::TransmitTlsData(data) => data.done(),
                ConnectionState::PeerClosed => self.progress = Progress::Closed,
                ConnectionState::WriteTraffic(_) => {
                    if self.progress == Progress::Handshake {
                        self.progress = Progress::Established;
                    }
                    done = true;
                }
                ConnectionState::BlockedHandshake | ConnectionState::Closed => done = true,
                other @ (ConnectionState::ReadEarlyData(_) | _) => return Err(unexpected(&other).into()),
            }
            opened.sealed_bytes += discard;
            if done {
                return Ok(opened);
            }
        }
    }
}

impl AsFd for Tls {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("socket", &self.socket)
            .field("progress", &self.progress)
            .finish_non_exhaustive()
    }
}

/// What came of opening records.
struct Opened {
    /// Bytes of records that are done with.
    sealed_bytes: usize,
    /// Bytes of their content.
    plain_bytes: usize,
}

impl Opened {
    fn take(&mut self, content: &[u8], plain: &mut [u8]) {
        let place = plain.get_mut(self.plain_bytes..self.plain_bytes + content.len());
        place.expect("content is shorter than the records it came in").copy_from_slice(content);
        self.plain_bytes += content.len();
    }
}

/// A record of the handshake.
fn encoded(data: &mut EncodeTlsData<'_, ClientConnectionData>) -> Vec<u8> {
    let mut record = Vec::new();
    // It says how much room it wants.
    while let Err(EncodeError::InsufficientSize(wanted)) = data.encode(&mut record) {
        record.resize(wanted.required_size, 0);
    }
    record
}

/// A state that a client is not in, or not now.
fn unexpected(state: &ConnectionState<'_, '_, ClientConnectionData>) -> Error {
    Error::General(format!("TLS is in a state that nothing led to: {state:?}"))
}

/// A connection that may seal no more (RFC 8446 §5.5): the room is large enough for whatever it seals.
fn exhausted(error: &EncryptError) -> Error {
    Error::General(error.to_string())
}
