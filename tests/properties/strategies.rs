//! Where proptest gets its inputs: arbitrary, or legal with a few bytes changed.

use std::fmt;
use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::time::Duration;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use selat::dispatch::{self, Balance, Exchange, Gather, Order, Replies, Unanswered};
use selat::json::Pointer;
use selat::protocol::Role;
use selat::protocol::frame::{Rsv, Rules};
use selat::protocol::proxy_protocol::{self, Version};
use selat::session::{Ending, Excess, Farewell, Peer, Ping, Pings, Rate, RateLimit, Settings};

use super::backend_head::ACCEPT;
use super::stream::{Item, encode};
use super::subscriptions::Op as Subscription;
use super::tunnel::Op;

/// Bytes that a failure prints as text.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Bytes(pub(crate) Vec<u8>);

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "b\"{}\"", self.0.escape_ascii())
    }
}

/// How one stream may break.
#[derive(Debug, Clone, Copy)]
enum Mutation {
    Set(u8),
    Flip(u8),
    Insert(u8),
    Remove,
    Truncate,
}

/// All rules a scanner may be given.
pub(crate) fn rules() -> impl Strategy<Value = Rules> {
    let sender = select(vec![Role::Client, Role::Server]);
    let rsv = select(vec![Rsv::NONE, Rsv::NONE, Rsv::RSV1, Rsv::RSV1, Rsv::ALL]);
    let limit = prop_oneof![Just(u64::MAX), 0u64..300];
    (sender, rsv, limit.clone(), limit).prop_map(|(sender, rsv, message_bytes_max, frame_bytes_max)| Rules {
        sender,
        rsv,
        message_bytes_max,
        frame_bytes_max,
    })
}

/// Anything.
pub(crate) fn noise(len_max: usize) -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..len_max).prop_map(Bytes)
}

/// What a client of a feed does about its subscriptions.
pub(crate) fn subscription_op() -> impl Strategy<Value = Subscription> {
    let keys = || proptest::collection::btree_set("[a-f]", 0..4);
    prop_oneof![
        4 => keys().prop_map(Subscription::Subscribe),
        2 => keys().prop_map(Subscription::Unsubscribe),
        1 => Just(Subscription::Leave),
        1 => Just(Subscription::Reconnect),
    ]
}

/// Sizes of successive reads.
pub(crate) fn sizes() -> impl Strategy<Value = Vec<usize>> {
    prop_oneof![Just(vec![1]), vec(0usize..20, 0..8), vec(0usize..400, 0..8)]
}

/// What a peer says, some of it out of place.
pub(crate) fn items() -> impl Strategy<Value = Vec<Item>> {
    let bytes = prop_oneof![4 => 0u16..200, 1 => select(vec![125u16, 126, 127, 0xFFFF])];
    let code = select(vec![1000u16, 1001, 1003, 1007, 1011, 1014, 3000, 4999]);
    let opcode = prop_oneof![3 => select(vec![0u8, 0, 1, 2, 8, 9, 10]), 1 => 0u8..16];
    let rsv = select(vec![0u8, 0, 0x40, 0x40, 0x10, 0x70]);
    let item = prop_oneof![
        6 => (any::<bool>(), 1u8..4, bytes, any::<bool>()).prop_map(|(is_text, fragments, bytes, has_ping)| {
            Item::Message { is_text, fragments, bytes, has_ping }
        }),
        1 => (0u8..=125).prop_map(Item::Ping),
        1 => (0u8..=125).prop_map(Item::Pong),
        3 => (opcode, rsv, any::<bool>()).prop_map(|(opcode, rsv, is_final)| Item::Loose { opcode, rsv, is_final }),
        1 => (option::of(code), 0u8..=123).prop_map(|(code, reason)| Item::Close { code, reason }),
    ];
    vec(item, 0..8)
}

/// A peer's stream, as often legal as not.
pub(crate) fn mutated_stream(sender: Role) -> impl Strategy<Value = Bytes> {
    items().prop_flat_map(move |items| mutated(encode(sender, &items)))
}

fn mutated(bytes: Vec<u8>) -> impl Strategy<Value = Bytes> {
    let mutation = prop_oneof![
        any::<u8>().prop_map(Mutation::Set),
        (0u8..8).prop_map(|bit| Mutation::Flip(1 << bit)),
        any::<u8>().prop_map(Mutation::Insert),
        Just(Mutation::Remove),
        Just(Mutation::Truncate),
    ];
    let mutations =
        prop_oneof![Just(Vec::new()).boxed(), vec((any::<prop::sample::Index>(), mutation), 1..4).boxed()];
    mutations.prop_map(move |mutations| {
        let mut bytes = bytes.clone();
        for (at, mutation) in mutations {
            if bytes.is_empty() {
                break;
            }
            let at = at.index(bytes.len());
            match mutation {
                Mutation::Set(byte) => bytes[at] = byte,
                Mutation::Flip(bits) => bytes[at] ^= bits,
                Mutation::Insert(byte) => bytes.insert(at, byte),
                Mutation::Remove => drop(bytes.remove(at)),
                Mutation::Truncate => bytes.truncate(at),
            }
        }
        Bytes(bytes)
    })
}

