"""Scripts that broke servers of this kind, one test a row, named by the report.

Each is run as a script, as a function, and as the text of a library. Each must end in one whole reply,
with the connection in step, another client served meanwhile, no memory taken for good, and nothing left
for scripts that come after it.
"""

from __future__ import annotations

import itertools
import sys
import time

import pytest

from resp import Connection
from servers import MARTLET, Server
from test_bad_input import Witness

# What another client may have to wait. Sources are parsed, and values packed, in one go: that takes a tenth
# of it in a release build, and in one for debugging on a busy machine most of it.
PING_SECONDS_MAX = 2.0
EXTREMES = ["-2^63", "-2^53", "-2^31", "-2147483649", "-1", "0", "1", "2^31-1", "2^31", "2^32", "2^53", "2^63", "2^64",
            "1e300", "-1e300", "0/0", "1/0", "-1/0"]

# What scripts see, however many went before: an attack that changes any of it is an escape.
LOOK = (
    "local function names(t) local n = {} for k, v in pairs(t) do n[#n + 1] = tostring(k) .. ':' .. type(v) end "
    "table.sort(n) return table.concat(n, ' ') end "
    "return names(_G) .. '|' .. names(redis) .. '|' .. names(string) .. '|' .. ('x'):rep(2) .. "
    "tostring(getmetatable(1)) .. tostring(getmetatable(true)) .. tostring(getmetatable(nil))")


@pytest.fixture(scope="module")
def shared():
    server = Server(MARTLET, "--io-threads", "1")
    with server.connect() as client:
        client.ok("CONFIG", "SET", "script-time-budget-ms", "1000", "script-memory-limit", "64mb")
    yield server
    server.stop_cleanly()


@pytest.fixture
def client(shared):
    """A connection whose server looks the same to scripts after the test as before."""
    with shared.connect() as connection:
        connection.ok("FUNCTION", "FLUSH")
        before = connection.ok("EVAL", LOOK, 0)
        with Witness(shared, PING_SECONDS_MAX):
            yield connection
        assert connection.ok("EVAL", LOOK, 0) == before
        assert b"nilnilnil" in before and b"package" not in before and b"debug:table" not in before


def attempt(client: Connection, text: str | bytes) -> list:
    """Runs a script in every way there is; its replies, after which the connection is in step."""
    body = text if isinstance(text, bytes) else text.encode()
    replies = [client.call("EVAL", body, 1, "key", "argument")]
    loaded = client.call(
        "FUNCTION", "LOAD", "REPLACE",
        b"#!lua name=bad\nredis.register_function('bad', function(KEYS, ARGV) " + body + b"\nend)")
    if not loaded.is_error:
        replies.append(client.call("FCALL", "bad", 1, "key", "argument"))
    alone = client.call("FUNCTION", "LOAD", "REPLACE", b"#!lua name=alone\n" + body)
    assert alone.is_error, "it registers nothing"
    assert client.call("ECHO", "in step").value == b"in step"
    return replies


@pytest.mark.parametrize("text", [
    r"return loadstring('\27Lua\81\0\1\4\8\4\8\0')", r"return loadstring('\27LJ\2\0')",
    r"return load(function() return '\27LJ\2' end)", "return loadstring(string.dump(function() end))",
    r"return tostring(loadstring('\27LJ\2' .. string.rep('\255', 1000)))", b"\x1bLua\x51\x00\x01", b"\x1bLJ\x02\x00",
])
def test_cve_2015_4335_bytecode_is_not_loaded(client, text):
    for reply in attempt(client, text):
        assert reply.is_error or reply.value in (None, b"nil"), reply


@pytest.mark.parametrize("option", ["b", "B", "h", "H", "i", "I", "l", "L", "f", "d", "s", "c", "x", "!", "<", ">", "="])
def test_cve_2015_8080_and_2020_14147_struct_computes_no_size_that_overflows(client, option):
    """All sizes at all positions; what is given is unpacked, or refused."""
    sizes = ["", "0", "1", "3", "4", "8", "16", "31", "2147483647", "2147483648", "4294967297", "9" * 40]
    calls = [f"pcall(struct.pack, '{option}{size}', 1, 2)" for size in sizes]
    calls += [f"pcall(struct.size, '{option}{size}{option}{size}')" for size in sizes]
    calls += [
        f"pcall(struct.unpack, '{option}{size}', 'abcdefgh', {position})"
        for size, position in itertools.product(sizes, EXTREMES)]
    for reply in attempt(client, " ".join(calls) + " return 'done'"):
        assert reply.value == b"done", reply


