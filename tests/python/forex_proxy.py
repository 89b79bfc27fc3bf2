"""The proxy of the published tutorials for forex feeds, as far as those who use it can tell.

usage: forex_proxy.py SOURCE_URL USER_KEY SYMBOLS [--skip-connected]      prints its port once it has the source

A client says who it is in its first message, {"userKey": ...}, within ten seconds. Whoever has the key gets every
message of the source from then on, as it came; what it says after that is never read. To the source it says
{"userKey": ..., "symbol": ...} when the connection is open. Copies differ in whether they pass on the `Connected` that
the vendor says first.
"""

import asyncio
import json
import sys

import websockets

AUTHENTICATION_SECONDS = 10


class ForexProxy:
    def __init__(self, user_key, symbols, skips_connected):
        self.user_key, self.symbols, self.skips_connected = user_key, symbols, skips_connected
        self.clients = set()

    async def handle_client(self, client):
        try:
            first = await asyncio.wait_for(client.recv(), AUTHENTICATION_SECONDS)
            user_key = json.loads(first).get("userKey")
        except asyncio.TimeoutError:
            await client.close(reason="Authentication timeout")
            return
        except (ValueError, AttributeError, websockets.ConnectionClosed):
            await client.close(reason="Authentication failed")
            return
        if user_key != self.user_key:
            await client.close(reason="Authentication failed")
            return
        self.clients.add(client)
        try:
            await client.wait_closed()
        finally:
            self.clients.remove(client)

    async def handle_source(self, source):
        await source.send(json.dumps({"userKey": self.user_key, "symbol": self.symbols}, separators=(",", ":")))
        async for message in source:
            if message == "Connected" and self.skips_connected:
                continue
            if self.clients:
                sends = (client.send(message) for client in self.clients)
                await asyncio.gather(*sends, return_exceptions=True)


async def main(source_url, user_key, symbols, *flags):
    proxy = ForexProxy(user_key, symbols, "--skip-connected" in flags)
    async with websockets.connect(source_url) as source:
        async with websockets.serve(proxy.handle_client, "127.0.0.1", 0) as server:
            print(server.sockets[0].getsockname()[1], flush=True)
            await proxy.handle_source(source)


asyncio.run(main(*sys.argv[1:]))
