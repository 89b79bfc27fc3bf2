//! Medians, and ratios pass by pass: what hits the whole machine hits both sides of such a ratio.

use super::{BEST, Bound, Comparison, Measured, Metric, Pass, Percentiles, Scenario};
use crate::record::{Unit, Verdict};

/// The middle of these; the mean of the two in the middle where there are as many on either side.
pub(crate) fn median(figures: impl IntoIterator<Item = f64>) -> Option<f64> {
    let mut figures: Vec<f64> = figures.into_iter().collect();
    figures.sort_by(f64::total_cmp);
    let upper = figures.len() / 2;
    let lower = figures.len().checked_sub(1)? / 2;
    Some(f64::midpoint(*figures.get(lower)?, *figures.get(upper)?))
}

/// How much more the first is than the second, where both are known.
pub(crate) fn added(target: Option<f64>, direct: Option<f64>) -> Option<f64> {
    Some(target? - direct?)
}

impl Pass {
    /// The figure that targets are compared by.
    pub(crate) fn figure(&self, metric: Metric) -> Option<f64> {
        if self.error.is_some() {
            return None;
        }
        match metric {
            Metric::Cpu => self.cpu,
            Metric::Memory => self.kib,
            Metric::Rate => Some(self.rate),
            Metric::P50 => self.latency.map(|times| times.p50),
            Metric::P99 => self.latency.map(|times| times.p99),
            Metric::P999 => self.latency.map(|times| times.p999),
            Metric::SpreadP99 => self.spread.map(|times| times.p99),
            Metric::Silence => self.silence,
        }
    }
}

impl Measured {
    /// The median of a figure over all passes that have it.
    pub(crate) fn median(&self, figure: impl Fn(&Pass) -> Option<f64>) -> Option<f64> {
        median(self.passes.iter().filter(|pass| pass.error.is_none()).filter_map(figure))
    }

    /// The median of what targets are compared by.
    pub(crate) fn figure(&self, metric: Metric) -> Option<f64> {
        self.median(|pass| pass.figure(metric))
    }

    /// The medians of the percentiles of its latency.
    pub(crate) fn latency(&self) -> Option<Percentiles> {
        Some(Percentiles {
            p50: self.figure(Metric::P50)?,
            p99: self.figure(Metric::P99)?,
            p999: self.figure(Metric::P999)?,
        })
    }

    /// The ratio of each target to its own base.
    pub(crate) fn over_base(&self, metric: Metric) -> Option<f64> {
        ratio(&self.passes, &self.base, metric)
    }
}

impl Scenario {
    /// What came of a target.
    pub(crate) fn result(&self, target: &str) -> Option<&Measured> {
        self.results.iter().find(|measured| measured.target == target)
    }

    /// One target's figure over another's.
    pub(crate) fn ratio(&self, subject: &str, other: &str) -> Option<f64> {
        ratio(&self.result(subject)?.passes, &self.result(other)?.passes, self.metric)
    }

    /// The one of these targets that has the best figure.
    pub(crate) fn best<'a>(&self, targets: impl Iterator<Item = &'a str>) -> Option<&'a str> {
        let known = targets.filter_map(|target| Some((target, self.result(target)?.figure(self.metric)?)));
        let (best, _) = known.min_by(|(_, one), (_, other)| match self.metric {
            Metric::Rate => other.total_cmp(one),
            Metric::Cpu
            | Metric::Memory
            | Metric::P50
            | Metric::P99
            | Metric::P999
            | Metric::SpreadP99
            | Metric::Silence => one.total_cmp(other),
        })?;
        Some(best)
    }

    /// Whether its rate says anything.
    pub(crate) fn has_rate(&self) -> bool {
        self.unit != Unit::Connection
    }
}

