"""Data moves: over restarts, and between Martlet, Redis and Valkey by copying files.

Random commands of all groups fill a server; then every key of every database, with all that is asked of
it when states are compared, must read the same in the server that opens its files.
"""

import os
import random
import shutil
import time

import pytest

import generators
from differential import Judge, Peer, about, feature_set, render_command
from resp import Reply, parse, render
from servers import MARTLET, SHARE, Server

# What waits, listens, or says which connection asks has no effect on keys.
GROUPS = [group for group in generators.groups() if group not in ("connection", "pubsub", "transactions", "blocking")]
# A small share of these empties everything.
EMPTYING = {b"FLUSHALL", b"FLUSHDB", b"~SETTLE"}
COMMANDS = 1500
LOG = ("--appendonly", "yes", "--appendfsync", "always", "--enable-debug-command", "yes")


def fill(server: Server, seed: str, features: set[str], count: int = int(COMMANDS * max(SHARE, 0.3))) -> None:
    rng = random.Random(seed)
    source = generators.Source(rng, GROUPS, features)
    with server.connect() as connection:
        sent = 0
        while sent < count:
            batch = [command for command in source.draw(50)
                     if not command[0].startswith(b"~") and command[0].upper() not in EMPTYING
                     and command[0].upper() not in (b"SUBSCRIBE", b"MONITOR")]
            if rng.random() < 0.3:
                batch = [[b"MULTI"], *(command for command in batch if command[0].upper() != b"WATCH"), [b"EXEC"]]
            connection.pipeline(batch)
            sent += len(batch)
            if rng.random() < 0.2:
                connection.call("SELECT", rng.choice([0, 1, 2, 9]))
        connection.call("DISCARD")


def movable(features: set[str], oracle: str) -> set[str]:
    """Valkey reads deadlines of fields in its own form alone, which Redis does not read."""
    return features - {"HEXPIRE", "HGETEX"} if oracle == "valkey9" else features


def state(server: Server) -> dict:
    peer = Peer(server)
    with server.connect() as inspector:
        peer.inspector = inspector
        return peer.state()


def without(reply: Reply, names: set[bytes]) -> Reply:
    """A reply without the named fields of its maps, which stand in arrays."""
    if not isinstance(reply.value, tuple):
        return reply
    kept, skips = [], False
    for item in reply.value:
        if skips:
            skips = False
        elif item.value in names:
            skips = True
        else:
            kept.append(without(item, names))
    return Reply(reply.kind, tuple(kept))


# When a consumer was last seen is in no log, as in Redis; how blocks are cut is each server's own.
NOT_MOVED = {b"seen-time", b"active-time", b"radix-tree-keys", b"radix-tree-nodes"}
# Redis 8.2 and Valkey 9.1 have no idempotent producers.
NEWER = {b"idmp-duration", b"idmp-maxsize", b"pids-tracked", b"iids-tracked", b"iids-added", b"iids-duplicates"}


def assert_same(before: dict, after: dict, oracle: str = MARTLET) -> None:
    # Loading gives values the form that new ones have: a number spelled by APPEND is an `int` again.
    judge = Judge(oracle, compares_encodings=False)
    names = NOT_MOVED if oracle == MARTLET else NOT_MOVED | NEWER
    for database, name in sorted(before.keys() | after.keys()):
        old, new = before.get((database, name)), after.get((database, name))
        if name == b"(size)" or new is None and old is not None and 0 < old[3].value < time.time() * 1000:
            continue  # Its time came between the two looks.
        assert old is not None and new is not None, (database, name, old, new)
        for command, a, b in zip(about(name), old, new):
            one, other = without(a, names), without(b, names)
            assert one == other or judge.same(command, b, a), (
                f"{render_command(command)} in database {database}: was {render(one)}, is {render(other)}")


def move(source: Server, target: Server) -> None:
    """Lets the target, which is started anew, find the files of the source, which has ended."""
    target.kill()
    for path in target.directory.iterdir():
        if path.name != "log":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    for path in source.directory.iterdir():
        if path.name == "log":
            continue
        if path.is_dir():
            shutil.copytree(path, target.directory / path.name)
        else:
            shutil.copy(path, target.directory / path.name)
    target.start()


