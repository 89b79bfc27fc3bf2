//! Connections with rustls's own blocking client at the other end.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::num::NonZeroU32;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConnection, RootCertStore, StreamOwned};

use super::*;
use crate::runtime::{Driver, Stream};
use crate::tls::{Certificate, Server, ServerSettings, Version};

type Peer = StreamOwned<ClientConnection, TcpStream>;

/// A server's configuration, and that of a client who believes it.
fn configurations() -> (Arc<ServerConfig>, Arc<ClientConfig>) {
    let signed = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let (chain, key) = (signed.cert.pem(), signed.signing_key.serialize_pem());
    let server = Server::new(ServerSettings {
        certificates: vec![Certificate::from_pem(&chain, &key).unwrap()],
        clients: None,
        least: Version::V1_2,
        handshakes_per_second: NonZeroU32::new(1000),
        timeout: Duration::from_secs(10),
    });
    let mut authorities = RootCertStore::empty();
    authorities.add(CertificateDer::from_pem_slice(chain.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let client = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let client = client.unwrap().with_root_certificates(authorities).with_no_client_auth();
    (server.unwrap().config(), Arc::new(client))
}

/// Accepts one TLS connection and does `serve` with it, while `peer` runs on a thread of its own; what that came to.
fn meet<T: Send + 'static, F: Future<Output = ()>>(
    peer: impl FnOnce(Peer) -> T + Send + 'static,
    serve: impl FnOnce(Stream) -> F + 'static,
) -> T {
    let (server, client) = configurations();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let thread: JoinHandle<T> = thread::spawn(move || {
        let tcp = TcpStream::connect(address).unwrap();
        tcp.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        peer(StreamOwned::new(ClientConnection::new(client, name).unwrap(), tcp))
    });
    let (accepted, _) = listener.accept().unwrap();
    accepted.set_nonblocking(true).unwrap();
    let driver = Driver::new().unwrap();
    let task_driver = driver.clone();
    driver.spawn(async move {
        let socket = Socket::accepted(&task_driver, accepted.into()).unwrap();
        let tls = Tls::accept(socket, Vec::new(), server, Workspace::new()).await.unwrap();
        serve(Stream::Tls(Box::new(tls))).await;
        task_driver.stop();
    });
    driver.run();
    thread.join().unwrap()
}

/// Echoes until the end of the stream, then ends its own.
async fn echo(stream: Stream, buffer: usize) {
    let mut buffer = vec![0; buffer];
    loop {
        match stream.read(&mut buffer).await.unwrap() {
            0 => break,
            len => stream.write_all(&buffer[..len]).await.unwrap(),
        }
    }
    poll_fn(|_| if stream.finish() { Poll::Ready(()) } else { Poll::Pending }).await;
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|at| u8::try_from(at * 7 % 251).unwrap()).collect()
}

#[test]
fn bytes_come_back_whatever_the_size_of_the_buffer() {
    for buffer in [1, 100, 16 * 1024, 256 * 1024] {
        let len = if buffer == 1 { 20_000 } else { 300_000 };
        let back = meet(
            move |mut peer: Peer| {
                let mut back = Vec::new();
                for chunk in pattern(len).chunks(40_000) {
                    peer.write_all(chunk).unwrap();
                    let mut echoed = vec![0; chunk.len()];
                    peer.read_exact(&mut echoed).unwrap();
                    back.extend(echoed);
                }
                peer.conn.send_close_notify();
                peer.flush().unwrap();
                assert_eq!(peer.read(&mut [0]).unwrap(), 0, "close_notify for close_notify");
                back
            },
            move |stream| echo(stream, buffer),
        );
        assert_eq!(back, pattern(len), "with {buffer}");
    }
}

#[test]
fn a_slow_reader_gets_everything_in_order() {
    const LEN: usize = 8 * 1024 * 1024;
    let received = meet(
        |mut peer: Peer| {
            peer.write_all(b"go").unwrap();
            let mut received = Vec::new();
            let mut buffer = [0; 3000];
            while received.len() < LEN {
                let len = peer.read(&mut buffer).unwrap();
                received.extend_from_slice(&buffer[..len]);
                thread::yield_now();
            }
            received
        },
        |stream| async move {
            stream.read(&mut [0; 2]).await.unwrap();
            stream.write_all(&pattern(LEN)).await.unwrap();
            let Stream::Tls(tls) = &stream else { panic!() };
            assert_eq!(tls.session.borrow().machine.outgoing.len(), 0, "what was written has left");
        },
    );
    assert!(received == pattern(LEN));
}

