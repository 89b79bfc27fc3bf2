//! A histogram as it is shown: bounds, counts, sum; the difference of two, and quantiles.

use serde::{Deserialize, Serialize};

use super::Histogram;

/// A histogram at one moment. Its unit is its owner's: seconds or bytes.
///
/// It comes from another process too, so nothing here relies on the lengths that are promised.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct HistogramView {
    /// The upper bound of each bucket, inclusive, rising.
    pub bounds: Vec<f64>,
    /// What fell into each bucket alone, not into those below; behind the last, what was above every bound.
    pub counts: Vec<u64>,
    /// Of all values.
    pub sum: f64,
}

impl HistogramView {
    /// Of cumulative buckets: each bound with the number of values that are not over it, infinity last.
    #[must_use]
    pub fn from_cumulative(buckets: impl IntoIterator<Item = (f64, u64)>, sum: f64) -> Self {
        let mut view = Self { sum, ..Self::default() };
        let mut below = 0;
        for (bound, up_to_it) in buckets {
            if bound.is_finite() {
                view.bounds.push(bound);
            }
            view.counts.push(up_to_it.saturating_sub(below));
            below = up_to_it;
        }
        view
    }

    /// Values counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// Each bucket's upper bound and its own count, the one without a bound last.
    pub fn buckets(&self) -> impl Iterator<Item = (f64, u64)> {
        let bounds = self.bounds.iter().copied().chain([f64::INFINITY]);
        bounds.zip(self.counts.iter().copied().chain(std::iter::repeat(0)))
    }

    /// What was counted since `earlier`; all of it, if that is no earlier state of this histogram (the process has
    /// been started anew, or its buckets are others).
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let is_earlier = self.bounds == earlier.bounds
            && self.counts.len() == earlier.counts.len()
            && self.counts.iter().zip(&earlier.counts).all(|(now, then)| now >= then);
        if !is_earlier {
            return self.clone();
        }
        let counts = self.counts.iter().zip(&earlier.counts).map(|(now, then)| now - then);
        Self { bounds: self.bounds.clone(), counts: counts.collect(), sum: self.sum - earlier.sum }
    }

    /// Both together; the fuller one, if their buckets are not the same.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        if self.bounds != other.bounds || self.counts.len() != other.counts.len() {
            return if self.count() < other.count() { other.clone() } else { self.clone() };
        }
        let counts = self.counts.iter().zip(&other.counts).map(|(one, two)| one.saturating_add(*two));
        Self { bounds: self.bounds.clone(), counts: counts.collect(), sum: self.sum + other.sum }
    }

    /// The value that the share `quantile` (0 to 1) of all values does not pass, taken to be spread evenly within
    /// each bucket, as Prometheus's `histogram_quantile` does. Above every bound it is the last bound. `None` if
    /// nothing was counted.
    #[must_use]
    pub fn quantile(&self, quantile: f64) -> Option<f64> {
        let total = self.count();
        if total == 0 {
            return None;
        }
        let rank = quantile.clamp(0.0, 1.0) * float(total);
        let (mut below, mut lower) = (0.0, 0.0);
        for (upper, count) in self.buckets() {
            let count = float(count);
            if count > 0.0 && below + count >= rank {
                let is_bounded = upper.is_finite();
                return Some(if is_bounded {
                    lower + (upper - lower) * (rank - below) / count
                } else {
                    lower
                });
            }
            below += count;
            lower = upper;
        }
        self.bounds.last().copied()
    }
}

impl From<&Histogram> for HistogramView {
    /// In seconds.
    fn from(histogram: &Histogram) -> Self {
        Self::from_cumulative(histogram.buckets(), histogram.sum_seconds())
    }
}

/// Exact up to 2^53, which no counter reaches.
#[expect(
    clippy::as_conversions,
    reason = "there is no other way from u64 to f64; rounding does no harm here"
)]
fn float(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(counts: &[u64]) -> HistogramView {
        HistogramView { bounds: vec![1.0, 2.0, 4.0], counts: counts.to_vec(), sum: 10.0 }
    }

    #[test]
    fn quantiles_lie_within_their_bucket() {
        let rows = [
            (&[10, 0, 0, 0][..], 0.5, Some(0.5)),
            (&[0, 10, 0, 0], 0.5, Some(1.5)),
            (&[5, 5, 0, 0], 0.5, Some(1.0)),
            (&[5, 4, 1, 0], 0.99, Some(3.8)),
            (&[5, 0, 0, 5], 0.99, Some(4.0)),
            (&[0, 0, 0, 0], 0.5, None),
            (&[], 0.5, None),
        ];
        for (counts, quantile, expected) in rows {
            let found = view(counts).quantile(quantile);
            let is_close = match (found, expected) {
                (Some(found), Some(expected)) => f64::abs(found - expected) < 1e-9,
                (found, expected) => found == expected,
            };
            assert!(is_close, "{counts:?} at {quantile}: {found:?}, not {expected:?}");
        }
    }

    #[test]
    fn cumulative_buckets_come_apart() {
        let cumulative = [(1.0, 3), (2.0, 3), (4.0, 8), (f64::INFINITY, 9)];
        assert_eq!(HistogramView::from_cumulative(cumulative, 10.0), view(&[3, 0, 5, 1]));
    }

    #[test]
    fn a_difference_counts_what_is_new_and_a_restart_counts_all() {
        assert_eq!(view(&[3, 2, 1, 1]).since(&view(&[1, 2, 0, 1])).counts, [2, 0, 1, 0]);
        assert_eq!(view(&[1, 0, 0, 0]).since(&view(&[3, 2, 1, 1])).counts, [1, 0, 0, 0]);
        assert_eq!(view(&[1, 0, 0, 0]).since(&HistogramView::default()).counts, [1, 0, 0, 0]);
    }
}
