"""WebSocket echo server for the Autobahn cases: any free loopback port, printed once listening.

Built on the protocol core of `websockets`, not on its server, which hands messages
to another task: whether one is echoed before a bad frame right behind it ends the
connection would then depend on how TCP cut the stream, and so would the verdict.
Here a message is echoed as soon as its last frame is parsed.
"""

import asyncio
import codecs

from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory
from websockets.frames import OP_BINARY, OP_CLOSE, OP_CONT, OP_TEXT
from websockets.http11 import Request
from websockets.server import ServerProtocol


class Echo(ServerProtocol):
    def recv_frame(self, frame):
        if frame.opcode is OP_CLOSE:
            # A close frame may interrupt a message; by itself, ServerProtocol
            # takes that for an error (case 7.1.5).
            self.current_size = None
        super().recv_frame(frame)  # also answers ping and close

        if frame.opcode in (OP_TEXT, OP_BINARY):
            text = frame.opcode is OP_TEXT
            self.decoder = codecs.getincrementaldecoder("utf-8")() if text else None
            self.fragments = []
        elif frame.opcode is not OP_CONT:
            return
        if self.decoder:
            self.decoder.decode(frame.data, frame.fin)  # the caller closes with 1007 on an error
        self.fragments.append(frame.data)
        if frame.fin:
            (self.send_text if self.decoder else self.send_binary)(b"".join(self.fragments))


class Connection(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport
        # No size limit: group 9 sends 16 MiB. Compression is for groups 12 and 13.
        self.echo = Echo(extensions=[ServerPerMessageDeflateFactory()], max_size=None)

    def data_received(self, data):
        self.echo.receive_data(data)
        self.advance()

    def eof_received(self):
        self.echo.receive_eof()
        self.advance()

    def advance(self):
        for event in self.echo.events_received():
            if isinstance(event, Request):
                self.echo.send_response(self.echo.accept(event))
        for data in self.echo.data_to_send():
            if data:
                self.transport.write(data)
            elif self.transport.can_write_eof():
                self.transport.write_eof()

    def pause_writing(self):
        self.transport.pause_reading()

    def resume_writing(self):
        self.transport.resume_reading()


async def main():
    server = await asyncio.get_running_loop().create_server(Connection, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


asyncio.run(main())
