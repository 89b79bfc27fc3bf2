"""A client of the `websockets` library for several tests.

usage: client.py SCENARIO URL [ARGUMENT...]      exits with 0 if all was as it should be
"""

import asyncio
import json
import os
import random
import signal
import ssl
import sys

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

MESSAGE_BYTES_MAX = 32 << 20


def open_(url, **options):
    return connect(url, max_size=MESSAGE_BYTES_MAX, **options)


def extensions(connection):
    return [extension.name for extension in connection.protocol.extensions]


async def expect_echo(connection, message):
    await connection.send(message)
    echo = await connection.recv()
    assert echo == message, f"{len(message)} came back as {len(echo)}"


async def expect_close(connection):
    """The code and the reason of the Close that ends the connection."""
    try:
        while True:
            await connection.recv()
    except ConnectionClosed as closed:
        assert closed.rcvd is not None, f"no Close came: {closed!r}"
        return closed.rcvd.code, closed.rcvd.reason


async def compression(url):
    async with open_(url + "/facts") as connection:
        facts = json.loads(await connection.recv())
        assert facts["extensions"] == ["permessage-deflate"], facts
        assert extensions(connection) == ["permessage-deflate"]
        for message in ["", "hello", "compress me " * 100_000, b"", os.urandom(1 << 20), b"\0" * (8 << 20)]:
            await expect_echo(connection, message)
    async with open_(url + "/facts", compression=None) as connection:
        facts = json.loads(await connection.recv())
        assert facts["extensions"] == [] and extensions(connection) == [], facts
        await expect_echo(connection, "plain")


async def large(url):
    for compression in ["deflate", None]:
        async with open_(url + "/echo", compression=compression) as connection:
            for size in [65_535, 65_536, 1 << 20, 20 << 20]:
                await expect_echo(connection, random.randbytes(size))


async def fragments(url):
    """Fragmented by the client, then by the server, with a ping of each among the fragments."""

    async def pieces(connection):
        for n in range(20):
            if n == 10:
                await (await connection.ping())
            yield f"piece {n}, "

    for path in ["/echo", "/fragments"]:
        for compression in ["deflate", None]:
            async with open_(url + path, compression=compression) as connection:
                await connection.send(pieces(connection))
                whole = "".join([f"piece {n}, " for n in range(20)])
                assert await connection.recv() == whole
                await expect_echo(connection, os.urandom(1000))


async def pings(url):
    async with open_(url + "/ping") as connection:
        # The server pings us; the library answers.
        assert await connection.recv() == "ponged"
        for payload in [b"", b"y" * 125]:
            assert await (await connection.ping(payload)) >= 0
    # The library's own keepalive, faster than anybody would.
    async with open_(url + "/echo", ping_interval=0.05, ping_timeout=20) as connection:
        for _ in range(10):
            await expect_echo(connection, "still here")
            await asyncio.sleep(0.05)
        assert connection.latency > 0


async def quiet(url):
    """Says little, for longer than a keepalive's patience."""
    async with open_(url, compression=None, ping_interval=None) as connection:
        await expect_echo(connection, "before")
        await asyncio.sleep(0.5)
        await expect_echo(connection, "after")


async def subprotocols(url):
    for offered, chosen in [(["soap", "chat.v2"], "chat.v2"), (["chat.v1"], "chat.v1"), (None, None)]:
        async with open_(url + "/facts", subprotocols=offered) as connection:
            facts = json.loads(await connection.recv())
            assert connection.subprotocol == facts["subprotocol"] == chosen, facts


async def headers(url):
    more = {"Cookie": "session=1", "X-Request": "café"}
    async with open_(url + "/facts?room=1", additional_headers=more, origin="https://app.example") as connection:
        facts = json.loads(await connection.recv())
        headers = facts["headers"]
        assert facts["path"] == "/facts?room=1", facts
        assert headers["cookie"] == ["session=1"] and headers["origin"] == ["https://app.example"], headers
        assert headers["host"] == [url.removeprefix("ws://")], headers
        assert headers["x-forwarded-for"] == ["127.0.0.1"], headers
        assert headers["x-forwarded-proto"] == ["http"], headers


