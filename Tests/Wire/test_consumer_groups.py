"""Consumer groups: who gets what, who waits, and what has gone wrong with them elsewhere.

Scenes that an oracle can play are played on it too.
"""

import time

import pytest

import consumers
from resp import Closed
from servers import SHARE, Server
from test_blocking import Scene, texts

READ = ("XREADGROUP", "GROUP", "g")


@pytest.fixture(params=["martlet", "redis8"])
def scene(request):
    server = request.getfixturevalue(request.param)
    with server.connect() as connection:
        connection.ok("FLUSHALL")
    scene = Scene(server)
    yield scene
    scene.close()


@pytest.fixture
def control(scene):
    scene.control.ok("XGROUP", "CREATE", "s", "g", "0", "MKSTREAM")
    return scene.control


def reader(scene, name, *options, keys=("s",), protocol=2):
    return scene.waiter(*READ, name, *options, "BLOCK", 0, "STREAMS", *keys, *[">" for _ in keys], protocol=protocol)


def add(control, *ids, key="s"):
    for id in ids:
        control.ok("XADD", key, id, "n", id)


def given(connection):
    """Which ids of which keys a waiting reader got."""
    reply = connection.read()
    assert not reply.is_error and not reply.is_null, str(reply)
    streams = reply.value if reply.kind == "%" else [part.value for part in reply.value]
    return {key.value.decode(): [entry.value[0].value.decode() for entry in entries.value] for key, entries in streams}


def pending(control, key="s"):
    return control.ok("XPENDING", key, "g")[0].value


def test_who_came_first_gets_the_first_entry(scene, control):
    waiting = [reader(scene, f"c{number}", "COUNT", 1) for number in range(12)]
    for number in range(12):
        add(control, f"1-{number + 1}")
        scene.blocked(11 - number)
    assert [given(connection) for connection in waiting] == [{"s": [f"1-{number + 1}"]} for number in range(12)]
    assert pending(control) == 12


def test_each_group_has_its_own_line(scene, control):
    control.ok("XGROUP", "CREATE", "s", "h", "0")
    first, second = reader(scene, "a"), reader(scene, "b")
    other = scene.waiter("XREADGROUP", "GROUP", "h", "c", "BLOCK", 0, "STREAMS", "s", ">")
    add(control, "1-1")
    scene.blocked(1)
    assert given(first) == {"s": ["1-1"]} == given(other)
    add(control, "1-2")
    assert given(second) == {"s": ["1-2"]}


def test_several_entries_of_a_transaction_are_shared_by_count(scene, control):
    first, second, third = (reader(scene, name, "COUNT", 2) for name in "abc")
    control.pipeline([("MULTI",), *(("XADD", "s", f"1-{n}", "a", n) for n in range(1, 4)), ("EXEC",)])
    assert given(first) == {"s": ["1-1", "1-2"]}
    assert given(second) == {"s": ["1-3"]}
    scene.blocked(1)
    add(control, "2-1")
    assert given(third) == {"s": ["2-1"]}


def test_a_reader_waits_for_several_keys(scene, control):
    control.ok("XGROUP", "CREATE", "t", "g", "0", "MKSTREAM")
    waiting = [reader(scene, f"c{number}", keys=("s", "t"), protocol=2 + number % 2) for number in range(4)]
    add(control, "1-1", key="t")
    add(control, "1-1", key="s")
    add(control, "1-2", key="t")
    add(control, "1-2", key="s")
    assert [given(connection) for connection in waiting] == [
        {"t": ["1-1"]}, {"s": ["1-1"]}, {"t": ["1-2"]}, {"s": ["1-2"]}]
    assert pending(control) == pending(control, "t") == 2


def test_nothing_is_delivered_to_who_is_gone(scene, control):
    gone, killed, patient = (reader(scene, name) for name in "abc")
    gone.close()
    scene.blocked(2)
    killed_id = next(int(dict(part.split(b"=", 1) for part in line.split())[b"id"])
                     for line in scene.control.ok("CLIENT", "LIST").split(b"\n") if b"cmd=xreadgroup" in line)
    control.ok("CLIENT", "KILL", "ID", killed_id)
    scene.blocked(1)
    with pytest.raises((Closed, ConnectionError)):
        killed.read()
    add(control, "1-1")
    assert given(patient) == {"s": ["1-1"]}
    assert texts(control.call("XPENDING", "s", "g")) == [1, "1-1", "1-1", [["c", "1"]]]


MISSING = "NOGROUP No such key 's' or consumer group 'g' in XREADGROUP with GROUP option"


