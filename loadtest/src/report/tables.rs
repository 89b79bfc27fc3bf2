//! The tables of a comparison, as cells.

use super::text::{grouped, percent, short};
use crate::comparison::{BEST, Comparison, Measured, Metric, Pass, Scenario, added};

/// A table with its title; its first row is its head.
pub(super) struct Section {
    pub(super) title: String,
    pub(super) rows: Vec<Vec<String>>,
}

/// The target by whose latency that of the others is judged.
const DIRECT: &str = "direct";

/// What stands where there is nothing.
const NOTHING: &str = "–";

/// All tables that have something in them.
pub(super) fn sections(comparison: &Comparison) -> Vec<Section> {
    let subject = comparison.subject.as_deref().unwrap_or_default();
    let all = [
        (format!("Cost of {subject} over that of each other target (at most)"), ratios(comparison)),
        ("Cost of each target: CPU for each unit, or what the scenario names".to_owned(), costs(comparison)),
        ("Each target against itself".to_owned(), bases(comparison)),
        ("Latency, p50 / p99 / p99.9, and what is added over none between".to_owned(), latencies(comparison)),
        ("From the first to the last client, p50 / p99".to_owned(), spreads(comparison)),
        (
            "Rate, what the target used of a core at it, and what load + backend cost".to_owned(),
            rates(comparison),
        ),
    ];
    let written = all.into_iter().filter(|(_, rows)| rows.len() > 1);
    written.map(|(title, rows)| Section { title, rows }).collect()
}

/// What a reader must know to judge the figures.
pub(super) fn remarks(comparison: &Comparison) -> Vec<String> {
    let mut remarks = comparison.warnings.clone();
    for scenario in &comparison.scenarios {
        for measured in &scenario.results {
            let of = format!("{}, {}", scenario.name, measured.target);
            let all = || measured.passes.iter().chain(&measured.base);
            let faults: u64 = all().map(|pass| pass.faults).sum();
            if faults > 0 {
                let failed: u64 = all().map(|pass| pass.failed).sum();
                let measured = measured.passes.len() + measured.base.len();
                remarks.push(format!(
                    "{of}: {} messages lost or changed, {failed} sessions failed or refused, in {measured} measurements",
                    faults - failed
                ));
            }
            let mut errors: Vec<&String> = all().filter_map(|pass| pass.error.as_ref()).collect();
            errors.sort();
            errors.dedup();
            remarks.extend(errors.into_iter().map(|error| format!("{of}: {error}")));
        }
        remarks.extend(disturbed(scenario));
    }
    remarks
}

fn disturbed(scenario: &Scenario) -> Option<String> {
    let all: Vec<&Pass> =
        scenario.results.iter().flat_map(|measured| measured.passes.iter().chain(&measured.base)).collect();
    let disturbed: Vec<&&Pass> = all.iter().filter(|pass| pass.disturbance.is_some()).collect();
    let most = disturbed.iter().map(|pass| pass.foreign).fold(0.0, f64::max);
    (!disturbed.is_empty()).then(|| {
        format!(
            "{}: {} of {} measurements were disturbed: other programs used up to {} of a core",
            scenario.name,
            disturbed.len(),
            all.len(),
            percent(most)
        )
    })
}

/// The row of a scenario, with a cell for each target.
fn row(
    comparison: &Comparison,
    scenario: &Scenario,
    cell: impl Fn(&Measured) -> Option<String>,
) -> Vec<String> {
    let cells = comparison.targets.iter().map(|target| scenario.result(&target.name).and_then(&cell));
    [named(scenario)]
        .into_iter()
        .chain(cells.map(|cell| cell.unwrap_or_else(|| NOTHING.to_owned())))
        .collect()
}

fn named(scenario: &Scenario) -> String {
    format!("{}: {}", scenario.name, scenario.title)
}

fn head(comparison: &Comparison) -> Vec<String> {
    let names = comparison.targets.iter().map(|target| target.name.clone());
    ["scenario".to_owned()].into_iter().chain(names).collect()
}

/// The subject's figures over the others'; nothing where there is no subject.
fn ratios(comparison: &Comparison) -> Vec<Vec<String>> {
    let Some(subject) = comparison.subject.as_deref() else { return Vec::new() };
    let (others, with_best): (Vec<&str>, _) = (comparison.others().collect(), comparison.names_best());
    let mut head = vec!["scenario".to_owned()];
    head.extend(others.iter().map(|other| format!("{subject} / {other}")));
    head.extend(with_best.then(|| format!("{subject} / the best")));
    let cell = |ratio: Option<f64>, most: Option<f64>| match ratio {
        Some(ratio) => format!("{ratio:.2}{}", judged(ratio, most)),
        None => NOTHING.to_owned(),
    };
    let row = |scenario: &Scenario| {
        let most = |other: &str| scenario.at_most.get(other).copied();
        let mut row = vec![named(scenario)];
        row.extend(others.iter().map(|other| cell(scenario.ratio(subject, other), most(other))));
        let best = comparison.to_best(scenario).map(|(_, ratio)| ratio);
        row.extend(with_best.then(|| cell(best, most(BEST))));
        row
    };
    let rows = comparison.scenarios.iter().filter(|scenario| scenario.base.is_none()).map(row);
    // Of what has no second target, there are no ratios.
    let rows = rows.filter(|row| row.iter().skip(1).any(|cell| cell != NOTHING));
    [head].into_iter().chain(rows).collect()
}

