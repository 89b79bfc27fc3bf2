"""A client of the published forex proxy: shows its key, then only receives. Prints all that it sees, as JSON.

usage: forex_client.py URL USER_KEY [MESSAGE...]      the messages are said behind the key, though nobody listens
"""

import asyncio
import json
import sys

import websockets


async def main(url, user_key, *messages):
    async with websockets.connect(url) as connection:
        for message in [json.dumps({"userKey": user_key}), *messages]:
            await connection.send(message)
        try:
            while True:
                message = await connection.recv()
                seen = {"text": message} if isinstance(message, str) else {"binary": message.hex()}
                print(json.dumps(seen), flush=True)
        except websockets.ConnectionClosed as closed:
            close = closed.rcvd and [closed.rcvd.code, closed.rcvd.reason]
            print(json.dumps({"closed": close}), flush=True)


asyncio.run(main(*sys.argv[1:]))
