"""An echo server on a given port, for the soak to kill."""

import asyncio
import sys

from websockets.asyncio.server import serve


async def echo(connection):
    async for message in connection:
        await connection.send(message)


async def main(port):
    async with serve(echo, "127.0.0.1", port, max_size=None, compression=None):
        await asyncio.get_running_loop().create_future()


asyncio.run(main(int(sys.argv[1])))
