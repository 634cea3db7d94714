"""HOTKEYS, MEMORY BIGKEYS, and what redis-cli makes of SCAN, MEMORY USAGE and OBJECT FREQ."""

from __future__ import annotations

import shutil
import subprocess
import time

import pytest

from resp import Connection


def fields(reply) -> dict:
    """A map, which is flat in RESP2."""
    return reply if isinstance(reply, dict) else dict(zip(reply[0::2], reply[1::2]))


def hot(client) -> dict:
    reply = client.execute_command("HOTKEYS", "GET")
    assert len(reply) == 1
    return fields(reply[0])


def pairs(flat: list) -> dict:
    return dict(zip(flat[0::2], flat[1::2]))


@pytest.fixture(params=[2, 3])
def python_client(new_server, request):
    redis = pytest.importorskip("redis")
    server = new_server()
    client = redis.Redis(port=server.port, protocol=request.param)
    yield client
    client.close()


def refused(client, *words: str) -> str:
    import redis

    with pytest.raises(redis.ResponseError) as error:
        client.execute_command(*words)
    return str(error.value)


def test_hotkeys_finds_the_keys_that_cost_the_most(python_client):
    client = python_client
    client.execute_command("HOTKEYS", "START", "METRICS", "2", "CPU", "NET", "COUNT", "5")
    pipe = client.pipeline(transaction=False)
    for number in range(20_000):
        pipe.set(f"hot:{number % 5}" if number % 2 else f"cold:{number % 2000}", b"v" * 100)
    pipe.execute()
    assert client.execute_command("HOTKEYS", "STOP") == b"OK"
    report = hot(client)
    assert report[b"tracking-active"] == 0
    assert report[b"selected-slots"] == [[0, 16383]]
    for name in (b"by-cpu-time-us", b"by-net-bytes"):
        found = pairs(report[name])
        assert len(found) == 5
        assert list(found.values()) == sorted(found.values(), reverse=True)
    # Bytes are the same on every machine; a command that was interrupted took long.
    found = pairs(report[b"by-net-bytes"])
    assert set(found) == {b"hot:%d" % number for number in range(5)}
    # Each was written 2000 times: "*3 SET hot:n", 100 bytes and "+OK".
    assert all(value >= 2000 * 100 for value in pairs(report[b"by-net-bytes"]).values())
    assert report[b"net-bytes-all-commands-all-slots"] >= 20_000 * 100
    assert report[b"total-net-bytes"] >= report[b"net-bytes-all-commands-all-slots"] * 0.9


def test_hotkeys_looks_into_transactions(python_client):
    client = python_client
    client.execute_command("HOTKEYS", "START", "METRICS", "2", "CPU", "NET")
    pipe = client.pipeline(transaction=True)
    for _ in range(200):
        pipe.set("one", b"v" * 50)
        pipe.set("one", b"v" * 50)
        pipe.set("two", b"v" * 50)
    pipe.execute()
    client.execute_command("HOTKEYS", "STOP")
    report = hot(client)
    net = pairs(report[b"by-net-bytes"])
    assert net[b"one"] > net[b"two"] > 0
    assert {b"one", b"two"} <= set(pairs(report[b"by-cpu-time-us"]))


def test_hotkeys_tells_what_was_asked_for_alone(python_client):
    client = python_client
    client.execute_command("HOTKEYS", "START", "METRICS", "1", "CPU", "SAMPLE", "3")
    client.execute_command("HOTKEYS", "STOP")
    names = set(hot(client))
    assert {b"by-cpu-time-us", b"total-cpu-time-user-ms", b"total-cpu-time-sys-ms"} <= names
    assert not {b"by-net-bytes", b"total-net-bytes"} & names
    assert hot(client)[b"sample-ratio"] == 3


def test_hotkeys_samples(python_client):
    client = python_client
    client.execute_command("HOTKEYS", "START", "METRICS", "1", "NET", "SAMPLE", "10")
    pipe = client.pipeline(transaction=False)
    for number in range(20_000):
        pipe.get("hot" if number % 4 else f"cold:{number}")
    pipe.execute()
    client.execute_command("HOTKEYS", "STOP")
    report = hot(client)
    found = pairs(report[b"by-net-bytes"])
    assert next(iter(found)) == b"hot"
    share = found[b"hot"] / report[b"net-bytes-all-commands-all-slots"]
    assert 0.04 < share < 0.11


def test_a_session_of_hotkeys(python_client):
    client = python_client
    assert client.execute_command("HOTKEYS", "GET") is None
    assert client.execute_command("HOTKEYS", "STOP") is None
    assert client.execute_command("HOTKEYS", "RESET") == b"OK"
    start = ("HOTKEYS", "START", "METRICS", "1", "CPU")
    assert client.execute_command(*start) == b"OK"
    assert hot(client)[b"tracking-active"] == 1
    assert refused(client, *start) == "hotkey tracking session already in progress"
    assert "in progress, stop tracking first" in refused(client, "HOTKEYS", "RESET")
    assert client.execute_command("HOTKEYS", "STOP") == b"OK"
    assert client.execute_command("HOTKEYS", "STOP") is None
    assert client.execute_command("HOTKEYS", "RESET") == b"OK"
    assert client.execute_command("HOTKEYS", "GET") is None


