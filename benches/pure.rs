//! The pure rooms on the hot path: scanner, request head, route, pick, hub, dispatch.

#![expect(clippy::disallowed_methods, reason = "a benchmark has a clock")]

use std::hint::black_box;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use selat::balance::{
    BackendId, BackendState, BackendView, Epoch, HashBy, Policy, PoolView, Selector, ShardId, Snapshot,
    Weight,
};
use selat::dispatch::{
    self, Balance, Board, Candidate, Command, Context, Dispatcher, Exchange, LineId, Order, Port, Ports,
    Replies, Start, Unanswered,
};
use selat::feed::{
    Batch, Hub, Key, Kind, Message, Offer, Settings, Slow, SlowPolicy, State, SubscriberId, Wish,
};
use selat::json::Pointer;
use selat::protocol::Role;
use selat::protocol::frame::{Header, MaskKey, Opcode, Rsv, Rules, Scanner, mask};
use selat::protocol::handshake::{
    Facts, Forwarding, HeaderEdits, Hop, PathRewrite, Rewrite, Scheme, UpgradeRequest, head_len,
};
use selat::routing::{HostPattern, ListenId, Matcher, PathPattern, Router};
use selat::session::Peer;

/// Bytes of one read.
const READ: usize = 256 * 1024;

/// As many masked frames with this payload as one read brings, and the start of the next.
fn frames(payload_len: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(READ + payload_len);
    while bytes.len() < READ {
        let key = Some(MaskKey([1, 2, 3, 4]));
        Header::whole(Opcode::Binary, key, payload_len.try_into().unwrap_or(u64::MAX)).encode(&mut bytes);
        bytes.resize(bytes.len() + payload_len, 0x55);
    }
    bytes.truncate(READ);
    bytes
}

fn scanner(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("scanner");
    let rules = Rules::unlimited(Role::Client, Rsv::NONE);
    for payload_len in [16, 64, 1024, 16 * 1024, 1024 * 1024] {
        let bytes = frames(payload_len);
        group.throughput(Throughput::Bytes(u64::try_from(bytes.len()).unwrap_or(u64::MAX)));
        group.bench_with_input(BenchmarkId::from_parameter(payload_len), &bytes, |bencher, bytes| {
            bencher.iter(|| Scanner::new(rules).scan(black_box(bytes)));
        });
    }
    group.finish();
}

const HEAD: &[u8] = b"GET /chat?room=1 HTTP/1.1\r\nHost: chat.example.com\r\nConnection: keep-alive, Upgrade\r\n\
Pragma: no-cache\r\nCache-Control: no-cache\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36\r\n\
Upgrade: websocket\r\nOrigin: https://chat.example.com\r\nSec-WebSocket-Version: 13\r\n\
Accept-Encoding: gzip, deflate, br\r\nAccept-Language: en-GB,en;q=0.9\r\nCookie: session=0123456789abcdef\r\n\
Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n";

fn request(criterion: &mut Criterion) {
    let forwarding = Forwarding::default();
    let (path, edits, facts) = (PathRewrite::default(), HeaderEdits::default(), Facts::default());
    let hop = Hop { peer: Some([192, 0, 2, 1].into()), scheme: Scheme::Http, port: None };
    let rewrite =
        Rewrite { base_path: "", path: &path, forwarding: &forwarding, hop, edits: &edits, facts: &facts };
    criterion.bench_function("request head, browser", |bencher| {
        bencher.iter(|| {
            let len = head_len(black_box(HEAD)).ok().flatten().unwrap_or_default();
            let request = UpgradeRequest::parse(HEAD.get(..len).unwrap_or_default());
            request.map(|request| request.head_for(&rewrite))
        });
    });
}

/// A pool whose backends are all up, of three different weights.
fn pool(backends: u32, epoch: u64, sessions: u32) -> Arc<Snapshot> {
    let view = |id: u32| BackendView {
        id: BackendId(id),
        spec: 0,
        address: SocketAddr::from((Ipv4Addr::from_bits(id), 9001)),
        state: BackendState::Up,
        weight: Weight(256 * (1 + id % 3)),
        connections_max: Some(u32::MAX),
        sessions: vec![7, sessions],
    };
    let pools = vec![PoolView { backends: (0..backends).map(view).collect(), is_panicking: false }];
    Arc::new(Snapshot { epoch: Epoch(epoch), pools })
}

