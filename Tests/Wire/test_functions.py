"""Function libraries over a socket: replies and errors as redis-server has them, and they live with the data.

Libraries outlive restarts, kills and rewrites, move between servers both ways, and see nothing of each other.
"""

from __future__ import annotations

import random
import re
import threading
import time

import pytest

from conftest import start_or_skip
from resp import Connection
from servers import MARTLET, SHARE, Server

HEADER = "#!lua name=lib\n"


def library(name: str, *functions: str, body: str = "return 1", flags: str = "") -> str:
    """The text of a library whose functions all have the same body."""
    text = f"#!lua name={name}\n"
    for function in functions:
        text += (
            f"redis.register_function{{function_name='{function}', flags={{{flags}}}, "
            f"callback=function(keys, args) {body} end}}\n")
    return text


# Each is loaded into an empty server. Replies are the same on both servers, to the bytes.
TEXTS = [
    "", "#", "return 1", "#!lua name=lib", "#!lua\nreturn 1", "#!lua name=a name=b\nx", "#!lua foo=b\nx",
    "#!bad name=lib\nx", "#!lua name=a-b\nx", "#!lua name=\nx", "#! lua name=lib\nx", "#!\nx",
    "#!lua name=\"lib\nx", "#!lua name='lib'\nredis.register_function('f',function() end)",
    HEADER + "return 1", HEADER + "syntax error", HEADER + "error('boom')", HEADER + "return x", HEADER + "x=1",
    HEADER + "local x = 1", HEADER + "redis.call('get','x')", HEADER + "redis.pcall('get','x')",
    HEADER + "return pairs", HEADER + "return _G", HEADER + "return string", HEADER + "math.random()",
    HEADER + "redis.redis.call()", HEADER + "redis.x = 1", HEADER + "redis.setresp(3)", HEADER + "redis.sha1hex('')",
    HEADER + "local x = nil + 1", HEADER + "local x = {} .. 'a'", HEADER + "local t = nil\nt.x = 1",
    HEADER + "redis.log()", HEADER + "redis.log('x', 'y')", HEADER + "redis.log(9, 'y')",
    HEADER + "redis.register_function()", HEADER + "redis.register_function('f')",
    HEADER + "redis.register_function('f',1)", HEADER + "redis.register_function(1,function() end)",
    HEADER + "redis.register_function({},1)", HEADER + "redis.register_function(nil,function() end)",
    HEADER + "redis.register_function('',function() end)",
    HEADER + "redis.register_function{callback=function() end}",
    HEADER + "redis.register_function{function_name='f'}",
    HEADER + "redis.register_function{function_name='f',callback=1}",
    HEADER + "redis.register_function{function_name='f',callback=function() end,foo=1}",
    HEADER + "redis.register_function{function_name={},callback=function() end}",
    HEADER + "redis.register_function{function_name='f',callback=function() end,description={}}",
    HEADER + "redis.register_function{function_name='f',callback=function() end,description=7}",
    HEADER + "redis.register_function{function_name='f',callback=function() end,flags='x'}",
    HEADER + "redis.register_function{function_name='f',callback=function() end,flags={'x'}}",
    HEADER + "redis.register_function{function_name='f',callback=function() end,flags={1}}",
    HEADER + "redis.register_function{function_name='f',callback=function() end,flags={{}}}",
    HEADER + "redis.register_function{function_name='f',callback=function() end,flags={'NO-WRITES'}}",
    HEADER + "redis.register_function{FUNCTION_NAME='f',Callback=function() end}",
    HEADER + "redis.register_function{1,2}", HEADER + "redis.register_function{[true]=1}",
    HEADER + "redis.register_function('f-g',function() end)",
    HEADER + "redis.register_function('f',function() end) redis.register_function('f',function() end)",
    HEADER + "redis.register_function('f',function() end, 3)",
    HEADER + "redis.register_function('f',function() end) return {1,2,3}",
    "#!LUA NAME=lib2\nredis.register_function('f',function() end)",
    library("lib", "f", flags="'no-writes','allow-oom','allow-stale','no-cluster','allow-cross-slot-keys'"),
]

