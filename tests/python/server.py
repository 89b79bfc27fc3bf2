"""A server of the `websockets` library for several tests; prints its port once it listens.

What a client gets depends on the path it asks for. Arguments, for TLS: the files of a certificate chain and its key,
and of an authority, if clients have to have a certificate of it.
"""

import asyncio
import json
import os
import ssl
import sys

from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed

MESSAGE_BYTES_MAX = 32 << 20

closes = asyncio.Queue()  # what clients said when they closed


async def echo(connection):
    async for message in connection:
        await connection.send(message)


async def fragments(connection):
    """Sends each message back in fragments of ten."""
    async for message in connection:
        await connection.send(message[at : at + 10] for at in range(0, len(message), 10))


async def ping(connection):
    """Pings, twice, before it says so."""
    for payload in [b"", b"x" * 125]:
        await (await connection.ping(payload))
    await connection.send("ponged")
    await connection.wait_closed()


async def close(connection):
    """Closes as the client asks it to."""
    code, reason = json.loads(await connection.recv())
    await connection.close(code, reason)


async def facts(connection):
    """What the server knows of the connection."""
    headers = {name.lower(): connection.request.headers.get_all(name) for name in connection.request.headers}
    tls = connection.transport.get_extra_info("ssl_object")
    facts = {
        "resumed": tls is not None and tls.session_reused,
        "peer": tls and tls.getpeercert(),
        "pid": os.getpid(),
        "path": connection.request.path,
        "headers": headers,
        "subprotocol": connection.subprotocol,
        "extensions": [extension.name for extension in connection.protocol.extensions],
    }
    await connection.send(json.dumps(facts))
    await echo(connection)


async def last_close(connection):
    """The code and reason of the next client's Close that nobody has asked for yet."""
    await connection.send(json.dumps(await closes.get()))


HANDLERS = {
    "/echo": echo,
    "/fragments": fragments,
    "/ping": ping,
    "/close": close,
    "/facts": facts,
    "/last-close": last_close,
}


async def handle(connection):
    path = connection.request.path.split("?")[0]
    try:
        await HANDLERS[path](connection)
    except ConnectionClosed:
        pass
    await connection.wait_closed()
    if path == "/echo":
        await closes.put((connection.close_code, connection.close_reason))


def refuse(connection, request):
    if request.path == "/secret":
        response = connection.respond(401, "who are you?\n")
        response.headers["WWW-Authenticate"] = "Bearer"
        return response
    return None


def select_subprotocol(_connection, offered):
    """The newest that the client knows; none is fine too."""
    return next((known for known in ["chat.v2", "chat.v1"] if known in offered), None)


def tls(chain, key, authority=None):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain, key)
    if authority is not None:
        context.load_verify_locations(authority)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


async def main(files):
    server = await serve(
        handle,
        "127.0.0.1",
        0,
        process_request=refuse,
        select_subprotocol=select_subprotocol,
        max_size=MESSAGE_BYTES_MAX,
        ssl=tls(*files) if files else None,
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


asyncio.run(main(sys.argv[1:]))
