//! One end of a TLS connection as rustls keeps it: bytes that came go in, bytes that are to go come out. Knows no socket.

use std::sync::Arc;

use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::ServerName;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncodeTlsData, EncryptError, ReadTraffic, UnbufferedStatus,
};
use rustls::{ClientConfig, CommonState, Error, ServerConfig};

/// Bytes that one record carries, at most (RFC 8446 §5.1).
pub(super) const PAYLOAD_MAX: usize = 16 * 1024;

/// Bytes of a record beside what it carries, at most: header, nonce, padding and tag (RFC 5246 §6.2.3, RFC 8446 §5.2).
pub(super) const OVERHEAD_MAX: usize = 5 + 256;

/// Either end of a connection, and what it has to say.
pub(super) struct Machine {
    end: End,
    /// Records that are to go to the peer.
    pub(super) outgoing: Vec<u8>,
    /// Whether the peer has said, by close_notify, that it will send no more.
    has_peer_closed: bool,
    /// Why nothing is asked of rustls any more.
    pub(super) failure: Option<Error>,
}

enum End {
    Server(UnbufferedServerConnection),
    Client(UnbufferedClientConnection),
}

/// Where decrypted bytes go.
pub(super) struct Plain<'b> {
    room: &'b mut [u8],
    /// Bytes of `room` that have been filled.
    pub(super) len: usize,
    /// What the last record had beyond that.
    pub(super) overflow: Vec<u8>,
}

/// Why no more bytes are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pause {
    /// There is no whole record any more.
    Starved,
    /// There is no room for what is in the next one.
    Full,
}

/// How rustls goes on.
enum Next {
    /// With what it has.
    Go,
    /// The peer has closed its side.
    Closed,
    /// With more bytes, of the peer's or ours.
    Wait,
}

/// What we have to say.
#[derive(Clone, Copy)]
enum Word<'b> {
    Bytes(&'b [u8]),
    /// Nothing more will come (RFC 8446 §6.1).
    CloseNotify,
}

impl Machine {
    pub(super) fn server(config: Arc<ServerConfig>) -> Result<Self, Error> {
        Ok(Self::new(End::Server(UnbufferedServerConnection::new(config)?)))
    }

    pub(super) fn client(config: Arc<ClientConfig>, name: ServerName<'static>) -> Result<Self, Error> {
        Ok(Self::new(End::Client(UnbufferedClientConnection::new(config, name)?)))
    }

    fn new(end: End) -> Self {
        Self { end, outgoing: Vec::new(), has_peer_closed: false, failure: None }
    }

    pub(super) fn state(&self) -> &CommonState {
        match &self.end {
            End::Server(connection) => connection,
            End::Client(connection) => connection,
        }
    }

    pub(super) fn has_peer_closed(&self) -> bool {
        self.has_peer_closed
    }

    /// Decrypts `bytes` into `plain`. Says how many of them, from the front, are done with, and why no more are.
    ///
    /// The others have to be there whenever rustls goes on, as it left them: it remembers where in them there are parts
    /// of a message that is not whole yet.
    ///
    /// # Errors
    /// The peer broke the protocol. What it has to be told is in `outgoing`.
    pub(super) fn take(&mut self, bytes: &mut [u8], plain: &mut Plain<'_>) -> Result<(usize, Pause), Error> {
        self.check()?;
        let mut taken = 0;
        loop {
            let rest = bytes.get_mut(taken..).unwrap_or_default();
            let (discard, next) = self.step(rest, plain);
            taken += discard;
            match next {
                Ok(Next::Wait) => return Ok((taken, Pause::Starved)),
                Ok(Next::Go) if plain.is_full() => return Ok((taken, Pause::Full)),
                Ok(Next::Go) => {}
                Ok(Next::Closed) => self.has_peer_closed = true,
                Err(error) => {
                    self.fail(&error);
                    return Err(error);
                }
            }
        }
    }

    /// Encrypts `bytes` into `room`, with room for [`OVERHEAD_MAX`] with every [`PAYLOAD_MAX`]; how much that became.
    /// Only with nothing outgoing, for records have their order. `taken` is what [`Self::take`] has left when it was
    /// starved.
    ///
    /// # Errors
    /// The connection is not in a state for that.
    pub(super) fn encrypt(
        &mut self,
        taken: &mut [u8],
        bytes: &[u8],
        room: &mut [u8],
    ) -> Result<usize, Error> {
        self.say(taken, Word::Bytes(bytes), room)
    }

    /// Says that nothing more will come from us (RFC 8446 §6.1). A connection that has no keys yet ends without. `taken`
    /// as for [`Self::encrypt`].
    pub(super) fn close(&mut self, taken: &mut [u8]) {
        let mut room = [0; OVERHEAD_MAX];
        if let Ok(len) = self.say(taken, Word::CloseNotify, &mut room) {
            self.outgoing.extend_from_slice(room.get(..len).unwrap_or_default());
        }
    }

