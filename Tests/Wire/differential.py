#!/usr/bin/env python3
"""The differential fuzzer: the same random commands to Martlet and to a server known to be right.

Replies are compared with their types, one by one, and so is the whole keyspace from time to time.
A run consists of rounds; each has a seed of its own and starts from empty servers and fresh
connections, so a failure is reproduced by its round alone. A failing round is cut down (delta
debugging, replayed on fresh servers) to the shortest sequence that still fails.

Messages are compared as well: a few connections do nothing but subscribe, and after each batch what
each of them has got must be the same. With --events they listen to all keyspace events instead.

    differential.py [--seed N] [--commands N] [--oracle redis7|redis8|valkey9|all]
                    [--groups strings,bitmaps,...] [--round N] [--small-limit N] [--events]
"""

from __future__ import annotations

import argparse
import collections
import random
import re
import sys
import time
from typing import NamedTuple

import differences
import generators
from resp import Closed, Connection, ProtocolViolation, Reply, encode, render, render_command
from servers import MARTLET, ORACLES, Server, find_binary

ROUND_COMMANDS = 2500
CHECKPOINT_COMMANDS = 500
SETTLE_SECONDS = 0.02
# Redis counts a field past its TTL until its cycle, ten times a second, has met it.
FIELDS_SETTLE_SECONDS = 0.25
CLOCK_TOLERANCE_SECONDS = 3
SHRINK_SECONDS_MAX = 30
REPLY_SECONDS_MAX = 5
REPORTED_STEPS_MAX = 60
DATABASES = 16
# The protocols of the connections that only subscribe.
SUBSCRIBERS = (2, 3, 3)

# Features newer than 7.0: the command that tells whether a server has them.
FEATURES: dict[str, list[bytes]] = {
    "SET IFEQ": [b"SET", b"probe", b"v", b"IFEQ", b"x"],
    "DELIFEQ": [b"DELIFEQ", b"probe", b"v"],
    "DELEX": [b"DELEX", b"probe"],
    "MSETEX": [b"MSETEX", b"1", b"probe", b"v"],
    "DIGEST": [b"DIGEST", b"probe"],
    "ZRANK WITHSCORE": [b"ZRANK", b"probe", b"m", b"WITHSCORE"],
    "HEXPIRE": [b"HEXPIRE", b"probe", b"1", b"FIELDS", b"1", b"f"],
    "HGETEX": [b"HGETEX", b"probe", b"FIELDS", b"1", b"f"],
    "HGETDEL": [b"HGETDEL", b"probe", b"FIELDS", b"1", b"f"],
    "XACKDEL": [b"XACKDEL", b"probe", b"g", b"IDS", b"1", b"1-1"],
    "BITOP DIFF": [b"BITOP", b"DIFF", b"probe", b"a", b"b"],
}

# What is asked of every key when states are compared.
KEY = b"<key>"
# Up to where collections are kept small.
SMALL_LIMITS = ["hash-max-listpack-entries", "hash-max-listpack-value", "zset-max-listpack-entries",
                "zset-max-listpack-value", "set-max-listpack-entries", "set-max-listpack-value",
                "set-max-intset-entries", "list-max-listpack-size"]
INSPECTION = [[b"TYPE", KEY], [b"GET", KEY], [b"OBJECT", b"ENCODING", KEY], [b"PEXPIRETIME", KEY],
              [b"HGETALL", KEY], [b"LRANGE", KEY, b"0", b"-1"], [b"SMEMBERS", KEY],
              [b"ZRANGE", KEY, b"0", b"-1", b"WITHSCORES"], [b"XRANGE", KEY, b"-", b"+"],
              [b"XINFO", b"STREAM", KEY, b"FULL", b"COUNT", b"0"]]


def about(name: bytes) -> list[list[bytes]]:
    """`INSPECTION` of one key."""
    return [[name if part is KEY else part for part in command] for command in INSPECTION]


GONE = Reply("!", b"connection closed")


