"""Producers that send an entry again: a model made from Redis' documentation of IDMP alone.

No server here has it (it came with Redis 8.6), so nothing but this model says what is right.
"""

import collections
import random
import time

import pytest

from servers import SHARE


class Model:
    """What a stream remembers of its producers: for each the idempotent ids of its last entries."""

    def __init__(self, maxsize: int = 100):
        self.maxsize = maxsize
        self.producers = collections.defaultdict(collections.OrderedDict)
        self.length = self.added = self.duplicates = 0

    def seen(self, pid, iid):
        return self.producers[pid].get(iid)

    def add(self, pid, iid, id):
        known = self.producers[pid]
        known[iid] = id
        self.length += 1
        self.added += 1
        while len(known) > self.maxsize:
            known.popitem(last=False)

    def configure(self, maxsize):
        if maxsize != self.maxsize:
            self.maxsize = maxsize
            self.producers.clear()

    @property
    def tracked(self):
        return sum(map(len, self.producers.values()))

    @property
    def pids(self):
        return sum(1 for known in self.producers.values() if known)


def info(connection, key="s"):
    values = [part.value for part in connection.ok("XINFO", "STREAM", key)]
    return dict(zip(values[::2], values[1::2]))


@pytest.fixture
def control(martlet):
    with martlet.connect() as connection:
        connection.ok("FLUSHALL")
        yield connection


@pytest.mark.parametrize("seed", range(4))
def test_an_entry_is_there_once_however_often_it_is_sent(control, seed):
    draw = random.Random(seed)
    model = Model()
    control.ok("XADD", "s", "1-1", "first", "entry")
    model.length = 1
    for _ in range(max(400, int(4000 * SHARE))):
        pid = draw.choice(("p", "q", "producer:\x00\xff", "r"))
        fields = [draw.choice("abc"), str(draw.randrange(160))]
        roll = draw.random()
        if roll < 0.55:
            iid = draw.choice(("iid", "")) + str(draw.randrange(160))
            command = ("XADD", "s", "IDMP", pid, iid, "*", *fields)
            key = ("given", iid)
        elif roll < 0.98:
            # The content is what it is known by.
            command = ("XADD", "s", "IDMPAUTO", pid, "*", *fields)
            key = ("made", *fields)
        elif roll < 0.99:
            maxsize = draw.choice((1, 3, 50, 100, 500))
            control.ok("XCFGSET", "s", "IDMP-MAXSIZE", maxsize)
            model.configure(maxsize)
            continue
        else:
            control.ok("XADD", "s", "*", *fields)
            model.length += 1
            continue
        before = model.seen(pid, key)
        id = control.ok(*command)
        if before is not None:
            assert id == before, command
            model.duplicates += 1
        else:
            assert id not in model.producers[pid].values()
            model.add(pid, key, id)
        if draw.random() < 0.05:
            told = info(control)
            assert told[b"length"] == model.length and told[b"idmp-maxsize"] == model.maxsize
            assert told[b"iids-tracked"] == model.tracked and told[b"pids-tracked"] == model.pids
            assert told[b"iids-added"] == model.added and told[b"iids-duplicates"] == model.duplicates
    assert control.ok("XLEN", "s") == model.length
    assert model.duplicates > 50


def test_producers_are_told_apart(control):
    first = control.ok("XADD", "s", "IDMP", "p", "1", "*", "a", "b")
    assert control.ok("XADD", "s", "IDMP", "q", "1", "*", "a", "b") != first
    assert control.ok("XADD", "s", "IDMP", "p", "1", "*", "other", "content") == first
    assert control.ok("XADD", "t", "IDMP", "p", "1", "*", "a", "b") not in (first,) or control.ok("XLEN", "t") == 1
    assert control.ok("XLEN", "s") == 2


def test_a_duplicate_adds_nothing_though_the_entry_is_gone(control):
    first = control.ok("XADD", "s", "IDMP", "p", "1", "*", "a", "b")
    control.ok("XDEL", "s", first)
    assert control.ok("XADD", "s", "IDMP", "p", "1", "*", "a", "b") == first
    assert control.ok("XLEN", "s") == 0


def test_what_was_sent_long_ago_is_forgotten(control):
    control.ok("XADD", "s", "*", "a", "b")
    control.ok("XCFGSET", "s", "IDMP-DURATION", 1)
    first = control.ok("XADD", "s", "IDMP", "p", "1", "*", "a", "b")
    assert control.ok("XADD", "s", "IDMP", "p", "1", "*", "a", "b") == first
    time.sleep(1.3)
    assert control.ok("XADD", "s", "IDMP", "p", "1", "*", "a", "b") != first
    assert control.ok("XLEN", "s") == 3


def test_another_setting_forgets_and_the_same_one_does_not(control):
    first = control.ok("XADD", "s", "IDMP", "p", "1", "*", "a", "b")
    control.ok("XCFGSET", "s", "IDMP-DURATION", 100, "IDMP-MAXSIZE", 100)
    assert control.ok("XADD", "s", "IDMP", "p", "1", "*", "a", "b") == first
    control.ok("XCFGSET", "s", "IDMP-DURATION", 101)
    assert control.ok("XADD", "s", "IDMP", "p", "1", "*", "a", "b") != first
    told = info(control)
    assert told[b"idmp-duration"] == 101 and told[b"idmp-maxsize"] == 100


def test_a_copy_remembers_and_a_new_stream_does_not(control):
    first = control.ok("XADD", "s", "IDMP", "p", "1", "*", "a", "b")
    control.ok("COPY", "s", "t")
    assert control.ok("XADD", "t", "IDMP", "p", "1", "*", "a", "b") == first
    control.ok("RENAME", "s", "u")
    assert control.ok("XADD", "u", "IDMP", "p", "1", "*", "a", "b") == first
    control.ok("DEL", "u")
    assert control.ok("XADD", "u", "IDMP", "p", "1", "*", "a", "b") != first or control.ok("XLEN", "u") == 1


@pytest.mark.parametrize("command", [
    "XADD s IDMP p * a b", "XADD s IDMP p 1 IDMP q 1 * a b", "XADD s IDMPAUTO p IDMP q 1 * a b", "XADD s IDMPAUTO * a b",
    "XCFGSET s", "XCFGSET s IDMP-DURATION 0", "XCFGSET s IDMP-DURATION 86401", "XCFGSET s IDMP-DURATION x",
    "XCFGSET s IDMP-MAXSIZE 0", "XCFGSET s IDMP-MAXSIZE 10001", "XCFGSET s IDMP-MAXSIZE", "XCFGSET s NOSUCH 1",
    "XCFGSET none IDMP-MAXSIZE 5", "XCFGSET text IDMP-MAXSIZE 5"])
def test_what_is_wrong_is_refused_and_changes_nothing(control, command):
    control.ok("SET", "text", "x")
    control.ok("XADD", "s", "1-1", "a", "b")
    assert control.call(*command.split()).is_error
    assert control.ok("XLEN", "s") == 1
    told = info(control)
    assert told[b"idmp-duration"] == 100 and told[b"idmp-maxsize"] == 100 and told[b"iids-added"] == 0
