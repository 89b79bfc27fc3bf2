//! Seeded simulation of a pool session: the tunnel, sockets that fill up, endpoints that keep to the rules or do not,
//! under virtual time.
//!
//! `SELAT_SEED=n` replays one seed and prints what happened, `SELAT_SEEDS=n` runs as many.
#![allow(
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a simulation fails by panicking, and its pairs have two members"
)]

#[path = "simulation/endpoint.rs"]
mod endpoint;
#[path = "properties/foreign.rs"]
mod foreign;
#[path = "simulation/pipe.rs"]
mod pipe;
#[path = "simulation/plan.rs"]
mod plan;
#[path = "simulation/proxy.rs"]
mod proxy;
#[path = "simulation/settings.rs"]
mod settings;
#[path = "simulation/world.rs"]
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use world::World;

/// Seeds of an ordinary run: some seconds.
const SEEDS: u64 = 2_000;

#[test]
fn every_message_arrives_once_and_in_order_or_the_session_says_why_not() {
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
        println!("{trace}\n\nSELAT_SEED={seed} cargo test --test simulation   replays this");
        resume_unwind(panic);
    }
    trace
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text:?} is not a number")))
}
