//! The page of one run.

use super::page::Page;
use super::plot::{Axis, Bars, Line, Measure, Pen, lines};
use super::scale::Scale;
use super::text::{grouped, micros, percent, rounded, short};
use crate::record::{Interval, Latency, Record, Times, Unit};
use crate::wire::float;

const TIME: Axis = Axis { label: "time of the run", scale: Scale::Linear, measure: Measure::Seconds };
const LATENCY: Axis = Axis { label: "latency", scale: Scale::Log, measure: Measure::Time };
const QUANTILE: Axis =
    Axis { label: "share that was faster", scale: Scale::Nines, measure: Measure::Quantile };

/// `record` as one HTML file.
pub(super) fn page(record: &Record) -> String {
    let target = record.run.command_line.iter().find(|word| word.contains("://"));
    let title = format!("{} {}", record.command, target.map_or("", String::as_str));
    let mut page = Page::new(title.trim_end(), record.verdict());
    page.remark(&format!("{}, measured for {} s", record.run.started_at, short(record.seconds)));
    page.tiles(&tiles(record));
    page.warnings(&record.warnings);
    page.plots(&plots(record));
    page.heading("Times");
    page.table(&times(record));
    page.heading("Cost");
    page.table(&costs(record));
    page.heading("Faults");
    page.list(&faults(record));
    page.heading("What was run");
    page.code(&record.run.command_line.join(" "));
    page.list(&settings(record));
    let version = ("selat-load".to_owned(), record.run.version.clone());
    page.environment(&record.run.host, &[version]);
    page.written()
}

fn tiles(record: &Record) -> Vec<(String, String)> {
    let (many, one) = (record.unit.many(), record.unit.one());
    let mut tiles = vec![match record.unit {
        Unit::Connection => (grouped(float(record.totals.answered)), many.to_owned()),
        Unit::Message | Unit::Session | Unit::Delivery => {
            (grouped(record.totals.per_second), format!("{many}/s"))
        }
    }];
    if let Some(felt) = record.latency.felt() {
        for (name, time) in [("p50", felt.p50), ("p99", felt.p99), ("p99.9", felt.p999)] {
            tiles.push((micros(time), format!("latency, {name}")));
        }
    }
    if let Some(process) = record.cost.processes.first() {
        if let Some(each) = process.cpu.us_per_unit {
            tiles.push((micros(each), format!("CPU of {} a {one}", process.name)));
        }
        if let Some(memory) = &process.memory {
            let each = format!("{} KiB", short(memory.pss_kib_per_connection));
            tiles.push((each, format!("memory of {} a connection", process.name)));
        }
    }
    tiles.push((grouped(float(record.faults.total() + record.failed())), "faults and failures".to_owned()));
    tiles
}

fn plots(record: &Record) -> Vec<(&'static str, String)> {
    let mut plots = Vec::new();
    let curves = curves(record);
    if !curves.is_empty() {
        plots.push(("Latency by percentile", lines(QUANTILE, LATENCY, &curves)));
    }
    let over = Over(&record.intervals);
    if record.intervals.len() > 1 {
        plots.push(("Rate over time", over.rates(record.unit)));
        plots.push(("Latency over time", over.latencies()));
        plots.push(("Processors over time", over.processors(record)));
        if record.intervals.iter().any(|interval| interval.errors > 0) {
            plots.push(("Faults and failures over time", over.errors()));
        }
        if record.intervals.iter().any(|interval| !interval.pss_kib.is_empty()) {
            plots.push(("Memory over time", over.memory(record)));
        }
    }
    let bars = bars(record);
    if !bars.rows.is_empty() {
        plots.push(("CPU for each of them", bars.svg()));
    }
    plots
}

fn curves(record: &Record) -> Vec<Line> {
    let Latency { corrected, uncorrected } = &record.latency;
    let uncorrected_pen = if corrected.is_some() { Pen::Dashed(1) } else { Pen::Solid(0) };
    let uncorrected_name = if corrected.is_some() { "uncorrected" } else { "latency" };
    let all = [
        ("corrected", corrected, Pen::Solid(0)),
        (uncorrected_name, uncorrected, uncorrected_pen),
        ("whole session", &record.session, Pen::Solid(2)),
        ("first to last client", &record.spread, Pen::Solid(3)),
    ];
    let known = all.into_iter().filter_map(|(name, times, pen)| Some((name, times.as_ref()?, pen)));
    known.map(|(name, times, pen)| Line { name: name.to_owned(), pen, points: times.curve.clone() }).collect()
}

fn bars(record: &Record) -> Bars<'_> {
    let generator = ("this client".to_owned(), record.cost.generator.us_per_unit);
    let processes =
        record.cost.processes.iter().map(|process| (process.name.clone(), process.cpu.us_per_unit));
    let known = processes.chain([generator]).filter_map(|(name, each)| Some((name, vec![Some(each?)])));
    Bars { label: "CPU for each", measure: Measure::Time, series: &["CPU"], rows: known.collect() }
}

/// Plots over time.
struct Over<'a>(&'a [Interval]);

