//! What the measuring commands do with a swarm.

mod echo;
mod feed;
mod idle;
mod storm;

pub(crate) use echo::echo;
pub(crate) use feed::feed;
pub(crate) use idle::idle;
pub(crate) use storm::storm;

use std::time::{Duration, Instant};

use crate::client::Swarm;
use crate::clock;

/// Sessions that may be opening at the same time where no rate is asked for; keeps within any listener's backlog.
const OPENING_MAX: u32 = 128;

/// Opens sessions until `connections` have begun and none is opening any more.
///
/// # Errors
/// One of them failed: figures for fewer connections than asked for would mislead.
fn open_all(swarm: &mut Swarm, connections: u32, rate: Option<f64>) -> anyhow::Result<()> {
    let began = clock::now();
    let mut now = began;
    while swarm.begun() < connections || swarm.opening() > 0 {
        while swarm.begun() < connections && may_open(swarm, rate, began, now) {
            swarm.open()?;
        }
        now = swarm.turn(now, next_opening(swarm.begun(), rate, began, now))?;
        if let Some(failure) = swarm.kit.tally.failures.keys().next() {
            anyhow::bail!(
                "after {} of {connections} connections had opened, one did not: {failure}",
                swarm.kit.tally.opened
            );
        }
    }
    Ok(())
}

fn may_open(swarm: &Swarm, rate: Option<f64>, began: Instant, now: Instant) -> bool {
    match rate {
        Some(rate) => f64::from(swarm.begun()) <= now.duration_since(began).as_secs_f64() * rate,
        None => swarm.opening() < OPENING_MAX,
    }
}

/// When the next session is due; without a rate, events will tell.
fn next_opening(begun: u32, rate: Option<f64>, began: Instant, now: Instant) -> Instant {
    let due = rate.and_then(|rate| Duration::try_from_secs_f64(f64::from(begun) / rate).ok());
    due.map_or(now + Duration::from_secs(1), |due| began + due)
}
