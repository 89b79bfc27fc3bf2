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
#[path = "support/seeds.rs"]
mod seeds;
#[path = "simulation/settings.rs"]
mod settings;
#[path = "simulation/world.rs"]
mod world;

use world::World;

/// Seeds of an ordinary run: some seconds.
const SEEDS: u64 = 2_000;

#[test]
fn every_message_arrives_once_and_in_order_or_the_session_says_why_not() {
    seeds::run::<World>(SEEDS);
}
