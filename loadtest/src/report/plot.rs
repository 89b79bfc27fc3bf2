//! Plots as SVG: lines over an axis, and bars. Colours are classes, which the page or [`alone`] give a style.

use std::fmt::Write;

use super::scale::{Scale, Span};
use super::text::{escape, micros, short};

/// User units of a plot; a phone shows about as many CSS pixels.
const WIDTH: f64 = 420.0;
const HEIGHT: f64 = 230.0;

/// Beside the axes.
const LEFT: f64 = 56.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 30.0;
const BOTTOM: f64 = 36.0;

/// Of a letter of the legend, about.
const LETTER: f64 = 6.1;

/// Of a bar, and of what is between groups of them.
const BAR: f64 = 13.0;
const GAP: f64 = 10.0;

/// Points of a line that can be asked for their figures; longer lines cannot.
const ASKED_MAX: usize = 400;

/// What the figures of an axis are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Measure {
    /// Microseconds.
    Time,
    /// Seconds of the run.
    Seconds,
    /// A quantile.
    Quantile,
    /// Whatever the axis's label says.
    Number,
}

impl Measure {
    fn text(self, figure: f64) -> String {
        match self {
            Self::Time => micros(figure),
            Self::Seconds => format!("{} s", short(figure)),
            Self::Quantile => {
                let text = format!("{:.5}", figure * 100.0);
                format!("{} %", text.trim_end_matches('0').trim_end_matches('.'))
            }
            Self::Number => short(figure),
        }
    }
}

/// An axis.
#[derive(Debug, Clone, Copy)]
pub(super) struct Axis {
    pub(super) label: &'static str,
    pub(super) scale: Scale,
    pub(super) measure: Measure,
}

/// How a line looks: its colour by number, and whether it is dashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pen {
    Solid(usize),
    Dashed(usize),
}

/// A line.
#[derive(Debug, Clone)]
pub(super) struct Line {
    pub(super) name: String,
    pub(super) pen: Pen,
    pub(super) points: Vec<(f64, f64)>,
}

/// Lines over an axis.
pub(super) fn lines(x: Axis, y: Axis, lines: &[Line]) -> String {
    let points = || lines.iter().flat_map(|line| &line.points);
    let frame = Frame {
        x: Span::of(x.scale, points().map(|point| point.0)),
        y: Span::of(y.scale, points().map(|point| point.1)),
    };
    let mut svg = open(HEIGHT, &format!("{} over {}", y.label, x.label));
    frame.axes(&mut svg, x, y);
    if y.measure == Measure::Number {
        put(
            &mut svg,
            format_args!(r#"<text class="end" x="{:.1}" y="17">{}</text>"#, WIDTH - 8.0, escape(y.label)),
        );
    }
    legend(&mut svg, lines.iter().map(|line| (line.name.as_str(), line.pen)));
    for line in lines {
        frame.line(&mut svg, line);
    }
    for line in lines.iter().filter(|line| line.points.len() <= ASKED_MAX) {
        for &(at, figure) in &line.points {
            let (left, top) = frame.place(at, figure);
            let said = format!("{}, {}: {}", line.name, x.measure.text(at), y.measure.text(figure));
            put(
                &mut svg,
                format_args!(
                    r#"<circle class="ask" cx="{left:.1}" cy="{top:.1}" r="6"><title>{}</title></circle>"#,
                    escape(&said)
                ),
            );
        }
    }
    svg + "</svg>"
}

/// Bars, one for each name of `series` in every row; a row may lack some.
pub(super) struct Bars<'a> {
    pub(super) label: &'a str,
    pub(super) measure: Measure,
    pub(super) series: &'a [&'a str],
    pub(super) rows: Vec<(String, Vec<Option<f64>>)>,
}

impl Bars<'_> {
    /// As SVG, as high as they need.
    pub(super) fn svg(&self) -> String {
        let figures = self.rows.iter().flat_map(|(_, figures)| figures.iter().flatten().copied());
        let span = Span::of(Scale::Linear, figures);
        let widest = self.rows.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
        let left = LETTER.mul_add(count(widest), 14.0);
        let top = if self.series.len() > 1 { TOP } else { 8.0 };
        let group = BAR.mul_add(count(self.series.len()), GAP);
        let mut svg = open(group.mul_add(count(self.rows.len()), top + 8.0), self.label);
        if self.series.len() > 1 {
            legend(&mut svg, self.series.iter().enumerate().map(|(at, name)| (*name, Pen::Solid(at))));
        }
        let room = WIDTH - left - RIGHT - 64.0;
        for (row, (name, figures)) in self.rows.iter().enumerate() {
            let from = group.mul_add(count(row), top);
            let middle = from + (group - GAP) / 2.0 + 4.0;
            put(
                &mut svg,
                format_args!(
                    r#"<text class="end" x="{:.1}" y="{middle:.1}">{}</text>"#,
                    left - 8.0,
                    escape(name)
                ),
            );
            for (at, figure) in figures.iter().enumerate() {
                let Some(figure) = figure else { continue };
                let (from, width) = (BAR.mul_add(count(at), from), (span.place(*figure) * room).max(1.0));
                put(
                    &mut svg,
                    format_args!(
                        r#"<rect class="f{at}" x="{left:.1}" y="{from:.1}" width="{width:.1}" height="{:.1}" rx="2"/><text class="figure" x="{:.1}" y="{:.1}">{}</text>"#,
                        BAR - 2.0,
                        left + width + 5.0,
                        from + BAR - 3.5,
                        self.measure.text(*figure)
                    ),
                );
            }
        }
        svg + "</svg>"
    }
}

