"""Scripts over a socket: replies and errors as redis-server has them, and nobody else is held up.

A script may compute for ever, write for ever or eat memory: meanwhile other clients are served, by the same
loop too, and in the end it is gone. What it wrote is one unit in the log.
"""

from __future__ import annotations

import hashlib
import threading
import time

import pytest

from servers import MARTLET, Server

# Scripts and their arguments, from the number of keys on. Replies are the same on both servers, to the bytes.
SCRIPTS = [
    ("return {1, 2.9, -1.9, 'x', true, false, {ok='fine'}, {'a', {'b'}}, nil, 5}", "0"),
    ("return redis.call('set', KEYS[1], ARGV[1])", "1", "k", "v"),
    ("return redis.call('get', KEYS[1])", "1", "k"),
    ("return {redis.call('get', 'none'), redis.call('lpop', 'none', 2), redis.call('lrange', 'none', 0, 1)}", "0"),
    ("local r = redis.call('incr', KEYS[1]) return r", "1", "k"),
    ("local r = redis.pcall('incr', KEYS[1]) return r", "1", "k"),
    ("local r = redis.pcall('incr', KEYS[1]) return r.err", "1", "k"),
    ("local r = redis.pcall('nosuch') return r", "0"),
    ("local r = redis.pcall('get') return r", "0"),
    ("local r = redis.pcall('subscribe', 'x') return r", "0"),
    ("local r = redis.pcall('multi') return r", "0"),
    ("local r = redis.pcall('config', 'get', 'x') return r", "0"),
    ("local r = redis.pcall() return r", "0"),
    ("local r = redis.pcall({}) return r", "0"),
    ("local r = redis.call('blpop', 'none', 0) return r", "0"),
    ("local r = redis.call('set', 'f', 0.1) return {r, redis.call('get', 'f')}", "0"),
    ("local r = redis.call('set', 'f', 1e20) return {r, redis.call('get', 'f')}", "0"),
    ("local r = redis.call('set', 'f', 3) return {r, redis.call('get', 'f')}", "0"),
    ("local ok, e = pcall(redis.call, 'incr', KEYS[1]) return {tostring(ok), e}", "1", "k"),
    ("local ok, e = pcall(error, {err='MY thing'}) return e", "0"),
    ("local ok, e = pcall(error, {ok='fine'}) return e", "0"),
    ("local ok, e = xpcall(function() error({err='MY thing'}) end, function(e) return e.err end) return e", "0"),
    ("\n\nlocal x = nil\nx()", "0"),
    ("\nlocal x = nil .. 'a'", "0"),
    ("\n\nredis.nosuch()", "0"),
    ("error('boom')", "0"),
    ("error({err='MY thing'})", "0"),
    ("error({})", "0"),
    ("error(nil)", "0"),
    ("return {err='x\\r\\n+OK\\r\\n'}", "0"),
    ("return {ok='x\\r\\n+OK\\r\\n'}", "0"),
    ("return {ok='x\\0y'}", "0"),
    ("return redis.error_reply('My Err')", "0"),
    ("return redis.error_reply('-My Err')", "0"),
    ("return redis.error_reply('single')", "0"),
    ("return redis.error_reply('trailing end\\r\\n')", "0"),
    ("return redis.error_reply()", "0"),
    ("return redis.status_reply('fine')", "0"),
    ("return redis.status_reply(1)", "0"),
    ("return redis.sha1hex('')", "0"),
    ("return redis.sha1hex()", "0"),
    ("x = 1", "0"),
    ("return x", "0"),
    ("redis.x = 1", "0"),
    ("return #KEYS .. #ARGV", "2", "a", "b", "c"),
    ("return 1", "3", "a"),
    ("return 1", "-1", "a"),
    ("return 1", "x", "a"),
    ("syntax error here", "0"),
    ("#!lua flags=no-writes\nlocal r = redis.pcall('set', 'x', 'y') return r", "0"),
    ("#!lua flags=nope\nreturn 1", "0"),
    ("#!lub\nreturn 1", "0"),
    ("#!lua name=x\nreturn 1", "0"),
    ("#!lua", "0"),
    ("#!lua flags=\nreturn 1", "0"),
    ("#!lua flags=no-writes,allow-oom,allow-stale,no-cluster,allow-cross-slot-keys\nreturn 1", "0"),
    ("return redis.pcall('select', 99)", "0"),
    ("redis.call('select', 3) redis.call('set', 'in3', '1') return redis.call('get', 'k')", "0"),
    ("return redis.call('exists', 'in3')", "0"),
    ("return redis.acl_check_cmd('set', 'a', 'b')", "0"),
    ("return redis.acl_check_cmd('nosuch')", "0"),
    ("redis.setresp(4)", "0"),
    ("redis.setresp()", "0"),
    ("redis.set_repl()", "0"),
    ("redis.set_repl(redis.REPL_AOF)", "0"),
    ("redis.set_repl(9)", "0"),
    ("redis.log('x')", "0"),
    ("redis.log('x', 'y')", "0"),
    ("redis.log(9, 'y')", "0"),
    ("return redis.replicate_commands()", "0"),
    ("return redis.breakpoint()", "0"),
    ("return {redis.LOG_DEBUG, redis.LOG_WARNING, redis.REPL_ALL, redis.REPL_SLAVE}", "0"),
    ("return {double=3.5}", "0"),
    ("return {map={a=1}}", "0"),
    ("return {set={a=true}}", "0"),
    ("return {big_number='123'}", "0"),
    ("return {verbatim_string={format='txt', string='hi'}}", "0"),
    ("redis.setresp(3) return {true, false, {double=1.5}, {map={a=1}}, {set={a=true}}, {big_number='1'}}", "0"),
    ("redis.setresp(3) redis.call('del', 'h') redis.call('hset', 'h', 'a', '1') return redis.call('hgetall', 'h')", "0"),
    ("redis.setresp(3) redis.call('sadd', 's', 'a') return redis.call('smembers', 's')", "0"),
    ("redis.setresp(3) redis.call('zadd', 'z', 1.5, 'a') return redis.call('zscore', 'z', 'a')", "0"),
    ("redis.setresp(3) return redis.call('get', 'none')", "0"),
    ("redis.setresp(3) local d = redis.call('zscore', 'z', 'a') return type(d) .. type(d.double)", "0"),
]