# The library that CALLS are for, and after it another one that writes.
LIBRARIES = [
    HEADER + r"""
local lib = redis
local calls = 0
local function named(name, flags, callback)
    redis.register_function{function_name=name, flags=flags, callback=callback}
end
named('arguments', {'no-writes'}, function(keys, args) return {keys, args, #keys, #args} end)
named('first', {'no-writes'}, function(keys) return keys[1] end)
named('nothing', {}, function() end)
named('several', {}, function() return 1, 2 end)
named('boo', {}, function() error('boo') end)
named('table_error', {}, function() error({err='MY table'}) end)
named('empty_error', {}, function() error({}) end)
named('global', {}, function() return x end)
named('set_global', {}, function() x = 1 end)
named('globals', {}, function() return KEYS end)
named('environment', {}, function() _G.x = 1 end)
named('change_server', {}, function() redis.x = 1 end)
named('change_string', {}, function() string.x = 1 end)
named('change_load', {}, function() lib.x = 1 end)
named('late', {}, function() redis.register_function('late2', function() end) end)
named('late_kept', {}, function() lib.register_function('late2', function() end) end)
named('load_math', {}, function() return lib.math end)
named('count', {}, function() calls = calls + 1 return calls end)
named('get', {'no-writes'}, function(keys) return redis.call('get', keys[1]) end)
named('set_but_promised', {'no-writes'}, function(keys) return redis.call('set', keys[1], 'x') end)
named('wrong_type', {}, function(keys) return redis.call('incr', keys[1]) end)
named('caught', {}, function(keys) return redis.pcall('incr', keys[1]) end)
named('caught_text', {}, function(keys) local ok, e = pcall(redis.call, 'incr', keys[1]) return e end)
named('unknown', {}, function() return redis.call('nosuch') end)
named('not_allowed', {}, function() return redis.call('function', 'flush') end)
named('load_inside', {}, function() return redis.call('function', 'load', 'x') end)
named('fcall_inside', {}, function() return redis.call('fcall', 'first', 0) end)
named('map', {}, function() redis.setresp(3) return {map={a=1}} end)
named('types', {}, function() redis.setresp(3) return {true, false, {double=1.5}, {big_number='1'}} end)
named('status', {}, function() return redis.status_reply('fine') end)
named('error_reply', {}, function() return redis.error_reply('MY reply') end)
named('injected', {}, function() return {err='x\r\n+OK\r\n'} end)
named('sha', {}, function() return redis.sha1hex('x') end)
named('json', {}, function() return cjson.encode({1, {a='b'}}) end)
named('version', {}, function() return type(redis.REDIS_VERSION) .. type(redis.REDIS_VERSION_NUM) end)
named('breakpoint', {}, function() return redis.breakpoint end)
named('Shouted', {}, function() return 'heard' end)
""",
    library("writer", "set", body="return redis.call('set', keys[1], args[1])"),
]
CALLS = [
    ("arguments", "2", "a", "b", "c"), ("arguments", "0"), ("first", "1", "k"), ("first", "0"), ("nothing", "0"),
    ("several", "0"), ("boo", "0"), ("table_error", "0"), ("empty_error", "0"), ("global", "0"),
    ("set_global", "0"), ("globals", "0"), ("environment", "0"), ("change_server", "0"), ("change_string", "0"),
    ("change_load", "0"), ("late", "0"), ("late_kept", "0"), ("load_math", "0"),
    ("count", "0"), ("count", "0"), ("set", "1", "k", "v"), ("get", "1", "k"), ("get", "1", "none"),
    ("set_but_promised", "1", "k"), ("wrong_type", "1", "k"), ("caught", "1", "k"), ("caught_text", "1", "k"),
    ("unknown", "0"), ("not_allowed", "0"), ("load_inside", "0"), ("fcall_inside", "0"), ("map", "0"),
    ("types", "0"), ("status", "0"), ("error_reply", "0"), ("injected", "0"), ("sha", "0"), ("json", "0"),
    ("version", "0"), ("breakpoint", "0"), ("Shouted", "0"), ("shouted", "0"), ("SHOUTED", "0"),
    ("nosuch", "0"), ("first", "x"), ("first", "3", "a"), ("first", "-1"), ("first",), (),
]