impl Comparison {
    /// Those that the subject competes with.
    pub(crate) fn others(&self) -> impl Iterator<Item = &str> {
        let compared = self.targets.iter().filter(|target| !target.is_control);
        compared.map(|target| target.name.as_str()).filter(|name| self.subject.as_deref() != Some(*name))
    }

    /// The subject's ratio to the best of the others, and who that is.
    pub(crate) fn to_best(&self, scenario: &Scenario) -> Option<(&str, f64)> {
        let best = scenario.best(self.others())?;
        Some((best, scenario.ratio(self.subject.as_deref()?, best)?))
    }

    /// Whether ratios to the best are asked for anywhere.
    pub(crate) fn names_best(&self) -> bool {
        self.scenarios.iter().any(|scenario| scenario.at_most.contains_key(BEST))
    }

    /// Whether all was measured, and the subject made no mistake.
    pub(crate) fn verdict(&self) -> Verdict {
        let all = self.scenarios.iter();
        let all = all.flat_map(|scenario| scenario.results.iter().map(|result| (scenario.is_broken, result)));
        let is_sound = |(is_broken, measured): (bool, &Measured)| {
            let is_subject = self.subject.as_deref() == Some(&measured.target) && !is_broken;
            measured
                .passes
                .iter()
                .chain(&measured.base)
                .all(|pass| pass.error.is_none() && !(is_subject && pass.faults > 0))
        };
        if all.into_iter().all(is_sound) { Verdict::Clean } else { Verdict::Faults }
    }
}

impl Bound {
    /// Whether a ratio keeps to it.
    pub(crate) fn holds(self, ratio: f64) -> bool {
        match self {
            Self::AtMost(most) => ratio <= most,
            Self::AtLeast(least) => ratio >= least,
        }
    }
}

impl std::str::FromStr for Bound {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bound = |sign: &str| text.strip_prefix(sign)?.trim().parse::<f64>().ok();
        let most = bound("<=").map(Self::AtMost);
        most.or_else(|| bound(">=").map(Self::AtLeast)).ok_or("write for instance \"<= 1.10\" or \">= 1.00\"")
    }
}

impl std::fmt::Display for Bound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::AtMost(most) => write!(f, "≤ {most:.2}"),
            Self::AtLeast(least) => write!(f, "≥ {least:.2}"),
        }
    }
}

fn ratio(ours: &[Pass], theirs: &[Pass], metric: Metric) -> Option<f64> {
    let pairs = ours.iter().zip(theirs);
    median(pairs.filter_map(|(ours, theirs)| {
        let theirs = theirs.figure(metric).filter(|figure| *figure > 0.0)?;
        Some(ours.figure(metric)? / theirs)
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passes(figures: &[Option<f64>]) -> Vec<Pass> {
        let pass = |figure: &Option<f64>| match figure {
            Some(cpu) => Pass { cpu: Some(*cpu), ..Pass::default() },
            None => Pass { error: Some("lost".to_owned()), ..Pass::default() },
        };
        figures.iter().map(pass).collect()
    }

    #[test]
    fn medians_are_in_the_middle() {
        assert_eq!(median([]), None);
        assert_eq!(median([3.0]), Some(3.0));
        assert_eq!(median([9.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median([9.0, 1.0, 2.0, 4.0]), Some(3.0));
    }

    #[test]
    fn ratios_are_of_passes_beside_each_other() {
        // The machine slowed down for good: each pair agrees that ours costs half.
        let (ours, theirs) = ([1.0, 2.0, 9.0].map(Some), [2.0, 4.0, 18.0].map(Some));
        assert_eq!(ratio(&passes(&ours), &passes(&theirs), Metric::Cpu), Some(0.5));
        // A pass that failed takes its pair with it.
        let theirs = [None, Some(4.0), None];
        assert_eq!(ratio(&passes(&ours), &passes(&theirs), Metric::Cpu), Some(0.5));
        assert_eq!(ratio(&passes(&ours), &passes(&[None]), Metric::Cpu), None);
    }
}
