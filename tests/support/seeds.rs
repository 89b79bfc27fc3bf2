//! Runs a simulation under many seeds: `SELAT_SEED=n` replays one and prints what happened, `SELAT_SEEDS=n` runs as
//! many.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// What a seed makes, and what happens in it.
pub(crate) trait Simulation {
    fn new(seed: u64) -> Self;

    /// From its beginning to its end; panics if something goes wrong.
    fn run(&mut self);

    /// What happened so far, a line each.
    fn trace(&self) -> &[String];
}

/// Runs `S` under so many seeds, if nobody wants other ones.
pub(crate) fn run<S: Simulation>(seeds: u64) {
    if let Some(seed) = number("SELAT_SEED") {
        println!("{}", replay::<S>(seed));
        return;
    }
    for seed in 0..number("SELAT_SEEDS").unwrap_or(seeds) {
        replay::<S>(seed);
    }
}

/// Runs one seed and returns what happened; prints it if something went wrong.
fn replay<S: Simulation>(seed: u64) -> String {
    let mut simulation = S::new(seed);
    let outcome = catch_unwind(AssertUnwindSafe(|| simulation.run()));
    let trace = simulation.trace().join("\n");
    if let Err(panic) = outcome {
        let test = env!("CARGO_CRATE_NAME");
        println!(
            "{trace}\n\nSELAT_SEED={seed} cargo test --no-default-features --test {test}   replays this"
        );
        resume_unwind(panic);
    }
    trace
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text:?} is not a number")))
}
