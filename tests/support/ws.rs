//! tungstenite as the client.

use std::io::{Read, Write};
use std::net::TcpStream;

use tungstenite::{Error, Message, WebSocket};

use super::raw::Raw;

pub(crate) type Client = WebSocket<TcpStream>;

/// A WebSocket client of `address`.
pub(crate) fn connect(address: &str) -> Client {
    over(Raw::connect(address))
}

/// A WebSocket client over a connection.
pub(crate) fn over(connection: Raw) -> Client {
    let request = "ws://chat.example/";
    tungstenite::client(request, connection.stream)
        .unwrap_or_else(|error| unreachable!("it upgrades: {error}"))
        .0
}

pub(crate) fn text(text: &str) -> Message {
    Message::text(text)
}

/// Sends a message and gets it back.
pub(crate) fn expect_echo<S: Read + Write>(client: &mut WebSocket<S>, message: &Message) {
    client.send(message.clone()).expect("it can be sent");
    let echo = client.read().expect("an echo");
    // Not assert_eq: a megabyte of numbers helps nobody.
    assert!(echo == *message, "{} bytes came back as {} bytes", message.len(), echo.len());
}

/// Reads until the Close, whose code and reason it gives, and then to the end.
pub(crate) fn expect_close<S: Read + Write>(client: &mut WebSocket<S>) -> (u16, String) {
    let frame = loop {
        if let Message::Close(frame) = client.read().expect("a Close") {
            break frame.expect("a code");
        }
    };
    loop {
        match client.read() {
            Ok(_) => {}
            Err(Error::ConnectionClosed) => return (frame.code.into(), frame.reason.as_str().to_owned()),
            Err(error) => unreachable!("a clean end: {error}"),
        }
    }
}