# In this order, on servers without libraries.
COMMANDS = [
    ("FUNCTION", "LIST"), ("FUNCTION", "STATS"), ("FUNCTION", "DUMP"), ("FUNCTION", "KILL"), ("FUNCTION", "FLUSH"),
    ("FUNCTION", "LOAD"), ("FUNCTION", "LOAD", library("one", "f")), ("FUNCTION", "LOAD", library("one", "f")),
    ("FUNCTION", "LOAD", "REPLACE", library("one", "f", "g")), ("FUNCTION", "LOAD", library("two", "f")),
    ("FUNCTION", "LOAD", library("two", "F")), ("FUNCTION", "LOAD", "replace", "replace", library("one", "f")),
    ("FUNCTION", "LOAD", "foo", "x"), ("FUNCTION", "LOAD", "replace"), ("FUNCTION", "LOAD", "replace", "x", "y"),
    ("FUNCTION", "LOAD", "REPLACE", HEADER + "syntax error"), ("FUNCTION", "LIST"), ("FUNCTION", "LIST", "WITHCODE"),
    ("FUNCTION", "LIST", "LIBRARYNAME", "ON*"), ("FUNCTION", "LIST", "LIBRARYNAME", "x", "WITHCODE"),
    ("FUNCTION", "LIST", "LIBRARYNAME"), ("FUNCTION", "LIST", "foo"), ("FUNCTION", "LIST", "WITHCODE", "WITHCODE"),
    ("FUNCTION", "LIST", "LIBRARYNAME", "x", "LIBRARYNAME", "y"), ("FUNCTION", "STATS"), ("FUNCTION", "STATS", "x"),
    ("FUNCTION", "DELETE", "nosuch"), ("FUNCTION", "DELETE"), ("FUNCTION", "RESTORE"), ("FUNCTION", "RESTORE", "xx"),
    ("FUNCTION", "RESTORE", "xx", "foo"), ("FUNCTION", "RESTORE", "xx", "FLUSH", "y"), ("FUNCTION", "HELP"),
    ("FUNCTION", "HELP", "x"), ("FUNCTION", "nosuch"), ("FUNCTION",), ("FUNCTION", "FLUSH", "foo"),
    ("FUNCTION", "FLUSH", "ASYNC", "x"), ("FCALL", "f", "0"), ("FUNCTION", "DELETE", "ONE"),
    ("FUNCTION", "DELETE", "one"), ("FCALL", "f", "0"), ("FUNCTION", "LOAD", library("two", "f")),
    ("FUNCTION", "FLUSH", "SYNC"), ("FUNCTION", "LIST"), ("FUNCTION", "FLUSH", "async"), ("FUNCTION", "DUMP"),
    ("MULTI",), ("FUNCTION", "LOAD", library("m", "f", "g")), ("FCALL", "f", "0"), ("FUNCTION", "DELETE", "m"),
    ("FCALL", "f", "0"), ("FUNCTION", "LOAD", "x"), ("SET", "k", "1"), ("EXEC",), ("FUNCTION", "LIST"),
    ("COMMAND", "GETKEYS", "FCALL", "f", "2", "a", "b", "c"), ("COMMAND", "GETKEYS", "FCALL_RO", "f", "1", "a"),
    ("COMMAND", "GETKEYSANDFLAGS", "FCALL", "f", "1", "a"), ("COMMAND", "GETKEYSANDFLAGS", "FCALL_RO", "f", "1", "a"),
]


def both(clients: list[Connection], *command: str) -> str:
    """A command's reply, which both servers give alike."""
    ours, theirs = [repr(client.call(*command)) for client in clients]
    if command[:2] != ("FUNCTION", "DUMP"):
        assert ours == theirs, command
    return ours


def connect(servers, protocol: int) -> list[Connection]:
    clients = [each.connect(protocol) for each in servers]
    for client in clients:
        client.ok("FLUSHALL")
        client.ok("FUNCTION", "FLUSH")
    return clients


# MARK: As Redis does


def test_libraries_are_taken_and_refused_as_by_redis(servers):
    clients = connect(servers, 2)
    for text in TEXTS:
        both(clients, "FUNCTION", "FLUSH")
        both(clients, "FUNCTION", "LOAD", text)
        both(clients, "FUNCTION", "LIST")
        both(clients, "FCALL", "f", "0")


@pytest.mark.parametrize("protocol", [2, 3])
def test_functions_reply_as_those_of_redis(servers, protocol):
    clients = connect(servers, protocol)
    for text in LIBRARIES:
        both(clients, "FUNCTION", "LOAD", text)
    for call in CALLS:
        for command in ("FCALL", "FCALL_RO"):
            both(clients, command, *call)


