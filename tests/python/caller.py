"""A client that asks without a pause, by the `websockets` library, and accounts for every message.

usage: caller.py URL WINDOW PATIENCE      so many messages wait for an answer at once, each for so many seconds

Messages are `{"id": N}`, numbered from 0. An answer has that id and says who gave it (`"by"`), or that there is none
(`"error"`). Standard output: a line of JSON whenever a hundred more were answered, and at the end the account. Standard
input: any line has it ask no more, wait for what it is owed, and close.
"""

import asyncio
import json
import sys
from collections import Counter

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed


class Account:
    def __init__(self, window, patience):
        self.window, self.patience = asyncio.Semaphore(window), patience
        self.sent = 0
        self.owed = {}
        self.by, self.errors, self.missing, self.again = Counter(), [], [], []

    async def ask(self, connection, stop):
        while not stop.done():
            await self.window.acquire()
            number, self.sent = self.sent, self.sent + 1
            self.owed[number] = asyncio.get_running_loop().call_later(self.patience, self.give_up, number)
            await connection.send(json.dumps({"id": number}))

    def give_up(self, number):
        del self.owed[number]
        self.missing.append(number)
        self.window.release()

    def take(self, message):
        answer = json.loads(message)
        timer = self.owed.pop(answer["id"], None)
        if timer is None:
            self.again.append(answer["id"])
            return
        timer.cancel()
        self.window.release()
        if "error" in answer:
            self.errors.append(answer["id"])
        else:
            self.by[answer["by"]] += 1
        answered = self.by.total() + len(self.errors)
        if answered % 100 == 0:
            print(json.dumps({"answered": answered}), flush=True)

    async def listen(self, connection):
        async for message in connection:
            self.take(message)

    async def settle(self):
        while self.owed:
            await asyncio.sleep(0.01)

    def report(self, code):
        print(
            json.dumps(
                {
                    "sent": self.sent,
                    "by": self.by,
                    "errors": self.errors,
                    "missing": self.missing + sorted(self.owed),
                    "again": self.again,
                    "code": code,
                }
            ),
            flush=True,
        )


async def main(url, window, patience):
    account = Account(int(window), float(patience))
    stop = asyncio.create_task(asyncio.to_thread(sys.stdin.readline))
    async with connect(url, max_queue=None, ping_interval=None) as connection:
        listening = asyncio.create_task(account.listen(connection))
        asking = asyncio.create_task(account.ask(connection, stop))
        try:
            await asyncio.wait([listening, asking], return_when=asyncio.FIRST_COMPLETED)
            if asking.done() and not asking.exception():
                await asyncio.wait([listening, asyncio.create_task(account.settle())], return_when=asyncio.FIRST_COMPLETED)
        finally:
            await connection.close()
        await asyncio.wait([listening])
        for task in [asking, listening]:
            task.cancel()
        for outcome in await asyncio.gather(asking, listening, return_exceptions=True):
            assert outcome is None or isinstance(outcome, (ConnectionClosed, asyncio.CancelledError)), repr(outcome)
        account.report(connection.close_code)


asyncio.run(asyncio.wait_for(main(*sys.argv[1:]), 120))
