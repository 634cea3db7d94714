"""Python's `redis` with its own parser and with hiredis, RESP2 and RESP3: every command of the
groups Strings, Bitmaps, Generic, Transactions and Connection through a real client library.
"""

import importlib.metadata
import threading

import pytest
import redis
from redis.exceptions import DataError, ResponseError, WatchError


def parser_class(name: str, protocol: int):
    import redis.connection as connection

    if name == "hiredis":
        return connection._HiredisParser
    return connection._RESP3Parser if protocol == 3 else connection._RESP2Parser


@pytest.fixture(params=[("python", 2), ("python", 3), ("hiredis", 2), ("hiredis", 3)],
                ids=lambda given: f"{given[0]}-RESP{given[1]}")
def library(request, martlet):
    name, protocol = request.param
    pool = redis.ConnectionPool(
        host="127.0.0.1", port=martlet.port, protocol=protocol, parser_class=parser_class(name, protocol),
        decode_responses=True)
    connection = redis.Redis(connection_pool=pool)
    connection.flushall()
    yield connection
    connection.close()
    pool.disconnect()


def test_the_parsers_under_test_are_installed():
    assert importlib.metadata.version("hiredis") and importlib.metadata.version("redis")


def test_strings(library):
    r = library
    assert r.set("k", "v") is True
    assert r.get("k") == "v" and r["k"] == "v" and r.get("missing") is None
    assert r.set("k", "w", nx=True) is None
    assert r.set("k", "w", xx=True, get=True) == "v"
    assert r.set("t", "v", ex=100) and 98 < r.ttl("t") <= 100
    assert r.set("t", "v", px=100_000) and 98_000 < r.pttl("t") <= 100_000
    assert r.set("t", "v", exat=4102444800) and r.expiretime("t") == 4102444800
    assert r.set("t", "v", pxat=4102444800123) and r.pexpiretime("t") == 4102444800123
    assert r.set("t", "w", keepttl=True) and r.ttl("t") > 0
    assert r.setex("t", 100, "x") and r.psetex("t", 100_000, "x") and r.setnx("t", "y") is False
    assert r.append("k", "xyz") == 4 and r.strlen("k") == 4
    assert r.getrange("k", 1, 2) == "xy" and r.substr("k", 0, 1) == "wx" and r.setrange("k", 1, "AB") == 4
    assert r.getset("k", "new") == "wABz" and r.getdel("k") == "new" and r.exists("k") == 0
    assert r.incr("n") == 1 and r.incrby("n", 10) == 11 and r.decr("n") == 10 and r.decrby("n", 5) == 5
    assert r.incrbyfloat("f", 1.5) == 1.5
    assert r.mset({"a": "1", "b": "2"}) is True and r.mget("a", "b", "c") == ["1", "2", None]
    assert r.msetnx({"b": "3", "d": "4"}) is False
    assert r.getex("a", ex=100) == "1" and r.ttl("a") > 0 and r.getex("a", persist=True) == "1"
    r.mset({"x": "ohmytext", "y": "mynewtext"})
    assert r.lcs("x", "y") == "mytext" and r.lcs("x", "y", len=True) == 6
    assert r.lcs("x", "y", idx=True, minmatchlen=3)
    with pytest.raises(ResponseError, match="not an integer"):
        r.incr("x")


def test_bitmaps(library):
    r = library
    assert r.setbit("b", 7, 1) == 0 and r.getbit("b", 7) == 1 and r.bitcount("b") == 1
    assert r.bitpos("b", 1) == 7 and r.bitcount("b", 0, -1) == 1 and r.bitcount("b", 5, 8, "BIT") == 1
    r.set("c", "\x03")
    assert r.bitop("OR", "d", "b", "c") == 1 and r.get("d") == "\x03"
    assert r.bitfield("f").set("u8", 0, 200).incrby("u8", 0, 100, overflow="SAT").get("u8", 0).execute() == [0, 255, 255]
    assert r.bitfield_ro("f", "u8", 0) == [255]


