"""A short run of the differential fuzzer against each oracle; `make fuzz` runs the long one.

The seeds are fixed: a change must not fail or pass by chance, for a difference that was there
before it. `make fuzz` draws new ones; what it finds becomes a fix or a row of `differences`.
"""

import pytest

import differences
import differential
import generators
from resp import Reply
from servers import ORACLES, SHARE

COMMANDS = int(20_000 * SHARE)
SEEDS = (1, 2)


@pytest.mark.parametrize("oracle", ORACLES)
def test_random_commands_get_the_oracles_replies_and_leave_its_state(martlet, oracle, request):
    duel = differential.Duel(martlet, request.getfixturevalue(oracle))
    for seed in SEEDS:
        problem = differential.run(duel, seed, COMMANDS // len(SEEDS), generators.groups())
        assert problem is None, problem


# Who subscribes to something else would get it beside the events.
EVENT_GROUPS = [group for group in generators.groups() if group != "pubsub"]


@pytest.mark.parametrize("oracle", ORACLES)
def test_random_commands_publish_the_oracles_events(martlet, oracle, request):
    duel = differential.Duel(martlet, request.getfixturevalue(oracle))
    duel.listen()
    try:
        problem = differential.run(duel, 1, COMMANDS // 2, EVENT_GROUPS)
        assert problem is None, problem
    finally:
        for peer in (duel.ours, duel.theirs):
            peer.inspector.ok("CONFIG", "SET", "notify-keyspace-events", "")


def test_the_fuzzer_finds_and_shrinks_a_planted_difference(redis7, new_server):
    """A server without its 7.0 siblings' renamed command: one step must be left of the sequence."""
    broken = new_server("--rename-command", "SETRANGE", "HIDDEN", name="redis7")
    duel = differential.Duel(broken, redis7)
    problem = differential.run(duel, 1, 2 * differential.ROUND_COMMANDS, generators.groups())
    assert problem is not None and "cut down from" in problem
    assert problem.count("> ") == 1 and "SETRANGE" in problem.upper()


def test_a_seed_means_one_sequence():
    one, other = (differential.Script("7:0", generators.groups(), set(), 500, "redis7") for _ in range(2))
    assert one.steps == other.steps and one.protocols == other.protocols


def test_every_explained_difference_names_known_oracles_and_says_why():
    for row in differences.TABLE:
        assert row.oracles and row.oracles <= set(ORACLES) and row.why.endswith(".")


def test_the_judge_tells_types_apart_and_tolerates_clocks():
    judge = differential.Judge("redis7")
    assert not judge.same([b"GET", b"k"], Reply("$", b"a"), Reply("+", b"a"))
    assert not judge.same([b"GET", b"k"], Reply("$", None), Reply("*", None))
    assert judge.same([b"TTL", b"k"], Reply(":", 99), Reply(":", 100))
    assert not judge.same([b"TTL", b"k"], Reply(":", -1), Reply(":", 1))
    assert not judge.same([b"INCR", b"k"], Reply(":", 99), Reply(":", 100))
