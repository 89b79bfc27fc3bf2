//! Seeded simulation of a feed on several shards: one owns the source, which goes silent and bursts; the others follow
//! over queues that delay, and overflow; clients come, go, read slowly or not at all. Under virtual time.
//!
//! `SELAT_SEED=n` replays one seed and prints what happened, `SELAT_SEEDS=n` runs as many.
#![allow(
    clippy::panic,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a simulation fails by panicking, and what it looks at is there"
)]

#[path = "feed_simulation/client.rs"]
mod client;
#[path = "support/seeds.rs"]
mod seeds;
#[path = "feed_simulation/shard.rs"]
mod shard;
#[path = "feed_simulation/world.rs"]
mod world;

use world::World;

/// Seeds of an ordinary run: some seconds.
const SEEDS: u64 = 300;

#[test]
fn every_client_gets_what_it_is_due_in_order_or_was_too_slow() {
    seeds::run::<World>(SEEDS);
}
