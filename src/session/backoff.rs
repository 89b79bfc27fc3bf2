//! How long to wait before the next attempt.

use std::time::Duration;

/// The wait after so many `doublings`: `min` at first, never more than `max`.
///
/// Half of it is fixed and half is chance ("equal jitter"; M. Brooker, Exponential Backoff And Jitter, AWS Architecture
/// Blog, 2015): those who lost a peer together do not come back together, and none comes back at once, as with full
/// jitter it might.
pub(crate) fn backoff(min: Duration, max: Duration, doublings: u32, random: u64) -> Duration {
    let factor = 1_u32.checked_shl(doublings).unwrap_or(u32::MAX);
    let step = min.saturating_mul(factor).min(max);
    let half = step / 2;
    // Of so many thousandths.
    let share = u32::try_from(random % 1001).unwrap_or(0);
    half + half.saturating_mul(share) / 1000
}
