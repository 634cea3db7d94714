#!/usr/bin/env python3
"""Throws mutated frames at a live server: valid commands with bits, lengths and pieces changed.

Nothing is expected of the replies but that they are RESP; the server must neither die nor hang.
Frames go out in bursts over several connections; a connection that the server closes is replaced.

    mutation.py [--seed N] [--frames N]
"""

from __future__ import annotations

import argparse
import random
import select
import sys
import time

import generators
from resp import Closed, Connection, Incomplete, ProtocolViolation, encode, parse
from servers import MARTLET, Server

CONNECTIONS = 8
BURST = 25
HANG_SECONDS = 5
LENGTHS = [b"0", b"-1", b"1", b"2", b"16", b"99", b"1024", b"65536", b"536870912", b"536870913",
           b"2147483647", b"4294967296", b"9223372036854775807", b"-9223372036854775808", b"", b"x"]
# Harmless to the run itself; what ends the server, changes its limits or blocks is not for here.
EXTRA = [(b"CONFIG", b"GET", b"*"), (b"CLIENT", b"LIST"), (b"CLIENT", b"INFO"), (b"INFO",), (b"COMMAND",),
         (b"COMMAND", b"DOCS"), (b"CLIENT", b"KILL", b"ID", b"0"), (b"OBJECT", b"HELP"), (b"MEMORY", b"USAGE", b"k1"),
         (b"CLIENT", b"REPLY", b"SKIP"), (b"SLOWLOG", b"GET"), (b"LATENCY", b"LATEST"), (b"CLUSTER", b"SLOTS"),
         (b"HELLO", b"3"), (b"QUIT",), (b"RESET",)]


class Mutator:
    def __init__(self, seed: int):
        self.rng = random.Random(seed)
        self.source = generators.Source(self.rng, generators.groups(), {
            "SET IFEQ", "DELIFEQ", "DELEX", "MSETEX", "DIGEST", "BITOP DIFF"})

    def frame(self) -> bytes:
        rng = self.rng
        command = self.source.draw(1)[0] if rng.random() < 0.9 else rng.choice(EXTRA)
        if command[0].startswith(b"~"):
            command = [b"GET", b"k1"]
        if rng.random() < 0.1:
            return b" ".join(command) + rng.choice([b"\r\n", b"\n", b"", b"\r", b"\x00"])
        data = bytearray(encode(*command))
        for _ in range(rng.choice([0, 1, 1, 1, 2, 4])):
            self.mutate(data)
        return bytes(data)

    def mutate(self, data: bytearray) -> None:
        rng = self.rng
        if not data:
            return
        at = rng.randrange(len(data))
        roll = rng.randrange(9)
        if roll == 0:
            data[at] ^= 1 << rng.randrange(8)
        elif roll == 1:
            data[at] = rng.randrange(256)
        elif roll == 2:
            del data[at : at + rng.randint(1, 8)]
        elif roll == 3:
            data[at:at] = rng.randbytes(rng.randint(1, 8))
        elif roll == 4:
            data[at:at] = data[at : at + rng.randint(1, 30)]
        elif roll == 5:
            del data[at:]
        elif roll == 6:
            data[at:at] = rng.choice([b"\r\n", b"\n", b"\r", b"*0\r\n", b"*-1\r\n", b"$-1\r\n", b"\x00", b"*3\r\n"])
        else:
            # A length after a type byte, which random bytes rarely hit.
            marks = [index for index, byte in enumerate(data) if byte in b"*$"]
            if marks:
                start = rng.choice(marks) + 1
                end = data.find(b"\r", start)
                data[start : end if end >= 0 else start] = rng.choice(LENGTHS)


def drain(connection: Connection) -> bool:
    """Reads what is there; False once the connection has ended. Replies must be RESP."""
    while select.select([connection.socket], [], [], 0)[0]:
        try:
            connection.receive()
        except (Closed, ConnectionError):
            return False
        try:
            while True:
                _, connection.at = parse(connection.buffer, connection.at)
        except (Incomplete, IndexError):
            pass
    return True


def run(server: Server, seed: int, frames: int) -> str | None:
    """Sends `frames` frames; returns what went wrong, with the last bursts, or None."""
    mutator = Mutator(seed)
    connections = [server.connect(timeout=HANG_SECONDS) for _ in range(CONNECTIONS)]
    recent: list[bytes] = []
    sent = 0
    while sent < frames:
        slot = mutator.rng.randrange(CONNECTIONS)
        burst = b"".join(mutator.frame() for _ in range(BURST))
        recent = [*recent[-20:], burst]
        sent += BURST
        try:
            connections[slot].send_raw(burst)
            open_still = drain(connections[slot])
            # Most of a burst is swallowed by a claimed length: begin anew now and then.
            if not open_still or mutator.rng.random() < 0.25:
                connections[slot].close()
                connections[slot] = server.connect(timeout=HANG_SECONDS)
            if sent % (BURST * 40) == 0:
                with server.connect(timeout=HANG_SECONDS) as probe:
                    assert probe.call("PING").value == b"PONG"
        except ConnectionError:
            if server.is_alive():
                connections[slot].close()
                connections[slot] = server.connect(timeout=HANG_SECONDS)
                continue
            return f"the server died after {sent} frames, seed {seed}:\n{server.log()[-3000:]}\n{recent[-3:]}"
        except (TimeoutError, AssertionError, Closed, ProtocolViolation) as problem:
            return f"{problem!r} after {sent} frames, seed {seed}:\n{server.log()[-3000:]}\n{recent[-3:]}"
    for connection in connections:
        connection.close()
    server.assert_serves()
    return None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--seed", type=int, default=0, help="0 draws one")
    parser.add_argument("--frames", type=int, default=100_000)
    options = parser.parse_args()
    seed = options.seed or random.randrange(1, 2**31)
    started = time.monotonic()
    print(f"mutated frames: seed {seed}", flush=True)
    with Server(MARTLET) as server:
        problem = run(server, seed, options.frames)
    print(problem or f"{options.frames} frames, {time.monotonic() - started:.0f} s: the server serves")
    return 1 if problem else 0


if __name__ == "__main__":
    sys.exit(main())
