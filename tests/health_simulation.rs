//! Seeded simulation of a pool's health: backends that die, hang, fail sessions and flap, under virtual time, judged by
//! what sessions and probes see of them.
//!
//! `SELAT_SEED=n` replays one seed and prints what happened, `SELAT_SEEDS=n` runs as many.
#![allow(
    clippy::panic,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a simulation fails by panicking, and its backends are there"
)]

#[path = "health_simulation/oracle.rs"]
mod oracle;
#[path = "health_simulation/world.rs"]
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use world::World;

/// Seeds of an ordinary run: some seconds.
const SEEDS: u64 = 150;

#[test]
fn backends_are_up_while_they_are_well_and_never_storm() {
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
        println!("{trace}\n\nSELAT_SEED={seed} cargo test --test health_simulation   replays this");
        resume_unwind(panic);
    }
    trace
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text:?} is not a number")))
}