/// What is done with messages and replies: of one backend, so that nothing is left to chance.
pub(crate) fn dispatch_settings() -> impl Strategy<Value = dispatch::Settings> {
    let pointer = Pointer::new("/id").unwrap();
    let send = select(vec![
        dispatch::Send::One(Balance::RoundRobin),
        dispatch::Send::One(Balance::Hash(pointer.clone())),
        dispatch::Send::All(Gather::First),
        dispatch::Send::All(Gather::Array { quorum: None }),
    ]);
    let exchange = (any::<bool>(), select(vec![Order::AsTheyCome, Order::AsAsked])).prop_map(
        move |(is_correlated, order)| Exchange {
            correlate: is_correlated.then(|| pointer.clone()),
            order,
            retries: 0,
            timeout: Duration::from_secs(5),
            unanswered: Unanswered::Drop,
        },
    );
    let replies = prop_oneof![1 => Just(Replies::Any), 4 => exchange.prop_map(Replies::One)];
    (send, replies, 1usize..9).prop_map(|(send, replies, outstanding_max)| dispatch::Settings {
        send,
        replies,
        outstanding_max,
    })
}

/// What a session is held to: often nothing, else little.
pub(crate) fn settings() -> impl Strategy<Value = Settings> {
    let sizes = prop_oneof![3 => Just(u64::MAX), 1 => 0u64..300];
    let seconds = |range: std::ops::Range<u64>| range.prop_map(Duration::from_secs);
    let ping =
        option::of((seconds(1..6), seconds(1..30)).prop_map(|(every, timeout)| Ping { every, timeout }));
    let pings = (ping.clone(), ping).prop_map(|(client, backend)| Pings { client, backend });
    let number = || (1u64..400).prop_map(|number| NonZeroU64::new(number).unwrap());
    let rate = || option::of((number(), number()).prop_map(|(per_second, burst)| Rate { per_second, burst }));
    let excess = select(vec![Excess::Slow, Excess::Close]);
    let limit =
        (rate(), rate(), excess).prop_map(|(messages, bytes, excess)| RateLimit { messages, bytes, excess });
    (sizes.clone(), sizes, pings, option::of(limit), option::weighted(0.2, seconds(1..100))).prop_map(
        |(message_bytes_max, frame_bytes_max, ping, rate, lifetime)| Settings {
            message_bytes_max,
            frame_bytes_max,
            ping,
            rate,
            lifetime,
            ..super::tunnel::settings()
        },
    )
}

/// A session's life: what both peers say, and the order in which everything happens.
pub(crate) fn ops() -> impl Strategy<Value = Vec<Op>> {
    let peer = || select(Peer::BOTH.to_vec());
    let seconds = prop_oneof![0u64..12, 0u64..70].prop_map(Duration::from_secs);
    let op = prop_oneof![
        24 => (peer(), 1usize..300).prop_map(|(peer, bytes)| Op::Arrive { peer, bytes }),
        2 => (peer(), select(vec![Ending::Fin, Ending::Reset, Ending::Truncated])).prop_map(|(peer, ending)| Op::End { peer, ending }),
        6 => seconds.clone().prop_map(Op::Pass),
        8 => (peer(), 0usize..3).prop_map(|(peer, ago)| Op::Answer { peer, ago }),
        1 => (seconds, select(vec![Farewell::ServiceRestart, Farewell::GoingAway]))
            .prop_map(|(after, farewell)| Op::Drain(after, farewell)),
        1 => Just(Op::Fault),
        1 => Just(Op::Cut),
    ];
    let says = |peer, sender| mutated_stream(sender).prop_map(move |Bytes(bytes)| Op::Say { peer, bytes });
    (says(Peer::Client, Role::Client), says(Peer::Backend, Role::Server), vec(op, 0..24))
        .prop_map(|(client, backend, ops)| [vec![client, backend], ops].concat())
}

/// Header lines that a handshake needs, and such as should not stand in one.
const REQUEST_LINES: [&str; 30] = [
    "Connection: keep-alive, Upgrade, X-Secret",
    "connection: x-trace",
    "Connection: Host, Sec-WebSocket-Key, X-Forwarded-For",
    "Upgrade: h2c",
    "Host: other.example",
    "Content-Length: 0",
    "Content-Length: 5",
    "Transfer-Encoding: chunked",
    "TE: trailers",
    "Trailer: X-After",
    "Keep-Alive: timeout=5",
    "Proxy-Connection: keep-alive",
    "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
    "Sec-WebSocket-Version: 8",
    "Sec-WebSocket-Protocol: chat, superchat",
    "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits",
    "X-Forwarded-For: 192.0.2.1",
    "X-Forwarded-For:",
    "X-Forwarded-Proto: https",
    "X-Forwarded-Host: evil.example",
    "X-Forwarded-For: 10.0.0.1, unknown, [2001:db8::1]:80",
    "X-Forwarded-Port: 1",
    "Forwarded: for=192.0.2.1;proto=https, for=\"[2001:db8::1]:80\"",
    "Forwarded: for=\"_open",
    "X-Secret: 1",
    "X-Trace: \u{e9}\t2",
    "Cookie: a=b; c=d",
    "Origin: https://app.example",
    " folded: line",
    "Bad Name: x",
];