@pytest.mark.parametrize("protocol", [2, 3])
def test_replies_are_those_of_redis(servers, protocol):
    clients = [each.connect(protocol) for each in servers]
    for client in clients:
        client.call("FLUSHALL")
    for script in SCRIPTS:
        for command in ("EVAL", "EVAL_RO"):
            ours, theirs = [client.call(command, *script) for client in clients]
            assert repr(ours) == repr(theirs), (command, script)


def test_names_of_scripts(servers):
    for command in (
        ("EVALSHA", "1234", "0"), ("EVALSHA", "f" * 40, "0"), ("EVALSHA", "f" * 40, "x"),
        ("SCRIPT", "LOAD", "return 7"), ("SCRIPT", "LOAD", "syntax error"),
        ("EVALSHA", hashlib.sha1(b"return 7").hexdigest().upper(), "0"),
        ("SCRIPT", "EXISTS", hashlib.sha1(b"return 7").hexdigest(), "x"), ("SCRIPT", "KILL"),
        ("SCRIPT", "FLUSH", "x"), ("SCRIPT", "FLUSH", "ASYNC"), ("SCRIPT", "EXISTS"),
        ("SCRIPT", "nosuch"), ("EVAL",), ("EVAL", "return 1"),
    ):
        ours, theirs = [each.connect().call(*command) for each in servers]
        assert repr(ours) == repr(theirs), command


