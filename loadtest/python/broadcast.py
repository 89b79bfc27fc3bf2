#!/usr/bin/env python3
"""A broadcaster as it is written in Python: every message of a source to all clients, with websockets.broadcast.

    broadcast.py 127.0.0.1:9002 ws://127.0.0.1:9001/ [--gather]

With --gather as published tutorials do it: a send for each client, and all of them awaited.

Neither side is compressed, and nobody is pinged, so that it does what `selat-load serve broadcast` does.
"""

import asyncio
import resource
import sys

from websockets.asyncio.client import connect
from websockets.asyncio.server import broadcast, serve

# Nor is anybody sent away who has to wait for the others.
PLAIN = {"compression": None, "ping_interval": None, "open_timeout": 60}


async def main(listen, source, *flags):
    # As much as one process may have: connections need a descriptor each.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    clients = set()

    async def hold(client):
        clients.add(client)
        try:
            await client.wait_closed()
        finally:
            clients.discard(client)

    host, port = listen.rsplit(":", 1)
    async with connect(source, **PLAIN) as messages, serve(hold, host, int(port), backlog=4096, **PLAIN):
        print(f"listening {listen}", flush=True)
        async for message in messages:
            if "--gather" in flags:
                await asyncio.gather(*(client.send(message) for client in clients), return_exceptions=True)
            else:
                broadcast(clients, message)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