@pytest.mark.parametrize("text", [
    r"return cmsgpack.unpack('\221\255\255\255\255')", r"return cmsgpack.unpack('\223\255\255\255\255')",
    r"return cmsgpack.unpack('\219\255\255\255\255')", r"return cmsgpack.unpack(string.rep('\145', 1e6))",
    r"return cmsgpack.unpack(string.rep('\129\1', 1e6))",
    "local t = {} t.t = t return cmsgpack.pack(t)", "local t = {} t.t = t return cjson.encode(t)",
    "local t = {} for i = 1, 1e5 do t = {t} end return cjson.encode(t)",
    "local t = {} for i = 1, 1e5 do t = {t} end return #cmsgpack.pack(t)",
    "return cjson.decode(string.rep('[', 1e6))", "return cjson.decode(string.rep('{\"a\":', 1e6))",
    "local s = string.rep('\"', 1e6) return cjson.encode(s)", "local s = string.rep('\\0', 2e5) return cjson.encode({s, s})",
    "cjson.encode_max_depth(2^31) local t = {} for i = 1, 1e5 do t = {t} end return cjson.encode(t)",
    "cjson.encode_keep_buffer(true) return #cjson.encode(string.rep('x', 1e6))",
])
def test_cve_2018_11218_and_2022_24834_packers_are_bounded(client, text):
    for reply in attempt(client, text):
        assert reply.value is not None


@pytest.mark.parametrize("text", [
    "local t = {} for i = 1, 2e5 do t = {t} end return t",
    "local t = {} for i = 1, 2e5 do t = {map = {a = t}} end return t",
    "local t = {} t[1] = t return t", "local t = {} t.map = {a = t} return t",
    "local t = {} for i = 1, 9000 do t[i] = 'k' .. i end return redis.call('mget', unpack(t))",
    "local t = {} for i = 1, 7999 do t[i] = 'k' .. i end return #redis.call('mget', unpack(t))",
    "local t = {} for i = 1, 1e6 do t[i] = i end return {unpack(t)}",
    "return string.format(string.rep('%d', 300), unpack({1, 2, 3}, 1, 300))",
    "return string.char(unpack({}, 1, 8000))", "return math.max(unpack({1}, 1, 1e8))",
    "local function f(...) return f(1, ...) end return f()",
])
def test_cve_2021_32626_deep_replies_and_many_arguments_use_no_stack_that_is_not_there(client, text):
    # Of this side's parser: replies nest a thousand deep.
    sys.setrecursionlimit(10_000)
    for reply in attempt(client, text):
        assert reply.value is not None


def test_cve_2021_32672_there_is_no_debugger(client):
    for arguments in (("YES",), ("SYNC",), ("NO",), ("\0",), ()):
        assert client.call("SCRIPT", "DEBUG", *arguments).is_error
    client.send_raw(b"s\r\n")
    assert client.read().is_error
    for reply in attempt(client, "redis.breakpoint() redis.debug('x') return 1"):
        assert reply.is_error or reply.value == 1


@pytest.mark.parametrize("text", [
    "return package.loadlib('libc.so.6', 'system')", "return require('os')", "return io.open('/etc/passwd')",
    "return os.execute('true')", "return os.getenv('PATH')", "return os.exit()", "return dofile('/etc/passwd')",
    "return loadfile('/etc/passwd')", "return debug.getregistry()", "return ffi.C", "return jit.on()", "return newproxy()",
    "return getfenv(0)", "return setfenv(1, {})", "return module('x')", "return print('x')", "return string.dump(print)",
    "return collectgarbage.x", "return getmetatable('').__index.dump(pairs)", "return coroutine.wrap(function() return io end)()",
])
def test_cve_2022_0543_nothing_outside_is_to_be_had(client, text):
    for reply in attempt(client, text):
        assert reply.is_error, reply


