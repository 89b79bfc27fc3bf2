//! Axes: where a figure lies, and which figures are written beside the axis.

/// How figures spread along an axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scale {
    /// Evenly, from zero.
    Linear,
    /// By their logarithms.
    Log,
    /// Quantiles, by the logarithm of what is left above them: 90 %, 99 % and 99.9 % are as far from each other.
    Nines,
}

/// The figures that an axis spans.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Span {
    scale: Scale,
    from: f64,
    to: f64,
}

/// What may be left above a quantile at least: one in ten million.
const LEFT_MIN: f64 = 1e-7;

/// The least figure that a logarithm is taken of.
const LOG_MIN: f64 = 1e-3;

/// Marks beside an axis, about.
const MARKS: f64 = 5.0;

impl Span {
    /// What spans all of these; something, even where there are none.
    pub(super) fn of(scale: Scale, figures: impl Iterator<Item = f64>) -> Self {
        let figures = figures.filter(|figure| figure.is_finite());
        let (least, most) = figures
            .fold((f64::INFINITY, 0.0_f64), |(least, most), figure| (least.min(figure), most.max(figure)));
        let (from, to) = match scale {
            Scale::Linear => (0.0, if most > 0.0 { most * 1.05 } else { 1.0 }),
            Scale::Log => {
                let least = if least.is_finite() { least.max(LOG_MIN) } else { 1.0 };
                let most = most.max(least * 2.0);
                (down(least), up(most))
            }
            Scale::Nines => (0.0, most.clamp(0.9, 1.0 - LEFT_MIN)),
        };
        Self { scale, from, to }
    }

    /// Where a figure lies, from 0 to 1.
    pub(super) fn place(&self, figure: f64) -> f64 {
        let place = |figure: f64| match self.scale {
            Scale::Linear => figure,
            Scale::Log => figure.max(LOG_MIN).log10(),
            Scale::Nines => -(1.0 - figure).max(LEFT_MIN).log10(),
        };
        let (from, to) = (place(self.from), place(self.to));
        ((place(figure) - from) / (to - from)).clamp(0.0, 1.0)
    }

    /// The figures to write beside the axis.
    pub(super) fn marks(&self) -> Vec<f64> {
        match self.scale {
            Scale::Linear => {
                let step = up(self.to / MARKS);
                steps(0.0, |mark| mark + step, self.to)
            }
            Scale::Log => {
                let decades = (self.to / self.from).log10();
                let all = steps(decade(self.from), |mark| mark * 10.0, self.to);
                let fine: &[f64] = if decades < 2.5 { &[1.0, 2.0, 5.0] } else { &[1.0] };
                let all = all.iter().flat_map(|mark| fine.iter().map(move |times| mark * times));
                all.filter(|&mark| mark >= self.from * 0.999 && mark <= self.to * 1.001).collect()
            }
            Scale::Nines => {
                let mut marks = steps(1.0, |left| left / 10.0, f64::INFINITY);
                marks.retain(|left| *left >= LEFT_MIN);
                let marks = marks.into_iter().map(|left| 1.0 - left);
                marks.filter(|&mark| mark <= self.to).collect()
            }
        }
    }
}

/// Figures from the first on, up to `most`; no more than anybody can read.
fn steps(first: f64, next: impl Fn(f64) -> f64, most: f64) -> Vec<f64> {
    let all = std::iter::successors(Some(first), |&mark| Some(next(mark)));
    all.take(12).take_while(|mark| *mark <= most * 1.000_001).collect()
}

/// The power of ten at or below a figure.
fn decade(figure: f64) -> f64 {
    10_f64.powf(figure.log10().floor())
}

/// The next of 1, 2, 5, 10, 20, … from `figure` on.
fn up(figure: f64) -> f64 {
    let decade = decade(figure);
    let times = [1.0, 2.0, 5.0, 10.0].into_iter().find(|times| decade * times >= figure * 0.999_999);
    decade * times.unwrap_or(10.0)
}

/// The next of 1, 2, 5, 10, 20, … down from `figure`.
fn down(figure: f64) -> f64 {
    let decade = decade(figure);
    let times = [5.0, 2.0].into_iter().find(|times| decade * times <= figure * 1.000_001);
    decade * times.unwrap_or(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(span: &Span) -> String {
        span.marks().iter().map(|mark| format!("{mark:.4} ")).collect()
    }

    #[test]
    fn marks_are_round_and_within() {
        let span = Span::of(Scale::Linear, [3.0, 940.0].into_iter());
        assert_eq!(shown(&span), "0.0000 200.0000 400.0000 600.0000 800.0000 ");
        let span = Span::of(Scale::Log, [130.0, 90_000.0].into_iter());
        assert_eq!(shown(&span), "100.0000 1000.0000 10000.0000 100000.0000 ");
        let span = Span::of(Scale::Log, [30.0, 180.0].into_iter());
        assert_eq!(shown(&span), "20.0000 50.0000 100.0000 200.0000 ");
        let span = Span::of(Scale::Nines, [0.0, 0.9995].into_iter());
        assert_eq!(shown(&span), "0.0000 0.9000 0.9900 0.9990 ");
    }

    #[test]
    fn places_are_within_whatever_comes() {
        for scale in [Scale::Linear, Scale::Log, Scale::Nines] {
            for figures in [vec![], vec![0.0], vec![0.5, 0.5], vec![f64::NAN, 1.0], vec![1e-9, 1e12]] {
                let span = Span::of(scale, figures.iter().copied());
                for figure in figures.into_iter().filter(|figure| figure.is_finite()) {
                    assert!((0.0..=1.0).contains(&span.place(figure)), "{scale:?} {figure}");
                }
                assert!(span.marks().len() < 40, "{scale:?}");
            }
        }
    }
}