def rewrite(server: Server) -> None:
    """Rewrites the log, and waits for the end of it."""
    with server.connect() as control:
        control.ok("BGREWRITEAOF")
        while b"aof_rewrite_in_progress:1" in control.ok("INFO", "persistence"):
            time.sleep(0.01)
        assert b"aof_last_bgrewrite_status:ok" in control.ok("INFO", "persistence")


@pytest.mark.parametrize("seed", range(max(1, int(4 * SHARE))))
@pytest.mark.parametrize("base", [None, "rdb", "aof"])
def test_everything_is_there_after_a_kill(new_server, seed, base):
    server = new_server(*LOG, "--io-threads", "2", "--aof-use-rdb-preamble", "no" if base == "aof" else "yes")
    features = feature_set(server)
    fill(server, f"log {seed}", features)
    if base:
        with server.connect() as control:
            control.ok("BGREWRITEAOF")
        fill(server, f"more {seed}", features)
    before = state(server)
    server.kill()
    server.start()
    assert_same(before, state(server))


def test_large_values_make_a_base_of_small_commands_while_they_change(new_server):
    server = new_server(*LOG, "--io-threads", "2", "--aof-use-rdb-preamble", "no")
    with server.connect() as client:
        for number in range(0, 6000, 100):
            members = [str(member) for member in range(number, number + 100)]
            client.ok("SADD", "set", *(f"member:{member}" for member in members))
            client.ok("RPUSH", "list", *(f"element:{member}" for member in members))
            client.ok("ZADD", "zset", *(part for member in members for part in (int(member) / 7, f"m:{member}")))
            client.ok("HSET", "hash", *(part for member in members for part in (f"f:{member}", "v" * 20)))
            client.pipeline([("XADD", "stream", f"{int(member) + 1}-0", "name", "v" * 20) for member in members])
        client.ok("HPEXPIREAT", "hash", 10**13, "FIELDS", 2, "f:7", "f:2007")
        client.ok("XGROUP", "CREATE", "stream", "group", 0)
        client.ok("XREADGROUP", "GROUP", "group", "ann", "COUNT", 3000, "STREAMS", "stream", ">")
        client.ok("PEXPIREAT", "zset", 10**13)
        # Pending and deleted: no command makes it.
        client.ok("XGROUP", "CREATE", "odd", "group", "$", "MKSTREAM")
        client.ok("XADD", "odd", "1-0", "a", "1")
        client.ok("XADD", "odd", "2-0", "a", "1")
        client.ok("XREADGROUP", "GROUP", "group", "ann", "STREAMS", "odd", ">")
        client.ok("XDEL", "odd", "1-0")
        directory = server.directory / "appendonlydir"
        names = set(os.listdir(directory))
        client.ok("BGREWRITEAOF")
        # The point in time of the base is when its thread begins, not when the command is answered.
        while set(os.listdir(directory)) == names:
            time.sleep(0.001)
        number = 0
        while b"aof_rewrite_in_progress:1" in client.ok("INFO", "persistence") or number < 300:
            number += 1
            client.pipeline([
                ("SREM", "set", f"member:{number}"), ("LPOP", "list"), ("LSET", "list", -number, "changed"),
                ("ZINCRBY", "zset", 1, f"m:{number * 7 % 6000}"), ("HSET", "hash", f"f:{number * 3 % 6000}", "w"),
                ("XDEL", "stream", f"{number * 5 % 6000 + 1}-0"), ("XACK", "stream", "group", f"{number}-0"),
                ("HPERSIST", "hash", "FIELDS", 1, "f:7"), ("SELECT", 1), ("INCR", "n"), ("SELECT", 0)])
    before = state(server)
    base, = (server.directory / "appendonlydir").glob("*.base.aof")
    commands, at, data = [], 0, base.read_bytes()
    while at < len(data):
        if data[at:at + 1] == b"#":
            at = data.index(b"\n", at) + 1
            continue
        command, at = parse(data, at)
        commands.append([part.value for part in command.value])
    assert max(len(command) for command in commands) <= 2 + 2 * 64
    assert {command[0] for command in commands} >= {b"SADD", b"RPUSH", b"ZADD", b"HSET", b"XADD", b"XCLAIM"}
    assert [command[1] for command in commands if command[0] == b"RESTORE"] == [b"odd"]
    server.kill()
    server.start()
    assert_same(before, state(server))
    # A base is whole or refused, wherever it is cut, and whatever changes in it.
    server.stop_keeping_files()
    for broken in (data[:-60], data[:data.rindex(b"#CRC")], data[:len(data) // 2],
                   data[:5000] + bytes([data[5000] ^ 1]) + data[5001:]):
        base.write_bytes(broken)
        with pytest.raises(RuntimeError, match="could not be loaded"):
            server.start()
    base.write_bytes(data)
    server.start()
    assert_same(before, state(server))


@pytest.mark.parametrize("seed", range(max(1, int(4 * SHARE))))
@pytest.mark.parametrize("command", ["SAVE", "BGSAVE"])
def test_a_snapshot_has_everything(new_server, seed, command):
    server = new_server("--enable-debug-command", "yes")
    fill(server, f"snapshot {seed}", feature_set(server))
    before = state(server)
    with server.connect() as control:
        control.ok(command)
        while b"rdb_bgsave_in_progress:1" in control.ok("INFO", "persistence"):
            pass
        assert b"rdb_last_bgsave_status:ok" in control.ok("INFO", "persistence")
    server.kill()
    server.start()
    assert_same(before, state(server))


@pytest.mark.parametrize("is_killed", [False, True])
@pytest.mark.parametrize("oracle", ["redis7", "redis8", "valkey9"])
@pytest.mark.parametrize("preamble", ["yes", "no"])
def test_our_log_opens_there_and_theirs_here(new_server, oracle, preamble, is_killed):
    """The bases of the logs are snapshots, or commands."""
    options = (*LOG, "--aof-use-rdb-preamble", preamble)
    theirs = new_server(*options, name=oracle)
    ours = new_server(*options)
    features = feature_set(theirs) & feature_set(ours)
    if preamble == "yes":
        features = movable(features, oracle)
    with ours.connect() as control:
        control.ok("FLUSHALL")
    fill(ours, f"to {oracle}", features, 1000)
    # What is older than it may hold commands that only we know.
    rewrite(ours)
    base = "rdb" if preamble == "yes" else "aof"
    manifest = (ours.directory / "appendonlydir/appendonly.aof.manifest").read_text()
    assert f"base.{base} " in manifest, manifest
    fill(ours, f"to {oracle} too", features, 500)
    before = state(ours)
    if is_killed:
        # What was filled ahead of the log is still there then.
        ours.kill()
        last = max(ours.directory.glob("appendonlydir/*.incr.aof"), key=lambda path: path.stat().st_mtime)
        assert last.read_bytes().endswith(b"#" * 1000 + b"\r\n")
    else:
        ours.stop_keeping_files()
    move(ours, theirs)
    found = state(theirs)
    assert_same(found, before, oracle)
    fill(theirs, f"from {oracle}", features, 1000)
    if preamble == "no":
        rewrite(theirs)
    # What their log leaves out (consumers that hold nothing) is gone for them as well.
    theirs.stop_keeping_files()
    theirs.start()
    before = state(theirs)
    theirs.stop_keeping_files()
    move(theirs, ours)
    assert_same(before, state(ours), oracle)


@pytest.mark.parametrize("oracle", ["redis7", "redis8", "valkey9"])
def test_our_snapshot_opens_there_and_theirs_here(new_server, oracle):
    theirs = new_server("--enable-debug-command", "yes", name=oracle)
    ours = new_server("--enable-debug-command", "yes")
    features = movable(feature_set(theirs) & feature_set(ours), oracle)
    for source, target in ((theirs, ours), (ours, theirs)):
        with source.connect() as control:
            control.ok("FLUSHALL")
        fill(source, f"snapshot of {source.name} for {target.name}", features)
        before = state(source)
        with source.connect() as control:
            control.ok("SAVE")
        move(source, target)
        after = state(target)
        if source is theirs:
            assert_same(before, after, oracle)
        else:
            assert_same(after, before, oracle)