impl Over<'_> {
    fn line(&self, name: &str, pen: Pen, figure: impl Fn(&Interval) -> Option<f64>) -> Line {
        let points = self.0.iter().filter_map(|interval| Some((interval.at, figure(interval)?)));
        Line { name: name.to_owned(), pen, points: points.collect() }
    }

    fn rates(&self, unit: Unit) -> String {
        let a_second = |count: u64, interval: &Interval| float(count) / interval.seconds;
        let all = [
            self.line("answered", Pen::Solid(0), |each| Some(a_second(each.answered, each))),
            self.line("intended", Pen::Dashed(1), |each| Some(a_second(each.intended?, each))),
        ];
        let label = match unit {
            Unit::Message => "messages a second",
            Unit::Session => "sessions a second",
            Unit::Delivery => "deliveries a second",
            Unit::Connection => "connections a second",
        };
        lines(TIME, Axis { label, scale: Scale::Linear, measure: Measure::Number }, &drawn(all.into()))
    }

    fn latencies(&self) -> String {
        let felt = |at: fn(&Times) -> f64| move |each: &Interval| each.latency.felt().map(at);
        let hidden = |each: &Interval| {
            each.latency.corrected.as_ref()?;
            each.latency.uncorrected.as_ref().map(|times| times.p999)
        };
        let all = [
            self.line("p50", Pen::Solid(0), felt(|times| times.p50)),
            self.line("p99", Pen::Solid(2), felt(|times| times.p99)),
            self.line("p99.9", Pen::Solid(1), felt(|times| times.p999)),
            self.line("p99.9 uncorrected", Pen::Dashed(1), hidden),
        ];
        lines(TIME, LATENCY, &drawn(all.into()))
    }

    fn processors(&self, record: &Record) -> String {
        let mut all = vec![self.line("this client", Pen::Dashed(0), |each| Some(each.generator_busy))];
        for (at, process) in record.cost.processes.iter().enumerate() {
            all.push(
                self.line(&process.name, Pen::Solid(at + 1), |each| each.processes_busy.get(at).copied()),
            );
        }
        lines(TIME, number("cores' worth"), &drawn(all))
    }

    fn errors(&self) -> String {
        let line = self.line("faults and failures", Pen::Solid(5), |each| Some(float(each.errors)));
        lines(TIME, number("in each slice"), &[line])
    }

    fn memory(&self, record: &Record) -> String {
        let mib = |kib: u64| float(kib) / 1024.0;
        let all = record.cost.processes.iter().enumerate().map(|(at, process)| {
            self.line(&process.name, Pen::Solid(at + 1), |each| each.pss_kib.get(at).copied().map(mib))
        });
        lines(TIME, number("MiB"), &drawn(all.collect()))
    }
}

fn number(label: &'static str) -> Axis {
    Axis { label, scale: Scale::Linear, measure: Measure::Number }
}

/// Those lines that have a point.
fn drawn(mut lines: Vec<Line>) -> Vec<Line> {
    lines.retain(|line| !line.points.is_empty());
    lines
}

fn times(record: &Record) -> Vec<Vec<String>> {
    let head = ["", "samples", "mean", "p50", "p90", "p99", "p99.9", "max"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    let all = [
        ("latency, corrected", &record.latency.corrected),
        ("latency, uncorrected", &record.latency.uncorrected),
        ("whole session", &record.session),
        ("first to last client", &record.spread),
    ];
    for (name, times) in all {
        let Some(times) = times else { continue };
        let mut row = vec![name.to_owned(), grouped(float(times.samples))];
        row.extend([times.mean, times.p50, times.p90, times.p99, times.p999, times.max].map(micros));
        rows.push(row);
    }
    rows
}

fn costs(record: &Record) -> Vec<Vec<String>> {
    let each = format!("CPU a {}", record.unit.one());
    let head = ["", &each, "cores busy", "KiB before", "KiB after", "KiB a connection"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for process in &record.cost.processes {
        let mut row = vec![
            format!("{} ({})", process.name, process.pid),
            process.cpu.us_per_unit.map_or_else(String::new, micros),
            percent(process.cpu.cores_busy),
        ];
        if let Some(memory) = &process.memory {
            row.push(grouped(float(memory.pss_kib_before)));
            row.push(grouped(float(memory.pss_kib_after)));
            row.push(rounded(memory.pss_kib_per_connection));
        }
        rows.push(row);
    }
    for (name, cpu) in [("this client", record.cost.generator), ("whole machine", record.cost.machine)] {
        let each = cpu.us_per_unit.map_or_else(String::new, micros);
        rows.push(vec![name.to_owned(), each, percent(cpu.cores_busy)]);
    }
    rows
}

fn faults(record: &Record) -> Vec<(String, String)> {
    let mut rows: Vec<(String, String)> =
        record.faults.named().map(|(fault, count)| (fault.to_owned(), grouped(float(count)))).to_vec();
    let all = |rows: &mut Vec<(String, String)>,
               prefix: &str,
               counts: &std::collections::BTreeMap<String, u64>| {
        rows.extend(counts.iter().map(|(what, count)| (format!("{prefix}{what}"), grouped(float(*count)))));
    };
    all(&mut rows, "failed: ", &record.failures);
    all(&mut rows, "closed by the server with code ", &record.closes);
    all(&mut rows, "refused: ", &record.refusals);
    rows
}

fn settings(record: &Record) -> Vec<(String, String)> {
    let settings = record.settings.iter();
    let settings = settings.map(|(option, value)| {
        (option.clone(), value.as_str().map_or_else(|| value.to_string(), str::to_owned))
    });
    let counts = record.counts.iter().map(|(what, count)| (what.clone(), grouped(float(*count))));
    settings.chain(counts).collect()
}