@pytest.mark.parametrize("protocol", [2, 3])
def test_commands_reply_as_those_of_redis(servers, protocol):
    clients = connect(servers, protocol)
    for command in COMMANDS:
        both(clients, *command)


def test_the_commands_are_declared_as_those_of_redis(servers):
    names = ["fcall", "fcall_ro"] + [
        f"function|{name}" for name in
        ("delete", "dump", "flush", "help", "kill", "list", "load", "restore", "stats")]
    for name in names:
        ours, theirs = [each.connect(3).ok("COMMAND", "INFO", name)[0].value for each in servers]
        for index in range(len(theirs)):
            left, right = [
                sorted(map(repr, each[index].value)) if index in (2, 6, 7) else repr(each[index])
                for each in (ours, theirs)]
            assert left == right, (name, index)


def test_flags_count_when_there_is_no_memory(servers):
    clients = connect(servers, 2)
    for name, flags in (("plain", ""), ("reads", "'no-writes'"), ("greedy", "'allow-oom'")):
        both(clients, "FUNCTION", "LOAD", library(name, name, flags=flags))
    for client in clients:
        client.ok("CONFIG", "SET", "maxmemory", "1")
    try:
        for name in ("plain", "reads", "greedy"):
            both(clients, "FCALL", name, "0")
            both(clients, "FCALL_RO", name, "0")
        both(clients, "FUNCTION", "LOAD", library("more", "more"))
        both(clients, "FUNCTION", "DELETE", "plain")
        both(clients, "FUNCTION", "FLUSH")
    finally:
        for client in clients:
            client.ok("CONFIG", "SET", "maxmemory", "0")


# MARK: Moving


def listed(client: Connection) -> dict:
    """The libraries of a server: their functions and their text, by name."""
    libraries = {}
    for each in client.ok("FUNCTION", "LIST", "WITHCODE"):
        name, _, functions, code = [part.value for part in each.value[1::2]]
        libraries[name] = sorted(function.value[1].value for function in functions), code
    return libraries


def fill(client: Connection, count: int = 5) -> None:
    """Makes libraries, among them a long one, which is compressed, and one that is not text."""
    for number in range(count):
        client.ok("FUNCTION", "LOAD", library(f"lib{number}", f"f{number}", f"g{number}", body=f"return {number}"))
    client.ok("FUNCTION", "LOAD", library("long", "long") + "-- and on\n" * 5000)
    client.ok("FUNCTION", "LOAD", library("binary", "binary").encode() + b"-- \xff\x00\r\n")


@pytest.mark.parametrize("other", ["redis7", "redis8", "valkey9"])
def test_payloads_are_understood_both_ways(new_server, other):
    peer = start_or_skip(other)
    server = new_server()
    with peer, server.connect() as ours, peer.connect() as theirs:
        fill(ours)
        wanted = listed(ours)
        theirs.ok("FUNCTION", "RESTORE", ours.ok("FUNCTION", "DUMP"))
        assert listed(theirs) == wanted
        assert theirs.ok("FCALL", "f3", 0) == 3
        ours.ok("FUNCTION", "FLUSH")
        ours.ok("FUNCTION", "RESTORE", theirs.ok("FUNCTION", "DUMP"), "FLUSH")
        assert listed(ours) == wanted
        assert ours.ok("FCALL", "g4", 0) == 4


def test_what_restore_does_with_what_is_there(servers):
    clients = connect(servers, 2)

    def payload(*texts: str) -> bytes:
        client = clients[1]
        client.ok("FUNCTION", "FLUSH")
        for text in texts:
            client.ok("FUNCTION", "LOAD", text)
        return client.ok("FUNCTION", "DUMP")

    one = payload(library("a", "f"))
    crossed = payload(library("a", "g"), library("b", "f"))
    none = payload()
    for client in clients:
        client.ok("FUNCTION", "FLUSH")
        client.ok("FUNCTION", "LOAD", library("b", "g"))
    for command in (
        (one,), (one,), (one, "APPEND"), (one, "REPLACE"), (crossed,), (crossed, "REPLACE"), (crossed, "replace"),
        (one, "REPLACE"), (one, "FLUSH"), (none,), (none, "FLUSH"), (one[:-1],), (one[:-1] + b"x",), (b"",),
        (b"\xf5" + one, "FLUSH"), (one, "FLUSH"),
    ):
        # Which of several that are there already is named depends on the order of hashing.
        ours, theirs = [
            re.sub(r"(Library|Function) \w+ already", r"\1 already", repr(client.call("FUNCTION", "RESTORE", *command)))
            for client in clients]
        assert ours == theirs, command
        assert listed(clients[0]) == listed(clients[1]), command