/// Anything, or a handshake with lines added, out of order, and a few bytes changed.
pub(crate) fn request_bytes() -> impl Strategy<Value = Bytes> {
    let start = select(vec![
        "GET / HTTP/1.1",
        "GET / HTTP/1.1",
        "GET /chat?room=1 HTTP/1.1",
        "GET http://selat.example/chat HTTP/1.1",
        "GET ws://selat.example?x HTTP/1.1",
        "POST / HTTP/1.1",
        "GET / HTTP/1.0",
        "GET * HTTP/1.1",
    ]);
    let needed = vec![
        "Host: selat.example",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    ];
    let lines = (Just(needed), vec(select(REQUEST_LINES.to_vec()), 0..5))
        .prop_map(|(needed, more)| [needed, more].concat());
    let head = (start, lines.prop_shuffle()).prop_map(|(start, lines)| lines_of(start, &lines));
    prop_oneof![1 => noise(200), 6 => head.prop_flat_map(mutated)]
}

/// Anything, or a PROXY protocol header with a few bytes changed, and what follows it.
pub(crate) fn proxy_header_bytes() -> impl Strategy<Value = Bytes> {
    let version = select(vec![Version::V1, Version::V2]);
    let written = (version, any::<Option<(SocketAddr, SocketAddr)>>()).prop_map(|(version, endpoints)| {
        let mut header = Vec::new();
        proxy_protocol::encode(version, endpoints, &mut header);
        header
    });
    // Families, commands and lengths that nobody would write.
    let binary = (select(vec![0x20u8, 0x21, 0x21, 0x11]), any::<u8>(), 0u16..300, noise(300));
    let binary = binary.prop_map(|(command, family, len, Bytes(block))| {
        [b"\r\n\r\n\0\r\nQUIT\n", [command, family].as_slice(), &len.to_be_bytes(), &block].concat()
    });
    let header = prop_oneof![4 => written, 1 => binary];
    let bytes = (header, noise(20)).prop_map(|(header, Bytes(behind))| [header, behind].concat());
    prop_oneof![1 => noise(200), 6 => bytes.prop_flat_map(mutated)]
}

/// Header lines of answers, fit and unfit.
const RESPONSE_LINES: [&str; 19] = [
    "Upgrade: websocket",
    "Connection: Upgrade",
    "Connection: keep-alive, X-Hop",
    "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=",
    "Sec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA=",
    "Sec-WebSocket-Protocol: chat",
    "Sec-WebSocket-Protocol: soap",
    "Sec-WebSocket-Extensions: permessage-deflate",
    "Sec-WebSocket-Extensions: x-foo; a=1, permessage-deflate",
    "Sec-WebSocket-Extensions: x-other",
    "Content-Length: 5",
    "Content-Length: 0",
    "Transfer-Encoding: chunked",
    "Keep-Alive: timeout=5",
    "X-Hop: 1",
    "Server: backend/1",
    "WWW-Authenticate: Basic realm=\"x\"",
    "Location: https://elsewhere.example/",
    "Set-Cookie: a=b",
];

/// Anything, or an answer with odd lines, a few bytes changed, and a body.
pub(crate) fn response_bytes() -> impl Strategy<Value = Bytes> {
    let start = select(vec![
        "HTTP/1.1 101 Switching Protocols",
        "HTTP/1.1 101 Switching Protocols",
        "HTTP/1.1 100 Continue",
        "HTTP/1.1 200 OK",
        "HTTP/1.1 204 No Content",
        "HTTP/1.1 302 Found",
        "HTTP/1.1 401 Unauthorized",
        "HTTP/1.0 404 Not Found",
        "HTTP/1.1 503 Service Unavailable",
    ]);
    let accept = format!("Sec-WebSocket-Accept: {ACCEPT}");
    let lines =
        (any::<bool>(), vec(select(RESPONSE_LINES.to_vec()), 0..5)).prop_map(move |(is_valid, more)| {
            let valid = ["Upgrade: websocket", "Connection: Upgrade", &accept].map(str::to_owned);
            let valid = if is_valid { valid.to_vec() } else { Vec::new() };
            [valid, more.into_iter().map(str::to_owned).collect()].concat()
        });
    let head = (start, lines.prop_shuffle())
        .prop_map(|(start, lines)| lines_of(start, &lines.iter().map(String::as_str).collect::<Vec<_>>()));
    let body = select(vec!["", "hello", "5\r\nhello\r\n0\r\n\r\n", "1;x\r\nh\r\n0\r\nA: b\r\n\r\nmore"]);
    let whole = (head, body).prop_map(|(head, body)| [head.as_slice(), body.as_bytes()].concat());
    prop_oneof![1 => noise(200), 6 => whole.prop_flat_map(mutated)]
}

fn lines_of(start: &str, lines: &[&str]) -> Vec<u8> {
    format!("{start}\r\n{}\r\n\r\n", lines.join("\r\n")).into_bytes()
}
