"""Locks that several threads want at once: redis-py's own, and python-redis-lock's."""

import threading
import time

import pytest
import redis
import redis_lock
from redis.exceptions import LockError, LockNotOwnedError

from together import together

pytestmark = pytest.mark.needs_scripts("a lock is released, extended and renewed by one")

THREADS, ROUNDS = 6, 15


@pytest.fixture
def client(broker):
    with redis.Redis.from_url(broker) as client:
        yield client


def contend(broker, enter):
    """Every thread adds to a counter, reading and writing it in two steps, which the lock keeps together."""

    def work():
        with redis.Redis.from_url(broker) as client:
            for _ in range(ROUNDS):
                with enter(client):
                    value = int(client.get("counter") or 0)
                    time.sleep(0.001)
                    client.set("counter", value + 1)

    together(THREADS, work)
    with redis.Redis.from_url(broker) as client:
        assert int(client.get("counter")) == THREADS * ROUNDS


def test_threads_take_turns_by_redis_pys_lock(broker):
    contend(broker, lambda client: client.lock("lock", timeout=10, sleep=0.002))


def test_threads_take_turns_by_python_redis_lock(broker):
    contend(broker, lambda client: redis_lock.Lock(client, "lock", expire=10))


def test_only_the_owner_releases_a_lock(client):
    ours, other = client.lock("lock", timeout=10), client.lock("lock", timeout=10, blocking=False)
    assert ours.acquire() and ours.owned() and not other.acquire()
    other.local.token = b"somebody else"
    with pytest.raises(LockNotOwnedError):
        other.release()
    assert ours.locked()
    ours.release()
    with pytest.raises(LockError):
        ours.release()
    assert other.acquire()


def test_a_lock_is_extended_and_renewed(client):
    lock = client.lock("lock", timeout=5)
    assert lock.acquire()
    assert lock.extend(5) and 5_000 < client.pttl("lock") <= 10_000
    assert lock.extend(2, replace_ttl=True) and client.pttl("lock") <= 2_000
    assert lock.reacquire() and 2_000 < client.pttl("lock") <= 5_000
    client.delete("lock")
    with pytest.raises(LockNotOwnedError):
        lock.extend(5)


def test_a_lock_ends_with_its_time(client):
    first, second = client.lock("lock", timeout=0.05), client.lock("lock", timeout=5)
    assert first.acquire()
    assert second.acquire(blocking_timeout=5)
    with pytest.raises(LockNotOwnedError):
        first.release()
    second.release()


def test_python_redis_lock_renews_while_it_is_held(client):
    with redis_lock.Lock(client, "renewed", expire=1, auto_renewal=True):
        time.sleep(1.5)
        assert not redis_lock.Lock(client, "renewed").acquire(blocking=False)
    assert redis_lock.Lock(client, "renewed", expire=1).acquire(blocking=False)


def test_python_redis_lock_belongs_to_its_owner(client):
    lock, other = redis_lock.Lock(client, "owned", expire=10), redis_lock.Lock(client, "owned", expire=10)
    assert lock.acquire() and lock.get_owner_id() == lock.id
    with pytest.raises(redis_lock.NotAcquired):
        other.release()
    with pytest.raises(redis_lock.NotAcquired):
        other.extend()
    lock.extend(expire=100)
    assert client.ttl("lock:owned") > 50
    other.reset()
    with pytest.raises(redis_lock.NotAcquired):
        lock.release()
    assert other.acquire(blocking=False)
    redis_lock.reset_all(client)
    assert redis_lock.Lock(client, "owned").acquire(blocking=False)


def test_python_redis_lock_wakes_who_waits(broker, client, until):
    lock = redis_lock.Lock(client, "handed", expire=60)
    assert lock.acquire()
    got = []

    def wait():
        with redis.Redis.from_url(broker) as other:
            got.append(redis_lock.Lock(other, "handed", expire=60).acquire(timeout=20))

    thread = threading.Thread(target=wait)
    thread.start()
    until(lambda: client.info("clients")["blocked_clients"] == 1)
    began = time.monotonic()
    lock.release()
    thread.join()
    # By a BLPOP on the signal that the script pushed, not by its timeout.
    assert got == [True] and time.monotonic() - began < 5