class Step(NamedTuple):
    """One command on one connection; neighbours with the same batch are sent as one pipeline."""

    connection: int
    batch: int
    command: list[bytes]


class Failure(NamedTuple):
    index: int
    what: str
    ours: str
    theirs: str
    # The key whose states differ, if that is what failed.
    key: bytes | None = None


class Script:
    """The steps of one round, drawn from its seed."""

    def __init__(self, seed: str, groups: list[str], features: set[str], count: int, oracle: str):
        rng = random.Random(seed)
        self.connections = rng.choice([1, 1, 2, 3])
        self.protocols = [rng.choice([2, 3]) for _ in range(self.connections)]
        # Short batches let connections meet (WATCH); long ones exercise pipelines.
        longest = rng.choice([3, 10, 120])
        source = generators.Source(rng, groups, features)
        self.steps: list[Step] = []
        in_multi = [False] * self.connections
        batch = 0
        while len(self.steps) < count:
            connection = rng.randrange(self.connections)
            batch += 1
            for command in source.draw(rng.randint(1, longest)):
                # Left alone, a connection would be inside MULTI most of the time.
                if in_multi[connection] and rng.random() < 0.12:
                    command = [rng.choice([b"EXEC", b"EXEC", b"EXEC", b"DISCARD"])]
                in_multi[connection] = is_in_multi_after(command, in_multi[connection])
                if command[0].upper().startswith(b"~"):
                    # Needs replies before it can go on, and a key may not expire inside a queue.
                    if in_multi[connection]:
                        continue
                    batch += 2
                    self.steps.append(Step(connection, batch - 1, [command[0].upper(), *command[1:]]))
                else:
                    self.steps.append(Step(connection, batch, command))
        self.steps = sendable(oracle, self.steps)


def is_in_multi_after(command: list[bytes], before: bool) -> bool:
    name = command[0].upper()
    if name == b"MULTI" and len(command) == 1:
        return True
    if name == b"EXEC" or name in (b"DISCARD", b"RESET") and len(command) == 1:
        return False
    return before


def sendable(oracle: str, steps: list[Step]) -> list[Step]:
    """The steps without those that `differences.AVOIDED` keeps from this oracle."""
    in_multi: dict[int, bool] = {}
    kept = []
    for step in steps:
        inside = in_multi.get(step.connection, False)
        if not differences.is_avoided(oracle, step.command, inside):
            in_multi[step.connection] = is_in_multi_after(step.command, inside)
            kept.append(step)
    return kept


