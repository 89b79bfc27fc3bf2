"""Ends TLS before a plain server, as a proxy does: Python's `ssl`, which is OpenSSL, judges what comes.

    terminate.py CERTIFICATE KEY ADDRESS [--version 1.2|1.3] [--cut]

Prints its port once it listens, and for each connection that ended one line: what TLS was, and how the client ended.
With --cut it ends connections without close_notify.
"""

import argparse
import asyncio
import json
import ssl

VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


async def pump(reader, writer):
    while piece := await reader.read(1 << 16):
        writer.write(piece)
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()


async def relay(args, reader, writer):
    plain_reader, plain_writer = await asyncio.open_connection(*args.address)
    upward = asyncio.create_task(pump(reader, plain_writer))
    await pump(plain_reader, writer)
    tls = writer.get_extra_info("ssl_object")
    line = {"version": tls.version(), "cipher": tls.cipher()[0], "resumed": tls.session_reused}
    if args.cut:
        writer.transport.abort()
    else:
        writer.close()
    upward.cancel()
    plain_writer.close()
    print(json.dumps(line), flush=True)


def address(text):
    host, port = text.rsplit(":", 1)
    return host, int(port)


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("certificate")
    parser.add_argument("key")
    parser.add_argument("address", type=address)
    parser.add_argument("--version", choices=VERSIONS, default="1.3")
    parser.add_argument("--cut", action="store_true")
    return parser.parse_args()


async def main():
    args = arguments()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(args.certificate, args.key)
    context.minimum_version = context.maximum_version = VERSIONS[args.version]
    context.set_alpn_protocols(["http/1.1"])

    async def serve(reader, writer):
        try:
            await relay(args, reader, writer)
        except (OSError, asyncio.CancelledError):
            pass  # the client has gone, and says itself what it thinks of it

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


asyncio.run(main())
