//! Which core serves a connection: as the kernel's hash has it, or the one with the fewest.
#![cfg(feature = "runtime")]

mod support;

use selat::telemetry::Overview;
use support::admin::{self, Admin};
use support::backend::Backend;
use support::eventually;
use support::proxy::Proxy;
use support::raw::Raw;
use support::toml::one_pool;
use support::ws::{Client, expect_echo, text};

/// Connections of the test that is run by hand: as many descriptors of the test, and of the proxy.
const MANY: usize = 5_000;

fn start(placement: &str, backend: &Backend) -> (Proxy, Admin) {
    let toml = one_pool(&format!("backends = [\"{}\"]", backend.url()));
    admin::start(&format!("{toml}[process]\nplacement = \"{placement}\"\n"))
}

/// The connections of each shard, once there are so many.
fn connections(admin: &Admin, count: usize) -> Vec<u64> {
    let of = |status: &Overview| status.shards.iter().map(|shard| shard.connections).collect::<Vec<_>>();
    let count = u64::try_from(count).expect("not many");
    eventually("all are accepted", || of(&admin.status()).iter().sum::<u64>() == count);
    of(&admin.status())
}

/// The busiest shard's share, compared to an even one.
fn skew(connections: &[u64]) -> f64 {
    let as_float = |number: u64| f64::from(u32::try_from(number).expect("not many"));
    let max = connections.iter().max().copied().expect("a shard");
    let shards = u64::try_from(connections.len()).expect("few");
    as_float(max) * as_float(shards) / as_float(connections.iter().sum())
}

/// Opens sessions one after the other.
fn open(proxy: &Proxy, count: usize) -> Vec<Client> {
    (0..count).map(|_| proxy.connect()).collect()
}

#[test]
fn balanced_connections_are_spread_evenly_over_the_shards_and_work() {
    let backend = Backend::echo();
    let (proxy, admin) = start("balanced", &backend);
    let mut clients = open(&proxy, 64);
    let spread = connections(&admin, 64);
    eprintln!("balanced, 64: {spread:?}, skew {:.3}", skew(&spread));
    assert!(skew(&spread) <= 1.1, "{spread:?}");
    for client in &mut clients {
        expect_echo(client, &text("hello"));
    }
    let status = admin.status();
    let accepted: u64 = status.shards.iter().map(|shard| shard.accepted).sum();
    assert_eq!(accepted, 64, "each is counted once, where it came in");
}

#[test]
fn balanced_connections_fill_up_the_shard_that_lost_some() {
    let backend = Backend::echo();
    let (proxy, admin) = start("balanced", &backend);
    let mut before = connections(&admin, 0);
    let mut clients = Vec::new();
    for count in 1..=40 {
        let client = proxy.connect();
        let now = connections(&admin, count);
        clients.push((now.first() != before.first(), client));
        before = now;
    }
    clients.retain(|(is_on_first, _)| !is_on_first);
    let left = connections(&admin, clients.len());
    assert_eq!(left.first(), Some(&0));
    let mut more = Vec::new();
    eventually("it has caught up", || {
        more.push(proxy.connect());
        skew(&connections(&admin, clients.len() + more.len())) <= 1.05
    });
    // Spread evenly, they would leave it as far behind as it is.
    assert!(more.len() <= 2 * clients.len(), "{left:?}, {} more", more.len());
}

#[test]
fn a_burst_of_connections_is_spread_too() {
    let backend = Backend::echo();
    let (proxy, admin) = start("balanced", &backend);
    // All in the accept queues before any of them asks for anything.
    let burst: Vec<_> = (0..64).map(|_| proxy.dial()).collect();
    let spread = connections(&admin, burst.len());
    eprintln!("balanced, burst of 64: {spread:?}, skew {:.3}", skew(&spread));
    assert!(skew(&spread) <= 1.25, "{spread:?}");
}

#[test]
fn the_kernels_choice_stands_where_nothing_else_is_said() {
    let backend = Backend::echo();
    let (proxy, admin) = start("kernel", &backend);
    let _clients = open(&proxy, 64);
    let spread = connections(&admin, 64);
    eprintln!("kernel, 64: {spread:?}, skew {:.3}", skew(&spread));
    let shards = admin.status().shards;
    assert!(shards.iter().all(|shard| shard.handed_over == 0 && shard.accepted == shard.connections));
}

/// By hand, for its figures: `cargo test --test placement -- --ignored --nocapture --test-threads 1`.
#[test]
#[ignore = "takes 5,000 descriptors twice, and measures rather than judges"]
fn the_skew_of_few_and_of_many_connections() {
    for placement in ["kernel", "balanced"] {
        for count in [64, MANY] {
            // They ask for nothing: what is measured is who gets them.
            let backend = Backend::echo();
            let (proxy, admin) = start(placement, &backend);
            let connections_open: Vec<Raw> = (0..count).map(|_| proxy.dial()).collect();
            let spread = connections(&admin, count);
            let handed_over: u64 = admin.status().shards.iter().map(|shard| shard.handed_over).sum();
            eprintln!(
                "{placement}, {count}: {spread:?}, skew {:.3}, {handed_over} handed over",
                skew(&spread)
            );
            drop(connections_open);
            assert!(placement == "kernel" || skew(&spread) <= 1.1, "{spread:?}");
        }
    }
}
