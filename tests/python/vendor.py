"""The vendor of a real-time feed, by the `websockets` library, which misbehaves on command.

usage: vendor.py HOST [CHAIN KEY]      with the files of a certificate chain and its key it speaks TLS

Commands are the public methods of `Vendor`; commanded.py says how they are given.
"""

import asyncio
import contextlib
import json
import random
import ssl
import sys

from websockets.exceptions import ConnectionClosed
from websockets.frames import Frame, Opcode

from commanded import Server, report

TOO_MANY = "User Key Used to many times"


def decoded(message):
    """A message of a command: text, or {"binary": hex}; a list in the place of either is sent as fragments."""
    if isinstance(message, dict):
        parts = message["binary"]
        return bytes.fromhex(parts) if isinstance(parts, str) else [bytes.fromhex(part) for part in parts]
    return message


class Vendor(Server):
    def __init__(self, host, context):
        super().__init__(host, ssl=context)
        # Connections by number, in order, to which it talks.
        self.customers = {}
        self.has_customers = asyncio.Event()
        self.is_hanging, self.is_deaf = False, False
        self.connections_max, self.excess = None, None
        self.greeting, self.member = [], None
        self.flood_from = 0

    async def hang(self, is_hanging):
        """Accepts connections, and leaves their requests without an answer."""
        self.is_hanging = is_hanging

    async def allow(self, connections, excess):
        """Has so many connections at most. `excess`: one more is answered with 403 ("refuse"), is told so in plain text
        and closed ("tell"), or takes the place of the first, which is cut ("replace")."""
        self.connections_max, self.excess = connections, excess

    async def greet(self, messages):
        """Says this to each new connection, before anything else."""
        self.greeting = [decoded(message) for message in messages]

    async def demand(self, member):
        """Says nothing but the greeting to a connection that has not sent a JSON object with this member."""
        self.member = member

    async def deafen(self, is_deaf):
        """Reads nothing, so that no ping is answered and nothing received; says what it is told to."""
        self.is_deaf = is_deaf
        for connection in self.open.values():
            self._attend(connection)

    async def send(self, messages, to=None):
        """Says this, one message behind the other, to that connection or to all."""
        for message in messages:
            for connection in self._customers(to):
                await self._tell(connection, decoded(message))

    async def flood(self, count, keys, padding=0):
        """Numbered messages without a pause, about each of so many keys in turn, with so many bytes of nothing."""
        padding = "." * padding
        for number in range(self.flood_from, self.flood_from + count):
            for connection in self._customers():
                message = {"symbol": f"KEY{number % keys}", "n": number, "padding": padding}
                await self._tell(connection, json.dumps(message))
        self.flood_from += count

    async def flicker(self, count, seed):
        """Numbered messages as in a flood, with the connection cut at random: between messages, and within. Waits for a
        connection for each message."""
        dice = random.Random(seed)
        for _ in range(count):
            await self.has_customers.wait()
            connection = next(iter(self.customers.values()))
            fate = dice.random()
            if fate < 0.1:
                frame = Frame(Opcode.TEXT, json.dumps({"half": "x" * 100}).encode())
                wire = frame.serialize(mask=False)
                connection.transport.write(wire[: dice.randrange(1, len(wire))])
            if fate < 0.2:
                self._abort(connection)
                continue
            await connection.send(json.dumps({"n": self.flood_from}))
            self.flood_from += 1

    async def ping(self, to=None):
        """Pings, and waits for the pongs."""
        for connection in self._customers(to):
            await (await connection.ping())

    async def ping_within(self, fragments):
        """Sends one message in these fragments, and awaits a pong between each and the next."""

        async def pieces(connection):
            for fragment in fragments:
                yield fragment
                await (await connection.ping())

        for connection in self._customers():
            await connection.send(pieces(connection))

    async def cut(self, to=None):
        """Ends that connection or all of them with a TCP reset."""
        for connection in list(self.open.values()) if to is None else [self.open[to]]:
            self._abort(connection)

    async def close(self, code, reason, to=None):
        """Closes that connection or all, in order."""
        for connection in self._customers(to):
            await connection.close(code, reason)

    async def _tell(self, connection, message):
        """Says it, unless the connection is closing: the others are to hear it all the same."""
        with contextlib.suppress(ConnectionClosed):
            await connection.send(message)

    def _customers(self, to=None):
        return list(self.customers.values()) if to is None else [self.customers[to]]

    def _abort(self, connection):
        self._forget(connection)
        connection.transport.abort()

    def _forget(self, connection):
        self.open.pop(connection.number, None)
        self.customers.pop(connection.number, None)
        if not self.customers:
            self.has_customers.clear()

    def _attend(self, connection):
        if self.is_deaf:
            connection.transport.pause_reading()
        else:
            connection.transport.resume_reading()

    async def _process_request(self, connection, request):
        if self.is_hanging:
            report("left hanging")
            await asyncio.Event().wait()
        is_full = self.connections_max is not None and len(self.open) >= self.connections_max
        status = 403 if is_full and self.excess == "refuse" else self.status
        if status is not None:
            report("refused", status=status)
            return connection.respond(status, "too many connections\n")
        return None

    async def _handle(self, connection):
        if self.connections_max is not None and len(self.open) >= self.connections_max:
            report("exceeded")
            if self.excess == "tell":
                await connection.send(TOO_MANY)
                return
            self._abort(next(iter(self.open.values())))
        connection.number = next(self.numbers)
        self.open[connection.number] = connection
        headers = {name.lower(): value for name, value in connection.request.headers.raw_items()}
        extensions = [extension.name for extension in connection.protocol.extensions]
        report(
            "opened",
            connection=connection.number,
            path=connection.request.path,
            headers=headers,
            extensions=extensions,
        )
        try:
            await self._serve(connection)
        except ConnectionClosed:
            pass
        self._forget(connection)
        report("closed", connection=connection.number, code=connection.close_code, reason=connection.close_reason)

    async def _serve(self, connection):
        for message in self.greeting:
            await connection.send(message)
        if self.is_deaf:
            self._attend(connection)
        if self.member is None:
            self._admit(connection)
        async for message in connection:
            if isinstance(message, str):
                report("received", connection=connection.number, text=message)
            else:
                report("received", connection=connection.number, binary=message.hex())
            if connection.number not in self.customers and self.member in json.loads(message):
                self._admit(connection)

    def _admit(self, connection):
        self.customers[connection.number] = connection
        self.has_customers.set()


def main(host, files):
    context = None
    if files:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*files)
    asyncio.run(Vendor(host, context).obey())


main(sys.argv[1], sys.argv[2:])
