#!/usr/bin/env python3
"""Kills a server at random moments and looks for what it had acknowledged.

Clients write values of every type, alone, in pipelines and in transactions, and keep a model of what
they were told. The process is killed with SIGKILL, often while the log is rewritten, and started
again on the same directory. Then every client's keys must be what its model says after all writes that
were acknowledged, and after as many of those that were not as it pleases, in their order. Money moved
between accounts in transactions is neither lost nor made, and no counter stands below what a reader has
seen.

    kill_cycles.py [--cycles N] [--seed N] [--fsync always|everysec|no] [--server NAME] [--loops N]
"""

from __future__ import annotations

import argparse
import copy
import random
import sys
import threading
import time

from resp import Connection, Reply, encode
from servers import MARTLET, Server

WORKERS = 6
ACCOUNTS = 8
BALANCE = 1_000
PIPELINE_MAX = 16
# Under `everysec` a write that is older than this is kept; a power cut may cost a second and a sync.
YOUNG_SECONDS = {"always": 0.0, "everysec": 1.3, "no": 3600.0}
CONNECTION_ENDED = (OSError, EOFError)


class Keys:
    """What one client's keys hold."""

    def __init__(self):
        self.string = b""
        self.counter = 0
        self.items: list[bytes] = []
        self.fields: dict[bytes, bytes] = {}
        self.members: set[bytes] = set()
        self.scores: dict[bytes, float] = {}
        self.entries: list[bytes] = []
        self.lastID = 0
        self.pair = b""
        self.hasDeadline = False

    def __eq__(self, other: object) -> bool:
        # The stream's own last ID is not read back.
        return isinstance(other, Keys) and {**vars(self), "lastID": 0} == {**vars(other), "lastID": 0}


class Write:
    """One request, or a transaction, and what it does to the keys."""

    def __init__(self, commands: list[list], apply):
        self.commands = commands
        self.apply = apply
        self.ackedAt: float | None = None


def random_write(rng: random.Random, name: str, keys: Keys, number: int) -> Write:
    """A write that fits the keys as they will be once all before it were executed."""
    value = b"%d" % number * rng.choice([1, 1, 1, 40])

    def one(*command, apply):
        return Write([list(command)], apply)

    def sets(attribute, content):
        return lambda keys: setattr(keys, attribute, content)

    kind = rng.randrange(15)
    if kind == 0:
        return one("SET", f"{name}:string", value, apply=sets("string", value))
    if kind == 1:
        if len(keys.string) > 2_000:
            return one("DEL", f"{name}:string", apply=sets("string", b""))
        return one("APPEND", f"{name}:string", value,
                   apply=lambda keys: setattr(keys, "string", keys.string + value))
    if kind in (2, 3):
        return one("INCR", f"{name}:counter", apply=lambda keys: setattr(keys, "counter", keys.counter + 1))
    if kind == 4 or kind == 5 and len(keys.items) < 3:
        return one("RPUSH", f"{name}:list", value, apply=lambda keys: keys.items.append(value))
    if kind == 5:
        return one("LPOP", f"{name}:list", apply=lambda keys: keys.items.pop(0))
    field = b"f%d" % rng.randrange(30)
    if kind == 6:
        return one("HSET", f"{name}:hash", field, value, apply=lambda keys: keys.fields.update({field: value}))
    if kind == 7:
        return one("HDEL", f"{name}:hash", field, apply=lambda keys: keys.fields.pop(field, None))
    if kind == 8:
        return one("SADD", f"{name}:set", field, apply=lambda keys: keys.members.add(field))
    if kind == 9:
        return one("SREM", f"{name}:set", field, apply=lambda keys: keys.members.discard(field))
    if kind == 10:
        return one("ZINCRBY", f"{name}:zset", number, field,
                   apply=lambda keys: keys.scores.update({field: keys.scores.get(field, 0.0) + number}))
    if kind == 11:
        return one("ZREM", f"{name}:zset", field, apply=lambda keys: keys.scores.pop(field, None))
    if kind == 12:
        return one("XADD", f"{name}:stream", "MAXLEN", "50", f"{number}-1", "v", value,
                   apply=lambda keys: setattr(keys, "entries", (keys.entries + [b"%d-1" % number])[-50:]))
    if kind == 13:
        return Write([["MULTI"], ["SET", f"{name}:one", value], ["INCR", f"{name}:counter"],
                      ["SET", f"{name}:other", value], ["EXEC"]],
                     lambda keys: (setattr(keys, "pair", value), setattr(keys, "counter", keys.counter + 1)))
    if keys.hasDeadline:
        return one("PERSIST", f"{name}:timed", apply=sets("hasDeadline", False))
    return one("SET", f"{name}:timed", "v", "EX", "100000", apply=sets("hasDeadline", True))


