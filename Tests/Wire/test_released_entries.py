"""Entries given back with XNACK, and XREADGROUP with CLAIM: a model made from Redis' documentation alone.

No server here has XNACK (Redis 8.8) or CLAIM (8.4), so nothing but this model says what is right.
Times are compared by their order: old deliveries are made with the IDLE of XCLAIM, each a
thousand seconds or more before the next, and commands that deliver are milliseconds apart.
"""

from __future__ import annotations

import random
import time

import pytest

from resp import Reply
from servers import SHARE
from test_blocking import Scene

HOUR = 3_600_000
COUNT_MAX = 2**63 - 1
CONSUMERS = "abc"


class Pending:
    """An entry that a group has handed out: whom to (nobody after XNACK), when, and how often."""

    def __init__(self, owner: str | None, when: int, count: int):
        self.owner, self.when, self.count = owner, when, count


class Model:
    """A stream with one group."""

    def __init__(self):
        self.entries: dict[int, str] = {}
        self.last = 0
        self.delivered = 0
        self.pending: dict[int, Pending] = {}
        # In the order in which they were given back.
        self.released: list[int] = []
        self.consumers: set[str] = set()
        self.tick = 0

    def due(self, min_idle: int) -> list[int]:
        """What may be claimed: first what was given back, then by time of delivery. What was delivered at
        one time comes by ID, which Redis does not promise."""
        idle = [id for id, entry in self.pending.items()
                if entry.owner is not None and self.tick - entry.when >= min_idle]
        return self.released + sorted(idle, key=lambda id: (self.pending[id].when, id))

    def take(self, id: int, owner: str, count: int) -> None:
        if id in self.released:
            self.released.remove(id)
        self.pending[id] = Pending(owner, self.tick, min(count, COUNT_MAX))

    def drop(self, id: int) -> None:
        self.pending.pop(id, None)
        if id in self.released:
            self.released.remove(id)

    def add(self) -> None:
        self.last += 1
        self.entries[self.last] = f"v{self.last}"

    def ack(self, ids: list[int]) -> int:
        known = [id for id in dict.fromkeys(ids) if id in self.pending]
        for id in known:
            self.drop(id)
        return len(known)

    def nack(self, mode: str, ids: list[int], retries: int | None, force: bool) -> int:
        done = 0
        for id in ids:
            entry = self.pending.get(id)
            if entry is None:
                if not force or id not in self.entries:
                    continue
                entry = self.pending[id] = Pending(None, 0, 0)
            elif mode == "SILENT" and retries is None:
                entry.count = max(0, entry.count - 1)
            if mode == "FATAL":
                entry.count = COUNT_MAX
            if retries is not None:
                entry.count = retries
            entry.owner = None
            if id in self.released:
                self.released.remove(id)
            self.released.append(id)
            done += 1
        return done

    def read(self, consumer: str, count: int | None, min_idle: int | None,
             no_ack: bool) -> list[tuple[int, str, int]]:
        """What XREADGROUP hands out, with how often it was before."""
        self.consumers.add(consumer)
        found = []
        for id in self.due(min_idle) if min_idle is not None else []:
            if count is not None and len(found) == count:
                break
            if id not in self.entries:
                self.drop(id)
                continue
            found.append((id, self.entries[id], self.pending[id].count))
            self.take(id, consumer, self.pending[id].count + 1)
        for id in sorted(self.entries):
            if id > self.delivered and (count is None or len(found) < count):
                found.append((id, self.entries[id], 0))
                self.delivered = id
                if not no_ack:
                    self.take(id, consumer, 1)
        return found

    def history(self, consumer: str, count: int | None) -> list[tuple[int, str | None]]:
        self.consumers.add(consumer)
        mine = sorted(id for id, entry in self.pending.items() if entry.owner == consumer)[:count]
        for id in mine:
            if id in self.entries:
                self.take(id, consumer, self.pending[id].count + 1)
        return [(id, self.entries.get(id)) for id in mine]

    def claim(self, consumer: str, min_idle: int, ids: list[int], idle: int, just_id: bool, force: bool,
              retries: int | None) -> list[int]:
        self.consumers.add(consumer)
        found = []
        for id in ids:
            entry = self.pending.get(id)
            if id not in self.entries:
                self.drop(id)
                continue
            if entry is None:
                if not force:
                    continue
                entry = Pending(None, 0, 1)
            elif entry.owner is not None and self.tick - entry.when < min_idle:
                continue
            self.take(id, consumer, retries if retries is not None else entry.count + (not just_id))
            self.pending[id].when = self.tick - idle
            found.append(id)
        return found

    def claim_all(self, consumer: str, min_idle: int, start: int, count: int,
                  just_id: bool) -> tuple[int, list[int], list[int]]:
        self.consumers.add(consumer)
        found, gone, attempts, left = [], [], count * 10, count
        rest = sorted(id for id in self.pending if id >= start)
        while rest and attempts and left:
            id = rest.pop(0)
            attempts -= 1
            entry = self.pending[id]
            if id not in self.entries:
                self.drop(id)
                gone.append(id)
                left -= 1
            elif entry.owner is None or self.tick - entry.when >= min_idle:
                self.take(id, consumer, entry.count + (not just_id))
                found.append(id)
                left -= 1
        return (rest[0] if rest else 0), found, gone

    def remove_consumer(self, consumer: str) -> int:
        mine = [id for id, entry in self.pending.items() if entry.owner == consumer]
        for id in mine:
            self.drop(id)
        self.consumers.discard(consumer)
        return len(mine)