/// A pick and the session that follows from it, with a new key each time.
fn pick(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("balance");
    let policies = [
        ("round-robin", Policy::RoundRobin),
        ("least-connections", Policy::LeastConnections),
        ("p2c", Policy::PowerOfTwo),
        ("ewma", Policy::Ewma),
        ("hash", Policy::Hash(HashBy::Ip)),
    ];
    let now = Instant::now();
    for (name, policy) in &policies {
        for backends in [2, 100, 256, 10_000] {
            let mut selector = Selector::new(policy, ShardId(0), 0, pool(backends, 1, 0), now);
            let mut random = fastrand::Rng::with_seed(1);
            for id in 0..backends {
                selector.handle_handshake(BackendId(id), Duration::from_millis(random.u64(1..9)), now);
            }
            group.bench_function(BenchmarkId::new(*name, backends), |bencher| {
                bencher.iter(|| {
                    let (key, random) = (random.u64(..).to_ne_bytes(), random.u64(..));
                    let picked = selector.pick(black_box(&[]), Some(&key), random, now);
                    picked.inspect(|id| selector.handle_opened(*id))
                });
            });
        }
        for (what, sessions, weight) in
            [("unchanged", 0, 256), ("all counts changed", 1, 256), ("one weight changed", 0, 512)]
        {
            let mut selector = Selector::new(policy, ShardId(0), 0, pool(10_000, 1, 0), now);
            let mut snapshots = [pool(10_000, 0, 0), pool(10_000, 0, sessions)];
            let changed = snapshots.last_mut().and_then(Arc::get_mut).and_then(|last| last.pools.first_mut());
            if let Some(view) = changed.and_then(|pool| pool.backends.first_mut()) {
                view.weight = Weight(weight);
            }
            let mut epoch = 1;
            group.bench_function(format!("{name}: a snapshot of 10000, {what}"), |bencher| {
                bencher.iter(|| {
                    epoch += 1;
                    snapshots.swap(0, 1);
                    if let Some(snapshot) = snapshots.first_mut().and_then(Arc::get_mut) {
                        snapshot.epoch = Epoch(epoch);
                    }
                    selector.handle_snapshot(snapshots.first().cloned().unwrap_or_default());
                });
            });
        }
    }
    group.finish();
}

/// 10,000 routes on 1,000 hosts, with exact paths and prefixes; the last of them is asked for, and none.
fn routing(criterion: &mut Criterion) {
    let matcher = |host: usize, path: usize| Matcher {
        listeners: Vec::new(),
        host: HostPattern::Exact(format!("host{host}.example.com")),
        path: match path % 2 {
            0 => PathPattern::Exact(format!("/path{path}/ws")),
            _ => PathPattern::Prefix(format!("/path{path}/rooms/")),
        },
    };
    let matchers: Vec<_> = (0..10_000).map(|route| matcher(route % 1_000, route / 1_000)).collect();
    let router = Router::new(&matchers, 1);
    let mut group = criterion.benchmark_group("routing/10000");
    for (name, host, target) in [
        ("last", "Host999.example.com:8765", "/path9/rooms/42?token=abc"),
        ("none", "host999.example.com", "/path9/halls/42"),
    ] {
        group.bench_function(name, |bencher| {
            bencher.iter(|| router.find(ListenId(0), black_box(host), black_box(target)));
        });
    }
    group.finish();
}

/// A feed with subscribers.
struct Crowd {
    hub: Hub,
    ids: Vec<SubscriberId>,
    now: Instant,
}

impl Crowd {
    const SUBSCRIBERS: usize = 1_000;

    /// All of them with this wish.
    fn new(policy: SlowPolicy, wish: &Wish) -> Self {
        let settings = Settings {
            key: Pointer::new("/symbol").ok(),
            slow: Slow { policy, buffer_bytes_max: 256 * 1024, ..Slow::default() },
            ..Settings::default()
        };
        let mut hub = Hub::new(&settings);
        hub.handle_state(State::default());
        let ids = (0..Self::SUBSCRIBERS).map(|_| hub.subscribe(wish.clone())).collect();
        Self { hub, ids, now: Instant::now() }
    }

    /// So many messages of 128 bytes with one of 100 keys.
    fn publish(&mut self, messages: usize) {
        let message = |at: usize| {
            let key = Key::from(&*format!("key{}", at % 100));
            Arc::new(Message::new(Kind::Text, &[b'x'; 128], Some(key), self.now))
        };
        let batch = Batch { first: self.hub.next(), messages: (0..messages).map(message).collect() };
        self.hub.handle_batch(&batch);
    }