def read_back(connection: Connection, name: str) -> Keys:
    keys = Keys()
    ok = connection.ok
    keys.string = ok("GET", f"{name}:string") or b""
    keys.counter = int(ok("GET", f"{name}:counter") or 0)
    keys.items = [item.value for item in ok("LRANGE", f"{name}:list", 0, -1)]
    flat = [item.value for item in ok("HGETALL", f"{name}:hash")]
    keys.fields = dict(zip(flat[::2], flat[1::2]))
    keys.members = {item.value for item in ok("SMEMBERS", f"{name}:set")}
    flat = [item.value for item in ok("ZRANGE", f"{name}:zset", 0, -1, "WITHSCORES")]
    keys.scores = dict(zip(flat[::2], map(float, flat[1::2])))
    keys.entries = [entry.value[0].value for entry in ok("XRANGE", f"{name}:stream", "-", "+")]
    one, other = ok("GET", f"{name}:one"), ok("GET", f"{name}:other")
    if one != other:
        raise AssertionError(f"{name}: half of a transaction: {one!r} and {other!r}")
    keys.pair = one or b""
    keys.hasDeadline = ok("PTTL", f"{name}:timed") > 0
    return keys


class Worker:
    """One client: writes until its connection ends, and knows what must be there afterwards."""

    def __init__(self, number: int, seed: int):
        self.name = f"w{number}"
        self.rng = random.Random(seed * 1_000 + number)
        self.keys = Keys()
        self.history: list[Write] = []
        self.ahead = Keys()
        self.number = 0
        self.acks = 0
        self.problem: str | None = None

    def run(self, server: Server) -> None:
        self.history = []
        self.ahead = copy.deepcopy(self.keys)
        try:
            with server.connect() as connection:
                while True:
                    self.step(connection)
        except CONNECTION_ENDED:
            pass
        except Exception as problem:  # noqa: BLE001 - told to the driver
            if "closed" not in str(problem):
                self.problem = f"{self.name}: {problem!r}"

    def step(self, connection: Connection) -> None:
        if self.rng.random() < 0.2:
            self.transfer(connection)
            return
        batch = []
        for _ in range(self.rng.choice([1, 1, 1, self.rng.randint(2, PIPELINE_MAX)])):
            self.number += 1
            write = random_write(self.rng, self.name, self.ahead, self.number)
            write.apply(self.ahead)
            batch.append(write)
        self.history += batch
        connection.send_raw(b"".join(encode(*command) for write in batch for command in write.commands))
        for write in batch:
            for reply in connection.read_many(len(write.commands)):
                check(reply)
            write.ackedAt = time.monotonic()
            self.acks += 1

    def transfer(self, connection: Connection) -> None:
        source, target = self.rng.sample(range(ACCOUNTS), 2)
        amount = self.rng.randint(1, 20)
        for reply in connection.pipeline([("MULTI",), ("DECRBY", f"account:{source}", amount),
                                          ("INCRBY", f"account:{target}", amount), ("EXEC",)]):
            check(reply)
        self.acks += 1

    def settle(self, found: Keys, killedAt: float, young: float) -> None:
        """Takes over what was found, if some run of the writes explains it."""
        kept = 0
        for index, write in enumerate(self.history):
            if write.ackedAt is not None and write.ackedAt <= killedAt - young:
                kept = index + 1
        if young == 0:
            kept = sum(write.ackedAt is not None for write in self.history)
        keys = self.keys
        for write in self.history[:kept]:
            write.apply(keys)
        if keys == found:
            self.keys = found
            return
        for write in self.history[kept:]:
            write.apply(keys)
            if keys == found:
                self.keys = found
                return
        raise AssertionError(
            f"{self.name}: {kept} writes were acknowledged, {len(self.history) - kept} more sent, and no run of "
            f"them gives {vars(found)}; all of them give {vars(keys)}")


