#!/usr/bin/env python3
"""A queue on a stream: producers, and consumers that crash and are recovered, with an account of it.

8 producers add numbered entries and withdraw a few of them; 8 consumers of one group read, process,
acknowledge, and sometimes delete what they acknowledged. A consumer may crash at any point: its
connection goes, its name never comes back, and what it held is taken over by XAUTOCLAIM. In the end
every entry that was not withdrawn was processed, every one was acknowledged exactly once, nothing is
pending, and whenever somebody looked, `lag` was the number of entries behind the group's last one.

    consumers.py [--entries N] [--seed N] [--loops N]
"""

from __future__ import annotations

import argparse
import random
import sys
import threading
import time

from resp import Connection
from servers import MARTLET, Server

PRODUCERS = 8
CONSUMERS = 8
STREAM, GROUP = "queue", "workers"
PIPELINE = 50
# What is held longer than this is taken over, be its holder alive or not.
IDLE_MILLISECONDS = 100


class Account:
    """What became of each entry, by its number."""

    def __init__(self, entries: int):
        self.entries = entries
        self.processed = bytearray(entries)
        self.acknowledged = bytearray(entries)
        self.withdrawn = bytearray(entries)
        self.problems: list[str] = []
        self.crashes = 0
        self.recovered = 0
        self.samples = 0
        self.lock = threading.Lock()

    def note(self, problem: str) -> None:
        with self.lock:
            self.problems.append(problem)

    def acknowledge(self, numbers: list[int], replies: list[int]) -> None:
        with self.lock:
            for number, taken in zip(numbers, replies):
                self.acknowledged[number] += taken

    def verdict(self) -> list[str]:
        lost = [number for number in range(self.entries)
                if not self.processed[number] and not self.withdrawn[number]]
        wrong = [number for number in range(self.entries)
                 if self.acknowledged[number] > 1 or not self.acknowledged[number] and not self.withdrawn[number]]
        problems = self.problems[:5]
        if lost:
            problems.append(f"{len(lost)} entries were never processed: {lost[:10]}")
        if wrong:
            problems.append(f"{len(wrong)} entries were not acknowledged exactly once: {wrong[:10]}")
        return problems


def produce(server: Server, account: Account, numbers: range, seed: float) -> None:
    draw = random.Random(seed)
    with server.connect(timeout=60) as connection:
        for start in range(numbers.start, numbers.stop, PIPELINE):
            part = range(start, min(start + PIPELINE, numbers.stop))
            replies = connection.pipeline([("XADD", STREAM, "*", "n", number, "kind", "job") for number in part])
            if draw.random() < 0.1:
                number = draw.choice(part)
                account.withdrawn[number] = 1  # before it is gone: who looks may see it either way
                connection.ok("XDEL", STREAM, replies[number - start].value)


class Worker:
    """One consumer, until it crashes; then another one in its place."""

    def __init__(self, server: Server, account: Account, number: int, seed: float, is_over: threading.Event):
        self.server = server
        self.account = account
        self.draw = random.Random(seed)
        self.number = number
        self.lives = 0
        self.is_over = is_over
        self.connection: Connection | None = None

    @property
    def name(self) -> str:
        return f"worker-{self.number}-{self.lives}"

    def crash(self) -> None:
        self.connection.close()
        self.connection = None
        self.lives += 1
        with self.account.lock:
            self.account.crashes += 1

    def run(self) -> None:
        try:
            while not self.is_over.is_set():
                if self.connection is None:
                    self.connection = self.server.connect(timeout=60)
                self.turn()
        except Exception as problem:
            self.account.note(f"{self.name}: {problem!r}")
        finally:
            if self.connection is not None:
                self.connection.close()

    def turn(self) -> None:
        draw = self.draw
        if draw.random() < 0.1:
            reply = self.connection.ok("XAUTOCLAIM", STREAM, GROUP, self.name, IDLE_MILLISECONDS, "0", "COUNT", 100)
            entries = reply[1].value
            with self.account.lock:
                self.account.recovered += len(entries)
        else:
            self.connection.send("XREADGROUP", "GROUP", GROUP, self.name, "COUNT", draw.choice((1, 10, 100)),
                                 "BLOCK", 20, "STREAMS", STREAM, ">")
            if draw.random() < 0.01:
                self.crash()  # perhaps with entries on the way to it
                return
            reply = self.connection.read()
            assert not reply.is_error, str(reply)
            entries = [] if reply.is_null else reply.value[0].value[1].value
        held = []
        for entry in entries:
            id, fields = entry.value
            number = int(fields.value[1].value)
            self.account.processed[number] = 1
            held.append((id.value, number))
        if draw.random() < 0.02:
            self.crash()  # processed, and not acknowledged
            return
        for start in range(0, len(held), PIPELINE):
            part = held[start:start + PIPELINE]
            commands = [("XACK", STREAM, GROUP, id) for id, _ in part]
            deleted = [("XDEL", STREAM, id) for id, _ in part] if draw.random() < 0.5 else []
            replies = self.connection.pipeline(commands + deleted)
            self.account.acknowledge([number for _, number in part], [reply.value for reply in replies[:len(part)]])


