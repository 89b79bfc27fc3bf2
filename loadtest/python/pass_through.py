#!/usr/bin/env python3
"""A proxy as it is written in Python: each client gets a connection of its own to the server, and messages are passed.

    pass_through.py 127.0.0.1:9002 ws://127.0.0.1:9001

As published tutorials do it, except that nothing is compressed and nobody pinged, which no other proxy here does.
"""

import asyncio
import resource
import sys

from websockets.asyncio.client import connect
from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed

PLAIN = {"compression": None, "ping_interval": None, "open_timeout": 60, "max_size": None}


async def pass_on(source, target):
    try:
        async for message in source:
            await target.send(message)
    except ConnectionClosed:
        pass
    finally:
        await target.close()


async def main(listen, backend):
    # As much as one process may have: connections need two descriptors each.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))

    async def handle(client):
        async with connect(backend + client.request.path, **PLAIN) as server:
            await asyncio.gather(pass_on(client, server), pass_on(server, client))

    host, port = listen.rsplit(":", 1)
    async with serve(handle, host, int(port), backlog=4096, **PLAIN) as server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
