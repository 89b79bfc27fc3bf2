"""What was measured of feeds, as markdown."""

from dataclasses import asdict
from statistics import median

from . import report


def markdown(about, scenarios, names, results):
    """`results` has for every letter, and every arm of that scenario, a list of measurements for each feed."""
    plain = {letter: arms[""] for letter, arms in results.items()}
    lines = [f"{about['machine']}, Linux {about['kernel']}, TCP {about['tcp_congestion_control']}, "
             f"commit {about['commit']}; feed on core {about['proxy_cores']}, source and clients on the others, "
             f"medians of {about['pairs']} × {about['seconds']} s in ABBA order.", ""]
    lines += [f"- {name}: {version}" for name, version in about["versions"].items()]
    compared = [scenario for scenario in scenarios if not scenario.base]
    if compared:
        lines += ["", "Cost of the feed, and selat's over the other's (at most):", ""]
        lines += report.cost_table(compared, names, plain)
    if len(compared) < len(scenarios):
        lines += ["", "Each feed against itself:", "",
                  *base_table([scenario for scenario in scenarios if scenario.base], names, results)]
    lines += ["", "Rate, what the feed used of a core at it, and what client + source cost for a delivery:", ""]
    lines += report.rate_table([scenario for scenario in scenarios if scenario.rate], names, plain)
    lines += ["", "Source to client, and first to last client of each message, p50 / p99 in ms:", ""]
    lines += times_table([scenario for scenario in scenarios if scenario.rate], names, plain)
    everything = {letter: {f"{name} {arm}".strip(): measured for arm, feeds in arms.items()
                           for name, measured in feeds.items()} for letter, arms in results.items()}
    remarks = report.remarks_on(scenarios, everything)
    lines += ["", *[f"- {remark}" for remark in remarks]] if remarks else []
    return "\n".join(lines)


def base_table(scenarios, names, results):
    rows = [["scenario", *names]]
    for scenario in scenarios:
        row = [f"{scenario.letter}: {scenario.title} ({scenario.within})"]
        for name in names:
            arm, base = (results[scenario.letter][arm].get(name, []) for arm in ("", "base"))
            row.append(against_base(scenario, arm, base))
        rows.append(row)
    return report.table(rows)


def against_base(scenario, arm, base):
    ratios = [one.cost / other.cost for one, other in zip(arm, base)
              if not one.error and not other.error and other.cost]
    if not ratios:
        return "–"
    ratio = median(ratios)
    costs = " / ".join(f"{report.middle(report.costs(measured)):,.3g}" for measured in (arm, base))
    return f"{ratio:.2f} {'✓' if scenario.is_within(ratio) else '✗'} = {costs} {scenario.unit}"


def times_table(scenarios, names, results):
    rows = [["scenario", *names]]
    for scenario in scenarios:
        row = [f"{scenario.letter}: {scenario.title}"]
        for name in names:
            good = [measured for measured in results[scenario.letter].get(name, []) if not measured.error]
            row.append(", ".join(pair(good, what) for what in ("latency", "spread")) if good else "–")
        rows.append(row)
    return report.table(rows)


def pair(measured, what):
    return " / ".join(f"{median(getattr(one, what)[name] for one in measured) / 1000:.1f}" for name in ("p50", "p99"))


def as_json(about, scenarios, results):
    measured = {
        scenario.letter: {
            arm or "arm": {name: [asdict(one) for one in passes] for name, passes in feeds.items()}
            for arm, feeds in results[scenario.letter].items()
        }
        for scenario in scenarios
    }
    titles = {scenario.letter: scenario.title for scenario in scenarios}
    return dict(about, titles=titles, measured=measured)