class Peer:
    """One of the two servers, with the connections of the current round."""

    def __init__(self, server: Server):
        self.server = server
        self.connections: list[Connection] = []
        self.subscribers: list[Connection] = []
        self.inspector: Connection | None = None
        # The classes of events that the subscribers listen to, if any.
        self.events = b""

    def begin(self, protocols: list[int]) -> None:
        """Empties the server and opens one fresh connection for each of `protocols`."""
        self.end()
        try:
            self.open(protocols)
        except (OSError, Closed):
            self.server.restart()
            self.open(protocols)

    def open(self, protocols: list[int]) -> None:
        if not self.server.is_alive():
            self.server.restart()
        self.inspector = self.server.connect(timeout=REPLY_SECONDS_MAX)
        self.inspector.ok("FLUSHALL")
        self.inspector.ok("FUNCTION", "FLUSH")
        # A subscriber of the round before, or left over from another test, would be counted.
        self.inspector.ok("CLIENT", "KILL", "TYPE", "pubsub")
        while self.inspector.ok("CLIENT", "LIST", "TYPE", "pubsub"):
            time.sleep(0.001)
        self.inspector.ok("CONFIG", "SET", "notify-keyspace-events", self.events)
        self.connections = [self.server.connect(protocol, REPLY_SECONDS_MAX) for protocol in protocols]
        self.subscribers = [self.server.connect(protocol, REPLY_SECONDS_MAX) for protocol in SUBSCRIBERS]
        if self.events:
            for subscriber in self.subscribers[1:]:
                subscriber.call("PSUBSCRIBE", "__key*__:*")

    def end(self) -> None:
        for connection in [*self.connections, *self.subscribers, self.inspector]:
            if connection is not None:
                connection.close()
        self.connections = []
        self.subscribers = []
        self.inspector = None

    def messages(self, number: int) -> list[Reply]:
        """What a subscriber has got, up to the answer to a PING of its own."""
        subscriber = self.subscribers[number]
        subscriber.send("PING", "barrier")
        found = []
        while True:
            reply = subscriber.read()
            if reply in (Reply("$", b"barrier"), Reply("*", (Reply("$", b"pong"), Reply("$", b"barrier")))):
                return found
            found.append(reply)

    def send(self, connection: int, commands: list[list[bytes]]) -> None:
        try:
            self.connections[connection].send_raw(b"".join(encode(*command) for command in commands))
        except ConnectionError:
            pass  # Reading tells.

    def receive(self, connection: int, count: int) -> list[Reply]:
        """`count` replies; the missing ones are `GONE` if the connection ended."""
        try:
            return self.connections[connection].read_many(count)
        except Closed as end:
            return end.replies + [GONE] * (count - len(end.replies))
        except (TimeoutError, ProtocolViolation) as problem:
            return [Reply("!", repr(problem).encode())] * count

    def scan(self, connection: int, options: list[bytes]) -> Reply:
        """The union of a whole SCAN, sorted; an error as it came."""
        try:
            return self.scan_on(self.connections[connection], options)
        except (Closed, OSError):
            return GONE

    def scan_on(self, connection: Connection, options: list[bytes]) -> Reply:
        cursor, found = b"0", set()
        for _ in range(100_000):
            reply = connection.call(b"SCAN", cursor, *options)
            if reply.is_error or reply.kind != "*" or len(reply.value) != 2:
                return reply
            found.update(reply.value[1].value)
            cursor = reply.value[0].value
            if cursor == b"0":
                return Reply("*", tuple(sorted(found)))
        return Reply("!", b"SCAN does not end")

    def state(self) -> dict[tuple[int, bytes], list[Reply]]:
        """Every key of every database, with the replies of `INSPECTION`."""
        inspector = self.inspector
        result = {}
        for database in range(DATABASES):
            inspector.ok("SELECT", database)
            names = [name.value for name in self.scan_on(inspector, []).value]
            replies = inspector.pipeline(command for name in names for command in about(name))
            for index, name in enumerate(names):
                result[database, name] = replies[index * len(INSPECTION):][: len(INSPECTION)]
            # A key that SCAN did not return would escape.
            result[database, b"(size)"] = [Reply(":", len(names)), inspector.call("DBSIZE")]
        return result


def feature_set(server: Server) -> set[str]:
    """Which of `FEATURES` the server has."""
    with server.connect() as probe:
        found = set()
        for feature, command in FEATURES.items():
            reply = probe.call(*command)
            if not (reply.is_error and (b"syntax" in reply.value or b"unknown" in reply.value)):
                found.add(feature)
        probe.ok("FLUSHALL")
        return found