@pytest.mark.parametrize("commands", [
    ["DEL s"], ["UNLINK s"], ["XGROUP DESTROY s g"], ["FLUSHALL"], ["FLUSHDB"], ["RENAME s t"], ["MOVE s 1"],
    ["PEXPIRE s 0"], ["PEXPIRE s 30"], ["SWAPDB 0 1"], ["MULTI", "XADD s 9-1 a b", "XGROUP DESTROY s g", "EXEC"]])
def test_a_group_that_goes_ends_the_wait(scene, control, commands):
    waiting = [reader(scene, name) for name in "ab"]
    for command in commands:
        control.ok(*command.split())
    for connection in waiting:
        reply = connection.read()
        assert reply.is_error and reply.value.decode() == MISSING
    scene.blocked(0)


@pytest.mark.parametrize("commands", [["SET s x"], ["RPUSH l a", "RENAME l s"], ["MULTI", "DEL s", "RPUSH s a", "EXEC"]])
def test_a_key_of_another_type_ends_the_wait(scene, control, commands):
    waiting = reader(scene, "a")
    for command in commands:
        control.ok(*command.split())
    reply = waiting.read()
    assert reply.is_error and reply.value.startswith(b"WRONGTYPE")


def test_what_changes_nothing_wakes_nobody(scene, control):
    waiting = reader(scene, "a")
    control.pipeline([("MULTI",), ("XADD", "s", "1-1", "a", "b"), ("XDEL", "s", "1-1"), ("EXEC",)])
    control.pipeline([("MULTI",), ("DEL", "s"), ("XGROUP", "CREATE", "s", "g", "0", "MKSTREAM"), ("EXEC",)])
    control.ok("XGROUP", "DELCONSUMER", "s", "g", "a")
    scene.blocked(1)
    add(control, "2-1")
    assert given(waiting) == {"s": ["2-1"]}
    assert texts(control.call("XPENDING", "s", "g")) == [1, "2-1", "2-1", [["a", "1"]]]


def test_a_wait_ends_in_time_or_when_told(scene, control):
    begin = time.monotonic()
    assert control.call(*READ, "a", "BLOCK", 30, "STREAMS", "s", ">").is_null
    assert 0.025 < time.monotonic() - begin < 5
    waiting = scene.server.connect()
    scene.opened.append(waiting)
    id = waiting.ok("CLIENT", "ID")
    scene.waits(waiting, *READ, "a", "BLOCK", 0, "STREAMS", "s", ">")
    control.ok("CLIENT", "UNBLOCK", id, "ERROR")
    assert waiting.read().value.startswith(b"UNBLOCKED")


# What has gone wrong elsewhere: see the names.


def test_cve_2018_12453_xgroup_of_a_key_that_is_no_stream(scene, control):
    control.ok("SET", "text", "x")
    for command in ("XGROUP CREATE text g $", "XGROUP SETID text g $", "XGROUP DESTROY text g",
                    "XGROUP DELCONSUMER text g a", "XGROUP CREATECONSUMER text g a", "XGROUP CREATE text g $ MKSTREAM",
                    "XINFO GROUPS text", "XACK text g 1-1", "XPENDING text g", "XCLAIM text g a 0 1-1",
                    "XAUTOCLAIM text g a 0 0", "XACKDEL text g IDS 1 1-1", "XREADGROUP GROUP g a STREAMS text >"):
        reply = control.call(*command.split())
        assert reply.is_error and reply.value.startswith(b"WRONGTYPE"), command


def test_cve_2022_31144_xautoclaim_over_deleted_entries(scene, control):
    add(control, *(f"1-{number}" for number in range(1, 401)))
    control.ok(*READ, "a", "STREAMS", "s", ">")
    control.ok("XDEL", "s", *(f"1-{number}" for number in range(1, 401)))
    start, seen = "0-0", []
    while True:
        cursor, claimed, gone = control.ok("XAUTOCLAIM", "s", "g", "b", 0, start, "COUNT", 7)
        assert claimed.value == ()
        seen += [id.value for id in gone.value]
        start = cursor.value
        if start == b"0-0":
            break
    assert seen == [b"1-%d" % number for number in range(1, 401)]
    assert pending(control) == 0


