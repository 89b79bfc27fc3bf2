//! One end of a connection, byte by byte.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream, ToSocketAddrs};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use super::DEADLINE;
use super::frames::{CLOSE, Encode, Frame};
use super::http::Head;

/// A write that takes longer than this waits for a reader.
const STALL: Duration = Duration::from_millis(300);

/// How the other end's stream stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    Fin,
    Reset,
}

/// A stream socket that never waits longer than the deadline.
pub(crate) struct Raw {
    pub(crate) stream: TcpStream,
    /// What came behind what was asked for.
    unread: Vec<u8>,
}

impl Raw {
    pub(crate) fn new(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(DEADLINE)).expect("not zero");
        stream.set_write_timeout(Some(DEADLINE)).expect("not zero");
        Self { stream, unread: Vec::new() }
    }

    pub(crate) fn connect(address: impl ToSocketAddrs) -> Self {
        let stream = TcpStream::connect(address).expect("it accepts");
        stream.set_nodelay(true).expect("it is TCP");
        Self::new(stream)
    }

    /// The same from an address of the caller's choice.
    pub(crate) fn connect_from(source: Ipv4Addr, address: &str) -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a descriptor");
        socket.bind(&SocketAddr::from((source, 0)).into()).expect("loopback has free ports");
        let address: SocketAddr = address.parse().expect("an address");
        socket.connect(&address.into()).expect("it accepts");
        socket.set_tcp_nodelay(true).expect("it is TCP");
        Self::new(socket.into())
    }

    /// The same over a Unix socket: std's stream types differ in name only.
    pub(crate) fn connect_unix(path: &str) -> Self {
        Self::new(TcpStream::from(OwnedFd::from(UnixStream::connect(path).expect("it accepts"))))
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the other end reads in time");
    }

    /// Sends these bytes again and again until no more are taken for a while.
    pub(crate) fn fill(&self, bytes: &[u8]) {
        let mut stream = &self.stream;
        stream.set_write_timeout(Some(STALL)).expect("not zero");
        while stream.write_all(bytes).is_ok() {}
    }

    /// Sends FIN.
    pub(crate) fn finish(&self) {
        self.stream.shutdown(Shutdown::Write).expect("it is connected");
    }

    /// Sends RST.
    pub(crate) fn reset(self) {
        rustix::net::sockopt::set_socket_linger(&self.stream, Some(Duration::ZERO)).expect("it is TCP");
    }

    /// Reads once more into `unread`; how the stream ended, if it has.
    fn read_more(&mut self) -> Option<Ending> {
        let mut buffer = vec![0; 64 * 1024];
        match self.stream.read(&mut buffer) {
            Ok(0) => Some(Ending::Fin),
            Ok(len) => {
                self.unread.extend_from_slice(buffer.get(..len).unwrap_or_default());
                None
            }
            Err(error) if error.kind() == ErrorKind::ConnectionReset => Some(Ending::Reset),
            Err(error) => unreachable!("bytes or an end in time, after {}: {error}", self.shown()),
        }
    }

    fn shown(&self) -> String {
        self.unread.get(..self.unread.len().min(300)).unwrap_or_default().escape_ascii().to_string()
    }

    /// Reads until `end` says how many bytes are wanted, and takes them.
    fn until(&mut self, end: impl Fn(&[u8]) -> Option<usize>) -> Vec<u8> {
        loop {
            if let Some(end) = end(&self.unread) {
                let rest = self.unread.split_off(end);
                return std::mem::replace(&mut self.unread, rest);
            }
            if let Some(ending) = self.read_more() {
                unreachable!("more, but {ending:?} after {}", self.shown());
            }
        }
    }

    pub(crate) fn exactly(&mut self, len: usize) -> Vec<u8> {
        self.until(|bytes| (bytes.len() >= len).then_some(len))
    }

    /// The next head.
    pub(crate) fn head(&mut self) -> Head {
        let end = |bytes: &[u8]| bytes.windows(4).position(|at| at == b"\r\n\r\n").map(|at| at + 4);
        Head::parse(&self.until(end))
    }

    /// The next frame.
    pub(crate) fn frame(&mut self) -> Frame {
        let bytes = self.until(|bytes| Frame::parse(bytes).map(|(_, len)| len));
        Frame::parse(&bytes).expect("it is whole").0
    }

    /// Everything up to the end of the stream, and how that came.
    pub(crate) fn rest(&mut self) -> (Vec<u8>, Ending) {
        loop {
            if let Some(ending) = self.read_more() {
                return (std::mem::take(&mut self.unread), ending);
            }
        }
    }

    /// A whole response: its head, and everything up to the FIN that must follow it.
    pub(crate) fn response(&mut self) -> (Head, Vec<u8>) {
        let head = self.head();
        let (body, ending) = self.rest();
        assert_eq!(ending, Ending::Fin, "{}", head.start);
        (head, body)
    }

    /// That the stream ends now, by FIN.
    pub(crate) fn expect_fin(&mut self) {
        let (bytes, ending) = self.rest();
        assert_eq!((bytes.escape_ascii().to_string().as_str(), ending), ("", Ending::Fin));
    }

    /// A Close, and FIN behind it.
    pub(crate) fn expect_close_and_fin(&mut self) -> (u16, String) {
        let close = self.frame().close();
        self.expect_fin();
        close
    }

    /// Ends as a peer should that is asked to: answers the Close that comes, and FIN follows. What the Close said.
    pub(crate) fn leave(&mut self, encode: Encode) -> (u16, String) {
        let close = self.frame();
        self.send(&encode(CLOSE, true, &close.payload));
        self.finish();
        self.expect_fin();
        close.close()
    }

    /// That nothing comes for this long.
    pub(crate) fn expect_silence(&mut self, time: Duration) {
        self.stream.set_read_timeout(Some(time)).expect("not zero");
        let read = self.stream.read(&mut [0]);
        self.stream.set_read_timeout(Some(DEADLINE)).expect("not zero");
        assert!(read.is_err_and(|error| error.kind() == ErrorKind::WouldBlock) && self.unread.is_empty());
    }

    /// Whether there is nothing to read at this moment.
    pub(crate) fn is_quiet(&self) -> bool {
        self.stream.set_nonblocking(true).expect("it is a socket");
        let peeked = self.stream.peek(&mut [0]);
        self.stream.set_nonblocking(false).expect("it is a socket");
        self.unread.is_empty() && peeked.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
    }
}