class Judge:
    """Compares replies one by one, with what the clock and the order of hashing make free."""

    def __init__(self, oracle: str, compares_encodings: bool = True):
        self.oracle = oracle
        self.compares_encodings = compares_encodings
        self.used: collections.Counter[str] = collections.Counter()
        self.queues: dict[int, list[list[bytes]] | None] = {}
        # The command and the replies last found different: inside EXEC, the queued command's.
        self.blamed: tuple[list[bytes], Reply, Reply] | None = None

    def agree(self, connection: int, command: list[bytes], ours: Reply, theirs: Reply) -> bool:
        queue = self.queues.get(connection)
        name = command[0].upper()
        if theirs == Reply("+", b"QUEUED") and ours == theirs:
            if queue is not None:
                queue.append(command)
            return True
        if name == b"MULTI" and theirs.kind == "+":
            self.queues[connection] = []
        elif name == b"EXEC" or name in (b"DISCARD", b"RESET") and not theirs.is_error:
            self.queues[connection] = None
        both = name == b"EXEC" and queue is not None and ours.kind == theirs.kind == "*"
        if both and None not in (ours.value, theirs.value) and (
                len(ours.value) == len(theirs.value) == len(queue)):
            for queued, mine, right in zip(queue, ours.value, theirs.value):
                if not self.same(queued, mine, right):
                    self.blamed = queued, mine, right
                    return False
            return True
        self.blamed = command, ours, theirs
        return self.same(command, ours, theirs)

    def same(self, command: list[bytes], ours: Reply, theirs: Reply) -> bool:
        if ours == theirs or self.alike(command, ours, theirs):
            return True
        row = differences.explain(self.oracle, command, ours, theirs)
        if row is not None:
            self.used[row.title] += 1
        return row is not None

    def alike(self, command: list[bytes], ours: Reply, theirs: Reply) -> bool:
        """Equal but for time, hash order, and who answers."""
        if ours.kind != theirs.kind or ours.is_error or ours.is_null or theirs.is_null:
            return False
        name = command[0].upper()
        if name in (b"TTL", b"EXPIRETIME", b"PTTL", b"PEXPIRETIME"):
            unit = 1000 if name.startswith(b"P") else 1
            return min(ours.value, theirs.value) > 0 and (
                abs(ours.value - theirs.value) <= CLOCK_TOLERANCE_SECONDS * unit)
        if name in (b"HTTL", b"HEXPIRETIME", b"HPTTL", b"HPEXPIRETIME"):
            unit = 1000 if name.startswith(b"HP") else 1
            return len(ours.value) == len(theirs.value) and all(
                one == other or min(one.value, other.value) > 0
                and abs(one.value - other.value) <= CLOCK_TOLERANCE_SECONDS * unit
                for one, other in zip(ours.value, theirs.value))
        if name == b"OBJECT":
            what = command[1].upper()
            return (what == b"ENCODING" and not self.compares_encodings
                    or what == b"IDLETIME" and 0 <= min(ours.value, theirs.value)
                    or what == b"HELP" and ours.value[:1] != ())
        if name == b"KEYS" or [word.upper() for word in command[:2]] in (
                [b"PUBSUB", b"CHANNELS"], [b"PUBSUB", b"SHARDCHANNELS"]):
            return sorted(ours.value) == sorted(theirs.value)
        if name in (b"HGETALL", b"HKEYS", b"HVALS"):
            return in_any_order(command, ours) == in_any_order(command, theirs)
        if name in (b"SMEMBERS", b"SUNION", b"SINTER", b"SDIFF", b"SPOP"):
            return ours.kind in "*~" and sorted(ours.value) == sorted(theirs.value)
        if name in (b"HSCAN", b"SSCAN"):
            return in_any_order(command, ours.value[1]) == in_any_order(command, theirs.value[1])
        if name in (b"HRANDFIELD", b"SRANDMEMBER"):
            return ours.kind == "$" or len(ours.value) == len(theirs.value)
        if name == b"SCAN":
            cursors = ours.value[0].value, theirs.value[0].value
            if cursors == (b"0", b"0") and command[1] == b"0":
                return sorted(ours.value[1].value) == sorted(theirs.value[1].value)
            return ours.value[1].kind == theirs.value[1].kind
        if name in (b"GEOSEARCH", b"GEORADIUS", b"GEORADIUS_RO", b"GEORADIUSBYMEMBER", b"GEORADIUSBYMEMBER_RO"):
            # Sorting is not stable there: equally distant places come in any order, and COUNT takes any.
            words = {word.upper() for word in command}
            return ours.kind == "*" == theirs.kind and len(ours.value) == len(theirs.value) and (
                b"COUNT" in words or not words.isdisjoint({b"ASC", b"DESC"})
                and sorted(map(render, ours.value)) == sorted(map(render, theirs.value)))
        if name in (b"SORT", b"SORT_RO"):
            return alike_unsorted(command, ours, theirs)
        if name == b"ZRANDMEMBER":
            return sorted(pairs(command, ours)) == sorted(pairs(command, theirs))
        if name in (b"XPENDING", b"XINFO"):
            return differences.untimed(command, ours) == differences.untimed(command, theirs)
        if name == b"HELLO":
            return server_facts(ours) == server_facts(theirs)
        return name == b"RANDOMKEY" or name == b"TIME" or (
            [word.upper() for word in command[:2]] == [b"CLIENT", b"ID"])


