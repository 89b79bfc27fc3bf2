"""A backend that answers messages, by the `websockets` library, and misbehaves on command.

usage: worker.py HOST PORT NAME      port 0: any

Answers the messages of each connection one at a time: `{"id": 7}` with `{"id": 7, "by": NAME, "of": PID}`, whatever
else is in it; JSON-RPC calls of `sum`, `slow` and `fail` as JSON-RPC does; anything else with itself. A message with
`"silent"` gets no answer.

Commands are the public methods of `Worker`; commanded.py says how they are given.
"""

import asyncio
import json
import os
import sys

from websockets.exceptions import ConnectionClosed
from websockets.frames import Frame, Opcode

from commanded import Server, report


class Worker(Server):
    def __init__(self, host, port, name):
        def chosen(_connection, offered):
            return self.protocol if self.protocol in offered else None

        super().__init__(host, port, select_subprotocol=chosen)
        self.name = name
        self.seconds = 0
        self.is_quiet = False
        self.held = None
        self.protocol = None
        self.fragment_bytes = None

    async def choose(self, protocol):
        """Chooses this subprotocol where it is offered, and none elsewhere."""
        self.protocol = protocol

    async def work(self, seconds):
        """Takes so long for a message."""
        self.seconds = seconds

    async def hush(self, is_quiet):
        """Does not report what it receives: for thousands of messages."""
        self.is_quiet = is_quiet

    async def hold(self):
        """Keeps its answers from now on, until it is to release them."""
        self.held = self.held or []

    async def release(self, order=None):
        """Gives the answers that it kept, as they came, and keeps no more; or only some, in the order of these indices,
        counted from the oldest that is kept."""
        held, self.held = self.held, None
        if order is not None:
            self.held = [kept for index, kept in enumerate(held) if index not in order]
            held = [held[index] for index in order]
        for connection, answer in held:
            await connection.send(answer)

    async def split(self, fragment_bytes):
        """Sends its answers in fragments of so many bytes; with none in one frame."""
        self.fragment_bytes = fragment_bytes

    async def say(self, message):
        """Says something that it was not asked, on every connection; a list in fragments."""
        for connection in list(self.open.values()):
            await connection.send(message)

    async def begin(self, message):
        """Says the first fragment of a message on every connection, and not the rest."""
        for connection in list(self.open.values()):
            connection.transport.write(Frame(Opcode.TEXT, message.encode(), fin=False).serialize(mask=False))

    async def end(self, message):
        """Says the rest of it."""
        for connection in list(self.open.values()):
            connection.transport.write(Frame(Opcode.CONT, message.encode()).serialize(mask=False))

    async def ping(self):
        """Pings every connection, and waits for the pongs."""
        for connection in list(self.open.values()):
            await (await connection.ping())

    async def cut(self):
        """Ends all connections with a TCP reset."""
        for connection in list(self.open.values()):
            connection.transport.abort()

    async def close(self, code, reason=""):
        """Closes all connections, in order."""
        for connection in list(self.open.values()):
            await connection.close(code, reason)

    async def _process_request(self, connection, _request):
        if self.status is not None:
            report("refused", status=self.status)
            return connection.respond(self.status, "not here\n")
        return None

    async def _handle(self, connection):
        connection.number = next(self.numbers)
        self.open[connection.number] = connection
        report(
            "opened",
            connection=connection.number,
            path=connection.request.path,
            subprotocol=connection.subprotocol,
            extensions=[extension.name for extension in connection.protocol.extensions],
        )
        try:
            async for message in connection:
                await self._answer(connection, message)
        except ConnectionClosed:
            pass
        self.open.pop(connection.number)
        report("closed", connection=connection.number, code=connection.close_code, reason=connection.close_reason)

    async def _answer(self, connection, message):
        if not self.is_quiet:
            seen = {"text": message} if isinstance(message, str) else {"bytes": len(message)}
            report("received", connection=connection.number, **seen)
        if self.seconds:
            await asyncio.sleep(self.seconds)
        answer = await self._reply(message)
        if answer is None:
            return
        if self.held is not None:
            self.held.append((connection, answer))
        elif self.fragment_bytes:
            size = self.fragment_bytes
            await connection.send(answer[at : at + size] for at in range(0, len(answer), size))
        else:
            await connection.send(answer)

    async def _reply(self, message):
        try:
            asked = json.loads(message)
        except ValueError:
            return message
        if not isinstance(asked, dict):
            return message
        if "silent" in asked:
            return None
        if "jsonrpc" in asked:
            return await self._call(asked)
        if "id" in asked:
            return json.dumps({**asked, "by": self.name, "of": os.getpid()})
        return message

    async def _call(self, asked):
        """JSON-RPC 2.0: a call with an id is answered, one without is not."""
        method, parameters = asked["method"], asked.get("params", [])
        if method == "slow":
            await asyncio.sleep(parameters[0])
        outcome = {
            "sum": lambda: {"result": sum(parameters)},
            "slow": lambda: {"result": parameters[0]},
            "where": lambda: {"result": self.name},
            "fail": lambda: {"error": {"code": -32000, "message": "as you wish"}},
        }.get(method, lambda: {"error": {"code": -32601, "message": "Method not found"}})()
        return json.dumps({"jsonrpc": "2.0", "id": asked["id"], **outcome}) if "id" in asked else None


def main(host, port, name):
    asyncio.run(Worker(host, int(port), name).obey())


main(*sys.argv[1:])
