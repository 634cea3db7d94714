"""maxmemory over the wire: refusals word for word as Redis', eviction while the load goes on, and a
process that stays within its limit.
"""

import random
import socket
import time

import pytest

from resp import Connection, encode
from servers import MARTLET, ORACLES, SHARE, Server, find_binary

COMMANDS = [
    "SET k w", "GET k", "SETEX k 10 w", "INCR n", "APPEND k w", "DEL none", "EXPIRE k 1000", "LPOP l",
    "LPUSH l c", "RPOPLPUSH l m", "HSET h f v", "SADD s a", "ZADD z 1 a", "XADD x * f v", "PFADD p a",
    "SETBIT b 1 1", "GETSET k w", "RENAME k j", "COPY j c", "PERSIST j", "MSET a 1 b 2", "SUNIONSTORE t s",
    "BITOP NOT t j", "SORT l STORE t", "GEOADD g 1 1 a", "LTRIM l 0 0", "TOUCH j", "MOVE j 1", "SPOP s",
    "LREM l 0 a", "HDEL h f", "ZREM z a", "PING", "MULTI", "SET k w", "EXEC", "MULTI", "GET j", "EXEC",
    "MULTI", "DEL none", "EXEC",
]
OOM = b"OOM command not allowed when used memory > 'maxmemory'."


def info(connection: Connection, field: str, section: str = "all") -> str:
    for line in connection.ok("INFO", section).decode().split("\r\n"):
        name, _, value = line.partition(":")
        if name == field:
            return value
    raise AssertionError(f"INFO has no {field}")


def servers() -> list[str]:
    return [MARTLET, *(name for name in ORACLES if find_binary(name))]


def refusals(server: Server) -> list[str]:
    """What a full server says to commands of all kinds, in and out of transactions."""
    replies = []
    with server.connect() as client, server.connect() as other:
        client.ok("SET", "k", "v")
        client.ok("RPUSH", "l", "a", "b")
        client.ok("MULTI")
        client.ok("SET", "queued", "v")
        client.ok("GET", "k")
        other.ok("CONFIG", "SET", "maxmemory", "1")
        replies.append(client.call("EXEC"))
        for command in COMMANDS:
            replies.append(client.call(*command.split()))
        other.ok("CONFIG", "SET", "maxmemory", "0")
        replies.append(client.call("SET", "k", "w"))
    return [str(reply) for reply in replies]


def test_refusals_are_those_of_redis():
    known = {}
    for name in servers():
        server = Server(name)
        try:
            known[name] = refusals(server)
        finally:
            server.stop()
    mine = known.pop(MARTLET)
    assert sum(OOM.decode() in reply for reply in mine) > 15
    assert any("EXECABORT" in reply and "OOM" in reply for reply in mine)
    # Redis 7.0 and Valkey refuse all that is queued then, Redis 8 what needs memory.
    plain = COMMANDS.index("MULTI") + 1
    for name, theirs in known.items():
        if name == "redis8":
            assert mine == theirs, name
        else:
            assert mine[:plain] == theirs[:plain] and mine[-1] == theirs[-1], name


@pytest.mark.parametrize("policy", ["volatile-lru", "volatile-lfu", "volatile-random", "volatile-ttl"])
def test_volatile_policies_without_volatile_keys_refuse(policy):
    server = Server(MARTLET, "--maxmemory-policy", policy)
    try:
        with server.connect() as client:
            client.pipeline([["SET", f"k:{n}", "v" * 100] for n in range(1000)])
            client.ok("CONFIG", "SET", "maxmemory", "1mb")
            assert client.call("SET", "k", "v").value == OOM
            assert client.ok("DBSIZE") == 1000
            client.ok("CONFIG", "SET", "maxmemory", "1gb")
            client.pipeline([["EXPIRE", f"k:{n}", "10000"] for n in range(500)])
            client.ok("CONFIG", "SET", "maxmemory", "1mb")
            client.call("SET", "k", "v")
            deadline = time.monotonic() + 5
            while client.ok("DBSIZE") > 501 and time.monotonic() < deadline:
                time.sleep(0.01)
            # Unless the first SET came while there was something to evict.
            client.call("DEL", "k")
            assert client.ok("DBSIZE") == 500
            assert all(reply.value == 1 for reply in client.pipeline([["EXISTS", f"k:{n}"] for n in range(500, 1000)]))
    finally:
        server.stop_cleanly()


