//! Peak EWMA: an average of times that believes bad news at once and good news slowly.
//!
//! From Finagle's `PeakEwma` load metric, also in linkerd (`tower-load`). An observation above the average
//! replaces it; one below moves it by `1 - e^(-t/τ)`, where `t` is the time since the last. Unobserved, the
//! average decays toward zero, so that a backend that was slow once is tried again.

use std::time::{Duration, Instant};

/// Time constant of the decay, as in Finagle and linkerd: after it, 37 % of an average is left.
const TAU: Duration = Duration::from_secs(10);

/// How long one backend takes for something: a handshake, a reply.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PeakEwma {
    seconds: f64,
    at: Instant,
}

impl PeakEwma {
    pub(crate) fn new(first: Duration, now: Instant) -> Self {
        Self { seconds: first.as_secs_f64(), at: now }
    }

    pub(crate) fn observe(&mut self, took: Duration, now: Instant) {
        let (took, kept) = (took.as_secs_f64(), self.kept(now));
        let decayed = self.seconds * kept;
        self.seconds = took.max(decayed + took * (1.0 - kept));
        self.at = now;
    }

    /// The average in seconds, as it has decayed by `now`.
    pub(crate) fn seconds(&self, now: Instant) -> f64 {
        self.seconds * self.kept(now)
    }

    /// The part of the average that is left at `now`.
    fn kept(&self, now: Instant) -> f64 {
        (-now.saturating_duration_since(self.at).as_secs_f64() / TAU.as_secs_f64()).exp()
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to count from")]
mod tests {
    use super::*;

    #[test]
    fn a_peak_counts_at_once_and_fades() {
        let start = Instant::now();
        let mut average = PeakEwma::new(Duration::from_millis(10), start);
        average.observe(Duration::from_secs(1), start);
        assert_eq!(average.seconds(start), 1.0);
        average.observe(Duration::from_millis(10), start);
        assert_eq!(average.seconds(start), 1.0, "one good answer does not clear it");
        let later = start + TAU;
        assert!((average.seconds(later) - 1.0 / std::f64::consts::E).abs() < 1e-9);
        average.observe(Duration::from_millis(10), start + TAU * 100);
        assert!((average.seconds(start + TAU * 100) - 0.01).abs() < 1e-9);
    }
}
