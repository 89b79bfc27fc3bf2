"""Minutes of real life against selat: steady sessions, churn, slow readers, backends killed and restarted.

Every session numbers its messages. What comes back must be those numbers, each once and in order; a session that ends
early must have seen a Close. In the end selat's descriptors and memory must be back where they were.
"""

import argparse
import asyncio
import contextlib
import os
import random
import signal
import socket
import sys
from collections import Counter
from pathlib import Path

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

BACKENDS = 3
STEADY = 60
CHURNING = 10
SLOW = 5
KILL_EVERY = 4.0
SLACK_FDS = 4
SLACK_KIB = 6 * 1024


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


async def until_listening(port):
    """Waits for a port to be answered."""
    async with asyncio.timeout(10):
        while True:
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                return
            await asyncio.sleep(0.02)


class Backend:
    """An echo server that can be killed and started again on its port."""

    def __init__(self):
        self.port = free_port()
        self.process = None

    async def start(self):
        script = Path(__file__).with_name("backend.py")
        self.process = await asyncio.create_subprocess_exec(sys.executable, str(script), str(self.port))
        await until_listening(self.port)

    async def kill(self):
        self.process.kill()
        await self.process.wait()


class Soak:
    def __init__(self, url, until):
        self.url = url
        self.until = until
        self.tally = Counter()
        self.faults = []

    def is_over(self):
        return asyncio.get_running_loop().time() >= self.until

    async def session(self, name, messages, pause, size, slow=False):
        """One session: numbered messages out, the same numbers back, until done or closed."""
        expected = 0
        try:
            async with connect(self.url, compression=None, max_size=None, open_timeout=20, ping_interval=None) as peer:
                self.tally["sessions"] += 1
                sender = asyncio.create_task(self.send(peer, messages, pause, size))
                try:
                    while expected < messages and not self.is_over():
                        if slow:
                            await asyncio.sleep(0.05)
                        answer = await asyncio.wait_for(peer.recv(), 30)
                        if answer != payload(expected, size):
                            self.faults.append(f"{name}: message {expected} came back as {answer[:24]!r}")
                            return
                        expected += 1
                        self.tally["messages"] += 1
                finally:
                    sender.cancel()
        except ConnectionClosed as closed:
            if closed.rcvd is None and expected < messages:
                self.tally["ended without a Close"] += 1
                self.faults.append(f"{name}: ended without a Close after {expected} messages: {closed}")
            else:
                self.tally[f"closed {closed.rcvd.code if closed.rcvd else 'by us'}"] += 1
        except (InvalidHandshake, OSError) as refused:
            self.tally[f"not opened: {type(refused).__name__}"] += 1
            await asyncio.sleep(0.2)
        except TimeoutError:
            self.faults.append(f"{name}: no answer to message {expected} within 30 s")
        else:
            self.tally["complete"] += 1

    async def send(self, peer, messages, pause, size):
        with contextlib.suppress(ConnectionClosed):
            for number in range(messages):
                await peer.send(payload(number, size))
                await asyncio.sleep(pause)

    async def forever(self, name, **kind):
        while not self.is_over():
            await self.session(name, **kind)

    async def kill_backends(self, backends):
        while not self.is_over():
            await asyncio.sleep(KILL_EVERY)
            victim = random.choice(backends)
            await victim.kill()
            self.tally["backends killed"] += 1
            await asyncio.sleep(KILL_EVERY / 2)
            await victim.start()


def payload(number, size):
    head = f"{number}:".encode()
    return head + b"x" * max(0, size - len(head))


def descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def pss_kib(pid):
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


async def settle(pid, fds):
    """Waits until the descriptors are back, at most as long as closing may take."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(15):
            while descriptors(pid) > fds:
                await asyncio.sleep(0.2)


async def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("selat", help="the binary")
    arguments.add_argument("seconds", type=float)
    options = arguments.parse_args()

    backends = [Backend() for _ in range(BACKENDS)]
    await asyncio.gather(*(backend.start() for backend in backends))
    port = free_port()
    urls = [f"ws://127.0.0.1:{backend.port}" for backend in backends]
    selat = await asyncio.create_subprocess_exec(options.selat, f"127.0.0.1:{port}", *urls, "--log-level", "error")
    try:
        await until_listening(port)
        loop = asyncio.get_running_loop()
        fds = descriptors(selat.pid)
        # Once through everything, so that what is allocated once is.
        warm = Soak(f"ws://127.0.0.1:{port}", loop.time() + 5)
        await run(warm, [])
        await settle(selat.pid, fds)
        memory = pss_kib(selat.pid)

        soak = Soak(f"ws://127.0.0.1:{port}", loop.time() + options.seconds)
        await run(soak, backends)
        await settle(selat.pid, fds)
        report(soak, selat.pid, fds, memory)
    finally:
        selat.send_signal(signal.SIGTERM)
        code = await selat.wait()
        for backend in backends:
            with contextlib.suppress(ProcessLookupError):
                await backend.kill()
    if soak.faults or code != 0:
        print(f"FAILED: {len(soak.faults)} faults, exit code {code}", *soak.faults[:20], sep="\n  ")
        sys.exit(1)


async def run(soak, backends):
    kinds = [(f"steady {n}", dict(messages=1 << 30, pause=0.02, size=64 + n * 16)) for n in range(STEADY)]
    kinds += [(f"churning {n}", dict(messages=3, pause=0, size=100)) for n in range(CHURNING)]
    kinds += [(f"slow {n}", dict(messages=400, pause=0, size=2000, slow=True)) for n in range(SLOW)]
    tasks = [soak.forever(name, **kind) for name, kind in kinds]
    if backends:
        tasks.append(soak.kill_backends(backends))
    await asyncio.gather(*tasks)


def report(soak, pid, fds, memory):
    fds_now, memory_now = descriptors(pid), pss_kib(pid)
    for what, count in sorted(soak.tally.items()):
        print(f"{what:32} {count}")
    print(f"{'descriptors, before and after':32} {fds} {fds_now}")
    print(f"{'memory in KiB, before and after':32} {memory} {memory_now}")
    if fds_now > fds + SLACK_FDS:
        soak.faults.append(f"descriptors grew from {fds} to {fds_now}")
    if memory_now > memory + SLACK_KIB:
        soak.faults.append(f"memory grew from {memory} to {memory_now} KiB")


asyncio.run(main())
