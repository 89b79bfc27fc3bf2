//! What a simulated session is held to: as often as not, nothing.

use std::num::NonZeroU64;
use std::time::Duration;

use fastrand::Rng;
use selat::session::{Excess, Ping, Pings, Rate, RateLimit, Settings};

use super::proxy::{CLOSE, IDLE};

/// Settings with some of pings, rates and a lifetime.
pub(crate) fn settings(rng: &mut Rng) -> Settings {
    let ping = Pings { client: ping(rng), backend: ping(rng) };
    let rate = (rng.u8(..3) == 0).then(|| RateLimit {
        messages: rate(1..20, rng),
        bytes: rate(100..5_000, rng),
        excess: if rng.u8(..4) == 0 { Excess::Close } else { Excess::Slow },
    });
    let lifetime = (rng.u8(..8) == 0).then(|| Duration::from_millis(rng.u64(0..60_000)));
    Settings { close: CLOSE, idle: IDLE, ping, rate, lifetime, ..Settings::default() }
}

/// A timeout in which an endpoint that does not sleep answers, however slow it is.
fn ping(rng: &mut Rng) -> Option<Ping> {
    let seconds = |range, rng: &mut Rng| Duration::from_secs(rng.u64(range));
    rng.bool().then(|| Ping { every: seconds(1..20, rng), timeout: seconds(20..40, rng) })
}

fn rate(range: std::ops::Range<u64>, rng: &mut Rng) -> Option<Rate> {
    let number = |rng: &mut Rng| NonZeroU64::new(rng.u64(range.clone())).unwrap_or(NonZeroU64::MIN);
    rng.bool().then(|| Rate { per_second: number(rng), burst: number(rng) })
}
