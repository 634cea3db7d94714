"""Loads whose histories the checkers judge: one round each, over fresh keys.

Each function plays one round against an address and returns what is wrong with it (an empty list:
nothing). Rounds are short, since the linearizability search is exponential in what overlaps.
"""

from __future__ import annotations

import collections
import random

import append_transactions
import linearizability
from append_transactions import Transaction
from resp import Connection, Reply
from swarm import Actor, Operation, play_parallel

PROCESSES = 2
CLIENTS = 5  # Per process.


def single_keys(address: tuple[str, int], seed: str) -> list[str]:
    """GET, SET, INCR, GETSET, GETDEL, SETNX and compare-and-set by WATCH on a few keys."""
    names = [b"%s:w%d" % (seed.encode(), number) for number in range(7)]

    def program(rng: random.Random, process: int) -> tuple[list[Actor], list[Operation]]:
        records: list[Operation] = []

        def actor(client: int) -> Actor:
            for turn in range(11):
                key = rng.choice(names)
                if rng.random() < 0.25:
                    yield from compare_and_set(client, key, turn)
                    continue
                commands = []
                for position in range(rng.randint(1, 3)):
                    fresh = b"%d" % (client * 1_000_000 + turn * 1000 + position * 100)
                    commands.append(rng.choice([
                        ("GET", key), ("GET", key), ("SET", key, fresh), ("INCR", key), ("GETDEL", key),
                        ("GETSET", key, fresh), ("SETNX", key, fresh)]))
                    key = rng.choice(names)
                start, end, replies = yield commands
                for command, reply in zip(commands, replies):
                    records.append(Operation(client, start, end, command, reply))

        def compare_and_set(client: int, key: bytes, turn: int) -> Actor:
            start, end, replies = yield [("WATCH", key), ("GET", key)]
            seen = replies[1]
            records.append(Operation(client, start, end, ("GET", key), seen))
            new = b"%d" % (client * 1_000_000 + turn * 1000 + 999_000_000)
            start, end, replies = yield [("MULTI",), ("SET", key, new), ("EXEC",)]
            if not replies[2].is_null:
                # EXEC saw the key as GET did: this is the promise of WATCH.
                records.append(Operation(client, start, end, ("CAS", key, seen.value, new), replies[2]))

        return [actor(process * 100 + number) for number in range(CLIENTS)], records

    histories = collections.defaultdict(list)
    for operation in play_parallel(address, PROCESSES, seed, program):
        histories[operation.command[1]].append(operation)
    return linearizability.violations(histories)


def appends(address: tuple[str, int], seed: str) -> list[str]:
    """Transactions that read and append to several keys of several shards."""
    names = [b"%s:a%d" % (seed.encode(), number) for number in range(6)]

    def program(rng: random.Random, process: int) -> tuple[list[Actor], list[Transaction]]:
        records: list[Transaction] = []

        def actor(client: int) -> Actor:
            for turn in range(60):
                read = rng.sample(names, rng.randint(0, 3))
                written = rng.sample(names, rng.randint(0 if read else 1, 3))
                added = [(key, b"%03d%03d%02d" % (client, turn, place)) for place, key in enumerate(written)]
                commands = [("MULTI",), *(("GET", key) for key in read),
                            *(("APPEND", key, token) for key, token in added), ("EXEC",)]
                start, end, replies = yield commands
                values = [reply.value or b"" for reply in replies[-1].value[: len(read)]]
                records.append(Transaction(client, start, end, tuple(zip(read, values)), tuple(added)))
                if rng.random() < 0.2:
                    # A reader outside MULTI: MGET is one transaction by itself.
                    start, end, replies = yield [("MGET", *names)]
                    values = [reply.value or b"" for reply in replies[0].value]
                    records.append(Transaction(client, start, end, tuple(zip(names, values)), ()))

        return [actor(process * 100 + number) for number in range(CLIENTS)], records

    transactions = play_parallel(address, PROCESSES, seed, program)
    with Connection(address) as reader:
        final = {key: reader.ok("GET", key) or b"" for key in names}
    return append_transactions.violations(transactions, final)


def bank(address: tuple[str, int], seed: str) -> list[str]:
    """Transfers between accounts; every reading of all accounts must show the same sum."""
    accounts = [b"%s:b%d" % (seed.encode(), number) for number in range(8)]
    total = 100 * len(accounts)
    with Connection(address) as opener:
        opener.ok("MSET", *(part for account in accounts for part in (account, 100)))

    def program(rng: random.Random, process: int) -> tuple[list[Actor], list[str]]:
        problems: list[str] = []

        def actor(client: int) -> Actor:
            for _ in range(60):
                source, target = rng.sample(accounts, 2)
                amount = rng.randint(1, 20)
                roll = rng.random()
                if roll < 0.4:
                    yield [("MULTI",), ("DECRBY", source, amount), ("INCRBY", target, amount), ("EXEC",)]
                elif roll < 0.6:
                    _, _, replies = yield [("WATCH", source, target), ("MGET", source, target)]
                    have, there = (int(reply.value) for reply in replies[1].value)
                    yield [("MULTI",), ("MSET", source, have - amount, target, there + amount), ("EXEC",)]
                elif roll < 0.8:
                    _, _, replies = yield [("MGET", *accounts)]
                    check("MGET", replies[0])
                else:
                    _, _, replies = yield [("MULTI",), *(("GET", account) for account in accounts), ("EXEC",)]
                    check("MULTI", replies[-1])

        def check(how: str, reply: Reply) -> None:
            found = sum(int(item.value) for item in reply.value)
            if found != total:
                problems.append(f"{how} saw a sum of {found} instead of {total}")

        return [actor(number) for number in range(CLIENTS)], problems

    problems = play_parallel(address, PROCESSES, seed, program)
    with Connection(address) as reader:
        found = sum(int(item.value) for item in reader.call("MGET", *accounts).value)
    return problems + ([f"the final sum is {found} instead of {total}"] if found != total else [])


ALL = {"single keys": single_keys, "appends": appends, "bank": bank}
