"""Python's HTTP client, and its Prometheus client's parsers, against the admin interface, for tests/admin.rs.

usage: admin.py SCENARIO HOST:PORT [ARGUMENT...]      exits with 0 if all was as it should be
"""

import json
import sys
from http.client import HTTPConnection

from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_prometheus

OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"


def ask(address, method, path, token=None):
    """The status, the content type and the text of an answer."""
    connection = HTTPConnection(address, timeout=20)
    connection.request(method, path, headers={"Authorization": f"Bearer {token}"} if token else {})
    response = connection.getresponse()
    text = response.read().decode()
    assert response.getheader("Cache-Control") == "no-store"
    return response.status, response.getheader("Content-Type"), text


def reads(address):
    status, kind, text = ask(address, "GET", "/status")
    assert (status, kind) == (200, "application/json")
    overview = json.loads(text)
    assert overview["phase"] == "serving" and overview["routes"][0]["name"] == "chat", overview
    status, kind, text = ask(address, "GET", "/backends")
    assert (status, kind) == (200, "application/json")
    assert [backend["state"] for pool in json.loads(text) for backend in pool["backends"]] == ["up", "down"]
    assert ask(address, "GET", "/config") == (200, "application/toml", '[admin]\naddr = "127.0.0.1:9765"\n')
    assert ask(address, "GET", "/healthz") == (200, "text/plain; charset=utf-8", "alive\n")
    assert ask(address, "GET", "/readyz")[0] == 200
    assert ask(address, "HEAD", "/status")[2] == ""
    status, kind, text = ask(address, "GET", "/")
    assert (status, kind) == (404, "application/json") and "/status" in json.loads(text)["error"]


def families(address):
    status, kind, text = ask(address, "GET", "/metrics")
    assert (status, kind) == (200, OPENMETRICS), (status, kind)
    # The strict parser of the two: it refuses what the format does not allow.
    strict = {family.name: family for family in parse_openmetrics(text)}
    lenient = list(parse_prometheus(text))
    samples = [sample for family in strict.values() for sample in family.samples]
    assert len(samples) == sum(len(family.samples) for family in lenient), "the parsers disagree"
    return strict, samples


def lint(address):
    strict, samples = families(address)
    for name, family in strict.items():
        assert name.startswith("selat_"), name
        assert family.documentation.endswith("."), family
        assert family.type in ["counter", "gauge", "histogram", "info"], family
        assert family.type != "histogram" or family.unit, f"{name} has no unit"
        assert not family.unit or name.endswith("_" + family.unit), family
    series = [(sample.name, tuple(sorted(sample.labels.items()))) for sample in samples]
    assert len(series) == len(set(series)), "a series stands there twice"
    return strict, samples