async def closes(url):
    codes = [(1000, ""), (1001, "bye"), (3000, "é" * 61), (4999, "enough")]
    for code, reason in codes:
        async with open_(url + "/close") as connection:
            await connection.send(json.dumps([code, reason]))
            assert await expect_close(connection) == (code, reason)
        connection = await open_(url + "/echo")
        await expect_echo(connection, "hello")
        await connection.close(code, reason)
        assert (connection.close_code, connection.close_reason) == (code, reason)
        async with open_(url + "/last-close") as connection:
            assert json.loads(await connection.recv()) == [code, reason]


async def refused(url):
    try:
        await open_(url + "/secret")
    except InvalidStatus as refusal:
        response = refusal.response
        assert response.status_code == 401, response
        assert response.headers["WWW-Authenticate"] == "Bearer", response
        assert response.body == b"who are you?\n", response
    else:
        raise AssertionError("it was let in")


async def crowd(url):
    async def one(n):
        async with open_(url + "/echo") as connection:
            for m in range(20):
                await expect_echo(connection, f"client {n}, message {m} " * random.randrange(1, 3000))

    await asyncio.gather(*(one(n) for n in range(50)))


async def survive(url, code):
    """Kills the server it is on, is told so, and goes on with another."""
    connection = await open_(url + "/facts")
    first = json.loads(await connection.recv())["pid"]
    await expect_echo(connection, "before")
    os.kill(first, signal.SIGKILL)
    assert await expect_close(connection) == (int(code), "backend connection lost")
    async with open_(url + "/facts") as connection:
        second = json.loads(await connection.recv())["pid"]
        assert second != first
        await expect_echo(connection, "after")


def tls(authority, version):
    context = ssl.create_default_context(cafile=authority)
    context.minimum_version = context.maximum_version = version
    return context


async def encrypted(url, authority):
    """Speaks every version of TLS with whom that authority has certified."""
    for version, name in [(ssl.TLSVersion.TLSv1_2, "TLSv1.2"), (ssl.TLSVersion.TLSv1_3, "TLSv1.3")]:
        options = {"ssl": tls(authority, version), "server_hostname": "localhost"}
        async with open_(url + "/facts", **options) as connection:
            assert connection.transport.get_extra_info("ssl_object").version() == name
            facts = json.loads(await connection.recv())
            assert facts["headers"]["x-forwarded-proto"] == ["https"], facts
            for size in [0, 1, 16_384, 16_385, 1 << 20, 8 << 20]:
                await expect_echo(connection, random.randbytes(size))
        async with open_(url + "/close", **options) as connection:
            await connection.send(json.dumps([3000, "enough"]))
            assert await expect_close(connection) == (3000, "enough")


async def distrusts(url, authority, name, words):
    """Finds that whoever is there does not prove to be `name`, and says so in these words."""
    try:
        await open_(url, ssl=tls(authority, ssl.TLSVersion.TLSv1_3), server_hostname=name)
    except ssl.SSLCertVerificationError as error:
        assert words in str(error), error
    else:
        raise AssertionError("it was believed")


async def drained(url):
    """Waits for the proxy to go down, and says so when it may."""
    async with open_(url + "/facts") as connection:
        await connection.recv()
        await expect_echo(connection, "hello")
        print("ready", flush=True)
        assert await expect_close(connection) == (1001, "going away")


SCENARIOS = [
    compression,
    large,
    fragments,
    pings,
    quiet,
    subprotocols,
    headers,
    closes,
    refused,
    crowd,
    survive,
    encrypted,
    distrusts,
    drained,
]

by_name = {scenario.__name__: scenario for scenario in SCENARIOS}
asyncio.run(asyncio.wait_for(by_name[sys.argv[1]](*sys.argv[2:]), 60))
