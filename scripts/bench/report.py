"""Medians and ratios, as markdown for people and JSON for machines."""

import os
import platform
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from statistics import median


# The target that is the ratio to the cheapest of the others.
BEST = "best"


def about(root, args, versions):
    """What a reader must know to judge the figures."""
    model = [line.split(":", 1)[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
             if line.startswith("model name")]
    commit = subprocess.run(["git", "-C", str(root), "describe", "--always", "--dirty"], capture_output=True, text=True)
    congestion = Path("/proc/sys/net/ipv4/tcp_congestion_control")
    return {
        "machine": f"{model[0] if model else 'unknown CPU'}, {os.cpu_count()} cores",
        "kernel": platform.release(),
        "tcp_congestion_control": congestion.read_text().strip() if congestion.exists() else "unknown",
        "commit": commit.stdout.strip() or "none",
        "command": " ".join([f"scripts/{Path(sys.argv[0]).name}", *sys.argv[1:]]),
        "proxy_cores": args.cores,
        "pairs": args.pairs,
        "seconds": args.seconds,
        "versions": versions,
    }


def markdown(about, scenarios, names, results):
    lines = [f"{about['machine']}, Linux {about['kernel']}, TCP {about['tcp_congestion_control']}, "
             f"commit {about['commit']}; proxy on core {about['proxy_cores']}, "
             f"medians of {about['pairs']} × {about['seconds']} s in ABBA order.", ""]
    lines += [f"- {name}: {version}" for name, version in about["versions"].items()]
    lines += ["", "Cost of the proxy (CPU for each message or session, memory for each pair)"
              + (", and selat's over the other's (at most):" if "selat" in names else ":"), ""]
    lines += cost_table(scenarios, names, results)
    lines += ["", "Rate, what the proxy used of a core at it, and what the load client + echo backend cost:", ""]
    lines += rate_table(scenarios, names, results)
    remarks = remarks_on(scenarios, results)
    lines += ["", *[f"- {remark}" for remark in remarks]] if remarks else []
    return "\n".join(lines)


def cost_table(scenarios, names, results):
    proxies = [name for name in names if name != "direct"]
    others = others_than_selat(names)
    against_best = others and any(BEST in scenario.targets for scenario in scenarios)
    rows = [["scenario", *proxies, *[f"selat / {name}" for name in others]]]
    if against_best:
        rows[0].append("selat / the better")
    for scenario in scenarios:
        measured = results[scenario.letter]
        row = [f"{scenario.letter}: {scenario.title}"]
        for name in proxies:
            most = scenario.most if name == "selat" else None
            cost = middle(costs(measured[name]))
            row.append(judged(cost, most, f" {scenario.unit}", digits=3) + inverse(scenario, cost))
        for name in others:
            ratio = middle(ratios(measured, name))
            row.append(judged(ratio, scenario.targets.get(name), "", digits=2))
        if against_best:
            best = cheapest(measured, others)
            ratio = middle(ratios(measured, best)) if best else None
            row.append(judged(ratio, scenario.targets.get(BEST), "", digits=2))
        rows.append(row)
    return table(rows)


def others_than_selat(names):
    """The proxies that selat is compared with, if it was measured."""
    return [name for name in names if name not in ("selat", "direct")] if "selat" in names else []


def cheapest(measured, names):
    """The proxy among these that costs least; None where none was measured."""
    costing = {name: middle(costs(measured[name])) for name in names}
    return min((name for name, cost in costing.items() if cost is not None), key=costing.get, default=None)


def inverse(scenario, cost):
    """Of handshakes, how many a core can do in a second."""
    return f" = {1e6 / cost:,.0f}/s of a core" if scenario.handshakes and cost else ""


def rate_table(scenarios, names, results):
    rows = [["scenario", *names]]
    for scenario in scenarios:
        if not scenario.rate:
            continue
        row = [f"{scenario.letter}: {scenario.title}"]
        for name in names:
            good = [measured for measured in results[scenario.letter].get(name, []) if not measured.error]
            if good:
                rate, busy, client, backend = (median(getattr(measured, what) for measured in good)
                                               for what in ("rate", "proxy_cores", "client", "backend"))
                used = "" if name == "direct" else f" at {busy:.0%} of a core"
                row.append(f"{rate:,.0f} {scenario.rate}{used}, {client:.3g} + {backend:.3g} {scenario.unit}")
            else:
                row.append("–")
        rows.append(row)
    return table(rows)


def remarks_on(scenarios, results):
    remarks = []
    for scenario in scenarios:
        for name, measured in results[scenario.letter].items():
            faults = sum(one.faults for one in measured)
            if faults:
                remarks.append(f"{scenario.letter}, {name}: {faults} faults (lost, changed or refused)")
            remarks += sorted({f"{scenario.letter}, {name}: {one.error}" for one in measured if one.error})
        everything = [one for measured in results[scenario.letter].values() for one in measured]
        disturbed = [one for one in everything if one.disturbance]
        if disturbed:
            foreign = max(one.foreign_cores for one in disturbed)
            remarks.append(f"{scenario.letter}: {len(disturbed)} of {len(everything)} measurements were disturbed: "
                           f"other programs used up to {foreign:.0%} of a core")
    return remarks


def costs(measured):
    return [one.cost for one in measured if not one.error and one.cost is not None]


def ratios(measured, name):
    """Selat's cost over the other's, pass by pass."""
    pairs = zip(measured["selat"], measured[name])
    return [ours.cost / theirs.cost for ours, theirs in pairs
            if not ours.error and not theirs.error and ours.cost is not None and theirs.cost]


def middle(figures):
    return median(figures) if figures else None


def judged(figure, most, unit, digits):
    if figure is None:
        return "–"
    text = f"{figure:.{digits}f}{unit}"
    return text if most is None else f"{text} (≤ {most:.2f}) {'✓' if figure <= most else '✗'}"


def table(rows):
    head, *body = rows
    return ["| " + " | ".join(row) + " |" for row in [head, ["---"] * len(head), *body]]


def as_json(about, scenarios, results):
    out = dict(about, scenarios=[])
    for scenario in scenarios:
        measured = results[scenario.letter]
        proxies = {}
        for name, passes in measured.items():
            proxies[name] = {"median": middle(costs(passes)), "passes": [asdict(one) for one in passes]}
            if name != "selat" and "selat" in measured:
                ratio = {"selat_over_this": middle(ratios(measured, name)), "at_most": scenario.targets.get(name)}
                proxies[name].update(ratio)
        best = cheapest(measured, others_than_selat(measured)) if BEST in scenario.targets else None
        out["scenarios"].append({
            "letter": scenario.letter, "title": scenario.title, "metric": scenario.metric, "unit": scenario.unit,
            "selat_at_most": scenario.most, "proxies": proxies,
            BEST: best and {"name": best, "selat_over_this": middle(ratios(measured, best)),
                            "at_most": scenario.targets[BEST]},
        })
    return out


def sound(results):
    """Whether every measurement came about, and selat made no mistake in any."""
    everything = [one for measured in results.values() for passes in measured.values() for one in passes]
    ours = [one for measured in results.values() for one in measured.get("selat", [])]
    return not any(one.error for one in everything) and not any(one.faults for one in ours)
