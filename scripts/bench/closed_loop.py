#!/usr/bin/env python3
"""A closed-loop client that shares nothing with selat-load: Python's websockets, and a list of times.

    closed_loop.py URL CONNECTIONS SIZE WARMUP SECONDS     prints rate and percentiles as JSON
"""

import asyncio
import json
import sys
import time

from websockets.asyncio.client import connect


async def ask(client, message, times, span):
    first, last = span
    while (sent := time.perf_counter()) < last:
        await client.send(message)
        if await client.recv() != message:
            sys.exit("an answer is not what was sent")
        if first <= (now := time.perf_counter()) < last:
            times.append(now - sent)


async def main(url, connections, size, warmup, seconds):
    clients = [await connect(url, compression=None, ping_interval=None) for _ in range(connections)]
    times, first = [], time.perf_counter() + warmup
    await asyncio.gather(*(ask(client, bytes(size), times, (first, first + seconds)) for client in clients))
    await asyncio.gather(*(client.close() for client in clients))
    times.sort()
    found = {f"p{percent}": times[len(times) * percent // 100] * 1e6 for percent in (50, 90, 99)}
    print(json.dumps({"rate": len(times) / seconds, **found}))


if __name__ == "__main__":
    url, connections, size, warmup, seconds = sys.argv[1:]
    asyncio.run(main(url, int(connections), int(size), float(warmup), float(seconds)))