def test_a_session_ends_in_time(python_client):
    client = python_client
    client.execute_command("HOTKEYS", "START", "METRICS", "1", "CPU", "DURATION", "1")
    deadline = time.monotonic() + 20
    while hot(client)[b"tracking-active"]:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert hot(client)[b"collection-duration-ms"] == 1000
    assert client.execute_command("HOTKEYS", "RESET") == b"OK"


@pytest.mark.parametrize(
    "words, text",
    [
        ("", "METRICS parameter is required"),
        ("METRICS 0", "METRICS count must be > 0 and <= 2"),
        ("METRICS 3 CPU NET", "METRICS count must be > 0 and <= 2"),
        ("METRICS x CPU", "METRICS count must be > 0 and <= 2"),
        ("METRICS 2 CPU", "METRICS count does not match number of metric types provided"),
        ("METRICS 1 CPU NET", "syntax error"),
        ("METRICS 1 GPU", "METRICS no valid metrics passed. Supported: CPU|NET"),
        ("METRICS 2 CPU CPU", "METRICS CPU defined more than once!"),
        ("METRICS 2 NET NET", "METRICS NET defined more than once!"),
        ("METRICS 1 CPU COUNT 0", "COUNT must be between 1 and 64"),
        ("METRICS 1 CPU COUNT 65", "COUNT must be between 1 and 64"),
        ("METRICS 1 CPU COUNT", "syntax error"),
        ("METRICS 1 CPU DURATION 0", "DURATION must be between 1 and 1000000"),
        ("METRICS 1 CPU SAMPLE 0", "SAMPLE ratio must be positive"),
        ("METRICS 1 CPU SLOTS 1 0", "SLOTS parameter cannot be used in non-cluster mode"),
        ("METRICS 1 CPU NONSENSE", "syntax error"),
    ],
)
def test_what_hotkeys_refuses(client: Connection, words: str, text: str):
    reply = client.call("HOTKEYS", "START", *words.split())
    assert reply.is_error and reply.value == b"ERR " + text.encode()
    assert client.call("HOTKEYS", "GET").is_null


def test_a_metric_that_is_not_known_is_passed_over(python_client):
    assert python_client.execute_command("HOTKEYS", "START", "METRICS", "2", "GPU", "CPU") == b"OK"
    assert b"by-cpu-time-us" in hot(python_client)


def big_keys(client, *words) -> list[dict]:
    return [fields(key) for key in client.execute_command("MEMORY", "BIGKEYS", *words)]


def until(condition):
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_the_biggest_keys_are_listed(python_client):
    client = python_client
    pipe = client.pipeline(transaction=False)
    for number in range(3000):
        pipe.set(f"small:{number}", "v")
    for number in range(100):
        pipe.set(f"text:{number:03}", b"v" * (2000 + 100 * number))
    pipe.rpush("list", *[b"e" * 100 for _ in range(2000)])
    pipe.hset("hash", mapping={f"field:{number}": b"v" * 50 for number in range(2000)})
    pipe.zadd("zset", {f"member:{number}": number for number in range(2000)})
    pipe.select(3)
    pipe.sadd("set", *[f"member:{number}" for number in range(50_000)])
    pipe.select(0)
    pipe.execute()
    # The walk comes by once a second.
    collections = {b"set", b"list", b"hash", b"zset"}
    until(lambda: {key[b"key"] for key in big_keys(client, 4)} == collections)
    until(lambda: len(big_keys(client, 64)) == 64)
    first = big_keys(client, 4)
    assert (first[0][b"key"], first[0][b"db"]) == (b"set", 3)
    for key in first[1:]:
        assert key[b"bytes"] == client.memory_usage(key[b"key"])
    sizes = [key[b"bytes"] for key in big_keys(client, 64)]
    assert sizes == sorted(sizes, reverse=True)
    assert len(big_keys(client)) == 10

    # What is told is weighed anew.
    client.delete("list")
    assert b"list" not in {key[b"key"] for key in big_keys(client, 64)}
    assert "count must be between 1 and 64" in refused(client, "MEMORY", "BIGKEYS", "65")
    # Inside a transaction all shards are held.
    pipe = client.pipeline(transaction=True)
    pipe.execute_command("MEMORY", "BIGKEYS", "1")
    assert fields(pipe.execute()[0][0])[b"key"] == b"set"


@pytest.mark.skipif(shutil.which("redis-cli") is None, reason="no redis-cli")
@pytest.mark.parametrize("option", ["--bigkeys", "--memkeys", "--hotkeys"])
def test_redis_cli_finds_big_and_hot_keys(new_server, option: str):
    server = new_server("--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lfu")
    with server.connect() as client:
        client.pipeline([("SET", f"small:{number}", "v") for number in range(500)])
        client.ok("RPUSH", "big", *["element" * 20 for _ in range(1000)])
        client.ok("SET", "often", "v")
        client.pipeline([("GET", "often") for _ in range(3000)])
    done = subprocess.run(
        ["redis-cli", "-p", str(server.port), option],
        capture_output=True, text=True, timeout=60, check=True)
    assert "Error" not in done.stdout + done.stderr
    if option == "--hotkeys":
        assert '"often"' in done.stdout
    else:
        assert '"big"' in done.stdout and "Biggest" in done.stdout