def check(reply: Reply) -> None:
    if reply.is_error:
        raise AssertionError(f"a write was refused: {reply}")


class Reader:
    """Looks at counters: what it has seen must never be undone."""

    def __init__(self, seed: int):
        self.rng = random.Random(seed)
        self.seen = [0] * WORKERS
        self.problem: str | None = None

    def run(self, server: Server) -> None:
        try:
            with server.connect() as connection:
                while True:
                    number = self.rng.randrange(WORKERS)
                    value = int(connection.ok("GET", f"w{number}:counter") or 0)
                    if value < self.seen[number]:
                        self.problem = f"w{number}:counter went back from {self.seen[number]} to {value}"
                    self.seen[number] = value
        except CONNECTION_ENDED:
            pass
        except Exception as problem:  # noqa: BLE001
            if "closed" not in str(problem):
                self.problem = f"reader: {problem!r}"


def kill_while_starting(server: Server, seconds: float) -> None:
    def start() -> None:
        try:
            server.start()
        except RuntimeError:
            pass

    thread = threading.Thread(target=start, daemon=True)
    thread.start()
    time.sleep(seconds)
    server.kill()
    thread.join(20)


def play(cycles: int, seed: int, fsync: str = "always", name: str = MARTLET, loops: int = 2,
         rewriting: float = 0.4, keeps_log: bool = True) -> tuple[list[str], str]:
    """Runs the cycles; without a log, to see that the loss is noticed.

    :return: what was wrong, and a line on what was done.
    """
    rng = random.Random(seed)
    options = ["--appendonly", "yes" if keeps_log else "no", "--appendfsync", fsync,
               "--auto-aof-rewrite-percentage", "0"]
    if name == MARTLET:
        options += ["--io-threads", str(loops)]
    server = Server(name, *options)
    workers = [Worker(number, seed) for number in range(WORKERS)]
    reader = Reader(seed)
    problems: list[str] = []
    rewrites = 0
    with server.connect() as control:
        for account in range(ACCOUNTS):
            control.ok("SET", f"account:{account}", BALANCE)
    done = 0
    for cycle in range(cycles):
        threads = [threading.Thread(target=client.run, args=(server,), daemon=True)
                   for client in [*workers, reader]]
        for thread in threads:
            thread.start()
        time.sleep(rng.uniform(0.02, 0.25))
        if rng.random() < rewriting:
            rewrites += 1
            with server.connect() as control:
                control.call("BGREWRITEAOF")
            time.sleep(rng.choice([0, rng.uniform(0, 0.03), rng.uniform(0, 0.1)]))
        killedAt = time.monotonic()
        server.kill()
        for thread in threads:
            thread.join(20)
        if rng.random() < 0.1:
            # Once more, while it starts.
            kill_while_starting(server, rng.uniform(0, 0.1))
        try:
            server.start()
            with server.connect() as connection:
                for worker in workers:
                    worker.settle(read_back(connection, worker.name), killedAt, YOUNG_SECONDS[fsync])
                balances = [int(connection.ok("GET", f"account:{n}") or 0) for n in range(ACCOUNTS)]
                if sum(balances) != ACCOUNTS * BALANCE:
                    problems.append(f"money was lost or made: {balances}")
                if fsync == "always":
                    for worker, seen in zip(workers, reader.seen):
                        if worker.keys.counter < seen:
                            problems.append(f"{worker.name}:counter was seen at {seen}, is {worker.keys.counter}")
                reader.seen = [worker.keys.counter for worker in workers]
        except (AssertionError, RuntimeError) as problem:
            problems.append(str(problem)[:3000])
        problems += [client.problem for client in [*workers, reader] if client.problem]
        done += 1
        if problems:
            problems[0] = f"cycle {cycle}: {problems[0]}"
            break
    server.stop()
    acks = sum(worker.acks for worker in workers)
    return problems, f"{done} cycles, {rewrites} of them amid a rewrite, {acks} writes acknowledged"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--cycles", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--fsync", choices=sorted(YOUNG_SECONDS), default="always")
    parser.add_argument("--server", default=MARTLET)
    parser.add_argument("--loops", type=int, default=2)
    arguments = parser.parse_args()
    problems, summary = play(arguments.cycles, arguments.seed, arguments.fsync, arguments.server, arguments.loops)
    print(summary)
    for problem in problems[:5]:
        print(f"  {problem}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
