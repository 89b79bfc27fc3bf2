"""Autobahn through selat against Autobahn directly; see scripts/autobahn, which starts this.

usage: run.py SELAT OUTDIR [what scripts/autobahn takes]
"""

import argparse
import collections
import contextlib
import json
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).parent
READY_WITHIN = 20  # seconds

# Groups 9 (size and speed), 12 and 13 (compression): nearly all of the work.
SLOW = ["9.*", "12.*", "13.*"]

# What a case may come to without selat. Another verdict there would be the echo
# server's or the machine's fault, and hide what selat does in that case.
PASSES = {"OK", "NON-STRICT", "INFORMATIONAL"}

# Cases that may come to another verdict, this one only, through selat, and why:
# {"3.2": (("NON-STRICT", "OK"), "because ...")}
ALLOWED = {}


def die(message):
    print(f"autobahn: {message}", file=sys.stderr)
    sys.exit(2)


@contextlib.contextmanager
def running(command, **options):
    process = subprocess.Popen(command, **options)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextlib.contextmanager
def echo_server(log):
    """The echo server; gives the port it chose."""
    with running([sys.executable, HERE / "echo.py"], stdout=subprocess.PIPE, stderr=log) as process:
        line = process.stdout.readline()  # ends with the process at the latest
        if not line:
            die("the echo server did not start")
        yield int(line)


@contextlib.contextmanager
def proxy(selat, upstream, log):
    """selat in front of port `upstream`; gives the port it listens on."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [selat, f"127.0.0.1:{port}", f"ws://127.0.0.1:{upstream}"]
    with running(command, stdout=log, stderr=log) as process:
        deadline = time.monotonic() + READY_WITHIN
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                if process.poll() is not None:
                    die(f"selat ended with status {process.returncode}")
                if time.monotonic() > deadline:
                    die(f"selat did not listen within {READY_WITHIN} s")
                time.sleep(0.02)
        try:
            yield port
        finally:
            if process.poll() is not None:
                die(f"selat ended with status {process.returncode} during the cases")


def fuzz(name, port, cases, exclude, out):
    """Run the cases against `port`; gives {case id: its entry in the report index}."""
    start = time.monotonic()
    command = [sys.executable, "-W", "ignore", HERE / "fuzz.py", f"ws://127.0.0.1:{port}"]
    command += [name, out / name, *cases, "--exclude", *exclude]
    with open(out / f"{name}.log", "w") as log:
        with running(command, stdout=log, stderr=subprocess.PIPE, text=True) as process:
            problem = process.stderr.read().strip()
            if process.wait():
                die(f"{name}: {problem} (see {out / name}.log)")
    verdicts = json.loads((out / name / "index.json").read_text())[name]
    kinds = collections.Counter(verdict["behavior"] for verdict in verdicts.values())
    summary = ", ".join(f"{n} {kind}" for kind, n in kinds.most_common())
    print(f"{name}: {summary} in {time.monotonic() - start:.0f} s", flush=True)
    return verdicts


def both(verdict):
    return verdict["behavior"], verdict["behaviorClose"]


def compare(direct, selat):
    """Print what differs; gives the number of cases that may not."""
    rows = []
    differ = 0
    for case in sorted(direct, key=lambda case: [int(number) for number in case.split(".")]):
        if both(direct[case]) != both(selat[case]):
            pair = direct[case], selat[case]
            shown = ("{behavior} / {behaviorClose} ({remoteCloseCode})".format(**v) for v in pair)
            verdict, reason = ALLOWED.get(case, (None, ""))
            allowed = both(selat[case]) == verdict
            rows.append([case, *shown, reason if allowed else ""])
            differ += not allowed
    if rows:
        head = ["case", "direct: behavior / close (code)", "through selat", "allowed because"]
        rows.insert(0, head)
        widths = [max(map(len, column)) for column in zip(*rows)]
        for row in rows:
            print("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())
    print(f"{len(direct)} cases, {differ} differ")
    return differ


def main():
    program, out = sys.argv[1], pathlib.Path(sys.argv[2])
    parser = argparse.ArgumentParser(prog="scripts/autobahn")
    parser.add_argument("--quick", action="store_true", help=f"leave out {' '.join(SLOW)}")
    parser.add_argument("cases", nargs="*", metavar="CASE_PATTERN", help="such as 7.1.1 or '5.*'")
    args = parser.parse_intermixed_args(sys.argv[3:])
    cases = args.cases or ["*"]
    exclude = SLOW if args.quick else []

    # End what was started when told to end.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    with open(out / "servers.log", "w") as log, echo_server(log) as echo:
        direct = fuzz("direct", echo, cases, exclude, out)
        unfit = [case for case, v in direct.items() if not {*both(v)} <= PASSES]
        if unfit:
            die(f"without selat, too, these do not pass: {' '.join(unfit)}")
        with proxy(program, echo, log) as port:
            selat = fuzz("selat", port, cases, exclude, out)
    sys.exit(1 if compare(direct, selat) else 0)


main()