def alike_unsorted(command: list[bytes], ours: Reply, theirs: Reply) -> bool:
    """Whether a set's members that SORT was told not to sort are the same ones."""
    words = [word.upper() for word in command[2:]]
    is_unsorted = any(word == b"BY" and b"*" not in by for word, by in zip(words, words[1:]))
    if command[1].startswith((b"sl", b"sz")) or not is_unsorted or ours.kind != "*" or len(ours.value) != len(theirs.value):
        return False
    return b"LIMIT" in words or sorted(map(render, ours.value)) == sorted(map(render, theirs.value))


def in_any_order(command: list[bytes], reply: Reply) -> list:
    """The elements of a hash or set, sorted: single ones, or fields with their values."""
    flat = list(reply.value)
    is_single = command[0].upper() in (b"HKEYS", b"HVALS", b"SSCAN") or b"NOVALUES" in command
    return sorted(flat if is_single or reply.kind == "%" else zip(flat[::2], flat[1::2]))


def pairs(command: list[bytes], reply: Reply) -> list:
    """The members of a reply, each with its score if there are scores, as text that can be sorted."""
    parts = [render(part) for part in reply.value] if reply.kind == "*" else []
    has_pairs = len(command) > 3 and reply.kind == "*" and all(part.kind != "*" for part in reply.value)
    return list(zip(parts[::2], parts[1::2])) if has_pairs else parts


def server_facts(reply: Reply) -> list:
    """What HELLO says, without name, version and connection id."""
    flat = list(reply.value) if reply.kind == "*" else [part for pair in reply.value for part in pair]
    pairs = list(zip(flat[::2], flat[1::2]))
    hidden = (b"server", b"version", b"id", b"modules", b"availability_zone")
    return [pair for pair in pairs if pair[0].value not in hidden]


class OracleFault(Exception):
    """The oracle died or hung. Its bug, not Martlet's: the round is given up and counted."""


