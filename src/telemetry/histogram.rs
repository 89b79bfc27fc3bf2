//! Histograms with fixed buckets: what is added to them stays a handful of counters, whose sum over the shards is exact.

use std::time::Duration;

/// Upper bounds of the latency buckets, in microseconds: three to a decade, from 10 µs to 10 s.
const LATENCY_BOUNDS_MICROS: [u32; 19] = [
    10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000,
    1_000_000, 2_500_000, 5_000_000, 10_000_000,
];

/// Upper bounds of the size buckets, in bytes: powers of four from 64 B to 16 MiB.
const SIZE_BOUNDS_BYTES: [u32; 10] =
    [64, 256, 1 << 10, 1 << 12, 1 << 14, 1 << 16, 1 << 18, 1 << 20, 1 << 22, 1 << 24];

/// How many samples there were up to each of `N` bounds, and beyond.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Buckets<const N: usize> {
    counts: [u64; N],
    beyond: u64,
}

impl<const N: usize> Buckets<N> {
    const EMPTY: Self = Self { counts: [0; N], beyond: 0 };

    /// Adds `times` to the first bucket whose bound is at least `value`.
    fn record(&mut self, bounds: &[u32; N], value: u64, times: u64) {
        let at = bounds.partition_point(|bound| u64::from(*bound) < value);
        *self.counts.get_mut(at).unwrap_or(&mut self.beyond) += times;
    }

    fn merge(&mut self, other: &Self) {
        for (count, others) in self.counts.iter_mut().zip(&other.counts) {
            *count += others;
        }
        self.beyond += other.beyond;
    }

    /// Each bound, and how many samples were no greater; lastly infinity, and how many samples there were.
    fn cumulative(&self, bounds: &'static [u32; N]) -> impl Iterator<Item = (f64, u64)> {
        let bounds = bounds.iter().map(|bound| f64::from(*bound)).chain([f64::INFINITY]);
        let counts = self.counts.iter().chain([&self.beyond]);
        let sums = counts.scan(0, |sum, count| {
            *sum += count;
            Some(*sum)
        });
        bounds.zip(sums)
    }
}

/// How long something took, from 10 µs to 10 s.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Histogram {
    buckets: Buckets<{ LATENCY_BOUNDS_MICROS.len() }>,
    sum: Duration,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { buckets: Buckets::EMPTY, sum: Duration::ZERO }
    }
}

impl Histogram {
    /// Adds one sample.
    pub fn record(&mut self, took: Duration) {
        // Up to a bound is up to and with it, so a part of a microsecond counts as a whole one.
        let micros = u64::try_from(took.as_nanos().div_ceil(1_000)).unwrap_or(u64::MAX);
        self.buckets.record(&LATENCY_BOUNDS_MICROS, micros, 1);
        self.sum = self.sum.saturating_add(took);
    }

    /// Adds another's samples.
    pub fn merge(&mut self, other: &Self) {
        self.buckets.merge(&other.buckets);
        self.sum = self.sum.saturating_add(other.sum);
    }

    /// Upper bounds in seconds, each with the number of samples that are not over it; the last is infinity, with all
    /// of them.
    pub fn buckets(&self) -> impl Iterator<Item = (f64, u64)> {
        self.buckets.cumulative(&LATENCY_BOUNDS_MICROS).map(|(micros, count)| (micros / 1e6, count))
    }

    /// All samples added up, in seconds.
    #[must_use]
    pub fn sum_seconds(&self) -> f64 {
        self.sum.as_secs_f64()
    }

    /// How many samples there were.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.counts.iter().sum::<u64>() + self.buckets.beyond
    }
}

/// How big something was, from 64 B to 16 MiB.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SizeHistogram {
    buckets: Buckets<{ SIZE_BOUNDS_BYTES.len() }>,
    sum_bytes: u64,
}

impl Default for SizeHistogram {
    fn default() -> Self {
        Self { buckets: Buckets::EMPTY, sum_bytes: 0 }
    }
}

impl SizeHistogram {
    /// Adds `times` samples of `bytes` each.
    pub fn record(&mut self, bytes: u64, times: u64) {
        self.buckets.record(&SIZE_BOUNDS_BYTES, bytes, times);
        self.sum_bytes = self.sum_bytes.saturating_add(bytes.saturating_mul(times));
    }

    /// Adds another's samples.
    pub fn merge(&mut self, other: &Self) {
        self.buckets.merge(&other.buckets);
        self.sum_bytes = self.sum_bytes.saturating_add(other.sum_bytes);
    }

    /// Upper bounds in bytes, each with the number of samples that are not over it; the last is infinity, with all of
    /// them.
    pub fn buckets(&self) -> impl Iterator<Item = (f64, u64)> {
        self.buckets.cumulative(&SIZE_BOUNDS_BYTES)
    }

    /// All samples added up, in bytes, as exactly as a float can tell.
    #[must_use]
    pub fn sum(&self) -> f64 {
        // The standard library's only way from 64 bits to a float that cannot be mistaken for another cast.
        Duration::from_secs(self.sum_bytes()).as_secs_f64()
    }

    /// All samples added up, in bytes.
    #[must_use]
    pub fn sum_bytes(&self) -> u64 {
        self.sum_bytes
    }

    /// How many samples there were.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.counts.iter().sum::<u64>() + self.buckets.beyond
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_counts_up_to_and_with_its_bound() {
        let mut histogram = Histogram::default();
        let rows = [
            (Duration::ZERO, 10e-6),
            (Duration::from_micros(10), 10e-6),
            (Duration::from_nanos(10_001), 25e-6),
            (Duration::from_millis(250), 0.25),
            (Duration::from_secs(10), 10.0),
            (Duration::from_nanos(10_000_000_001), f64::INFINITY),
            (Duration::MAX, f64::INFINITY),
        ];
        for (took, bound) in rows {
            let before = histogram.clone();
            histogram.record(took);
            for ((at, old), (_, new)) in before.buckets().zip(histogram.buckets()) {
                assert_eq!(new - old, u64::from(at >= bound), "{took:?} in the bucket up to {at} s");
            }
        }
        assert_eq!(histogram.count(), 7);
        assert_eq!(histogram.buckets().last(), Some((f64::INFINITY, 7)));
        assert!(histogram.buckets().map(|(bound, _)| bound).is_sorted());
    }

    #[test]
    fn merging_adds_samples_and_sums() {
        let (mut all, mut one, mut other) = <(Histogram, Histogram, Histogram)>::default();
        for micros in [3, 30, 300, 3_000_000, 30_000_000] {
            all.record(Duration::from_micros(micros));
            let half = if micros < 100 { &mut one } else { &mut other };
            half.record(Duration::from_micros(micros));
        }
        one.merge(&other);
        assert_eq!(one, all);
        assert_eq!(one.sum_seconds(), 33.000_333);
    }

    #[test]
    fn sizes_are_counted_as_often_as_they_stand_for() {
        let (mut sizes, mut other) = <(SizeHistogram, SizeHistogram)>::default();
        sizes.record(64, 10);
        sizes.record(65, 1);
        other.record(1 << 24, 2);
        other.record((1 << 24) + 1, 1);
        sizes.merge(&other);
        let expected = [10, 11, 11, 11, 11, 11, 11, 11, 11, 13, 14];
        assert_eq!(sizes.buckets().map(|(_, count)| count).collect::<Vec<_>>(), expected);
        assert_eq!((sizes.count(), sizes.sum_bytes()), (14, 640 + 65 + 3 * (1 << 24) + 1));
        sizes.record(u64::MAX, 2);
        assert_eq!(sizes.sum_bytes(), u64::MAX);
    }
}