def test_a_lower_limit_is_kept_soon_without_any_request():
    server = Server(MARTLET, "--maxmemory", "200mb", "--maxmemory-policy", "allkeys-lru")
    try:
        with server.connect() as client:
            for start in range(0, 100_000, 1000):
                client.pipeline([["SET", f"k:{n}", "v" * 500] for n in range(start, start + 1000)])
            before = int(info(client, "used_memory"))
            assert before > 50e6 and info(client, "evicted_keys") == "0"
            client.ok("CONFIG", "SET", "maxmemory", "20mb")
            deadline = time.monotonic() + 20
            while (int(info(client, "used_memory")) > 20 << 20
                   or info(client, "current_eviction_exceeded_time") != "0") and time.monotonic() < deadline:
                time.sleep(0.2)
            assert int(info(client, "used_memory")) <= 21 << 20
            assert int(info(client, "evicted_keys")) > 50_000
            assert int(info(client, "total_eviction_exceeded_time")) > 0
            # What INFO itself takes may pass the limit for a moment.
            assert int(info(client, "current_eviction_exceeded_time")) < 5000
            assert client.ok("SET", "k", "v") == b"OK"
            client.ok("CONFIG", "RESETSTAT")
            assert info(client, "evicted_keys") == "0"
    finally:
        server.stop_cleanly()


def test_limits_are_taken_in_every_form():
    server = Server(MARTLET, "--maxmemory", "50%")
    try:
        with server.connect() as client:
            system = int(info(client, "total_system_memory"))
            assert client.ok("CONFIG", "GET", "maxmemory")[1].value == b"50%"
            assert 0 < int(info(client, "maxmemory")) <= system // 2
            half = int(info(client, "maxmemory"))
            client.ok("CONFIG", "SET", "maxmemory", "auto")
            assert half < int(info(client, "maxmemory")) < system
            client.ok("CONFIG", "SET", "maxmemory", "3mb")
            assert client.ok("CONFIG", "GET", "maxmemory")[1].value == b"3145728"
            for wrong in ("101%", "x%", "automatic", "-1", "1.5gb"):
                assert client.call("CONFIG", "SET", "maxmemory", wrong).is_error
    finally:
        server.stop_cleanly()


def test_ages_and_frequencies_survive_files_and_dumps():
    server = Server(MARTLET, "--maxmemory-policy", "allkeys-lru", "--enable-debug-command", "yes")
    try:
        with server.connect() as client:
            client.ok("SET", "k", "v")
            payload = client.ok("DUMP", "k")
            client.ok("RESTORE", "idle", "0", payload, "IDLETIME", "1000")
            assert 1000 <= client.ok("OBJECT", "IDLETIME", "idle") <= 1005
            client.ok("DEBUG", "RELOAD")
            assert 1000 <= client.ok("OBJECT", "IDLETIME", "idle") <= 1010
            client.ok("CONFIG", "SET", "maxmemory-policy", "allkeys-lfu")
            client.ok("RESTORE", "often", "0", payload, "FREQ", "100")
            assert client.ok("OBJECT", "FREQ", "often") == 100
            client.ok("DEBUG", "RELOAD")
            assert client.ok("OBJECT", "FREQ", "often") in (99, 100)
    finally:
        server.stop_cleanly()


@pytest.mark.parametrize("policy", ["allkeys-lru", "allkeys-lfu", "allkeys-random"])
def test_the_process_stays_within_its_limit(policy):
    """Values from one byte to 100 KB, their sizes log-uniform: what allocators like least."""
    limit = 256 << 20
    server = Server(MARTLET, "--maxmemory", str(limit), "--maxmemory-policy", policy)
    rng = random.Random(policy)
    data = rng.randbytes(100_000)
    try:
        start = server.resident_bytes()
        worst = 0
        with socket.create_connection(server.address) as first, socket.create_connection(server.address) as second:
            connections = (first, second)
            for round in range(int(400 * max(SHARE, 0.5))):
                for connection in connections:
                    batch = b"".join(
                        encode("SET", f"key:{rng.randrange(100_000)}", data[: int(100_000 ** rng.random())])
                        for _ in range(100))
                    connection.sendall(batch)
                for connection in connections:
                    answer = b""
                    while len(answer) < 500:
                        answer += connection.recv(65536)
                    assert answer == b"+OK\r\n" * 100
                worst = max(worst, server.resident_bytes())
        with server.connect() as client:
            assert int(info(client, "evicted_keys")) > 0
            assert int(info(client, "used_memory")) <= limit * 1.02
        assert worst <= limit * 1.15 + start, f"{worst / 1e6:.0f} MB resident, {start / 1e6:.0f} at the start"
    finally:
        server.stop_cleanly()


def fields(line: bytes) -> dict[str, str]:
    return dict(part.split("=", 1) for part in line.decode().split())


