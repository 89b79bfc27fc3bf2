//! The pure rooms on the hot path: scanner, request head, pick.

#![expect(clippy::disallowed_methods, reason = "a benchmark has a clock")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use selat::balance::{BackendView, Epoch, Policy, Selector, ShardId, Snapshot};
use selat::protocol::Role;
use selat::protocol::frame::{Header, MaskKey, Opcode, Rsv, Rules, Scanner};
use selat::protocol::handshake::{
    Facts, Forwarding, HeaderEdits, Hop, PathRewrite, Rewrite, Scheme, UpgradeRequest, head_len,
};

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

fn pick(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("pick");
    for (name, policy) in
        [("round-robin", Policy::RoundRobin), ("least-connections", Policy::LeastConnections)]
    {
        for backends in [2, 100] {
            let view = BackendView { is_up: true, addresses: Vec::new(), sessions: vec![7; 2] };
            let snapshot = Arc::new(Snapshot { epoch: Epoch(1), backends: vec![view; backends] });
            let now = Instant::now();
            let mut selector = Selector::new(policy, ShardId(0), snapshot, now);
            group.bench_function(BenchmarkId::new(name, backends), |bencher| {
                bencher.iter(|| selector.pick(black_box(&[]), now));
            });
        }
    }
    group.finish();
}

criterion_group!(benches, scanner, request, pick);
criterion_main!(benches);