#[test]
fn a_stream_that_is_cut_off_has_not_ended() {
    let kinds = [true, false].map(|says_goodbye| {
        let (told, kind) = std::sync::mpsc::channel();
        meet(
            move |mut peer: Peer| {
                peer.write_all(b"x").unwrap();
                if says_goodbye {
                    peer.conn.send_close_notify();
                    peer.flush().unwrap();
                }
                peer.sock.shutdown(Shutdown::Write).unwrap();
                // Until the other side is done.
                let _ = peer.read(&mut [0]);
            },
            move |stream| async move {
                let mut buffer = [0; 10];
                assert_eq!(stream.read(&mut buffer).await.unwrap(), 1);
                told.send(stream.read(&mut buffer).await.map_err(|error| error.kind())).unwrap();
            },
        );
        kind.recv().unwrap()
    });
    assert_eq!(kinds, [Ok(0), Err(io::ErrorKind::UnexpectedEof)]);
}

#[test]
fn an_idle_connection_has_no_buffers() {
    meet(
        |mut peer: Peer| {
            peer.write_all(&pattern(100_000)).unwrap();
            let mut back = vec![0; 100_000];
            peer.read_exact(&mut back).unwrap();
            peer.read(&mut [0]).unwrap_or(0)
        },
        |stream| async move {
            let mut buffer = vec![0; 64 * 1024];
            let mut echoed = 0;
            while echoed < 100_000 {
                let len = stream.read(&mut buffer).await.unwrap();
                stream.write_all(&buffer[..len]).await.unwrap();
                echoed += len;
            }
            assert!(stream.try_read(&mut buffer).unwrap().is_none());
            let Stream::Tls(tls) = &stream else { panic!() };
            let session = tls.session.borrow();
            let buffers = [&session.incoming, &session.decrypted, &session.machine.outgoing];
            assert_eq!(buffers.map(Vec::capacity), [0; 3]);
        },
    );
}

/// What a client says first, as one record.
fn client_hello(client: Arc<ClientConfig>) -> Vec<u8> {
    let mut hello = Vec::new();
    let name = ServerName::try_from("localhost").unwrap();
    ClientConnection::new(client, name).unwrap().write_tls(&mut hello).unwrap();
    hello
}

/// The same handshake message in records of this size.
fn in_records(hello: &[u8], size: usize) -> Vec<u8> {
    let record =
        |part: &[u8]| [&hello[..3], &u16::try_from(part.len()).unwrap().to_be_bytes(), part].concat();
    hello[5..].chunks(size).flat_map(record).collect()
}

/// Sends `bytes` to a server in pieces of `cut`, has it try to answer each, and hangs up.
fn pester(server: &Arc<ServerConfig>, bytes: &[u8], cut: usize) -> Session {
    let mut session = Session::new(Vec::new(), Machine::server(server.clone()).unwrap());
    let mut workspace = vec![0; WORKSPACE_BYTES];
    for piece in bytes.chunks(cut) {
        let kept = session.incoming.len();
        workspace[kept..kept + piece.len()].copy_from_slice(piece);
        let mut plain = Plain::none();
        let taken = session.take(&mut workspace, piece.len(), &mut plain);
        let settled = session.settle();
        let mut room = [0; 1024];
        assert!(
            session.machine.encrypt(&mut session.incoming, b"x", &mut room).is_err(),
            "there are no keys"
        );
        if taken.is_err() {
            assert_eq!(taken, settled, "an error stays");
            break;
        }
    }
    session.close();
    session
}

#[test]
fn half_a_message_with_something_else_behind_it_panics_nobody() {
    let (server, _) = configurations();
    // RFC 8446 §5.1: handshake messages MUST NOT be interleaved with other record types.
    let session = pester(&server, &[22, 3, 1, 0, 1, 1, 21, 3, 1, 0, 2, 1, 0], 13);
    assert!(session.machine.failure.is_some());
}

#[test]
fn no_client_hello_cut_or_spoilt_panics_anybody() {
    let (server, client) = configurations();
    let hello = client_hello(client);
    for cut in [1, 7, 100, 5000] {
        assert!(pester(&server, &hello, cut).machine.failure.is_none());
        let session = pester(&server, &in_records(&hello, 20), cut);
        assert!(session.machine.failure.is_none() && !session.machine.outgoing.is_empty(), "it was answered");
    }
    for at in 0..hello.len() {
        for spoil in [1, 0x80, 0xFF] {
            let mut spoilt = hello.clone();
            spoilt[at] ^= spoil;
            pester(&server, &spoilt, 64);
            pester(&server, &in_records(&spoilt, 50), 5000);
            pester(&server, &spoilt[..at], 5000);
        }
    }
}
