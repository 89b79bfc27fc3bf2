#!/usr/bin/env python3
"""An echo server that serves one message at a time and takes the same time for each, whoever asks.

    slow_server.py 127.0.0.1:9001 SECONDS

So it and not the client decides how many answers there are a second and how long they take.
"""

import asyncio
import sys
import time

from websockets.asyncio.server import serve


async def main(listen, seconds):
    async def handle(client):
        async for message in client:
            # Nobody else is served meanwhile.
            time.sleep(seconds)
            await client.send(message)

    host, port = listen.rsplit(":", 1)
    async with serve(handle, host, int(port), compression=None, ping_interval=None) as server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], float(sys.argv[2])))