/// A plot as a file of its own, light or dark as its reader is.
pub(super) fn alone(svg: &str) -> String {
    let paper = r#"<rect class="paper" width="100%" height="100%"/>"#;
    svg.replacen('>', &format!("><style>{}</style>{paper}", super::style::PLOT), 1) + "\n"
}

/// Where the figures of a plot lie.
struct Frame {
    x: Span,
    y: Span,
}

impl Frame {
    fn place(&self, x: f64, y: f64) -> (f64, f64) {
        let (wide, high) = (WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM);
        (self.x.place(x).mul_add(wide, LEFT), self.y.place(y).mul_add(-high, TOP + high))
    }

    fn axes(&self, svg: &mut String, x: Axis, y: Axis) {
        let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        for mark in self.y.marks() {
            let (_, top) = self.place(0.0, mark);
            put(
                svg,
                format_args!(
                    r#"<path class="grid" d="M{LEFT} {top:.1}H{right}"/><text class="end" x="{:.1}" y="{:.1}">{}</text>"#,
                    LEFT - 6.0,
                    top + 3.5,
                    y.measure.text(mark)
                ),
            );
        }
        for mark in self.x.marks() {
            let (left, _) = self.place(mark, 0.0);
            put(
                svg,
                format_args!(
                    r#"<path class="grid" d="M{left:.1} {bottom}v4"/><text class="middle" x="{left:.1}" y="{:.1}">{}</text>"#,
                    bottom + 16.0,
                    x.measure.text(mark)
                ),
            );
        }
        put(
            svg,
            format_args!(
                r#"<path class="axis" d="M{LEFT} {bottom}H{right}"/><text class="end label" x="{right}" y="{:.1}">{}</text>"#,
                HEIGHT - 4.0,
                escape(x.label)
            ),
        );
    }

    fn line(&self, svg: &mut String, line: &Line) {
        let places = line.points.iter().map(|&(x, y)| self.place(x, y));
        let mut path = String::new();
        for (at, (left, top)) in places.enumerate() {
            let _ = write!(path, "{}{left:.1} {top:.1}", if at == 0 { 'M' } else { 'L' });
        }
        let (colour, dashes) = line.pen.look();
        put(svg, format_args!(r#"<path class="line s{colour}{dashes}" d="{path}"/>"#));
        if let [(x, y)] = line.points[..] {
            let (left, top) = self.place(x, y);
            put(svg, format_args!(r#"<circle class="f{colour}" cx="{left:.1}" cy="{top:.1}" r="3"/>"#));
        }
    }
}

impl Pen {
    /// The number of the colour, and a further class.
    fn look(self) -> (usize, &'static str) {
        match self {
            Self::Solid(colour) => (colour, ""),
            Self::Dashed(colour) => (colour, " dashed"),
        }
    }
}

fn legend<'a>(svg: &mut String, names: impl Iterator<Item = (&'a str, Pen)>) {
    let mut left = 8.0;
    for (name, pen) in names {
        let (colour, dashes) = pen.look();
        put(
            svg,
            format_args!(
                r#"<path class="line s{colour}{dashes}" d="M{left:.1} 13h16"/><text x="{:.1}" y="17">{}</text>"#,
                left + 21.0,
                escape(name)
            ),
        );
        left += LETTER.mul_add(count(name.chars().count()), 35.0);
    }
}

fn open(height: f64, label: &str) -> String {
    format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" class="plot" viewBox="0 0 {WIDTH} {height:.0}" role="img" aria-label="{}">"#,
        escape(label)
    )
}

fn put(svg: &mut String, what: std::fmt::Arguments<'_>) {
    svg.write_fmt(what).expect("memory takes every byte");
}

fn count(count: usize) -> f64 {
    crate::wire::float(crate::wire::wide(count))
}