class Duel:
    """Martlet against one oracle."""

    def __init__(self, martlet: Server, oracle: Server):
        self.oracle_name = oracle.name
        self.ours = Peer(martlet)
        self.theirs = Peer(oracle)
        self.features = feature_set(oracle)
        if martlet.binary.name != "martlet":
            self.features &= feature_set(martlet)  # A stand-in may lack what Martlet must have.
        self.used: collections.Counter[str] = collections.Counter()
        self.commands = 0
        self.oracle_faults = 0
        # Not when the two servers have other limits of small collections.
        self.compares_encodings = True
        # Set by `survey`: disagreements are collected here, by kind, and play goes on.
        self.examples: dict[tuple, tuple[int, Failure]] | None = None

    def listen(self) -> None:
        """Compares keyspace events from now on, of all classes the oracle has."""
        classes = b"KEAoc" if self.oracle_name == "redis8" else b"KEA"
        self.ours.events = self.theirs.events = classes

    def note(self, failure: Failure) -> None:
        shapes = (re.sub(r"[0-9]+|\".*\"|b'.*?'", "", text)[:30] for text in (failure.ours, failure.theirs))
        kind = (failure.what.split(" ")[0].upper(), *shapes)
        self.examples[kind] = (self.examples.get(kind, (0,))[0] + 1, failure)

    def play(self, protocols: list[int], steps: list[Step]) -> Failure | None:
        """Runs the steps on emptied servers; returns the first disagreement."""
        self.ours.begin(protocols)
        self.theirs.begin(protocols)
        judge = Judge(self.oracle_name, self.compares_encodings)
        try:
            at, checked = 0, 0
            while at < len(steps):
                end = at + 1
                while end < len(steps) and steps[end].batch == steps[at].batch:
                    end += 1
                failure = self.play_batch(judge, steps[at:end], at)
                if failure is not None:
                    return failure
                at = end
                if at - checked >= CHECKPOINT_COMMANDS or at == len(steps):
                    checked = at
                    failure = self.compare_states(judge, at - 1)
                    if failure is not None:
                        return failure
            return None
        except OracleFault:
            self.oracle_faults += 1
            return None
        finally:
            self.used += judge.used
            self.commands += len(steps)

    def play_batch(self, judge: Judge, batch: list[Step], first: int) -> Failure | None:
        connection = batch[0].connection
        commands = [step.command for step in batch]
        special = commands[0][0]
        if special in (b"~SCAN", b"~DBSIZE") and judge.queues.get(connection) is not None:
            return None  # Inside MULTI it has no reply to go on with.
        if special == b"~SCAN":
            mine, right = (peer.scan(connection, commands[0][1:]) for peer in (self.ours, self.theirs))
            if mine == right or judge.same(commands[0], mine, right):
                return None
            return self.disagreement(first, commands[0], mine, right)
        if special == b"~DBSIZE":
            # Redis counts a key past its TTL until something meets it; SCAN meets all.
            for peer in (self.ours, self.theirs):
                peer.scan(connection, [])
            commands = [[b"DBSIZE"]]
        if special == b"~SUBSCRIBER":
            for peer in (self.ours, self.theirs):
                peer.subscribers[int(commands[0][1])].send(*commands[0][2:])
            return self.compare_messages(first, commands[0], int(commands[0][1]))
        if special == b"~SETTLE":
            commands = [commands[0][1:]]
        for peer in (self.ours, self.theirs):
            peer.send(connection, commands)
        ours = self.ours.receive(connection, len(commands))
        theirs = self.theirs.receive(connection, len(commands))
        if any(reply.kind == "!" for reply in theirs):
            raise OracleFault(f"{self.oracle_name}: {theirs[-1]}")
        for index, (command, mine, right) in enumerate(zip(commands, ours, theirs)):
            if not judge.agree(connection, command, mine, right):
                failure = self.disagreement(first + index, *judge.blamed)
                if self.examples is None or mine.kind == "!":
                    return failure
                self.note(failure)
            if mine == GONE:
                break
        if special == b"~SETTLE":
            time.sleep(FIELDS_SETTLE_SECONDS if commands[0][0] == b"HPEXPIRE" else SETTLE_SECONDS)
        names = {command[0].upper() for command in commands}
        if self.ours.events or not names.isdisjoint({b"PUBLISH", b"SPUBLISH", b"EXEC"}):
            return self.compare_messages(first + len(commands) - 1, commands[-1])
        return None

    def compare_messages(self, index: int, command: list[bytes], asked: int = 0) -> Failure | None:
        """Whether each subscriber has got the same on both servers; the one that was asked for something
        comes first, so that it is done when the others are."""
        for number in sorted(range(len(SUBSCRIBERS)), key=lambda number: number != asked):
            mine, right = self.ours.messages(number), self.theirs.messages(number)
            if differences.arranged(mine) == differences.arranged(right):
                continue
            if self.ours.events and differences.are_same_events(self.oracle_name, mine, right):
                continue
            return Failure(index, f"subscriber {number} after {render_command(command)}",
                           ", ".join(map(render, mine)), ", ".join(map(render, right)))
        return None

    def disagreement(self, index: int, command: list[bytes], mine: Reply, right: Reply) -> Failure:
        if mine == GONE and not self.ours.server.is_alive():
            mine = Reply("!", b"the server died: " + self.ours.server.log()[-2000:].encode())
        return Failure(index, render_command(command), render(mine), render(right))

    def compare_states(self, judge: Judge, index: int) -> Failure | None:
        try:
            mine, right = self.ours.state(), self.theirs.state()
        except (OSError, Closed) as problem:
            return Failure(index, "state", repr(problem), "")
        for database, name in sorted(mine.keys() | right.keys()):
            ours, theirs = mine.get((database, name)), right.get((database, name))
            what = f"state of {render_command([name])} in database {database}"
            if ours is None or theirs is None:
                return Failure(index, what, describe(ours), describe(theirs), name)
            for command, a, b in zip(about(name), ours, theirs):
                if a != b and not judge.same(command, a, b):
                    return Failure(index, f"{what}: {render_command(command)}", render(a), render(b), name)
        return None

    def play_afresh(self, protocols: list[int], steps: list[Step]) -> Failure | None:
        """Plays on restarted servers: what a failure needs may be a server that has done nothing."""
        for peer in (self.ours, self.theirs):
            peer.end()
            peer.server.restart()
        return self.play(protocols, steps)

    def shrink(self, protocols: list[int], steps: list[Step]) -> tuple[list[Step], Failure]:
        """The shortest sequence found in `SHRINK_SECONDS_MAX` that still fails, and how it fails."""
        deadline = time.monotonic() + SHRINK_SECONDS_MAX
        failure = self.play_afresh(protocols, steps)
        if failure is None:
            return steps, Failure(len(steps), "does not fail again: depends on timing", "", "")
        best = steps[: failure.index + 1]
        kind = failure.what.split()[0].upper()
        # Two servers take longer to start than hundreds of commands to play: emptied ones will do
        # unless the failure is one of those that only a server shows that has done nothing.
        again = self.play(protocols, best)
        play = self.play if again is not None and again.what.split()[0].upper() == kind else self.play_afresh

        def attempt(candidate: list[Step]) -> bool:
            nonlocal best, failure
            candidate = sendable(self.oracle_name, candidate)
            found = play(protocols, candidate)
            # Another failure than the one to explain would lead astray.
            if found is None or found.what.split()[0].upper() != kind:
                return False
            best, failure = candidate[: found.index + 1], found
            return True

        # What touches the same keys is most often enough, and never much.
        words = {failure.key} if failure.key is not None else set(best[-1].command[1:])
        attempt([step for step in best if step is best[-1] or concerns(step.command, words)])
        size = len(best) // 2
        while size >= 1 and time.monotonic() < deadline:
            start, removed = 0, False
            while start < len(best) and time.monotonic() < deadline:
                if attempt(best[:start] + best[start + size:]):
                    removed = True
                else:
                    start += size
            if not removed or size > 1:
                size //= 2
        # One command at a time reads best, unless the pipeline is what fails.
        attempt([step._replace(batch=number) for number, step in enumerate(best)])
        return best, failure