def pairs(reply) -> dict[bytes, object]:
    values = [part.value for part in reply.value]
    return dict(zip(values[::2], values[1::2]))


def sample(connection: Connection, account: Account) -> dict[bytes, object]:
    """One look at the group: its lag must be what is there behind its last entry."""
    replies = connection.pipeline([
        ("MULTI",), ("XINFO", "GROUPS", STREAM), ("XPENDING", STREAM, GROUP), ("XLEN", STREAM), ("EXEC",)])
    groups, pending, length = replies[-1].value
    group = pairs(groups.value[0])
    if group[b"pending"] != pending.value[0].value:
        account.note(f"{group[b'pending']} pending in XINFO, {pending.value[0].value} in XPENDING")
    if not 0 <= group[b"lag"] <= length.value:
        account.note(f"a lag of {group[b'lag']} in a stream of {length.value}")
    if group[b"lag"] < 20000:
        # The same again with the entries themselves, all at one moment.
        last = group[b"last-delivered-id"]
        replies = connection.pipeline([
            ("MULTI",), ("XINFO", "GROUPS", STREAM), ("XRANGE", STREAM, b"(" + last, "+"), ("EXEC",)])
        groups, behind = replies[-1].value
        group = pairs(groups.value[0])
        found = sum(1 for entry in behind.value if is_behind(entry.value[0].value, group[b"last-delivered-id"]))
        if group[b"lag"] != found:
            account.note(f"a lag of {group[b'lag']} with {found} entries to come")
    account.samples += 1
    return group


def is_behind(id: bytes, last: bytes) -> bool:
    return tuple(map(int, id.split(b"-"))) > tuple(map(int, last.split(b"-")))


def play(server: Server, entries: int, seed: int) -> tuple[list[str], str]:
    """A whole run; what is wrong, and what happened."""
    draw = random.Random(seed)
    account = Account(entries)
    with server.connect(timeout=60) as control:
        control.ok("DEL", STREAM)
        control.ok("XGROUP", "CREATE", STREAM, GROUP, "0", "MKSTREAM")
        is_over = threading.Event()
        share = -(-entries // PRODUCERS)
        producers = [threading.Thread(target=produce, args=(
            server, account, range(start, min(start + share, entries)), draw.random()))
            for start in range(0, entries, share)]
        workers = [Worker(server, account, number, draw.random(), is_over) for number in range(CONSUMERS)]
        threads = [threading.Thread(target=worker.run) for worker in workers]
        begin = time.monotonic()
        for thread in producers + threads:
            thread.start()
        quiet_since = None
        while not account.problems:
            group = sample(control, account)
            is_done = not any(thread.is_alive() for thread in producers) and (
                group[b"lag"] == 0 and group[b"pending"] == 0)
            if is_done:
                break
            # Whatever is left is recovered in a moment; a run that makes no progress has lost something.
            progress = (group[b"lag"], group[b"pending"], group[b"last-delivered-id"])
            if quiet_since is None or quiet_since[0] != progress:
                quiet_since = progress, time.monotonic()
            elif time.monotonic() - quiet_since[1] > 30:
                account.note(f"no progress: {group}")
            time.sleep(0.02)
        is_over.set()
        for thread in producers + threads:
            thread.join()
        summary = control.ok("XPENDING", STREAM, GROUP)
        if summary[0].value != 0:
            account.note(f"{summary[0].value} entries are pending in the end")
        seconds = time.monotonic() - begin
    told = (f"{entries} entries in {seconds:.1f} s, {account.crashes} crashes, {account.recovered} recovered, "
            f"{account.samples} looks at the lag, seed {seed}")
    return [f"{problem} ({told})" for problem in account.verdict()], told


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--entries", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=0, help="0 draws one")
    parser.add_argument("--loops", type=int, default=2)
    options = parser.parse_args()
    seed = options.seed or random.randrange(1, 2**31)
    with Server(MARTLET, "--io-threads", str(options.loops)) as server:
        problems, told = play(server, options.entries, seed)
        server.assert_serves()
    print("\n".join(problems) or told)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
