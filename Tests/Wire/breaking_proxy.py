"""A proxy that breaks one promise, to see the checkers catch it.

    stale    GET sometimes replies with a value that was read before
    dropped  a write is sometimes acknowledged and not made
    doubled  INCR, INCRBY and APPEND are sometimes made twice
    torn     the commands of a MULTI are run one by one, as they come
"""

from __future__ import annotations

import random
import socket
import threading
import time

from resp import Closed, Connection, Incomplete, encode, parse

MODES = ("stale", "dropped", "doubled", "torn")
CHANCE = 0.1


class BreakingProxy:
    """Listens on a port of its own and forwards to `target`, breaking the promise of `mode`."""

    def __init__(self, target: tuple[str, int], mode: str, seed: int = 1):
        self.target = target
        self.mode = mode
        self.rng = random.Random(seed)
        self.earlier: dict[bytes, bytes] = {}
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = self.listener.getsockname()
        threading.Thread(target=self.accept, daemon=True).start()

    def __enter__(self) -> BreakingProxy:
        return self

    def __exit__(self, *_: object) -> None:
        self.listener.close()

    def accept(self) -> None:
        try:
            while True:
                client, _ = self.listener.accept()
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                threading.Thread(target=self.serve, args=(client,), daemon=True).start()
        except OSError:
            return  # Closed: the test is over.

    def serve(self, client: socket.socket) -> None:
        session = Session(self, client)
        try:
            session.run()
        except (Closed, OSError):
            pass
        finally:
            client.close()
            session.server.close()


class Session:
    def __init__(self, proxy: BreakingProxy, client: socket.socket):
        self.proxy = proxy
        self.client = client
        self.server = Connection(proxy.target)
        self.queued: list[bytes] | None = None

    def run(self) -> None:
        buffer = bytearray()
        while data := self.client.recv(1 << 16):
            buffer += data
            at = 0
            try:
                while at < len(buffer):
                    request, at = parse(buffer, at)
                    self.client.sendall(self.answer([item.value for item in request.value]))
            except Incomplete:
                pass
            del buffer[:at]

    def forward(self, *command: bytes) -> bytes:
        """The server's reply as bytes, unread."""
        self.server.send(*command)
        while True:
            start = self.server.at
            try:
                _, self.server.at = parse(self.server.buffer, start)
                return bytes(self.server.buffer[start : self.server.at])
            except Incomplete:
                self.server.receive()

    def answer(self, command: list[bytes]) -> bytes:
        name, mode = command[0], self.proxy.mode
        struck = self.proxy.rng.random() < CHANCE
        if mode == "torn":
            return self.answer_torn(command)
        if mode == "stale" and name == b"GET":
            reply = self.forward(*command)
            if not reply.startswith(b"$"):
                return reply
            before = self.proxy.earlier.setdefault(command[1], reply)
            if self.proxy.rng.random() < 0.3:
                self.proxy.earlier[command[1]] = reply
            return before if struck else reply
        if mode == "dropped" and struck and name == b"SET":
            # STRLEN takes its place inside MULTI; outside, the client hears OK.
            reply = self.forward(b"STRLEN", command[1])
            return reply if reply == b"+QUEUED\r\n" else b"+OK\r\n"
        if mode == "dropped" and struck and name in (b"APPEND", b"INCRBY"):
            return self.forward(b"STRLEN", command[1])
        if mode == "doubled" and struck and name in (b"INCR", b"INCRBY", b"APPEND"):
            reply = self.forward(*command)
            if reply != b"+QUEUED\r\n":
                self.forward(*command)
                return reply
            # Inside MULTI a second reply would shift the array: the copy goes by another way.
            with Connection(self.proxy.target) as other:
                other.call(*command)
            return reply
        return self.forward(*command)

    def answer_torn(self, command: list[bytes]) -> bytes:
        name = command[0]
        if name == b"MULTI":
            self.queued = []
            return b"+OK\r\n"
        if name == b"EXEC" and self.queued is not None:
            replies, self.queued = self.queued, None
            return b"*%d\r\n" % len(replies) + b"".join(replies)
        if self.queued is not None:
            self.queued.append(self.forward(*command))
            time.sleep(0.0005)
            return b"+QUEUED\r\n"
        return self.forward(*command)
