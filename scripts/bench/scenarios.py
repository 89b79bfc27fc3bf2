"""What is measured, and what selat wants to reach."""

from dataclasses import dataclass, field

# The share of time that the hypervisor may give to somebody else.
STOLEN_MAX = 0.01

# Cores' worth of time that other programs and the kernel's own threads may take.
FOREIGN_MAX = 0.05


# What has to come of `peers.SUITE`, as the load client reports it, so that all proxies do the same work.
SPOKEN = "TLSv1_3 TLS13_AES_128_GCM_SHA256 X25519"

# The share of a storm's handshakes that may be other than asked for, beside the first of each place, which has no
# session to resume.
OTHER_HANDSHAKES_MAX = 0.02


@dataclass
class Scenario:
    """One row of the target table. Ratios are selat's cost over the other's, and should not be above the target."""

    letter: str
    title: str
    load: list
    metric: str
    unit: str
    rate: str
    targets: dict = field(default_factory=dict)
    """Greatest ratio to each proxy; under --tls to `report.BEST`, the better of the others."""
    most: float | None = None
    """Greatest figure of selat itself."""
    fresh: bool = False
    """Whether every measurement wants a proxy that has just been started."""
    handshakes: str = ""
    """Which TLS handshakes are wanted: `full` or `resumed`."""

    def command(self, load, seconds, peer, backend):
        """The load: proxy and backend are watched, the proxy's processes first."""
        pids = [option for pid in [*peer.pids(), backend.pid] for option in ("--pid", str(pid))]
        command, *rest = self.load
        return [str(load), command, peer.url, *peer.load_options(), *rest, "--for", f"{seconds}s", "--json", *pids]

    def summary(self, measured):
        if measured.error:
            return measured.error
        rate = f", {measured.rate:,.0f} {self.rate}" if measured.rate else ""
        faults = f", {measured.faults} FAULTS" if measured.faults else ""
        cost = "" if measured.cost is None else f"{measured.cost:.3f} {self.unit}"
        return f"{cost}{rate}{faults}"


@dataclass
class Measured:
    """One measurement of one proxy."""

    cost: float | None = None
    """The metric of the proxy's processes together; None where there is no proxy."""
    rate: float | None = None
    proxy_cores: float = 0.0
    """Cores' worth of CPU time that the proxy used; near the number it has, it was what limited the rate."""
    client: float | None = None
    backend: float | None = None
    """What the load client and the echo backend cost, in the same unit."""
    foreign_cores: float | None = None
    """Cores' worth of CPU time that went to anything else on the machine, the kernel's own threads included."""
    stolen: bool = False
    disturbance: str = ""
    faults: int = 0
    error: str = ""
    raw: dict = field(default_factory=dict)

    @classmethod
    def failed(cls, error):
        return cls(error=error)

    @classmethod
    def of(cls, scenario, raw, peer):
        raw = flat(raw)
        *proxy, backend = raw["processes"]
        if peer.url.startswith("wss:") and (error := tls_error(scenario, raw)):
            return cls.failed(error)
        measured = cls(
            cost=sum(process[scenario.metric] for process in proxy) if peer.pids() else None,
            rate=raw.get("messages_per_second", raw.get("sessions_per_second")),
            proxy_cores=sum(process["cores_busy"] for process in proxy),
            client=raw.get(f"client_{scenario.metric}"),
            backend=backend[scenario.metric],
            faults=raw["failed"] + sum(raw[kind] for kind in FAULTS),
            raw=raw,
        )
        measured.judge_disturbance(scenario)
        return measured

    def judge_disturbance(self, scenario):
        """Whether the machine was ours alone."""
        busy = sum(process["cores_busy"] for process in self.raw["processes"]) + self.raw["client_cores_busy"]
        self.foreign_cores = self.raw["machine_cores_busy"] - busy
        # Memory does not depend on who else is busy.
        if scenario.rate and self.raw["stolen"] > STOLEN_MAX:
            self.stolen = True
            self.disturbance = f"{self.raw['stolen']:.1%} of the time was stolen"
        elif scenario.rate and self.foreign_cores > FOREIGN_MAX:
            self.disturbance = f"other programs used {self.foreign_cores:.0%} of a core"