def test_clients_show_what_they_hold():
    server = Server(MARTLET)
    try:
        with server.connect() as control, server.connect() as lazy, server.connect() as slow:
            control.ok("SET", "big", "v" * 1_000_000)
            lazy_id, slow_id = lazy.ok("CLIENT", "ID"), slow.ok("CLIENT", "ID")

            def look(client: int) -> dict[str, str]:
                return fields(control.ok("CLIENT", "LIST", "ID", client))

            assert look(lazy_id)["omem"] == "0" and look(lazy_id)["oll"] == "0"
            small = int(look(lazy_id)["tot-mem"])
            for _ in range(50):
                lazy.send("GET", "big")
            slow.send_raw(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1000000\r\n" + b"v" * 300_000)
            deadline = time.monotonic() + 5
            while (int(look(lazy_id)["omem"]) < 1_000_000 or int(look(slow_id)["tot-mem"]) < 300_000) \
                    and time.monotonic() < deadline:
                time.sleep(0.01)
            held = look(lazy_id)
            assert int(held["omem"]) > 1_000_000 and held["oll"] != "0"
            assert int(held["tot-mem"]) > int(held["omem"]) + small // 2
            waiting = look(slow_id)
            assert int(waiting["qbuf"]) + int(waiting["qbuf-free"]) >= 300_000
            assert int(waiting["tot-mem"]) >= 300_000
            while int(info(control, "mem_clients_normal")) < 1_300_000:
                assert time.monotonic() < deadline + 5
                time.sleep(0.01)
            for _ in range(50):
                assert len(lazy.read().value) == 1_000_000
            slow.send_raw(b"v" * 700_000 + b"\r\n")
            assert slow.read().value == b"OK"
            while int(look(lazy_id)["omem"]) + int(look(slow_id)["qbuf-free"]) > 0 and time.monotonic() < deadline + 5:
                time.sleep(0.01)
            assert look(lazy_id)["omem"] == "0" and look(lazy_id)["oll"] == "0"
            assert int(look(slow_id)["tot-mem"]) < 100_000
    finally:
        server.stop_cleanly()


def test_what_keys_cost_adds_up_and_is_given_back():
    server = Server(MARTLET)
    count = 10_000
    makers = {
        "string": lambda key: ["SET", key, "v" * 50], "large": lambda key: ["SET", key, "v" * 2000],
        "hash": lambda key: ["HSET", key, *(word for n in range(10) for word in (f"field:{n}", "value"))],
        "list": lambda key: ["RPUSH", key, *range(20)], "set": lambda key: ["SADD", key, *"abcdefgh"],
        "zset": lambda key: ["ZADD", key, *(word for n in range(8) for word in (n, f"member:{n}"))],
        "stream": lambda key: ["XADD", key, "*", "field", "value"],
    }
    try:
        with server.connect() as client:
            start, used = server.resident_bytes(), int(info(client, "used_memory"))
            total = 0
            for kind, make in makers.items():
                for first in range(0, count, 1000):
                    keys = [f"{kind}:{n}" for n in range(first, first + 1000)]
                    client.pipeline([make(key) for key in keys])
                    total += sum(reply.value for reply in client.pipeline([["MEMORY", "USAGE", key] for key in keys]))
            grown = int(info(client, "used_memory")) - used
            slack = int(info(client, "mem_slab_slack"))
            resident = server.resident_bytes() - start
            assert abs(total / grown - 1) < 0.05, (total, grown)
            assert abs(grown / (resident - slack) - 1) < 0.1, (grown, resident, slack)
            parts = sum(int(info(client, name)) for name in ("mem_entries", "mem_values", "mem_tables", "mem_tracking"))
            assert abs(parts / grown - 1) < 0.05
            client.ok("FLUSHALL")
            deadline = time.monotonic() + 10
            while server.resident_bytes() - start > resident / 10 and time.monotonic() < deadline:
                time.sleep(0.05)
            assert server.resident_bytes() - start <= resident / 10
            assert int(info(client, "used_memory")) - used < 1 << 20
    finally:
        server.stop_cleanly()


def test_long_steps_of_eviction_are_latency_events():
    server = Server(
        MARTLET, "--latency-monitor-threshold", "1", "--maxmemory-policy", "allkeys-random",
        "--maxmemory-eviction-tenacity", "60")
    try:
        with server.connect() as client:
            for _ in range(20):
                client.pipeline([["SET", f"k:{n}", "v" * 300] for n in range(20_000)])
                client.ok("CONFIG", "SET", "maxmemory", "3mb")
                time.sleep(0.1)
                client.ok("CONFIG", "SET", "maxmemory", "0")
                if any(event.value[0].value == b"eviction-cycle" for event in client.ok("LATENCY", "LATEST")):
                    break
            assert any(event.value[0].value == b"eviction-cycle" for event in client.ok("LATENCY", "LATEST"))
            assert b"eviction" in client.ok("LATENCY", "DOCTOR")
    finally:
        server.stop_cleanly()