@pytest.mark.parametrize("other", ["redis7", "redis8", "valkey9"])
@pytest.mark.parametrize("preamble", ["yes", "no"])
def test_files_are_understood_both_ways(new_server, other, preamble):
    """Snapshots and logs with libraries, from Martlet and back."""
    options = ("--appendonly", "yes", "--aof-use-rdb-preamble", preamble)
    server = new_server(*options)
    with server.connect() as client:
        fill(client)
        client.ok("SET", "key", "value")
        rewrite(client)
        client.ok("FUNCTION", "DELETE", "lib0")
        client.ok("FUNCTION", "LOAD", library("later", "later", body="return 'later'"))
        wanted = listed(client)
    peer = start_or_skip(other)
    peer.stop_keeping_files()
    server.stop_keeping_files()
    move(server, peer)
    peer.options = options
    peer.start()
    with peer.connect() as client:
        assert listed(client) == wanted
        assert client.ok("FCALL", "later", 0) == b"later" and client.ok("GET", "key") == b"value"
        rewrite(client)
        client.ok("FUNCTION", "DELETE", "lib1")
        wanted = listed(client)
    peer.stop_keeping_files()
    move(peer, server)
    server.start()
    with server.connect() as client:
        assert listed(client) == wanted
        assert client.ok("FCALL", "later", 0) == b"later" and client.ok("GET", "key") == b"value"
    peer.stop()


@pytest.mark.parametrize("other", ["redis7", "redis8", "valkey9"])
def test_snapshots_are_understood_both_ways(new_server, other):
    server = new_server("--appendonly", "no", "--save", "")
    with server.connect() as client:
        fill(client)
        client.ok("SAVE")
        wanted = listed(client)
    peer = start_or_skip(other)
    peer.stop_keeping_files()
    server.stop_keeping_files()
    (peer.directory / "dump.rdb").write_bytes((server.directory / "dump.rdb").read_bytes())
    peer.start()
    with peer.connect() as client:
        assert listed(client) == wanted
        client.ok("FUNCTION", "DELETE", "lib1")
        client.ok("SAVE")
        wanted = listed(client)
    peer.stop_keeping_files()
    (server.directory / "dump.rdb").write_bytes((peer.directory / "dump.rdb").read_bytes())
    server.start()
    with server.connect() as client:
        assert listed(client) == wanted
        assert client.ok("FCALL", "f4", 0) == 4
    peer.stop()


def rewrite(client: Connection) -> None:
    """BGREWRITEAOF, to its end."""
    client.ok("BGREWRITEAOF")
    deadline = time.monotonic() + 20
    while True:
        fields = client.ok("INFO", "persistence")
        if b"aof_rewrite_in_progress:0" in fields and b"aof_rewrite_scheduled:0" in fields:
            break
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert b"aof_last_bgrewrite_status:ok" in client.ok("INFO", "persistence")


def move(source: Server, target: Server) -> None:
    """Gives a server the log of another one."""
    directory = target.directory / "appendonlydir"
    directory.mkdir(exist_ok=True)
    for path in directory.iterdir():
        path.unlink()
    for path in (source.directory / "appendonlydir").iterdir():
        (directory / path.name).write_bytes(path.read_bytes())


# MARK: Lasting


@pytest.mark.parametrize("preamble", ["yes", "no"])
def test_libraries_outlive_a_kill(new_server, preamble):
    server = new_server(
        "--appendonly", "yes", "--appendfsync", "always", "--aof-use-rdb-preamble", preamble)
    random_number = random.Random(5)
    for _ in range(4):
        with server.connect() as client:
            for _ in range(30):
                name = f"lib{random_number.randrange(6)}"
                match random_number.randrange(8):
                    case 0:
                        client.call("FUNCTION", "DELETE", name)
                    case 1:
                        client.ok("FUNCTION", "RESTORE", client.ok("FUNCTION", "DUMP"), "REPLACE")
                    case 2:
                        client.call("MULTI")
                        client.call("FUNCTION", "LOAD", "REPLACE", library(name, f"{name}f"))
                        client.call("SET", "count", "1")
                        client.call("EXEC")
                    case 3 if random_number.randrange(4) == 0:
                        client.ok("FUNCTION", "FLUSH")
                    case 4 if random_number.randrange(2) == 0:
                        rewrite(client)
                    case 5:
                        client.ok("FLUSHALL")
                    case _:
                        body = f"return {random_number.randrange(100)}"
                        client.ok("FUNCTION", "LOAD", "REPLACE", library(name, f"{name}f", body=body))
            wanted = listed(client)
            values = {name: client.ok("FCALL", name + b"f", 0) for name in wanted}
        server.kill()
        server.start()
        with server.connect() as client:
            assert listed(client) == wanted
            assert {name: client.ok("FCALL", name + b"f", 0) for name in wanted} == values