    /// Everybody takes everything; returns the bytes.
    fn drain(&mut self) -> usize {
        let mut bytes = 0;
        for id in &self.ids {
            while let Offer::Bytes(offered) = self.hub.offer(*id) {
                let len = black_box(offered).len();
                self.hub.handle_taken(*id, len, self.now);
                bytes += len;
            }
        }
        bytes
    }
}

/// What a message costs for each of 1,000 subscribers, without the kernel.
fn hub(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("hub/1000");
    group.throughput(Throughput::Elements(u64::try_from(Crowd::SUBSCRIBERS).unwrap_or(u64::MAX)));
    let everything = Wish::default();
    let keys = Wish { keys: Some(vec!["key0".into(), "key1".into(), "key2".into()]), ..Wish::default() };
    for (name, wish, messages) in [
        ("one message", &everything, 1),
        ("burst of 100", &everything, 100),
        ("three keys, burst of 100", &keys, 100),
    ] {
        let mut crowd = Crowd::new(SlowPolicy::Disconnect, wish);
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                crowd.publish(messages);
                crowd.drain()
            });
        });
    }
    group.bench_function("conflating 10,000 of 100 keys", |bencher| {
        let fallen_behind = || {
            let mut crowd = Crowd::new(SlowPolicy::Conflate, &everything);
            (0..100).for_each(|_| crowd.publish(100));
            crowd
        };
        bencher.iter_batched(fallen_behind, |mut crowd| crowd.drain(), BatchSize::PerIteration);
    });
    group.finish();
}

/// Where a dispatcher's bytes go: nowhere.
struct Nowhere;

impl Ports for Nowhere {
    fn write(&mut self, _: Port, bytes: &[u8]) {
        black_box(bytes);
    }

    fn count(&mut self, _: LineId, _: Peer) {}

    fn is_flushed(&self, _: Port) -> bool {
        true
    }
}

/// One whole frame.
fn message(payload: &[u8], key: Option<MaskKey>) -> Vec<u8> {
    let mut bytes = Vec::new();
    let len = u64::try_from(payload.len()).unwrap_or(u64::MAX);
    Header::whole(Opcode::Text, key, len).encode(&mut bytes);
    let start = bytes.len();
    bytes.extend_from_slice(payload);
    if let (Some(key), Some(payload)) = (key, bytes.get_mut(start..)) {
        mask(payload, key, 0);
    }
    bytes
}

/// One client, four backends: from a message to its reply.
fn dispatching(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("dispatch");
    let json = format!(r#"{{"id":7,"pad":"{}"}}"#, "x".repeat(180));
    let rows = [
        ("64 B", vec![b'x'; 64], None),
        ("200 B of JSON by its id", json.into_bytes(), Pointer::new("/id").ok()),
    ];
    for (name, payload, correlate) in rows {
        let exchange = Exchange {
            correlate,
            order: Order::AsTheyCome,
            retries: 0,
            timeout: Duration::from_secs(5),
            unanswered: Unanswered::Drop,
        };
        let settings = Arc::new(dispatch::Settings {
            send: dispatch::Send::One(Balance::LeastOutstanding),
            replies: Replies::One(exchange),
            outstanding_max: 1_000,
        });
        let candidates: Vec<_> = (0..4)
            .map(|id| Candidate { backend: BackendId(id), weight: Weight::ONE, identity: id.into() })
            .collect();
        let (now, mut board) = (Instant::now(), Board::default());
        let start = Start { settings, session: Rc::default(), backend: BackendId(0) };
        let mut dispatcher = Dispatcher::new(start, now);
        let mut turn = |dispatcher: &mut Dispatcher, from: Port, bytes: &[u8]| {
            let mut context = Context { now, random: 7, board: &mut board, candidates: &candidates };
            black_box(dispatcher.handle_bytes(from, bytes, &mut Nowhere, &mut context));
            while let Some(Command::Dial { line, .. }) = dispatcher.poll_command() {
                dispatcher.handle_opened(line, &mut Nowhere, &mut context);
            }
            black_box(dispatcher.deadline());
        };
        let asked = message(&payload, Some(MaskKey([1, 2, 3, 4])));
        let reply = message(&payload, None);
        group.throughput(Throughput::Elements(4));
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                (0..4).for_each(|_| turn(&mut dispatcher, Port::Client, &asked));
                (0..4).for_each(|line| turn(&mut dispatcher, Port::Line(LineId(line)), &reply));
            });
        });
    }
    group.finish();
}

criterion_group!(benches, scanner, request, routing, pick, hub, dispatching);
criterion_main!(benches);