def number(id: bytes) -> int:
    return int(id.split(b"-")[0])


def ids_of(numbers: list[int]) -> list[str]:
    return [f"{number}-1" for number in numbers]


def entries(reply: Reply) -> list[tuple]:
    """The entries of the one stream of a reply: id, value, and what follows, idle times left out."""
    if reply.is_null:
        return []
    ((_, found),) = [pair.value if isinstance(pair, Reply) else pair for pair in reply.value]
    return [(number(entry.value[0].value), None if entry.value[1].is_null else entry.value[1].value[1].value.decode(),
             *(part.value for part in entry.value[3:])) for entry in found.value]


class Player:
    """Plays one random command on the server and on the model."""

    def __init__(self, draw: random.Random, connection):
        self.draw, self.connection, self.model = draw, connection, Model()
        self.counts: dict[str, int] = {}
        connection.ok("XGROUP", "CREATE", "s", "g", "0", "MKSTREAM")

    def play(self) -> None:
        steps = {self.add: 6, self.read: 7, self.nack: 6, self.ack: 4, self.claim: 4, self.claim_all: 2,
                 self.history: 2, self.delete: 1, self.delete_with_references: 1, self.remove_consumer: 0.3}
        step, = self.draw.choices(list(steps), list(steps.values()))
        time.sleep(0.002)
        self.model.tick += 2
        before = self.describe()
        theirs, ours = step()
        self.counts[step.__name__] = self.counts.get(step.__name__, 0) + 1
        assert theirs == ours, f"{self.command}\n  server {theirs}\n  model  {ours}\nbefore: {before}"

    def call(self, *command) -> Reply:
        self.command = " ".join(map(str, command))
        reply = self.connection.call(*command)
        assert not reply.is_error, f"{self.command}: {reply}"
        return reply

    def describe(self) -> str:
        return f"released {self.model.released}, entries {sorted(self.model.entries)}, " + ", ".join(
            f"{id} {entry.owner} {entry.count}" for id, entry in sorted(self.model.pending.items()))

    def some(self, max_count: int = 4) -> list[int]:
        known = list(self.model.pending) * 3 + list(self.model.entries) + [self.model.last + 5]
        return [self.draw.choice(known) for _ in range(self.draw.randint(1, max_count))]

    def min_idle(self) -> int:
        return self.draw.choice([0, 0, HOUR // 2, HOUR * 3 // 2, HOUR * 5 // 2])

    def add(self):
        self.model.add()
        id, = ids_of([self.model.last])
        return self.call("XADD", "s", id, "f", self.model.entries[self.model.last]).value, id.encode()

    def read(self):
        consumer = self.draw.choice(CONSUMERS)
        count = self.draw.choice([None, 1, 2, 5])
        min_idle = self.min_idle() if self.draw.random() < 0.8 else None
        no_ack = self.draw.random() < 0.15
        options = ["COUNT", count] if count else []
        claim = ["CLAIM", min_idle] if min_idle is not None else []
        options = [claim + options, options + claim][self.draw.randrange(2)] + ["NOACK"] * no_ack
        reply = self.call("XREADGROUP", "GROUP", "g", consumer, *options, "STREAMS", "s", ">")
        theirs, ours = entries(reply), self.model.read(consumer, count, min_idle, no_ack)
        if min_idle is None:
            ours = [entry[:2] for entry in ours]
        return theirs, ours

    def history(self):
        consumer, count = self.draw.choice(CONSUMERS), self.draw.choice([100, 2])
        # CLAIM changes nothing of a read of one's own entries.
        options = self.draw.choice([[], ["CLAIM", 0]])
        reply = self.call("XREADGROUP", "GROUP", "g", consumer, "COUNT", count, *options, "STREAMS", "s", "0")
        return entries(reply), self.model.history(consumer, count)

    def nack(self):
        mode = self.draw.choice(["SILENT", "FAIL", "FAIL", "FATAL"])
        retries = self.draw.choice([None, None, None, 0, 5, COUNT_MAX])
        force = self.draw.random() < 0.3
        ids = list(dict.fromkeys(self.some()))
        options = [["RETRYCOUNT", retries] if retries is not None else [], ["FORCE"] * force]
        self.draw.shuffle(options)
        reply = self.call("XNACK", "s", "g", self.draw.choice([mode, mode.lower()]), "IDS", len(ids), *ids_of(ids),
                          *options[0], *options[1])
        return reply.value, self.model.nack(mode, ids, retries, force)

    def ack(self):
        ids = self.some()
        return self.call("XACK", "s", "g", *ids_of(ids)).value, self.model.ack(ids)

    def claim(self):
        consumer, ids = self.draw.choice(CONSUMERS), list(dict.fromkeys(self.some()))
        min_idle, idle = self.min_idle(), self.draw.choice([0, 0, HOUR, 2 * HOUR, 3 * HOUR])
        just_id, force = self.draw.random() < 0.5, self.draw.random() < 0.2
        retries = self.draw.choice([None, None, 7])
        reply = self.call("XCLAIM", "s", "g", consumer, min_idle, *ids_of(ids), "IDLE", idle,
                          *(["RETRYCOUNT", retries] if retries is not None else []), *["JUSTID"] * just_id,
                          *["FORCE"] * force)
        theirs = [number(entry.value if just_id else entry.value[0].value) for entry in reply.value]
        return theirs, self.model.claim(consumer, min_idle, ids, idle, just_id, force, retries)

    def claim_all(self):
        consumer, min_idle = self.draw.choice(CONSUMERS), self.min_idle()
        start, count = self.draw.choice([0, self.some(1)[0]]), self.draw.choice([1, 3, 100])
        just_id = self.draw.random() < 0.5
        reply = self.call("XAUTOCLAIM", "s", "g", consumer, min_idle, f"{start}-0", "COUNT", count,
                          *["JUSTID"] * just_id)
        cursor, found, gone = (part.value for part in reply.value)
        theirs = (number(cursor), [number(entry.value if just_id else entry.value[0].value) for entry in found],
                  [number(id.value) for id in gone])
        return theirs, self.model.claim_all(consumer, min_idle, start, count, just_id)

    def delete(self):
        """The group keeps what it knows of the entry."""
        id = self.draw.choice([*self.model.entries, self.model.last + 1])
        return self.call("XDEL", "s", *ids_of([id])).value, int(self.model.entries.pop(id, None) is not None)

    def delete_with_references(self):
        id = self.draw.choice([*self.model.entries, self.model.last + 1])
        there = self.model.entries.pop(id, None) is not None
        if there:
            self.model.drop(id)
        reply = self.call("XDELEX", "s", "DELREF", "IDS", 1, *ids_of([id]))
        return [part.value for part in reply.value], [1 if there else -1]

    def remove_consumer(self):
        consumer = self.draw.choice(CONSUMERS)
        return self.call("XGROUP", "DELCONSUMER", "s", "g", consumer).value, self.model.remove_consumer(consumer)

    def compare_pending(self) -> None:
        """XPENDING in its forms and XINFO, against the model."""
        model = self.model
        self.play_pending("XPENDING", "s", "g", "-", "+", 1000)
        listed = sorted(model.pending.items())
        for consumer in CONSUMERS:
            reply = self.call("XPENDING", "s", "g", "-", "+", 1000, consumer)
            assert [number(entry.value[0].value) for entry in reply.value] == [
                id for id, entry in listed if entry.owner == consumer]
        reply = self.call("XPENDING", "s", "g", "IDLE", HOUR // 2, "-", "+", 1000)
        assert [number(entry.value[0].value) for entry in reply.value] == [
            id for id, entry in listed if entry.owner is None or model.tick - entry.when >= HOUR // 2]
        total, first, last, owners = (part.value for part in self.call("XPENDING", "s", "g").value)
        assert total == len(listed)
        assert [number(end) for end in (first, last) if end] == [end[0] for end in (listed[:1] + listed[-1:])]
        held = {}
        for _, entry in listed:
            if entry.owner is not None:
                held[entry.owner.encode()] = held.get(entry.owner.encode(), 0) + 1
        assert {pair.value[0].value: int(pair.value[1].value) for pair in owners or []} == held
        group = fields(fields(self.call("XINFO", "STREAM", "s", "FULL", "COUNT", 0))[b"groups"].value[0])
        assert group[b"nacked-count"].value == len(model.released) and group[b"pel-count"].value == len(listed)
        assert {fields(consumer)[b"name"].value.decode(): fields(consumer)[b"pel-count"].value
                for consumer in group[b"consumers"].value} == {
            consumer: held.get(consumer.encode(), 0) for consumer in model.consumers}

    def play_pending(self, *command) -> None:
        theirs = [(number(id.value), owner.value.decode(), idle.value < 0, count.value)
                  for id, owner, idle, count in (entry.value for entry in self.call(*command).value)]
        ours = [(id, entry.owner or "", entry.owner is None, entry.count)
                for id, entry in sorted(self.model.pending.items())]
        assert theirs == ours, f"after {self.last_command}\n  server {theirs}\n  model  {ours}"

    @property
    def last_command(self) -> str:
        return self.command


def fields(reply: Reply) -> dict:
    parts = [part for pair in reply.value for part in pair] if reply.kind == "%" else reply.value
    return dict(zip((name.value for name in parts[::2]), parts[1::2]))


@pytest.fixture(params=[2, 3])
def connection(martlet, request):
    with martlet.connect(request.param) as connection:
        connection.ok("FLUSHALL")
        yield connection


@pytest.mark.parametrize("seed", range(3))
def test_what_is_given_back_and_claimed_is_what_the_model_says(connection, seed):
    player = Player(random.Random(seed), connection)
    for step in range(max(300, int(1500 * SHARE))):
        player.play()
        if step % 10 == 0:
            player.compare_pending()
    assert len(player.counts) >= 9


def stream(connection, count: int = 3, reader: str = "a") -> None:
    for number in range(1, count + 1):
        connection.ok("XADD", "s", f"{number}-1", "f", f"v{number}")
    connection.ok("XGROUP", "CREATE", "s", "g", "0")
    if reader:
        connection.ok("XREADGROUP", "GROUP", "g", reader, "STREAMS", "s", ">")


def test_a_claimed_entry_tells_how_long_it_was_idle_and_a_new_one_says_nought(connection):
    stream(connection, 1)
    connection.ok("XADD", "s", "2-1", "f", "v2")
    time.sleep(0.05)
    reply = connection.call("XREADGROUP", "GROUP", "g", "b", "CLAIM", 40, "STREAMS", "s", ">")
    ((_, found),) = [pair.value if isinstance(pair, Reply) else pair for pair in reply.value]
    old, new = (entry.value for entry in found.value)
    assert len(old) == len(new) == 4
    assert old[2].kind == ":" and 40 <= old[2].value < 60_000 and old[3] == Reply(":", 1)
    assert (new[2], new[3]) == (Reply(":", 0), Reply(":", 0))


def test_several_streams_are_claimed_from_each_for_itself(connection):
    for key in "st":
        connection.ok("XADD", key, "1-1", "f", "v1")
        connection.ok("XADD", key, "2-1", "f", "v2")
        connection.ok("XGROUP", "CREATE", key, "g", "0")
    connection.ok("XREADGROUP", "GROUP", "g", "a", "COUNT", 1, "STREAMS", "s", "t", ">", ">")
    connection.ok("XNACK", "t", "g", "FAIL", "IDS", 1, "1-1")
    reply = connection.call("XREADGROUP", "GROUP", "g", "b", "COUNT", 2, "CLAIM", HOUR, "STREAMS", "s", "t", ">", ">")
    found = {pair[0].value: [(entry.value[0].value, entry.value[3].value) for entry in pair[1].value]
             for pair in (item.value if isinstance(item, Reply) else item for item in reply.value)}
    assert found == {b"s": [(b"2-1", 0)], b"t": [(b"1-1", 1), (b"2-1", 0)]}


@pytest.mark.parametrize("count", [2**63 - 1, 2**63 - 2, 2**62, 2**32, 0, -1])
def test_a_count_beyond_all_entries_means_all(connection, count):
    stream(connection)
    connection.ok("XDEL", "s", "2-1")
    reply = connection.call("XREADGROUP", "GROUP", "g", "b", "COUNT", count, "CLAIM", 0, "STREAMS", "s", ">")
    assert entries(reply) == [(1, "v1", 1), (3, "v3", 1)]


def test_deleted_entries_do_not_stand_in_the_way_of_others(connection):
    stream(connection, 400)
    connection.pipeline([("XDEL", "s", f"{number}-1") for number in range(1, 400) if number % 100])
    reply = connection.call("XREADGROUP", "GROUP", "g", "b", "COUNT", 4, "CLAIM", 0, "STREAMS", "s", ">")
    assert [entry[0] for entry in entries(reply)] == [100, 200, 300, 400]
    assert connection.ok("XPENDING", "s", "g")[0].value == 4


@pytest.mark.parametrize("options, text", [
    (["CLAIM", "x"], b"ERR min-idle-time is not an integer"), (["CLAIM", "5.5"], b"ERR min-idle-time is not an integer"),
    (["CLAIM", "+10"], b"ERR min-idle-time is not an integer"), (["CLAIM", "-0"], b"ERR min-idle-time is not an integer"),
    (["CLAIM", "-10"], b"ERR min-idle-time must be a positive integer"),
    (["CLAIM", "10", "CLAIM"], b"ERR min-idle-time is not an integer"),
    (["CLAIM"], b"ERR min-idle-time is not an integer")])
def test_a_wrong_idle_time_is_refused(connection, options, text):
    stream(connection)
    reply = connection.call("XREADGROUP", "GROUP", "g", "b", *options, "STREAMS", "s", ">")
    assert reply == Reply("-", text)


@pytest.mark.parametrize("command", [
    "XNACK s g", "XNACK s g FAIL", "XNACK s g FAIL IDS 2 1-1", "XNACK s g NOSUCH IDS 1 1-1", "XNACK s g FAIL IDS 0 1-1",
    "XNACK s g FAIL IDS 1 x", "XNACK s g FAIL IDS 2 1-1 x", "XNACK s g FAIL IDS x 1-1", "XNACK s g FAIL IDS 1 1-1 NOSUCH",
    "XNACK s g FAIL IDS 1 1-1 RETRYCOUNT", "XNACK s g FAIL IDS 1 1-1 RETRYCOUNT -1",
    "XNACK s g FAIL IDS 1 1-1 RETRYCOUNT x", "XNACK text g FAIL IDS 1 1-1"])
def test_a_wrong_xnack_is_refused_and_gives_nothing_back(connection, command):
    stream(connection)
    connection.ok("SET", "text", "x")
    assert connection.call(*command.split()).is_error
    assert [entry.value[1].value for entry in connection.ok("XPENDING", "s", "g", "-", "+", 10)] == [b"a"] * 3


@pytest.fixture
def scene(martlet):
    scene = Scene(martlet)
    scene.control.ok("FLUSHALL")
    yield scene
    scene.close()


def test_who_waits_with_claim_gets_what_is_given_back(scene):
    stream(scene.control)
    waiting = scene.waiter("XREADGROUP", "GROUP", "g", "b", "BLOCK", 0, "CLAIM", HOUR, "STREAMS", "s", ">")
    plain = scene.waiter("XREADGROUP", "GROUP", "g", "c", "BLOCK", 0, "STREAMS", "s", ">")
    scene.control.ok("XNACK", "s", "g", "FAIL", "IDS", 2, "3-1", "1-1")
    assert [entry[:1] + entry[2:] for entry in entries(waiting.read())] == [(3, 1), (1, 1)]
    assert plain.is_silent()
    owners = [entry.value[1].value for entry in scene.control.ok("XPENDING", "s", "g", "-", "+", 10)]
    assert owners == [b"b", b"a", b"b"]


def test_who_waits_with_claim_gets_what_has_become_idle_meanwhile(scene):
    stream(scene.control, 2)
    started = time.monotonic()
    waiting = scene.waiter("XREADGROUP", "GROUP", "g", "b", "BLOCK", 0, "CLAIM", 300, "STREAMS", "s", ">")
    assert [entry[0] for entry in entries(waiting.read())] == [1, 2]
    assert 0.2 < time.monotonic() - started < 1.5


def test_who_waits_with_claim_gets_new_entries_too(scene):
    stream(scene.control, 1)
    waiting = scene.waiter("XREADGROUP", "GROUP", "g", "b", "BLOCK", 0, "CLAIM", HOUR, "STREAMS", "s", ">")
    scene.control.ok("XADD", "s", "9-1", "f", "v9")
    assert entries(waiting.read()) == [(9, "v9", 0)]


def test_what_is_given_back_goes_to_who_has_waited_longest(scene):
    stream(scene.control, 4)
    waiting = [scene.waiter("XREADGROUP", "GROUP", "g", name, "BLOCK", 0, "COUNT", 1, "CLAIM", HOUR, "STREAMS", "s", ">")
               for name in "bcd"]
    for number in (4, 2, 3):
        scene.control.ok("XNACK", "s", "g", "SILENT", "IDS", 1, f"{number}-1")
    assert [entries(connection.read())[0][0] for connection in waiting] == [4, 2, 3]
