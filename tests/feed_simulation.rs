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
#[path = "feed_simulation/shard.rs"]
mod shard;
#[path = "feed_simulation/world.rs"]
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use world::World;

/// Seeds of an ordinary run: some seconds.
const SEEDS: u64 = 300;

#[test]
fn every_client_gets_what_it_is_due_in_order_or_was_too_slow() {
    if let Some(seed) = number("SELAT_SEED") {
        println!("{}", run(seed));
        return;
    }
    for seed in 0..number("SELAT_SEEDS").unwrap_or(SEEDS) {
        run(seed);
    }
}

/// Runs one seed and returns what happened; prints it if something went wrong.
fn run(seed: u64) -> String {
    let mut world = World::new(seed);
    let outcome = catch_unwind(AssertUnwindSafe(|| world.run()));
    let trace = world.trace.join("\n");
    if let Err(panic) = outcome {
        println!(
            "{trace}\n\nSELAT_SEED={seed} cargo test --no-default-features --test feed_simulation   replays this"
        );
        resume_unwind(panic);
    }
    trace
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text:?} is not a number")))
}