def concerns(command: list[bytes], words: set[bytes]) -> bool:
    """Whether the command has one of `words` among its arguments, or none at all, as FLUSHALL, or
    decides where others work."""
    return (len(command) == 1 or not words.isdisjoint(command[1:])
            or command[0].upper() in (b"SELECT", b"SWAPDB", b"MULTI", b"EXEC", b"DISCARD", b"WATCH", b"RESET"))


def describe(entry: list[Reply] | None) -> str:
    return "no such key" if entry is None else ", ".join(map(render, entry))


def report(seed: int, number: int, oracle: str, protocols: list[int], steps: list[Step],
           failure: Failure, total: int) -> str:
    lines = [f"Martlet and {oracle} disagree. Seed {seed}, round {number}; cut down from {total} to "
             f"{len(steps)} commands (reproduce: --oracle {oracle} --seed {seed} --round {number}):"]
    if len(steps) > REPORTED_STEPS_MAX:
        lines.append(f"  ... {len(steps) - REPORTED_STEPS_MAX} before")
    for step in steps[-REPORTED_STEPS_MAX:]:
        lines.append(f"  {step.connection} (RESP{protocols[step.connection]})> {render_command(step.command)}")
    lines += [f"at: {failure.what}", f"  Martlet: {failure.ours}", f"  {oracle}: {failure.theirs}"]
    return "\n".join(lines)