def flat(record):
    """A record of the load client with all its figures side by side."""
    unit, cost, totals = record["unit"], record["cost"], record["totals"]
    many = {"delivery": "deliveries"}.get(unit, f"{unit}s")

    def costing(what):
        return {f"cpu_us_per_{unit}": what["cpu"].get("us_per_unit"), "cores_busy": what["cpu"]["cores_busy"],
                **what.get("memory", {})}

    raw = {**record["settings"], **record["counts"], **record["faults"], **record.get("tls", {}),
           "failed": sum(record["failures"].values()), "stolen": cost["stolen"],
           "processes": [costing(process) for process in cost["processes"]],
           "memory": [process.get("memory") for process in cost["processes"]],
           f"client_cpu_us_per_{unit}": cost["generator"].get("us_per_unit"),
           "client_cores_busy": cost["generator"]["cores_busy"], "machine_cores_busy": cost["machine"]["cores_busy"]}
    if unit != "connection":
        raw[f"{many}_per_second"] = totals["per_second"]
    for what, times in [("latency", record["latency"].get("uncorrected")), ("spread", record.get("spread"))]:
        raw |= {f"{what}_us_{name}": time for name, time in (times or {}).items() if name != "curve"}
    return raw


def tls_error(scenario, raw):
    """What is wrong with the TLS that was spoken, as a sentence; empty if nothing is."""
    if list(raw.get("suites", {})) != [SPOKEN]:
        return f"{raw.get('suites')} was spoken and not {SPOKEN}"
    counts = {kind: raw[f"handshakes_{kind}"] for kind in ("full", "resumed")}
    if scenario.handshakes:
        others = sum(counts.values()) - counts[scenario.handshakes]
        if others > raw["concurrency"] + OTHER_HANDSHAKES_MAX * sum(counts.values()):
            return f"{others} of {sum(counts.values())} handshakes were not {scenario.handshakes}"
    return ""


FAULTS = ("lost", "duplicated", "reordered", "corrupted", "misrouted")


def echo(letter, title, connections, size, in_flight, nginx=None, haproxy=None, best=None):
    load = ["echo", "--warmup", "1s", "--connections", connections, "--size", size, "--in-flight", in_flight]
    targets = {"nginx": nginx, "haproxy": haproxy, "haproxy-tcp": haproxy, "best": best}
    targets = {name: most for name, most in targets.items() if most}
    return Scenario(letter, title, [str(word) for word in load], "cpu_us_per_message", "µs", "messages/s", targets)


def storm(letter, title, handshakes, *options):
    load = ["storm", "--concurrency", "64", *options, *(["--resume"] if handshakes == "resumed" else [])]
    return Scenario(letter, title, load, "cpu_us_per_session", "µs", "sessions/s", {"best": 1.00}, handshakes=handshakes)


SCENARIOS = {
    scenario.letter: scenario
    for scenario in [
        echo("a", "100 connections, 64 B, 1 in flight", 100, 64, 1, nginx=1.00, haproxy=0.88),
        echo("b", "1,000 connections, 64 B, 1 in flight", 1000, 64, 1, nginx=0.90, haproxy=0.80),
        echo("c", "100 connections, 64 B, 64 in flight", 100, 64, 64, nginx=1.00, haproxy=0.95),
        echo("d", "100 connections, 16 KiB, 4 in flight", 100, 16384, 4, nginx=0.70, haproxy=0.50),
        echo("e", "10 connections, 1 MB, 2 in flight", 10, 1_000_000, 2, nginx=0.80, haproxy=0.65),
        echo("f", "1 connection, 16 B, 1 in flight", 1, 16, 1, nginx=1.05),
        Scenario("g", "connect, upgrade, one echo, close", ["storm", "--concurrency", "64"], "cpu_us_per_session",
                 "µs", "sessions/s", {"nginx": 1.00, "haproxy": 0.92, "haproxy-tcp": 0.92}),
        Scenario("h", "idle pair, memory, 4,000 pairs", ["idle", "--connections", "4000"],
                 "pss_kib_per_connection", "KiB", "", most=1.0, fresh=True),
    ]
}

TLS_SCENARIOS = {
    scenario.letter: scenario
    for scenario in [
        echo("a", "100 connections, 64 B, 1 in flight", 100, 64, 1, best=0.95),
        echo("c", "100 connections, 64 B, 64 in flight", 100, 64, 64),
        echo("d", "100 connections, 16 KiB, 4 in flight", 100, 16384, 4, best=0.85),
        echo("e", "10 connections, 1 MB, 2 in flight", 10, 1_000_000, 2),
        storm("s", "connect, full handshake, upgrade, one echo, close", "full"),
        storm("r", "the same, handshake resumed", "resumed"),
        storm("t", "connect, full handshake, close", "full", "--handshake-only"),
        storm("u", "the same, handshake resumed", "resumed", "--handshake-only"),
        Scenario("h", "idle pair, memory, 2,000 pairs", ["idle", "--connections", "2000"],
                 "pss_kib_per_connection", "KiB", "", {"best": 0.33}, fresh=True),
    ]
}