def test_cve_2022_35951_xautoclaim_with_a_count_that_overflows(scene, control):
    add(control, "1-1", "1-2")
    control.ok(*READ, "a", "STREAMS", "s", ">")
    control.ok("XDEL", "s", "1-1")
    for count in (8070450532247928833, 2**63 - 1, -1, 0, -2**63):
        assert control.call("XAUTOCLAIM", "s", "g", "b", 0, 0, "COUNT", count).is_error
    reply = control.call("XAUTOCLAIM", "s", "g", "b", 0, 0, "COUNT", 2**63 // 16 - 1)
    assert reply.is_error or len(reply.value) == 3
    assert control.ok("PING") == b"PONG"


@pytest.mark.parametrize("count", [8, 9, 64, 65, 2999])
def test_cve_2025_62507_xackdel_of_many_ids(scene, control, count):
    add(control, *(f"1-{number}" for number in range(1, count + 1)))
    control.ok(*READ, "a", "STREAMS", "s", ">")
    ids = [f"1-{number}" for number in range(1, count + 1)]
    replies = control.ok("XACKDEL", "s", "g", "DELREF", "IDS", count, *ids)
    assert [reply.value for reply in replies] == [1] * count
    assert control.ok("XLEN", "s") == 0 and pending(control) == 0
    replies = control.ok("XDELEX", "s", "IDS", count, *ids)
    assert [reply.value for reply in replies] == [-1] * count


def test_valkey_pel_two_consumers_never_hold_one_id(scene, control):
    add(control, *(f"1-{number}" for number in range(1, 20)))
    control.ok(*READ, "a", "STREAMS", "s", ">")
    control.ok("XGROUP", "SETID", "s", "g", "1-5")
    control.ok(*READ, "b", "COUNT", 5, "STREAMS", "s", ">")
    control.ok("XCLAIM", "s", "g", "c", 0, "1-8", "1-9", "1-19", "1-19", "1-19", "FORCE")
    control.ok("XAUTOCLAIM", "s", "g", "d", 0, "1-17")
    held = {name: [entry.value[0].value for entry in control.ok("XPENDING", "s", "g", "-", "+", 100, name)]
            for name in "abcd"}
    ids = [id for owned in held.values() for id in owned]
    assert len(ids) == len(set(ids)) == pending(control) == 19
    control.ok("XGROUP", "DELCONSUMER", "s", "g", "b")
    assert pending(control) == 19 - len(held["b"])
    assert control.ok("XACK", "s", "g", *ids) == 19 - len(held["b"])
    assert pending(control) == 0


def test_valkey_pel_of_a_deleted_consumer_is_gone_from_the_group(scene, control):
    add(control, "1-1", "1-2")
    control.ok(*READ, "a", "STREAMS", "s", ">")
    assert control.ok("XGROUP", "DELCONSUMER", "s", "g", "a") == 2
    assert control.ok("XACK", "s", "g", "1-1", "1-2") == 0
    assert control.ok("XCLAIM", "s", "g", "b", 0, "1-1") == ()
    assert texts(control.call("XCLAIM", "s", "g", "b", 0, "1-1", "FORCE", "JUSTID")) == ["1-1"]


# What no oracle here has: XREADGROUP CLAIM (8.4), XNACK (8.8).


@pytest.fixture
def alone(martlet):
    with martlet.connect() as connection:
        connection.ok("FLUSHALL")
        connection.ok("XGROUP", "CREATE", "s", "g", "0", "MKSTREAM")
        yield connection


def test_claim_takes_over_the_longest_idle_first(alone):
    add(alone, *(f"1-{number}" for number in range(1, 6)))
    alone.ok(*READ, "a", "COUNT", 4, "STREAMS", "s", ">")
    alone.ok("XCLAIM", "s", "g", "a", 0, "1-3", "IDLE", 90000, "JUSTID")
    alone.ok("XCLAIM", "s", "g", "a", 0, "1-1", "IDLE", 80000, "RETRYCOUNT", 7)
    reply = alone.ok(*READ, "b", "COUNT", 3, "CLAIM", 60000, "STREAMS", "s", ">")
    entries = [[part.value for part in entry.value] for entry in reply[0].value[1].value]
    assert [entry[0] for entry in entries] == [b"1-3", b"1-1", b"1-5"]
    assert 90000 <= entries[0][2] < 99000 and 80000 <= entries[1][2] < 89000 and entries[2][2] == 0
    assert [entry[3] for entry in entries] == [1, 7, 0]
    assert texts(alone.call("XPENDING", "s", "g")) == [5, "1-1", "1-5", [["a", "2"], ["b", "3"]]]
    counts = {entry.value[0].value: entry.value[3].value for entry in alone.ok("XPENDING", "s", "g", "-", "+", 9)}
    assert counts == {b"1-1": 8, b"1-2": 1, b"1-3": 2, b"1-4": 1, b"1-5": 1}
    assert alone.call(*READ, "b", "CLAIM", 60000, "STREAMS", "s", ">").is_null


def test_claim_passes_over_deleted_entries(alone):
    add(alone, "1-1", "1-2", "1-3")
    alone.ok(*READ, "a", "STREAMS", "s", ">")
    alone.ok("XDEL", "s", "1-1")
    reply = alone.ok(*READ, "b", "COUNT", 1, "CLAIM", 0, "STREAMS", "s", ">")
    assert [entry.value[0].value for entry in reply[0].value[1].value] in ([b"1-2"], [])
    assert alone.call(*READ, "b", "CLAIM", -1, "STREAMS", "s", ">").is_error
    assert alone.call(*READ, "b", "CLAIM", "x", "STREAMS", "s", ">").is_error


def test_claim_waits_until_something_is_idle(martlet, alone):
    add(alone, "1-1")
    alone.ok(*READ, "a", "STREAMS", "s", ">")
    with martlet.connect() as waiting:
        begin = time.monotonic()
        reply = waiting.ok(*READ, "b", "BLOCK", 5000, "CLAIM", 200, "STREAMS", "s", ">")
        assert 0.15 < time.monotonic() - begin < 2
    assert reply[0].value[1].value[0].value[0].value == b"1-1"


def test_xnack_gives_entries_back(martlet, alone):
    add(alone, "1-1", "1-2", "1-3", "1-4")
    alone.ok(*READ, "a", "COUNT", 3, "STREAMS", "s", ">")
    with martlet.connect() as waiting:
        waiting.send(*READ, "b", "BLOCK", 5000, "COUNT", 1, "CLAIM", 60000, "STREAMS", "s", ">")
        assert [entry.value[0].value for entry in waiting.read().value[0].value[1].value] == [b"1-4"]
        waiting.send(*READ, "b", "BLOCK", 5000, "CLAIM", 60000, "STREAMS", "s", ">")
        time.sleep(0.05)
        assert alone.ok("XNACK", "s", "g", "FAIL", "IDS", 2, "1-1", "9-9") == 1
        entry = waiting.read().value[0].value[1].value[0].value
        assert entry[0].value == b"1-1" and entry[3].value == 1
    assert alone.ok("XNACK", "s", "g", "SILENT", "IDS", 1, "1-2") == 1
    assert alone.ok("XNACK", "s", "g", "FATAL", "IDS", 1, "1-3") == 1
    assert texts(alone.call("XPENDING", "s", "g", "1-2", "1-3", 9)) == [
        ["1-2", "", -1, 0], ["1-3", "", -1, 2**63 - 1]]
    assert texts(alone.call("XPENDING", "s", "g")) == [4, "1-1", "1-4", [["b", "2"]]]
    assert alone.ok("XNACK", "s", "g", "SILENT", "IDS", 1, "1-2", "RETRYCOUNT", 5) == 1
    assert texts(alone.call("XPENDING", "s", "g", "1-2", "1-2", 9)) == [["1-2", "", -1, 5]]
    alone.ok("XACK", "s", "g", "1-1")
    assert alone.ok("XNACK", "s", "g", "FAIL", "IDS", 1, "1-1") == 0
    assert alone.ok("XNACK", "s", "g", "FAIL", "IDS", 2, "1-1", "8-8", "FORCE") == 1
    assert texts(alone.call("XPENDING", "s", "g", "1-1", "1-1", 9)) == [["1-1", "", -1, 0]]
    assert texts(alone.call("XAUTOCLAIM", "s", "g", "c", 3600000, "0", "JUSTID")) == ["0-0", ["1-1", "1-2", "1-3"], []]
    for wrong in ("NONE IDS 1 1-1", "FAIL IDS 0 1-1", "FAIL IDS 2 1-1", "FAIL 1-1 1-2 1-3", "FAIL IDS 1 1-1 RETRYCOUNT -1",
                  "FAIL IDS 1 1-1 NOSUCH", "FAIL IDS 1 x"):
        assert alone.call("XNACK", "s", "g", *wrong.split()).is_error, wrong
    assert alone.call("XNACK", "s", "none", "FAIL", "IDS", 1, "1-1").value.startswith(b"NOGROUP")


def test_lag_is_counted_whatever_was_deleted(alone):
    def lag():
        return consumers.pairs(alone.ok("XINFO", "GROUPS", "s")[0])[b"lag"]

    add(alone, *(f"1-{number}" for number in range(1, 11)))
    assert lag() == 10
    alone.ok("XDEL", "s", "1-7", "1-9")
    assert lag() == 8
    alone.ok(*READ, "a", "COUNT", 3, "STREAMS", "s", ">")
    assert lag() == 5
    alone.ok("XTRIM", "s", "MAXLEN", 4)
    assert lag() == 4
    alone.ok("XGROUP", "SETID", "s", "g", "1-6", "ENTRIESREAD", 1000)
    assert lag() == 2
    alone.ok("XGROUP", "SETID", "s", "g", "99-0")
    assert lag() == 0
    alone.ok("XGROUP", "SETID", "s", "g", "$")
    assert lag() == 0


def test_every_entry_is_processed_and_acknowledged_once():
    for loops in (1, 2):
        with Server("martlet", "--io-threads", str(loops)) as server:
            problems, told = consumers.play(server, max(2000, int(20_000 * SHARE)), seed=loops)
            assert not problems, problems
            print(told)
            server.assert_serves()
            server.stop_cleanly()