def slowest(server: Server, seconds: float, *command: str) -> float:
    """The 99th percentile of a command's time, in seconds."""
    client = server.connect()
    times = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        before = time.monotonic()
        client.call(*command)
        times.append(time.monotonic() - before)
    return sorted(times)[len(times) * 99 // 100]


ENDLESS = {
    "loop": "while true do end",
    "caught": "while true do pcall(function() while true do end end) end",
    "repeated string": "local s = 'x' while true do s = string.rep(s, 2) if #s > 1e6 then s = 'x' end end",
    "pattern": "while true do string.find(string.rep('a', 30), string.rep('a*', 30) .. 'b') end",
    "commands": "while true do redis.call('get', KEYS[1]) end",
    "sort": "while true do local t = {} for i = 1, 1e5 do t[i] = -i end table.sort(t) end",
    "concatenation": "while true do local t = {} for i = 1, 1e5 do t[i] = 'x' end table.concat(t) end",
}


@pytest.mark.parametrize("kind", ENDLESS)
def test_others_are_served_until_an_endless_script_is_killed(server, kind):
    with server.connect() as other:
        other.call("SET", "other", "1")
        client = server.begin("EVAL", ENDLESS[kind], "1", "held")
        # One of these keys may lie where the script's does, and wait for it.
        assert any(slowest(server, 0.5, "GET", f"other{number}") < 0.05 for number in range(3))
        assert other.call("SCRIPT", "KILL").value == b"OK"
        before = time.monotonic()
        assert b"Script killed by user with SCRIPT KILL." in client.read().value
        assert time.monotonic() - before < 1
        assert other.call("GET", "held").value is None


def test_a_budget_ends_what_nobody_kills(server):
    with server.connect() as other:
        other.call("CONFIG", "SET", "script-time-budget-ms", "300")
        before = time.monotonic()
        client = server.connect()
        reply = client.call("EVAL", "redis.call('set', KEYS[1], 1) while true do end", "1", "k")
        assert b"script-time-budget-ms" in reply.value and time.monotonic() - before < 3
        assert other.call("GET", "k").value == b"1"
        other.call("CONFIG", "SET", "script-memory-limit", "16mb")
        reply = client.call("EVAL", "local t = {} for i = 1, 1e9 do t[i] = 'x' .. i end", "0")
        assert b"not enough memory" in reply.value or b"script-time-budget-ms" in reply.value
        assert client.call("EVAL", "return 1", "0").value == 1


def test_who_wants_its_keys_is_told_when_it_takes_too_long(server):
    with server.connect() as other:
        other.call("CONFIG", "SET", "busy-reply-threshold", "200")
        client = server.begin("EVAL", "redis.call('set', KEYS[1], 1) while true do end", "1", "held")
        before = time.monotonic()
        assert other.call("GET", "held").value.startswith(b"BUSY ")
        assert time.monotonic() - before < 2
        assert other.call("EVAL", "return 1", "0").value.startswith(b"BUSY ")
        assert other.call("PING").value == b"PONG"
        assert other.call("SCRIPT", "KILL").value.startswith(b"UNKILLABLE ")
        other.call("CONFIG", "SET", "script-time-budget-ms", "500")
        client.read()
        assert other.call("GET", "held").value == b"1"


def test_a_script_outlives_its_client(server):
    with server.connect() as other:
        client = server.begin(
            "EVAL", "for i = 1, 3e7 do end redis.call('set', KEYS[1], 'done') return 1", "1", "held")
        client.close()
        assert other.call("GET", "held").value == b"done"


def test_scripts_are_atomic_between_loops():
    """Transfers between two accounts, declared or not, beside readers of both: the sum never changes."""
    server = Server(MARTLET, "--io-threads", "4")
    declared = "local a = redis.call('decrby', KEYS[1], ARGV[1]) redis.call('incrby', KEYS[2], ARGV[1]) return a"
    undeclared = "local a = redis.call('decrby', 'a', ARGV[1]) redis.call('incrby', 'b', ARGV[1]) return a"
    with server.connect() as client:
        client.call("MSET", "a", "1000", "b", "1000")
    failures = []
    end = time.monotonic() + 2

    def transfer(script, keys):
        with server.connect() as client:
            while time.monotonic() < end:
                reply = client.call("EVAL", script, str(len(keys)), *keys, "7")
                if not isinstance(reply.value, int):
                    failures.append(reply)

    def read(command):
        with server.connect() as client:
            while time.monotonic() < end:
                if command == "MGET":
                    values = [each.value for each in client.call("MGET", "a", "b").value]
                else:
                    script = "return {redis.call('get', 'a'), redis.call('get', 'b')}"
                    values = [each.value for each in client.call("EVAL_RO", script, "0").value]
                if sum(map(int, values)) != 2000:
                    failures.append(values)

    threads = [threading.Thread(target=transfer, args=each) for each in (
        (declared, ["a", "b"]), (declared, ["b", "a"]), (undeclared, []), (undeclared, ["a"]))]
    threads += [threading.Thread(target=read, args=[each]) for each in ("MGET", "EVAL", "MGET")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    server.assert_serves()
    server.stop()


def test_a_script_is_one_unit_of_the_log():
    server = Server(MARTLET, "--appendonly", "yes", "--appendfsync", "always", "--aof-checksum", "no")
    with server.connect() as client:
        client.call("EVAL", "return redis.call('get', 'none')", "0")
        client.call("EVAL", "return redis.call('set', KEYS[1], 1)", "1", "a")
        client.call("EVAL", "redis.call('incr', 'a') redis.call('expire', 'a', 100) error('x')", "0")
    log = b"".join(path.read_bytes() for path in server.directory.glob("appendonlydir/*.incr.aof"))
    assert b"EVAL" not in log.upper() and log.count(b"MULTI") == 1 and log.count(b"EXEC") == 1
    assert log.index(b"MULTI") < log.index(b"incr") < log.index(b"PEXPIREAT") < log.index(b"EXEC")
    server.stop()