def test_a_reload_keeps_libraries(new_server):
    server = new_server("--appendonly", "yes", "--enable-debug-command", "yes")
    with server.connect() as client:
        fill(client)
        wanted = listed(client)
        for command in (("RELOAD",), ("LOADAOF",), ("RELOAD", "NOSAVE"), ("RELOAD", "MERGE", "NOFLUSH")):
            client.ok("DEBUG", *command)
            assert listed(client) == wanted
            assert client.ok("FCALL", "f2", 0) == 2
        client.ok("FLUSHALL")
        assert listed(client) == wanted


def test_a_library_that_cannot_be_loaded_stops_the_start(new_server):
    server = new_server("--appendonly", "no", "--save", "")
    with server.connect() as client:
        client.ok("FUNCTION", "LOAD", library("lib", "f"))
        client.ok("CONFIG", "SET", "rdbcompression", "no")
        client.ok("SAVE")
    server.stop_keeping_files()
    path = server.directory / "dump.rdb"
    path.write_bytes(path.read_bytes()[:-8].replace(b"register", b"rejister") + bytes(8))
    with pytest.raises(RuntimeError, match="a function library that cannot be loaded"):
        server.start()


def test_a_change_of_libraries_counts_and_is_logged(new_server):
    server = new_server("--appendonly", "yes", "--appendfsync", "always", "--aof-checksum", "no")
    with server.connect() as client:
        before = changes(client)
        client.ok("FUNCTION", "LOAD", library("lib", "f"))
        client.call("FUNCTION", "LOAD", library("lib", "f"))
        client.call("FUNCTION", "LOAD", "syntax error")
        client.ok("FCALL", "f", 0)
        client.ok("FUNCTION", "LIST")
        client.ok("FUNCTION", "DELETE", "lib")
        client.ok("FUNCTION", "FLUSH")
        assert changes(client) - before == 3
    log = b"".join(path.read_bytes() for path in server.directory.glob("appendonlydir/*.incr.aof"))
    assert log.upper().count(b"FUNCTION\r\n") == 3 and b"FCALL" not in log.upper()
    assert b"MULTI" not in log.upper()


def changes(client: Connection) -> int:
    fields = dict(
        line.split(b":", 1) for line in client.ok("INFO", "persistence").split(b"\r\n") if b":" in line)
    return int(fields[b"rdb_changes_since_last_save"])


# MARK: Budgets


ENDLESS = library("endless", "endless", body="while true do end") + library(
    "x", "writes", body="redis.call('set', keys[1], 1) while true do end").split("\n", 1)[1]


def test_who_may_kill_what(server):
    with server.connect() as other:
        other.ok("FUNCTION", "LOAD", ENDLESS)
        client = server.begin("FCALL", "endless", "1", "held", "argument")
        stats = other.ok("FUNCTION", "STATS")
        running = [part.value for part in stats[1].value]
        assert running[1] == b"endless" and running[4] == b"duration_ms" and running[5] >= 0
        assert [part.value for part in running[3]] == [b"FCALL", b"endless", b"1", b"held", b"argument"]
        assert other.call("SCRIPT", "KILL").value == (
            b"BUSY Redis is busy running a script. You can only call FUNCTION KILL or SHUTDOWN NOSAVE.")
        assert other.ok("FUNCTION", "KILL") == b"OK"
        assert b"Function killed by user with FUNCTION KILL." in client.read().value
        assert other.ok("FUNCTION", "STATS")[1].value is None
        assert other.call("FUNCTION", "KILL").value == b"NOTBUSY No scripts in execution right now."

        client = server.begin("EVAL", "while true do end", "0")
        assert other.call("FUNCTION", "KILL").value == (
            b"BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.")
        assert other.ok("SCRIPT", "KILL") == b"OK"
        client.read()

        other.ok("CONFIG", "SET", "busy-reply-threshold", "100")
        client = server.begin("FCALL", "writes", "1", "held")
        assert other.call("GET", "held").value == (
            b"BUSY Redis is busy running a script. You can only call FUNCTION KILL or SHUTDOWN NOSAVE.")
        assert other.call("FUNCTION", "LIST").value.startswith(b"BUSY ")
        assert other.call("FUNCTION", "KILL").value.startswith(b"UNKILLABLE ")
        other.ok("CONFIG", "SET", "script-time-budget-ms", "200")
        assert b"script-time-budget-ms" in client.read().value
        assert other.ok("GET", "held") == b"1"


