//! Times as a few percentiles, and where asked for as a curve.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::wire::float;

/// Points of a curve for each factor of ten in what is left above a quantile.
const POINTS_PER_NINE: u32 = 8;

/// Factors of ten that a curve goes through at most: up to 99.9999 %.
const NINES_MAX: u32 = 6;

/// How long units took.
///
/// *Corrected* counts from when a unit was to begin by its rate, *uncorrected* from when it did. A closed loop has no
/// rate, so that it has nothing to correct, and waits with a server that stalls.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct Latency {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) corrected: Option<Times>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) uncorrected: Option<Times>,
}

impl Latency {
    /// What a user would have felt, as far as it is known.
    pub(crate) fn felt(&self) -> Option<&Times> {
        self.corrected.as_ref().or(self.uncorrected.as_ref())
    }
}

/// Microseconds by percentile.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Times {
    /// How many were timed.
    pub(crate) samples: u64,
    pub(crate) mean: f64,
    pub(crate) p50: f64,
    pub(crate) p90: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
    pub(crate) max: f64,
    /// Quantiles, from 0 towards 1 and ever closer together, each with its time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) curve: Vec<(f64, f64)>,
}

impl Times {
    /// What a histogram of nanoseconds holds; none if it is empty.
    pub(crate) fn of(nanos: &Histogram<u64>) -> Option<Self> {
        let at = |quantile| micros(nanos.value_at_quantile(quantile));
        (!nanos.is_empty()).then(|| Self {
            samples: nanos.len(),
            mean: nanos.mean() / 1e3,
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: at(1.0),
            curve: Vec::new(),
        })
    }

    /// The same, with a curve that goes as far as there are samples to tell.
    pub(crate) fn with_curve(nanos: &Histogram<u64>) -> Option<Self> {
        let mut times = Self::of(nanos)?;
        let steps = (0..=NINES_MAX * POINTS_PER_NINE).map(f64::from);
        let quantiles = steps.map(|step| 1.0 - 10_f64.powf(-step / f64::from(POINTS_PER_NINE)));
        let known = quantiles.take_while(|quantile| (1.0 - quantile) * float(nanos.len()) >= 1.0);
        times.curve = known.map(|quantile| (quantile, micros(nanos.value_at_quantile(quantile)))).collect();
        Some(times)
    }
}

fn micros(nanos: u64) -> f64 {
    Duration::from_nanos(nanos).as_secs_f64() * 1e6
}

/// `amount` for each of `count`; zero where there are none.
pub(crate) fn per(amount: f64, count: u64) -> f64 {
    if count == 0 { 0.0 } else { amount / float(count) }
}

/// How many `count` are a second.
pub(crate) fn per_second(count: u64, wall: Duration) -> f64 {
    float(count) / wall.as_secs_f64().max(f64::MIN_POSITIVE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_curve_ends_where_samples_do() {
        let mut nanos = Histogram::new_with_bounds(1, 1_000_000_000, 3).unwrap();
        assert_eq!(Times::of(&nanos), None);
        for micros in 1..=1000_u64 {
            nanos.record(micros * 1000).unwrap();
        }
        let times = Times::with_curve(&nanos).unwrap();
        assert_eq!(times.samples, 1000);
        assert!((times.p50 - 500.0).abs() < 1.0 && (times.p99 - 990.0).abs() < 2.0, "{times:?}");
        let (last, most) = *times.curve.last().unwrap();
        assert!((0.998..=0.9991).contains(&last) && (most - 999.0).abs() < 2.0, "{last} {most}");
        assert!(times.curve.is_sorted_by(|(one, fast), (other, slow)| one < other && fast <= slow));
    }
}