@pytest.mark.parametrize("text", [
    "x = 1", "_G.x = 1", "_G.redis = nil", "rawset(_G, 'x', 1)", "redis.call = nil", "rawset(redis, 'call', nil)",
    "string.rep = function() return 'mine' end", "rawset(string, 'rep', nil)", "getmetatable('').__index = {}",
    "getmetatable('').__index.rep = nil", "rawset(getmetatable(''), '__index', {})", "setmetatable('', {})",
    "setmetatable(_G, {})", "setmetatable(redis, {})", "getmetatable(_G).__index = {}", "table.insert(_G, 'x')",
    "table.insert(string, 'x')", "table.remove(_G)", "table.sort(_G)", "_G._G = {}", "_G.pairs = nil", "cjson.null = 1",
    "for k in pairs(_G) do _G[k] = nil end", "for k in next, redis do rawset(redis, k, nil) end",
    "local m = getmetatable(1) m.__index = {}", "local m = getmetatable(nil) m.__index = {}",
    "local m = getmetatable(true) m.__add = 1", "loadstring('x = 1')()", "coroutine.wrap(function() x = 1 end)()",
    "pcall(function() x = 1 end)", "KEYS.x = 1 ARGV.x = 1 KEYS = nil", "KEYS, ARGV = 1, 2",
])
def test_cve_2022_24735_and_2025_46818_nothing_is_left_for_others(client, text):
    # The fixture looks whether anything has changed.
    attempt(client, text)


@pytest.mark.parametrize("text", [
    "error({})", "error(nil)", "error()", "error({err={}})", "error({err=1})", "error({ok='x', err='y'})", "error(true)",
    "error(1e300)", "error(function() end)", "error(setmetatable({}, {__tostring=function() error('x') end}))",
    "return {err={}}", "return {err=1}", "return {ok={}}", "return {err=true, ok=true}", "return {double='x'}",
    "return {map=1}", "return {set={[{}]=true}}", "return {big_number={}}", "return {verbatim_string={}}",
    "return {verbatim_string={format='too long', string='x'}}", "return setmetatable({}, {__index=function() error('x') end})",
    "#!", "#!\n", "#!lua", "#!lua \0\n", "#!lua flags\n", "#!lua flags=\0\nreturn 1", "#!lua flags=,\nreturn 1",
    "#!" + "x" * 70_000 + "\nreturn 1", "#!lua " + "flags=no-writes " * 5000 + "\nreturn 1", "#!lua name='\nreturn 1",
])
def test_cve_2022_24736_and_valkey_2229_strange_errors_and_first_lines_are_answered(client, text):
    attempt(client, text)
    assert client.call("FUNCTION", "LOAD", text).is_error
    assert client.call("SCRIPT", "LOAD", text).value is not None


@pytest.mark.parametrize("pattern", ["*?" * 50_000, "a*" * 50_000 + "b", "[" * 100_000, "[a-" * 50_000, "\\" * 99_999])
def test_cve_2024_31228_patterns_of_libraries_do_not_recurse(client, pattern):
    client.ok("FUNCTION", "LOAD", "#!lua name=" + "a" * 1000 + "\nredis.register_function('f', function() end)")
    assert client.ok("FUNCTION", "LIST", "LIBRARYNAME", pattern) is not None


@pytest.mark.parametrize("name", [
    "tobit", "tohex", "bnot", "bswap", "lshift", "rshift", "arshift", "rol", "ror", "band", "bor", "bxor"])
def test_cve_2024_31449_and_2025_26269_bits_of_extreme_numbers(client, name):
    calls = [f"pcall(bit.{name}, {left}, {right})" for left, right in itertools.product(EXTREMES, EXTREMES)]
    for reply in attempt(client, " ".join(calls) + " return bit.tohex(65535, -2147483648)"):
        assert reply.value == b"0000FFFF", reply


def test_cve_2025_26269_packers_of_extreme_numbers(client):
    calls = [f"pcall(cmsgpack.unpack_limit, 'x', {left}, {right})" for left, right in itertools.product(EXTREMES, EXTREMES)]
    calls += [f"pcall(cmsgpack.unpack_one, 'x', {number})" for number in EXTREMES]
    calls += [f"cmsgpack.unpack(cmsgpack.pack({number}))" for number in EXTREMES]
    calls += [f"pcall(cjson.encode, {number})" for number in EXTREMES]
    calls += [f"pcall(struct.pack, '{option}', {number})" for option, number in itertools.product("bhilfdsx", EXTREMES)]
    for reply in attempt(client, " ".join(calls) + " return 'done'"):
        assert reply.value == b"done", reply


