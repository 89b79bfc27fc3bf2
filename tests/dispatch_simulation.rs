//! Seeded simulation of a dispatch: one client, backends that answer out of order, late, never or in pieces, that stop
//! reading, close, leave and die, and the real dispatcher between them. Under virtual time.
//!
//! `SELAT_SEED=n` replays one seed and prints what happened, `SELAT_SEEDS=n` runs as many.
#![allow(
    clippy::panic,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a simulation fails by panicking, and what it looks at is there"
)]

#[path = "dispatch_simulation/backend.rs"]
mod backend;
#[path = "dispatch_simulation/client.rs"]
mod client;
#[path = "dispatch_simulation/plan.rs"]
mod plan;
#[path = "support/seeds.rs"]
mod seeds;
#[path = "dispatch_simulation/shell.rs"]
mod shell;
#[path = "dispatch_simulation/wire.rs"]
mod wire;
#[path = "dispatch_simulation/world.rs"]
mod world;

use world::World;

/// Seeds of an ordinary run: some seconds.
const SEEDS: u64 = 100;

#[test]
fn every_message_is_answered_once_or_reported_and_nothing_hangs() {
    seeds::run::<World>(SEEDS);
}