# Texts that would never be loaded, and what becomes of them.
HOSTILE = {
    "loop": ("while true do end", b"FUNCTION LOAD timeout"),
    "string": ("local s = 'x' while true do s = s .. s end", b"not enough memory"),
    "table": ("local t = {} local i = 0 while true do i = i + 1 t[i] = {i} end", None),
    "pattern": ("local s = ('a'):rep(30) while true do local x = s:find(('a*'):rep(30) .. 'b') end",
                b"FUNCTION LOAD timeout"),
    "recursion": ("local function f() return 1 + f() end f()", b"stack overflow"),
    "functions": ("local i = 0 while true do i = i + 1 redis.register_function('f' .. i, function() end) end", None),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_text_that_never_ends_is_given_up_while_others_are_served(server, kind):
    text, wanted = HOSTILE[kind]
    with server.connect() as other:
        other.ok("CONFIG", "SET", "script-memory-limit", "32mb")
        other.ok("FUNCTION", "LOAD", library("there", "there"))
        before = time.monotonic()
        client = server.connect()
        client.send("FUNCTION", "LOAD", "REPLACE", HEADER + text)
        slowest = 0.0
        while client.is_silent(0.01) and time.monotonic() < before + 10:
            begun = time.monotonic()
            other.ok("SET", "key", "1")
            slowest = max(slowest, time.monotonic() - begun)
        reply = client.read()
        assert reply.is_error and (wanted is None or wanted in reply.value), reply
        assert time.monotonic() - before < 3 and slowest < 0.5, (slowest, reply)
        assert other.ok("FCALL", "there", 0) == 1
        assert list(listed(other)) == [b"there"]
        other.ok("FUNCTION", "FLUSH")
        other.ok("FUNCTION", "LOAD", library("new", "new"))
        fields = other.ok("INFO", "memory")
        vm = int(fields.split(b"used_memory_vm_functions:")[1].split(b"\r\n")[0])
        assert vm < 4 << 20, vm


def test_a_load_can_be_killed(server):
    with server.connect() as other:
        client = server.begin("FUNCTION", "LOAD", HEADER + "while true do end")
        other.ok("FUNCTION", "KILL")
        assert b"FUNCTION KILL" in client.read().value
        assert other.ok("FUNCTION", "LIST") == ()


# MARK: Isolation


def test_libraries_see_nothing_of_each_other(server):
    """Whatever a library leaves or changes, at its load or when it is called, no other one finds."""
    attempts = [
        "x = 1", "_G.x = 1", "rawset(_G, 'x', 1)", "setmetatable(_G, {})", "getmetatable('').__index = {}",
        "string.rep = nil", "string.x = 1", "rawset(string, 'x', 1)", "redis.x = 1", "rawset(redis, 'call', nil)",
        "cjson.x = 1", "table.insert(_G, 1)", "for k in pairs(_G) do rawset(_G, k, nil) end",
        "getmetatable(_G).__index = {}", "local m = getmetatable('') m.x = 1", "coroutine.x = 1",
        "setmetatable('', {})", "math.x = 1", "_G._G = {}", "next = nil", "debug.getregistry().x = 1",
        "setfenv(1, {})", "getfenv(1).x = 1", "loadstring('x = 1')()", "load(function() return nil end).x = 1",
    ]
    probe = (
        "local names = {} for k in pairs(_G) do names[#names + 1] = k end table.sort(names) "
        "return table.concat(names, ' ') .. ('x'):rep(2) .. tostring(rawget(string, 'x')) .. "
        "tostring(rawget(redis, 'x')) .. type(redis.call) .. tostring(rawget(_G, 'x'))")
    with server.connect() as client:
        client.ok("FUNCTION", "LOAD", library("probe", "probe", body=probe))
        wanted = client.ok("FCALL", "probe", 0)
        assert b"register" not in wanted and wanted.endswith(b"xxnilnilfunctionnil"), wanted
        for attempt in attempts:
            client.ok("FUNCTION", "LOAD", "REPLACE", library("attempt", "attempt", body=attempt))
            client.call("FCALL", "attempt", 0)
            assert client.ok("FCALL", "probe", 0) == wanted, attempt
            client.call("FUNCTION", "LOAD", "REPLACE", HEADER + attempt)
            assert client.ok("FCALL", "probe", 0) == wanted, attempt
        client.ok("FUNCTION", "LOAD", "REPLACE", library("probe", "probe", body=probe))
        assert client.ok("FCALL", "probe", 0) == wanted
        # EVAL has another interpreter.
        assert client.ok("EVAL", "return tostring(rawget(_G, 'x')) .. type(redis.register_function)", 0) == b"nilnil"


def test_libraries_change_while_others_call():
    """Every reply is one that some version of the library gives, and in the end all are as they were told."""
    server = Server(MARTLET, "--io-threads", "2", "--appendonly", "yes")
    failures = []
    end = time.monotonic() + max(1.0, 4 * SHARE)
    last = {}

    def change(number: int) -> None:
        random_number = random.Random(number)
        name = f"lib{number}"
        with server.connect() as client:
            while time.monotonic() < end:
                version = random_number.randrange(1000)
                body = (
                    f"local a = redis.call('incrby', 'sum', {version}) redis.call('decrby', 'sum', {version}) "
                    f"return {{{version}, {version}}}")
                if random_number.randrange(4) == 0:
                    reply = client.call("FUNCTION", "DELETE", name)
                    last[name] = None
                    if reply.value not in (b"OK", b"ERR Library not found"):
                        failures.append(reply)
                else:
                    text = library(name, f"f{number}", f"g{number}", body=body)
                    reply = client.call("FUNCTION", "LOAD", "REPLACE", text)
                    last[name] = text.encode()
                    if reply.value != name.encode():
                        failures.append(reply)

    def call(seed: int) -> None:
        random_number = random.Random(seed)
        with server.connect() as client:
            while time.monotonic() < end:
                choice = random_number.randrange(20)
                if choice == 0:
                    for each in client.ok("FUNCTION", "LIST", "WITHCODE"):
                        if len(each.value[5].value) != 2:
                            failures.append(each)
                elif choice == 1:
                    if client.ok("GET", "sum") not in (None, b"0"):
                        failures.append("a script was seen half done")
                elif choice == 2:
                    client.ok("FUNCTION", "DUMP")
                elif choice == 3:
                    client.ok("FUNCTION", "STATS")
                else:
                    name = random_number.choice("fg") + str(random_number.randrange(3))
                    reply = client.call("FCALL", name, 0)
                    if reply.is_error:
                        if reply.value != b"ERR Function not found":
                            failures.append(reply)
                    elif reply.value[0].value != reply.value[1].value:
                        failures.append(reply)

    threads = [threading.Thread(target=change, args=[number]) for number in range(3)]
    threads += [threading.Thread(target=call, args=[seed]) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    wanted = {name.encode(): text for name, text in last.items() if text}
    for _ in range(2):
        with server.connect() as client:
            assert {name: code for name, (_, code) in listed(client).items()} == wanted
        server.stop_keeping_files()
        server.start()
    server.stop()


def test_info_counts_libraries(server):
    def field(name: str) -> int:
        text = client.ok("INFO", "memory")
        return int(text.split(name.encode() + b":")[1].split(b"\r\n")[0])

    with server.connect() as client:
        assert (field("number_of_functions"), field("number_of_libraries")) == (0, 0)
        before = field("used_memory_functions")
        fill(client)
        assert (field("number_of_functions"), field("number_of_libraries")) == (12, 7)
        assert field("used_memory_functions") - before > 50_000
        assert field("used_memory_vm_functions") > 50_000
        client.ok("FUNCTION", "FLUSH")
        assert (field("number_of_functions"), field("number_of_libraries")) == (0, 0)
        assert field("used_memory_functions") == before and field("used_memory_vm_functions") == 0