fn costs(comparison: &Comparison) -> Vec<Vec<String>> {
    let mut rows = vec![head(comparison)];
    let subject = comparison.subject.as_deref();
    for scenario in comparison.scenarios.iter().filter(|scenario| scenario.base.is_none()) {
        rows.push(row(comparison, scenario, |measured| {
            let figure = measured.figure(scenario.metric)?;
            let most = scenario.most.filter(|_| subject == Some(&measured.target));
            let measure = scenario.metric.measure(scenario.unit);
            Some(format!("{} {measure}{}{}", plain(figure), judged(figure, most), inverse(scenario, figure)))
        }));
    }
    rows
}

/// What is aimed at, and whether it was reached.
fn judged(figure: f64, most: Option<f64>) -> String {
    most.map_or_else(String::new, |most| format!(" (≤ {most:.2}) {}", if figure <= most { "✓" } else { "✗" }))
}

/// Of sessions, how many a core could do in a second.
fn inverse(scenario: &Scenario, figure: f64) -> String {
    let is_session = scenario.unit == crate::record::Unit::Session && scenario.metric == Metric::Cpu;
    if is_session && figure > 0.0 {
        format!(" = {}/s of a core", grouped(1e6 / figure))
    } else {
        String::new()
    }
}

fn bases(comparison: &Comparison) -> Vec<Vec<String>> {
    let mut rows = vec![head(comparison)];
    for scenario in &comparison.scenarios {
        let Some(base) = &scenario.base else { continue };
        let mut row = row(comparison, scenario, |measured| {
            let ratio = measured.over_base(scenario.metric)?;
            let of_base = crate::comparison::median(
                measured.base.iter().filter_map(|pass| pass.figure(scenario.metric)),
            )?;
            Some(format!(
                "{ratio:.2} {} = {} / {} {}",
                if base.within.holds(ratio) { "✓" } else { "✗" },
                plain(measured.figure(scenario.metric)?),
                plain(of_base),
                scenario.metric.measure(scenario.unit)
            ))
        });
        if let Some(first) = row.first_mut() {
            first.push_str(&format!(", over {} ({})", base.title, base.within));
        }
        rows.push(row);
    }
    rows
}

fn latencies(comparison: &Comparison) -> Vec<Vec<String>> {
    let mut rows = vec![head(comparison)];
    for scenario in &comparison.scenarios {
        let direct = scenario.result(DIRECT).and_then(Measured::latency);
        let row = row(comparison, scenario, |measured| {
            let latency = measured.latency()?;
            let figures = [latency.p50, latency.p99, latency.p999];
            let text = triple(figures.map(Some));
            let Some(direct) = direct.filter(|_| measured.target != DIRECT) else { return Some(text) };
            let direct = [direct.p50, direct.p99, direct.p999];
            let more = std::array::from_fn(|at| added(figures.get(at).copied(), direct.get(at).copied()));
            Some(format!("{text}, + {}", triple(more)))
        });
        if row.iter().skip(1).any(|cell| cell != NOTHING) {
            rows.push(row);
        }
    }
    rows
}

/// Three times in the unit that fits the first.
fn triple(micros: [Option<f64>; 3]) -> String {
    let largest = micros.iter().flatten().copied().fold(0.0, f64::max);
    let (scale, unit) = if largest >= 10_000.0 { (1e3, "ms") } else { (1.0, "µs") };
    let all = micros.map(|time| time.map_or_else(|| NOTHING.to_owned(), |time| plain(time / scale)));
    format!("{} {unit}", all.join(" / "))
}

/// Three significant digits, written out.
fn plain(figure: f64) -> String {
    if figure.abs() >= 100.0 { grouped(figure) } else { short(figure) }
}

fn spreads(comparison: &Comparison) -> Vec<Vec<String>> {
    let mut rows = vec![head(comparison)];
    for scenario in &comparison.scenarios {
        let row = row(comparison, scenario, |measured| {
            let p50 = measured.median(|pass| pass.spread.map(|spread| spread.p50))?;
            let p99 = measured.median(|pass| pass.spread.map(|spread| spread.p99))?;
            Some(format!("{} / {} ms", short(p50 / 1e3), short(p99 / 1e3)))
        });
        if row.iter().skip(1).any(|cell| cell != NOTHING) {
            rows.push(row);
        }
    }
    rows
}

fn rates(comparison: &Comparison) -> Vec<Vec<String>> {
    let mut rows = vec![head(comparison)];
    for scenario in comparison.scenarios.iter().filter(|scenario| scenario.has_rate()) {
        rows.push(row(comparison, scenario, |measured| {
            let rate = measured.median(|pass| Some(pass.rate))?;
            let busy = measured.median(|pass| pass.cpu.map(|_| pass.cores_busy));
            let used = busy.map_or_else(String::new, |busy| format!(" at {:.0} % of a core", busy * 100.0));
            let others = [measured.median(|pass| pass.generator), measured.median(|pass| pass.backend)];
            let others: Vec<String> = others.into_iter().flatten().map(short).collect();
            Some(format!("{}/s{used}, {} µs", grouped(rate), others.join(" + ")))
        }));
    }
    rows
}