@pytest.mark.parametrize("text", [
    "for i = 1, 200 do collectgarbage() loadstring('return ' .. string.rep('{', i) .. string.rep('}', i)) end return 1",
    "for i = 1, 100 do collectgarbage('step') loadstring(string.rep('(', 1000 * i)) end return 1",
    "local s = {} for i = 1, 1e4 do s[i] = 'local v' .. i .. ' = 1 ' end return tostring(loadstring(table.concat(s)))",
    "return " + "(" * 10_000 + "1" + ")" * 10_000, "return " + "{" * 10_000 + "}" * 10_000,
    "return " + "-" * 10_000 + " 1", "return " + "not " * 20_000 + "1", "return 1" + "..1" * 20_000,
    "do " * 20_000, "if 1 then " * 20_000, "local function f() " * 5_000, "x" + ".x" * 20_000, "a" * 100_000,
    "return {" + "1," * 20_000 + "}", "return f" + "{}" * 20_000,
])
def test_cve_2024_46981_and_2025_49844_deep_sources_are_parsed_or_refused(client, text):
    attempt(client, text)
    attempt(client, text)


@pytest.mark.parametrize("first", EXTREMES)
def test_cve_2025_46817_unpack_counts_what_it_would_push(client, first):
    calls = [f"pcall(unpack, {{1, 2, 3}}, {first}, {last})" for last in EXTREMES]
    for reply in attempt(client, " ".join(calls) + " return 'done'"):
        assert reply.value == b"done", reply


@pytest.mark.parametrize("text", [
    "return [" + "=" * 70_000 + "[", "return [" + "=" * 70_000 + "[x]" + "=" * 69_999 + "]", "--[" + "=" * 70_000 + "[",
    "return [" + "=" * 70_000 + "[x]" + "=" * 70_000 + "]", "return [" + "=" * 70_000, "return '" + "\\" * 70_001,
    "return '\\" + "9" * 70_000 + "'", "return 0x" + "f" * 70_000, "return 1e" + "9" * 70_000, "return '" + "x" * 70_000,
])
def test_cve_2025_46819_delimiters_of_any_length_are_read_to_their_end(client, text):
    attempt(client, text)


INJECTED = r"x\0y\r\n$3\r\nINJ\r\n+OK\r\n"


@pytest.mark.parametrize("protocol", [2, 3])
@pytest.mark.parametrize("text", [
    f"return redis.error_reply('{INJECTED}')", f"return redis.status_reply('{INJECTED}')", f"error('{INJECTED}')",
    f"error({{err='{INJECTED}'}})", f"return {{err='{INJECTED}'}}", f"return {{ok='{INJECTED}'}}",
    f"return {{big_number='{INJECTED}'}}", f"return {{verbatim_string={{format='{INJECTED}', string='{INJECTED}'}}}}",
    f"return redis.call('{INJECTED}')", f"return redis.pcall('{INJECTED}')", f"return {{double='{INJECTED}'}}",
    f"return redis.call('eval', '{INJECTED}', 0)", f"return _G['{INJECTED}']", f"return loadstring('{INJECTED}')()",
    f"return {{map={{['{INJECTED}']='{INJECTED}'}}}}", f"redis.log(redis.LOG_WARNING, '{INJECTED}')",
])
def test_cve_2025_67733_no_text_of_a_script_becomes_a_reply_of_its_own(shared, client, protocol, text):
    with shared.connect(protocol) as other:
        for reply in attempt(other, text):
            if reply.kind in "+-(":
                assert b"\r" not in reply.value and b"\n" not in reply.value and b"\0" not in reply.value
        for command in (
            ("FUNCTION", "LOAD", "#!lua name=x\r\n+OK\n"), ("FUNCTION", "LOAD", "#!x\r+OK name=y\n"),
            ("FUNCTION", "LOAD", "#!lua name=y\n'\r\n+OK"), ("FUNCTION", "LIST", "\r\n+OK"),
            ("FUNCTION", "LOAD", "\r\n+OK", "x"), ("FUNCTION", "\r\n+OK"), ("FUNCTION", "FLUSH", "x\r\n+OK"),
            ("FCALL", "x\r\n+OK", "0"), ("FCALL", "x", "\r\n+OK"),
        ):
            reply = other.call(*command)
            assert reply.is_error and b"\r" not in reply.value and b"\n" not in reply.value, reply
        assert other.call("ECHO", "in step").value == b"in step"
    assert "\n+OK" not in shared.log()


def test_memory_is_back_after_all_of_it(shared):
    with shared.connect() as client:
        client.ok("FUNCTION", "FLUSH")
        client.ok("SCRIPT", "FLUSH")
        fields = client.ok("INFO", "memory")
        assert b"used_memory_vm_total:0\r\n" in fields and b"used_memory_functions:0\r\n" in fields
        deadline = time.monotonic() + 5
        while shared.resident_bytes() > 200 << 20:
            assert time.monotonic() < deadline, shared.resident_bytes()
            time.sleep(0.1)
