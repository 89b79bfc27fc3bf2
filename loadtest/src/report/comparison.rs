//! A comparison: tables as Markdown, and a page with the same tables and plots.

use super::page::Page;
use super::plot::{Axis, Bars, Line, Measure, Pen, lines};
use super::scale::Scale;
use super::tables::{Section, remarks, sections};
use super::text::{plural, short};
use crate::comparison::{Comparison, Metric, Scenario, added};

const LATENCY: Axis = Axis { label: "latency", scale: Scale::Log, measure: Measure::Time };
const QUANTILE: Axis =
    Axis { label: "share that was faster", scale: Scale::Nines, measure: Measure::Quantile };

/// The target by whose latency that of the others is judged.
const DIRECT: &str = "direct";

/// Lines beyond these have no colour of their own.
const COLOURS: usize = 7;

/// The tables, with what a reader must know to judge them.
pub(crate) fn markdown(comparison: &Comparison) -> String {
    let mut text = format!("{}\n\n", about(comparison));
    for target in comparison.targets.iter().filter(|target| !target.version.is_empty()) {
        text += &format!("- {}: {}\n", target.name, target.version);
    }
    for Section { title, rows } in sections(comparison) {
        text += &format!("\n{title}:\n\n{}", table(&rows));
    }
    let remarks = remarks(comparison);
    if !remarks.is_empty() {
        text += "\n";
    }
    for remark in remarks {
        text += &format!("- {remark}\n");
    }
    text
}

/// Rows of cells as a table of Markdown, the first its head.
pub(super) fn table(rows: &[Vec<String>]) -> String {
    let mut text = String::new();
    for (at, row) in rows.iter().enumerate() {
        text += &format!("| {} |\n", row.join(" | "));
        if at == 0 {
            text += &format!("|{}\n", " --- |".repeat(row.len()));
        }
    }
    text
}

/// Where and how it was measured, in a line.
pub(super) fn about(comparison: &Comparison) -> String {
    let host = &comparison.run.host;
    let commit = match comparison.commit.as_str() {
        "" => String::new(),
        commit => format!(", commit {commit}"),
    };
    format!(
        "{}, {}, Linux {}, TCP {}{commit}; targets on {} {}, medians of {} × {} s in ABBA order.",
        host.cpu,
        plural(host.cores, "core"),
        host.kernel,
        host.tcp_congestion_control,
        if comparison.cores.contains([',', '-']) { "cores" } else { "core" },
        comparison.cores,
        comparison.pairs,
        short(comparison.seconds)
    )
}

/// All of it as one HTML file.
pub(crate) fn page(comparison: &Comparison) -> String {
    let mut page = Page::new(&comparison.title, comparison.verdict());
    page.remark(&format!("{}. {}", comparison.run.started_at, about(comparison)));
    page.warnings(&remarks(comparison));
    for Section { title, rows } in sections(comparison) {
        page.heading(&title);
        page.table(&rows);
    }
    for scenario in &comparison.scenarios {
        page.heading(&format!("{}: {}", scenario.name, scenario.title));
        let plots = plots(comparison, scenario);
        page.plots(&plots.iter().map(|(title, svg)| (title.as_str(), svg.clone())).collect::<Vec<_>>());
        page.code(&scenario.command_line.join(" "));
    }
    let versions = comparison.targets.iter().map(|target| (target.name.clone(), target.version.clone()));
    let mut more: Vec<(String, String)> = versions.collect();
    more.push(("command line".to_owned(), comparison.run.command_line.join(" ")));
    page.environment(&comparison.run.host, &more);
    page.written()
}

/// The plots of a scenario, each with its title.
pub(super) fn plots(comparison: &Comparison, scenario: &Scenario) -> Vec<(String, String)> {
    let mut plots = Vec::new();
    let rows = |figure: &dyn Fn(&str) -> Vec<Option<f64>>| {
        let names = scenario.results.iter().map(|measured| measured.target.as_str());
        let rows = names.map(|name| (name.to_owned(), figure(name)));
        rows.filter(|(_, figures)| figures.iter().any(Option::is_some)).collect::<Vec<_>>()
    };
    let (title, measure) = title(scenario);
    let figures = rows(&|name| vec![scenario.result(name).and_then(|result| result.figure(scenario.metric))]);
    if !figures.is_empty() {
        let bars = Bars { label: &title, measure, series: &[&title], rows: figures };
        plots.push((title.clone(), bars.svg()));
    }
    if let Some(direct) = scenario.result(DIRECT).and_then(|direct| direct.latency()) {
        let figures = rows(&|name| {
            let latency =
                scenario.result(name).filter(|_| name != DIRECT).and_then(|result| result.latency());
            let over = |of: f64, direct: f64| added(Some(of), Some(direct)).map(|more| more.max(0.0));
            latency.map_or_else(Vec::new, |latency| {
                vec![
                    over(latency.p50, direct.p50),
                    over(latency.p99, direct.p99),
                    over(latency.p999, direct.p999),
                ]
            })
        });
        let series = ["p50", "p99", "p99.9"];
        let bars = Bars { label: "latency added", measure: Measure::Time, series: &series, rows: figures };
        plots.push(("Latency added over none between".to_owned(), bars.svg()));
    }
    let curves = curves(comparison, scenario);
    if !curves.is_empty() {
        plots.push(("Latency by percentile".to_owned(), lines(QUANTILE, LATENCY, &curves)));
    }
    plots
}

fn title(scenario: &Scenario) -> (String, Measure) {
    let one = scenario.unit.one();
    match scenario.metric {
        Metric::Cpu => (format!("CPU a {one}"), Measure::Time),
        Metric::Memory => ("KiB a connection".to_owned(), Measure::Number),
        Metric::Rate => (format!("{}/s", scenario.unit.many()), Measure::Number),
        Metric::P50 => ("Latency, p50".to_owned(), Measure::Time),
        Metric::P99 => ("Latency, p99".to_owned(), Measure::Time),
        Metric::P999 => ("Latency, p99.9".to_owned(), Measure::Time),
        Metric::SpreadP99 => ("First to last client, p99".to_owned(), Measure::Time),
        Metric::Silence => ("Longest silence".to_owned(), Measure::Seconds),
    }
}

/// A line for each target, in the colour that it has everywhere on the page.
fn curves(comparison: &Comparison, scenario: &Scenario) -> Vec<Line> {
    let all = comparison.targets.iter().enumerate().filter_map(|(at, target)| {
        let points = scenario.result(&target.name)?.curve.clone();
        let pen = if target.is_control { Pen::Dashed(at % COLOURS) } else { Pen::Solid(at % COLOURS) };
        (points.len() > 1).then(|| Line { name: target.name.clone(), pen, points })
    });
    all.collect()
}
