"""What is measured of feeds, and what selat wants to reach."""

from dataclasses import dataclass, field

from .scenarios import FAULTS, Measured, Scenario, flat

# Deliveries a second at a steady rate: what Python can do with about half of a core, so that all of them keep up.
STEADY = 50_000


CROWD = 10_000

# What opening and closing all connections may take: a busy feed upgrades them between its messages.
OPENING_SECONDS = 60


@dataclass
class Arm:
    """What the source says, who listens, and how the feed is run."""

    clients: int
    size: int = 128
    rate: float = 1
    burst: int = 1
    stuck: int = 0
    """Percent of the clients that never read."""
    cores: str = ""
    """Cores of the feed, if they are others than usual."""
    feed: tuple = ()
    """Options of selat."""
    load: tuple = ()
    """Further options of the load."""

    def ticker_options(self):
        return ["--rate", f"{self.rate:g}/s", "--size", str(self.size), "--burst", str(self.burst)]

    def command(self, load, seconds, feed, ticker):
        return [str(load), "feed", feed.url, "--clients", str(self.clients), "--stuck", f"{self.stuck}%", *self.load,
                "--timeout", f"{OPENING_SECONDS}s", "--for", f"{seconds}s", "--json", "--pid", str(feed.pid), "--pid", str(ticker.pid)]


@dataclass
class FeedScenario(Scenario):
    """One row of the target table. Ratios are selat's cost over the other's."""

    arm: Arm = None
    base: Arm | None = None
    """What the same feed is measured with in between; the ratio is `arm` over `base`."""
    within: str = ""
    """What that ratio should be: `≤ 0.20`."""
    only: tuple = ("selat", "floor", "python")

    def arms(self):
        return {"": self.arm} | ({"base": self.base} if self.base else {})

    def is_within(self, ratio):
        sign, limit = self.within.split()
        return ratio <= float(limit) if sign == "≤" else ratio >= float(limit)


@dataclass
class Delivered(Measured):
    """One measurement of one feed."""

    latency: dict = field(default_factory=dict)
    spread: dict = field(default_factory=dict)
    """Microseconds by percentile."""
    kib: float = 0.0
    """Memory for each client."""

    @classmethod
    def of(cls, scenario, raw, connections):
        raw = flat(raw)
        feed, ticker = raw["processes"]
        memory = raw["memory"][0]
        known = {"cpu_us_per_delivery": feed["cpu_us_per_delivery"], **memory, **raw}
        measured = cls(
            cost=known[scenario.metric],
            rate=raw["deliveries_per_second"],
            proxy_cores=feed["cores_busy"],
            client=raw["client_cpu_us_per_delivery"],
            backend=ticker["cpu_us_per_delivery"],
            faults=raw["failed"] + sum(raw[kind] for kind in FAULTS),
            latency=percentiles(raw, "latency"),
            spread=percentiles(raw, "spread"),
            kib=memory["pss_kib_per_connection"],
            raw=raw,
        )
        measured.judge_disturbance(scenario)
        if connections != 1:
            measured.error = f"the source was connected to {connections} times and not once"
        return measured


def percentiles(raw, what):
    return {name: raw[f"{what}_us_{name}"] for name in ("p50", "p99", "p999", "max")}


def steady(letter, title, clients, size, rate=None):
    arm = Arm(clients, size, rate or STEADY / clients)
    return FeedScenario(letter, title, [], "cpu_us_per_delivery", "µs", "deliveries/s",
                        {"floor": 1.05, "python": 0.60}, arm=arm)


SCENARIOS = {
    scenario.letter: scenario
    for scenario in [
        steady("a", "1,000 clients, 128 B, 50/s", 1000, 128),
        steady("b", "1,000 clients, 1 KiB, 50/s", 1000, 1024),
        steady("c", "5,000 clients, 128 B, 10/s", 5000, 128),
        steady("d", "5,000 clients, 1 KiB, 10/s", 5000, 1024),
        FeedScenario("e", "1,000 clients, 128 B, bursts of 100 over one at a time", [], "cpu_us_per_delivery", "µs",
                     "deliveries/s", arm=Arm(1000, rate=100, burst=100), base=Arm(1000, rate=50), within="≤ 0.20",
                     only=("selat", "floor")),
        FeedScenario("f", "idle client, memory, 5,000 clients", [], "pss_kib_per_connection", "KiB", "", most=1.0,
                     arm=Arm(5000)),
        FeedScenario("g", "first to last of 10,000 clients, p99, 128 B, 5/s", [], "spread_us_p99", "µs", "deliveries/s",
                     arm=Arm(CROWD, rate=5)),
        FeedScenario("h", "p99 of 10,000 clients, 128 B, 10/s, half of them stuck over none", [],
                     "latency_us_p99", "µs", "deliveries/s", arm=Arm(CROWD, rate=10, stuck=50),
                     base=Arm(CROWD, rate=10), within="≤ 1.10"),
        FeedScenario("i", "deliveries/s of two shards over one, 2,000 clients, 128 B, more than they can", [],
                     "deliveries_per_second", "deliveries/s", "deliveries/s",
                     arm=Arm(2000, rate=400, cores="0,1", feed=("--slow", "drop-oldest"), load=("--allow-loss",)),
                     base=Arm(2000, rate=400, feed=("--slow", "drop-oldest"), load=("--allow-loss",)),
                     within="≥ 1.00", only=("selat",)),
    ]
}