def scrape(address, route):
    strict, samples = lint(address)

    def value(name, **labels):
        found = [sample.value for sample in samples if sample.name == name and sample.labels == labels]
        assert len(found) == 1, (name, labels, found)
        return found[0]

    assert value("selat_build_info", version="0.1.0") == 1
    assert value("selat_uptime_seconds") == 3600.5
    assert value("selat_log_lines_dropped_total") == 3
    assert value("selat_sessions_active", route=route) == 10
    assert value("selat_sessions_total", route=route) == 90
    assert value("selat_messages_total", route=route, direction="from_client") == 1000
    assert value("selat_traffic_bytes_total", route=route, direction="from_backend") == 100_000
    assert value("selat_refusals_total", route=route, status="403", reason="origin") == 2
    assert value("selat_refusals_total", route="", status="404", reason="no_route") == 9
    assert value("selat_closes_total", route=route, code="1000", side="client") == 80
    assert value("selat_limits_hit_total", route=route, limit="message_bytes") == 4
    assert value("selat_pool_waiting", pool="chat") == 1
    backend = {"pool": "chat", "backend": "ws://10.0.0.2:9001", "address": "10.0.0.2:9001"}
    states = {state: value("selat_backend_state", **backend, state=state) for state in ["up", "down", "ejected"]}
    assert states == {"up": 0, "down": 1, "ejected": 0}
    assert value("selat_backend_dials_total", **backend, outcome="answered") == 90
    assert value("selat_shard_handed_over_total", shard="0") == 5
    assert value("selat_shard_busy_seconds_total", shard="0") == 1.5
    buckets = [
        (sample.labels["le"], sample.value)
        for sample in strict["selat_relay_latency_seconds"].samples
        if sample.name.endswith("_bucket")
    ]
    assert buckets == [("0.001", 90), ("0.01", 99), ("0.1", 100), ("+Inf", 100)], buckets
    assert value("selat_relay_latency_seconds_count") == 100
    assert value("selat_ping_rtt_seconds_sum", side="client") == 0.5
    assert value("selat_backend_handshake_seconds_count") == 10
    feed = {"feed": "fx"}
    states = {state: value("selat_feed_source_state", **feed, state=state) for state in ["connecting", "up", "stopped"]}
    assert states == {"connecting": 0, "up": 1, "stopped": 0}
    assert value("selat_feed_source_failures_total", **feed, why="refused") == 6
    assert value("selat_feed_clients", **feed) == 1000
    assert value("selat_feed_deliveries_total", **feed) == 49_000
    assert value("selat_feed_delivered_bytes_total", **feed) == 4_900_000
    assert [value("selat_feed_evicted_total", **feed, why=why) for why in ["buffer", "time"]] == [2, 3]
    assert [value("selat_feed_lag_messages", **feed, client=client) for client in ["slowest", "p99"]] == [17, 4]
    counted = {"source_connects": 5, "messages": 50, "conflated": 600, "dropped": 400}
    counted |= {"gaps": 7, "rotations": 8, "duplicates": 9, "skipped": 10}
    for name, count in counted.items():
        assert value(f"selat_feed_{name}_total", **feed) == count, name
    assert value("selat_feed_topics", **feed) == 11
    assert value("selat_feed_last_message_age_seconds", **feed) == 2.5
    assert value("selat_feed_delivery_seconds_count", **feed) == 100
    work = {"dispatch": "work"}
    assert value("selat_dispatch_outstanding", **work) == 12
    counted = {"sent": 2000, "replies": 1950, "retries": 20, "timeouts": 21, "lost": 22}
    counted |= {"late": 23, "surplus": 24, "partial": 25}
    for name, count in counted.items():
        assert value(f"selat_dispatch_{name}_total", **work) == count, name
    assert value("selat_dispatch_reorder_depth", **work) == 26
    assert value("selat_dispatch_reorder_bytes", **work) == 2700
    for host, count in [("10.0.0.3", 100), ("10.0.0.4", 0)]:
        replier = {"backend": f"ws://{host}:9001", "address": f"{host}:9001"}
        assert value("selat_dispatch_reply_seconds_count", **work, **replier) == count, host
    assert {"selat_message_size_bytes", "selat_backend_sessions", "selat_draining"} <= strict.keys()


def token(address, secret):
    writes = ["/drain/ws://10.0.0.1:9001", "/undrain/chat%2F10.0.0.1:9001", "/reload", "/drain"]
    for path in writes:
        for wrong in [None, "wrong", secret[:-1], secret + "x"]:
            assert ask(address, "POST", path, wrong)[0] == 401, (path, wrong)
    for path, expected in zip(writes, [200, 200, 200, 202]):
        assert ask(address, "POST", path, secret)[0] == expected, path
    for path in ["/metrics", "/status", "/backends", "/config", "/healthz", "/readyz"]:
        assert ask(address, "GET", path)[0] == 200, path


SCENARIOS = [reads, lint, scrape, token]

by_name = {scenario.__name__: scenario for scenario in SCENARIOS}
by_name[sys.argv[1]](*sys.argv[2:])
