"""Rate limits that several threads run into: `limits` and `pyrate-limiter`, whose windows are scripts."""

import time

import pytest
import redis
from limits import RateLimitItemPerMinute, RateLimitItemPerSecond
from limits.storage import storage_from_string
from limits.strategies import (
    FixedWindowRateLimiter, MovingWindowRateLimiter, SlidingWindowCounterRateLimiter)
from pyrate_limiter import Duration, Limiter, Rate, RedisBucket

from together import together

pytestmark = pytest.mark.needs_scripts("a window is looked at and written to by one")

THREADS, TRIES, LIMIT = 6, 20, 50
STRATEGIES = [FixedWindowRateLimiter, MovingWindowRateLimiter, SlidingWindowCounterRateLimiter]


def admitted(ask) -> int:
    """How often `ask` said yes to all threads together."""
    yes = []

    def work():
        for _ in range(TRIES):
            yes.append(bool(ask()))

    together(THREADS, work)
    return sum(yes)


@pytest.fixture
def storage(broker):
    return storage_from_string(broker)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_no_more_than_the_limit_pass(storage, strategy):
    # Not across the minute at which a fixed window begins anew.
    if time.time() % 60 > 50:
        time.sleep(60 - time.time() % 60)
    limiter, item = strategy(storage), RateLimitItemPerMinute(LIMIT)
    assert admitted(lambda: limiter.hit(item, "client")) == LIMIT
    assert not limiter.test(item, "client") and limiter.test(item, "other")
    assert limiter.get_window_stats(item, "client").remaining == 0
    limiter.clear(item, "client")
    assert limiter.hit(item, "client", cost=LIMIT)
    assert not limiter.hit(item, "client")


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_window_lets_others_pass_when_it_is_over(storage, strategy, until):
    limiter, item = strategy(storage), RateLimitItemPerSecond(3)
    assert until(lambda: not limiter.hit(item, "client"))
    until(lambda: limiter.hit(item, "client"), seconds=5)


def test_a_storage_is_emptied(storage, broker):
    limiter = MovingWindowRateLimiter(storage)
    for number in range(30):
        assert limiter.hit(RateLimitItemPerMinute(5), f"client{number}")
    assert storage.reset() == 30
    with redis.Redis.from_url(broker) as client:
        assert client.dbsize() == 0


def test_a_bucket_takes_no_more_than_its_rates(broker):
    with redis.Redis.from_url(broker) as client:
        rates = [Rate(LIMIT, Duration.MINUTE), Rate(10 * LIMIT, Duration.HOUR)]
        limiter = Limiter(RedisBucket.init(rates, client, "bucket"))
        # A thread that finds another one in the limiter is turned away, too.
        took = admitted(lambda: limiter.try_acquire("item", blocking=False))
        assert 0 < took <= LIMIT
        while limiter.try_acquire("item", blocking=False):
            took += 1
        assert took == LIMIT


def test_a_bucket_leaks(broker, until):
    with redis.Redis.from_url(broker) as client:
        limiter = Limiter(RedisBucket.init([Rate(2, Duration.SECOND)], client, "bucket"))
        assert limiter.try_acquire("item", blocking=False) and limiter.try_acquire("item", blocking=False)
        assert not limiter.try_acquire("item", blocking=False)
        until(lambda: limiter.try_acquire("item", blocking=False), seconds=5)
