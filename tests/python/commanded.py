"""A WebSocket server, by the `websockets` library, that does as it is told on standard input.

Standard input: a line of JSON for each command, `[NAME, {ARGUMENT: VALUE, ...}]`; they are the public methods of the
server. Standard output: a line of JSON for each thing that happens; the first has the port, and `{"event": "done"}`
follows on each command that was carried out. Ends with its input.
"""

import asyncio
import itertools
import json
import sys

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.frames import Frame, Opcode

COMMAND_BYTES_MAX = 64 << 20


def report(event, **facts):
    print(json.dumps({"event": event, **facts}), flush=True)


class Connection(ServerConnection):
    """A connection that reports pings; the library answers them."""

    number = None

    def process_event(self, event):
        super().process_event(event)
        if isinstance(event, Frame) and event.opcode is Opcode.PING:
            report("pinged", connection=self.number)


class Server:
    """`_process_request` and `_handle` are as the library wants them; `settings` are further ones of its `serve`."""

    def __init__(self, host, port=0, **settings):
        self.host, self.port, self.settings = host, port, settings
        self.server = None
        self.numbers = itertools.count(1)
        self.open = {}
        self.status = None

    async def listen(self):
        """Accepts connections, at the same port each time."""
        self.server = await serve(
            self._handle,
            self.host,
            self.port,
            process_request=self._process_request,
            create_connection=Connection,
            ping_interval=None,
            max_size=COMMAND_BYTES_MAX,
            **self.settings,
        )
        self.port = self.server.sockets[0].getsockname()[1]

    async def stop_listening(self):
        """Refuses connections; those that are open stay."""
        self.server.server.close()

    async def refuse(self, status):
        """Answers requests with this status; with none it lets them in again."""
        self.status = status

    async def nothing(self):
        """Is told that it was: what has happened before is reported by then."""

    async def obey(self):
        """Listens, and carries out commands until there are no more."""
        await self.listen()
        report("listening", port=self.port)
        reader = asyncio.StreamReader(limit=COMMAND_BYTES_MAX)
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        async for line in reader:
            name, arguments = json.loads(line)
            try:
                await getattr(self, name)(**arguments)
            except ConnectionClosed:
                pass  # it is reported where it is served
            report("done", command=name)
