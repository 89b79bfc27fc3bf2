"""A JSON-RPC client of the library `jsonrpc-websocket`, as its users write it.

usage: rpc.py SCENARIO URL [ARGUMENT...]      exits with 0 if all was as it should be
"""

import asyncio
import sys

from jsonrpc_base import ProtocolError
from jsonrpc_websocket import Server

CALLS = 500


async def calls(server, *names):
    """Many at once, each answered by its own answer, by whichever of the workers called so."""
    numbers = range(CALLS)
    sums = await asyncio.gather(*(server.sum(number, 1000, 0.5) for number in numbers))
    assert sums == [number + 1000.5 for number in numbers], sums
    workers = set(await asyncio.gather(*(server.where() for _ in numbers)))
    assert workers == set(names), workers
    try:
        await server.fail()
    except ProtocolError as error:
        assert error.args[:2] == (-32000, "as you wish"), error.args
    else:
        raise AssertionError("it did not fail")
    # One that has no id, and is not answered.
    assert await server.sum(1, 2, _notification=True) is None
    assert await server.sum(3, 4) == 7


async def overtaken(server):
    """What is quick need not wait for what is slow, once there is a connection to more than one worker."""
    await asyncio.gather(*(server.sum(number) for number in range(CALLS)))
    slow = asyncio.create_task(server.slow(3))
    await asyncio.sleep(0)
    for number in range(20):
        assert await server.sum(number) == number
    assert not slow.done()
    assert await slow == 3


async def steady(server):
    """Calls until it is told to stop; nothing is lost."""
    stop = asyncio.create_task(asyncio.to_thread(sys.stdin.readline))
    number = 0
    while not stop.done():
        batch = range(number, number + 20)
        assert await asyncio.gather(*(server.sum(each, 1) for each in batch)) == [each + 1 for each in batch]
        number += 20
        print(number, flush=True)


async def main(scenario, url, *arguments):
    server = Server(url, timeout=30)
    await server.ws_connect()
    try:
        await scenario(server, *arguments)
    finally:
        await server.close()


SCENARIOS = {scenario.__name__: scenario for scenario in [calls, overtaken, steady]}
asyncio.run(asyncio.wait_for(main(SCENARIOS[sys.argv[1]], *sys.argv[2:]), 60))
