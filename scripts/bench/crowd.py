"""Clients that send JSON, or anything else, over plain sockets: for what `selat-load` does not send. Their own cost does
not matter: what counts is read from the proxy's process."""

import base64
import os
import select
import socket
import struct
import time
from dataclasses import dataclass

OPENING_SECONDS = 30
READ_BYTES = 256 * 1024


class Broken(Exception):
    """A server has not done what it should."""


def frame(payload, opcode=1):
    """A masked frame. The mask is nothing, for it is not the client that is measured."""
    size = len(payload)
    length = bytes([0x80 | size]) if size < 126 else b"\xfe" + struct.pack(">H", size)
    return bytes([0x80 | opcode]) + length + bytes(4) + payload


class Client:
    """A connection that has its 101, and what of its last message has come back."""

    def __init__(self, address):
        host, port = address.split(":")
        self.socket = socket.create_connection((host, int(port)), OPENING_SECONDS)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        key = base64.b64encode(os.urandom(16)).decode()
        self.socket.sendall((f"GET / HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                             f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n").encode())
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += self.socket.recv(1) or b"\r\n\r\n"
        if not head.startswith(b"HTTP/1.1 101 "):
            raise Broken(f"no 101: {head!r}")
        self.buffer = b""
        self.sent = 0

    def send(self, message):
        self.sent += 1
        self.socket.sendall(frame(message(self.sent)))

    def receive(self):
        """The payloads of the messages that have come."""
        read = self.socket.recv(READ_BYTES)
        if not read:
            raise Broken("the connection was closed")
        self.buffer += read
        at, payloads = 0, []
        while len(self.buffer) - at >= 2:
            first, size = self.buffer[at], self.buffer[at + 1]
            start = at + 2
            if size == 126:
                start += 2
                size = int.from_bytes(self.buffer[at + 2 : start])
            if size == 127 or first not in (0x81, 0x82):
                raise Broken(f"neither a short message nor a whole one: {self.buffer[at:at + 20]!r}")
            if len(self.buffer) < start + size:
                break
            at = start + size
            payloads.append(self.buffer[start:at])
        self.buffer = self.buffer[at:]
        return payloads


@dataclass
class Counted:
    """What came of a measurement."""

    messages: int
    seconds: float
    cpu_us: float
    """Of the process that was watched."""
    stolen: float
    """Share of the machine's time that the hypervisor gave to somebody else."""


class Crowd:
    """Clients of one server, each with so many messages in flight."""

    def __init__(self, address, clients, in_flight, message):
        self.message, self.in_flight = message, in_flight
        self.clients = {}
        self.poll = select.epoll()
        for _ in range(clients):
            client = Client(address)
            self.clients[client.socket.fileno()] = client
            self.poll.register(client.socket, select.EPOLLIN)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for client in self.clients.values():
            client.socket.close()

    def start(self):
        for client in self.clients.values():
            for _ in range(self.in_flight):
                client.send(self.message)

    def run(self, seconds):
        """Sends a message for every reply; how many there were."""
        count, end = 0, time.monotonic() + seconds
        while time.monotonic() < end:
            for fd, _ in self.poll.poll(0.1):
                client = self.clients[fd]
                for payload in client.receive():
                    self.check(client, payload)
                    client.send(self.message)
                    count += 1
        return count

    def check(self, client, payload):
        if self.in_flight == 1 and payload != self.message(client.sent):
            raise Broken(f"{payload!r} in the place of {self.message(client.sent)!r}")

    def measure(self, seconds, pid):
        """Runs, and says what that cost the process `pid`."""
        before, (stolen, whole), began = cpu_seconds(pid), machine(), time.monotonic()
        messages = self.run(seconds)
        after, took, (stolen_then, whole_then) = cpu_seconds(pid), time.monotonic() - began, machine()
        return Counted(messages, took, (after - before) * 1e6, (stolen_then - stolen) / max(whole_then - whole, 1))

    def exchange(self, rounds):
        """So many messages of every client, one behind the other; nothing is in flight then."""
        for _ in range(rounds):
            for client in self.clients.values():
                client.send(self.message)
            waiting = set(self.clients)
            end = time.monotonic() + OPENING_SECONDS
            while waiting:
                if time.monotonic() > end:
                    raise Broken(f"{len(waiting)} replies did not come")
                for fd, _ in self.poll.poll(0.1):
                    if self.clients[fd].receive():
                        waiting.discard(fd)


def cpu_seconds(pid):
    """Processor time of all threads of a process."""
    tasks = os.listdir(f"/proc/{pid}/task")
    return sum(int(open(f"/proc/{pid}/task/{task}/schedstat").read().split()[0]) for task in tasks) / 1e9


def machine():
    """Ticks that were stolen, and all of them."""
    with open("/proc/stat") as stat:
        ticks = [int(word) for word in stat.readline().split()[1:9]]
    return ticks[7], sum(ticks)


def pss_kib(pid):
    """Memory of a process, with its share of what it shares."""
    with open(f"/proc/{pid}/smaps_rollup") as rollup:
        return next(int(line.split()[1]) for line in rollup if line.startswith("Pss:"))