    fn say(&mut self, taken: &mut [u8], word: Word<'_>, room: &mut [u8]) -> Result<usize, Error> {
        self.check()?;
        let said = match &mut self.end {
            End::Server(end) => say(end.process_tls_records(taken), word, room),
            End::Client(end) => say(end.process_tls_records(taken), word, room),
        };
        said.unwrap_or(Err(Error::HandshakeNotComplete))
    }

    fn check(&self) -> Result<(), Error> {
        self.failure.clone().map_or(Ok(()), Err)
    }

    /// After an error rustls may have an alert for the peer, behind what it had to say before. It is asked for nothing
    /// else: it would fail again, and say so again.
    fn fail(&mut self, error: &Error) {
        self.failure = Some(error.clone());
        let mut plain = Plain::none();
        // As long as it has something to say, it does not look at the bytes that are not there.
        while self.state().wants_write() {
            let (_, next) = self.step(&mut [], &mut plain);
            if !matches!(next, Ok(Next::Go)) {
                return;
            }
        }
    }

    fn step(&mut self, bytes: &mut [u8], plain: &mut Plain<'_>) -> (usize, Result<Next, Error>) {
        match &mut self.end {
            End::Server(end) => step(end.process_tls_records(bytes), plain, &mut self.outgoing),
            End::Client(end) => step(end.process_tls_records(bytes), plain, &mut self.outgoing),
        }
    }
}

impl<'b> Plain<'b> {
    pub(super) fn new(room: &'b mut [u8]) -> Self {
        Self { room, len: 0, overflow: Vec::new() }
    }

    /// No room: what comes overflows.
    pub(super) fn none() -> Self {
        Self::new(&mut [])
    }

    fn push(&mut self, payload: &[u8]) {
        let room = self.room.get_mut(self.len..).unwrap_or_default();
        let (fits, beyond) = payload.split_at(payload.len().min(room.len()));
        if let Some(room) = room.get_mut(..fits.len()) {
            room.copy_from_slice(fits);
        }
        self.len += fits.len();
        self.overflow.extend_from_slice(beyond);
    }

    fn is_full(&self) -> bool {
        !self.overflow.is_empty() || (self.len == self.room.len() && !self.room.is_empty())
    }
}

/// Does what rustls asks for; how many bytes that have come are done with, and how it goes on.
fn step<Data>(
    status: UnbufferedStatus<'_, '_, Data>,
    plain: &mut Plain<'_>,
    outgoing: &mut Vec<u8>,
) -> (usize, Result<Next, Error>) {
    let UnbufferedStatus { discard, state } = status;
    let next = match state {
        Ok(ConnectionState::ReadTraffic(traffic)) => read(traffic, plain),
        Ok(ConnectionState::EncodeTlsData(data)) => encode(data, outgoing).map(|()| Next::Go),
        Ok(ConnectionState::TransmitTlsData(data)) => {
            // All of it is in `outgoing`, which leaves before anything else does.
            data.done();
            Ok(Next::Go)
        }
        Ok(ConnectionState::PeerClosed) => Ok(Next::Closed),
        // Early data is never offered or accepted; states of versions to come need bytes at most.
        Ok(_) => Ok(Next::Wait),
        Err(error) => Err(error),
    };
    (discard, next)
}

fn read<Data>(mut traffic: ReadTraffic<'_, '_, Data>, plain: &mut Plain<'_>) -> Result<Next, Error> {
    while let Some(record) = traffic.next_record() {
        plain.push(record?.payload);
    }
    Ok(Next::Go)
}

fn encode<Data>(mut data: EncodeTlsData<'_, Data>, outgoing: &mut Vec<u8>) -> Result<(), Error> {
    let at = outgoing.len();
    let needed = match data.encode(&mut []) {
        Err(EncodeError::InsufficientSize(size)) => size.required_size,
        Ok(_) | Err(EncodeError::AlreadyEncoded) => return Ok(()),
    };
    outgoing.resize(at + needed, 0);
    let len = data.encode(outgoing.get_mut(at..).unwrap_or_default());
    outgoing.truncate(at + len.unwrap_or(0));
    Ok(())
}

/// `None`, if this is no moment to say anything.
fn say<Data>(
    status: UnbufferedStatus<'_, '_, Data>,
    word: Word<'_>,
    room: &mut [u8],
) -> Option<Result<usize, Error>> {
    let Ok(ConnectionState::WriteTraffic(mut traffic)) = status.state else { return None };
    let said = match word {
        Word::Bytes(bytes) => traffic.encrypt(bytes, room),
        Word::CloseNotify => traffic.queue_close_notify(room),
    };
    Some(said.map_err(|error| match error {
        EncryptError::EncryptExhausted => Error::EncryptError,
        EncryptError::InsufficientSize(_) => Error::General("no room to encrypt into".to_owned()),
    }))
}
