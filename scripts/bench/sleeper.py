"""A WebSocket server that takes a millisecond for each message, and one message at a time.

usage: sleeper.py HOST:PORT
"""

import base64
import hashlib
import socket
import sys
import time

SECONDS = 0.001
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def main(address):
    host, port = address.split(":")
    listener = socket.create_server((host, int(port)))
    while True:
        connection, _ = listener.accept()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            serve(connection)
        except ConnectionError:
            pass
        connection.close()


def serve(connection):
    stream = connection.makefile("rb")
    head = {}
    if not stream.readline():
        return
    while (line := stream.readline().strip()):
        name, _, value = line.partition(b":")
        head[name.lower()] = value.strip()
    accept = base64.b64encode(hashlib.sha1(head[b"sec-websocket-key"] + GUID).digest())
    connection.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                       b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n")
    while len(start := stream.read(2)) == 2:
        size = start[1] & 0x7F
        if size > 125:
            raise ConnectionError("longer than this server knows")
        mask, payload = stream.read(4), stream.read(size)
        payload = bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload)) if any(mask) else payload
        if start[0] & 0x0F == 8:
            connection.sendall(bytes([0x88, size]) + payload)
            return
        time.sleep(SECONDS)
        connection.sendall(bytes([start[0], size]) + payload)


main(sys.argv[1])
