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
#[path = "support/seeds.rs"]
mod seeds;
#[path = "health_simulation/world.rs"]
mod world;

use world::World;

/// Seeds of an ordinary run: some seconds.
const SEEDS: u64 = 150;

#[test]
fn backends_are_up_while_they_are_well_and_never_storm() {
    seeds::run::<World>(SEEDS);
}