def survey(duel: Duel, seed: int, commands: int, groups: list[str]) -> None:
    """Prints one example of each kind of disagreement instead of stopping at the first."""
    duel.examples = {}
    for number in range(commands // ROUND_COMMANDS):
        script = Script(f"{seed}:{number}", groups, duel.features, ROUND_COMMANDS, duel.oracle_name)
        failure = duel.play(script.protocols, script.steps)
        if failure is not None:
            duel.note(failure)
    for _, (count, failure) in sorted(duel.examples.items()):
        print(f"{count} times: {failure.what[:200]}\n    Martlet: {failure.ours[:300]}\n"
              f"    {duel.oracle_name}: {failure.theirs[:300]}")


def run(duel: Duel, seed: int, commands: int, groups: list[str], only_round: int | None = None,
        progress: bool = False) -> str | None:
    """Plays rounds until `commands` were sent; returns the report of the first failure."""
    started = time.monotonic()
    numbers = range((commands + ROUND_COMMANDS - 1) // ROUND_COMMANDS) if only_round is None else [only_round]
    for number in numbers:
        script = Script(f"{seed}:{number}", groups, duel.features, ROUND_COMMANDS, duel.oracle_name)
        failure = duel.play(script.protocols, script.steps)
        if failure is not None:
            steps, smallest = duel.shrink(script.protocols, script.steps)
            return report(seed, number, duel.oracle_name, script.protocols, steps,
                          smallest if smallest.ours or smallest.theirs else failure, len(script.steps))
        if progress and sys.stderr.isatty():
            rate = duel.commands / (time.monotonic() - started)
            print(f"\r{duel.oracle_name}: {duel.commands} commands, {rate:.0f}/s", end="", file=sys.stderr)
    return None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--seed", type=int, default=0, help="0 draws one")
    parser.add_argument("--commands", type=int, default=200_000, help="per oracle")
    parser.add_argument("--oracle", default="redis7", choices=[*ORACLES, "all"])
    parser.add_argument("--groups", default=",".join(generators.groups()))
    parser.add_argument("--round", type=int, help="play this round only")
    parser.add_argument("--small-limit", help="elements and bytes of Martlet's small collections; "
                        "their encodings are not compared then")
    parser.add_argument("--events", action="store_true", help="compare keyspace events, too")
    parser.add_argument("--survey", action="store_true", help="list all kinds of differences")
    options = parser.parse_args()
    seed = options.seed or random.randrange(1, 2**31)
    failed = False
    limits = [word for limit in SMALL_LIMITS for word in (f"--{limit}", options.small_limit)]
    with Server(MARTLET, *(limits if options.small_limit else [])) as martlet:
        for name in ORACLES if options.oracle == "all" else [options.oracle]:
            if find_binary(name) is None:
                print(f"{name}: not installed (Tests/install-tools), left out")
                continue
            with Server(name) as oracle:
                duel = Duel(martlet, oracle)
                duel.compares_encodings = options.small_limit is None
                if options.events:
                    duel.listen()
                # Before, not only afterwards: a run that is cut off must be repeatable too.
                print(f"{name}: seed {seed}", flush=True)
                if options.survey:
                    survey(duel, seed, options.commands, options.groups.split(","))
                    continue
                started = time.monotonic()
                problem = run(duel, seed, options.commands, options.groups.split(","), options.round, True)
                print(f"{name}: {duel.commands} commands in "
                      f"{time.monotonic() - started:.1f} s, {'FAILED' if problem else 'no difference'}")
                if duel.oracle_faults:
                    print(f"  {duel.oracle_faults} rounds given up: the oracle died or hung")
                for title, count in duel.used.most_common():
                    print(f"  explained {count} times: {title}")
                if problem:
                    failed = True
                    print(problem)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