def test_keys(library):
    r = library
    r.mset({f"k{number}": number for number in range(50)})
    assert len(r.keys("k*")) == 50 and r.dbsize() == 50 and r.randomkey().startswith("k")
    assert set(r.scan_iter("k*", count=7)) == {f"k{number}" for number in range(50)}
    assert r.exists("k1", "k2", "missing") == 2 and r.touch("k1", "missing") == 1
    assert r.delete("k1", "missing") == 1 and r.unlink("k2") == 1 and "k3" in r
    assert r.type("k3") == "string" and r.type("missing") == "none"
    assert r.expire("k3", 100) is True and r.expire("k3", 50, gt=True) is False
    assert r.pexpire("k3", 100_000) and r.expireat("k3", 4102444800) and r.pexpireat("k3", 4102444800000)
    assert r.persist("k3") is True and r.ttl("k3") == -1 and r.pttl("missing") == -2
    assert r.rename("k3", "r") is True and r.renamenx("r", "k4") is False
    assert r.copy("r", "copied") is True and r.move("copied", 1) is True
    assert r.object("encoding", "r") == "int" and r.object("refcount", "r") >= 1 and r.object("idletime", "r") >= 0
    with pytest.raises(ResponseError, match="no such key"):
        r.rename("missing", "x")


def test_connection_and_server(library):
    r = library
    assert r.ping() and r.echo("hi") == "hi"
    assert r.client_id() > 0 and r.client_setname("me") and r.client_getname() == "me"
    assert r.client_info()["name"] == "me"
    assert any(client["name"] == "me" for client in r.client_list())
    assert r.info("server")["redis_version"] and "db0" in {**r.info(), "db0": 1}
    assert r.config_get("maxmemory") == {"maxmemory": "0"}
    assert r.config_set("slowlog-max-len", 128) and r.config_resetstat()
    assert r.command_count() > 80 and "get" in r.command() and r.time()[0] > 1_000_000_000
    assert r.memory_usage("missing") is None and r.lastsave() and r.slowlog_len() >= 0
    assert r.swapdb(1, 2) and r.flushdb() and r.flushall()


def test_a_pipeline_returns_replies_in_order_and_errors_in_place(library):
    pipe = library.pipeline(transaction=False)
    for number in range(500):
        pipe.set(f"k{number}", number)
        pipe.get(f"k{number}")
    pipe.execute_command("NOSUCH")
    replies = pipe.execute(raise_on_error=False)
    assert replies[1:1000:2] == [str(number) for number in range(500)]
    assert isinstance(replies[-1], ResponseError)


def test_a_transaction_is_whole(library):
    with library.pipeline() as pipe:
        assert pipe.set("k", 1).incr("k").get("k").execute() == [True, 2, "2"]
    with pytest.raises(ResponseError), library.pipeline() as pipe:
        pipe.set("s", "text").incr("s").set("after", 1).execute()
    assert library.get("after") == "1"
    with library.pipeline() as pipe:
        pipe.watch("k")
        library.set("k", "other")
        pipe.multi()
        pipe.set("k", "mine")
        with pytest.raises(WatchError):
            pipe.execute()
    assert library.get("k") == "other"


def test_optimistic_increments_lose_nothing(library):
    """The retry loop of every tutorial, from several threads."""
    def increment() -> None:
        for _ in range(25):
            while True:
                with library.pipeline() as pipe:
                    try:
                        pipe.watch("n")
                        found = int(pipe.get("n") or 0)
                        pipe.multi()
                        pipe.set("n", found + 1)
                        pipe.execute()
                        break
                    except WatchError:
                        continue

    threads = [threading.Thread(target=increment) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert library.get("n") == "100"


def test_a_lock_by_set_nx_excludes_and_times_out(library):
    """A lock without scripts: SET NX PX takes it; WATCH and DEL give back only one's own."""
    def acquire(token: str) -> bool:
        return library.set("lock", token, nx=True, px=60_000) is True

    def release(token: str) -> bool:
        with library.pipeline() as pipe:
            pipe.watch("lock")
            if pipe.get("lock") != token:
                return False
            pipe.multi()
            pipe.delete("lock")
            return pipe.execute() == [1]

    assert acquire("one") and not acquire("two")
    assert not release("two") and release("one") and acquire("two")


def test_binary_keys_and_values_survive(martlet):
    with redis.Redis(port=martlet.port) as r:
        everything = bytes(range(256))
        r.set(everything, everything * 100)
        assert r.get(everything) == everything * 100
        with pytest.raises(DataError):
            r.set("k", None)
