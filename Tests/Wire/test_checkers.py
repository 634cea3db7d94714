"""The checkers must catch what is wrong, and nothing else, before their silence means anything."""

import pytest

import append_transactions
import linearizability
import workloads
from append_transactions import Transaction
from breaking_proxy import MODES, BreakingProxy
from resp import Reply
from swarm import Operation

ROUNDS_MAX = 4


def history(*steps: tuple) -> list[Operation]:
    """Steps are (start, end, command, value of the reply)."""
    return [Operation(number, start, end, command, Reply("$", value))
            for number, (start, end, command, value) in enumerate(steps)]


GOOD_HISTORIES = {
    "in sequence": history((0, 1, ("SET", "k", b"1"), b"OK"), (2, 3, ("GET", "k"), b"1")),
    "overlapping, old value": history((0, 5, ("SET", "k", b"1"), b"OK"), (1, 2, ("GET", "k"), None)),
    "overlapping, new value": history((0, 5, ("SET", "k", b"1"), b"OK"), (1, 2, ("GET", "k"), b"1")),
    "two increments in either order": history((0, 5, ("INCR", "k"), 2), (0, 5, ("INCR", "k"), 1)),
    "taken once": history((0, 1, ("SET", "k", b"1"), b"OK"), (2, 5, ("GETDEL", "k"), b"1"),
                          (2, 5, ("GETDEL", "k"), None)),
    "compare and set in a row": history((0, 1, ("SET", "k", b"1"), b"OK"), (2, 9, ("CAS", "k", b"2", b"3"), None),
                                        (2, 9, ("CAS", "k", b"1", b"2"), None), (10, 11, ("GET", "k"), b"3")),
}
BAD_HISTORIES = {
    "stale read": history((0, 1, ("SET", "k", b"1"), b"OK"), (2, 3, ("SET", "k", b"2"), b"OK"),
                          (4, 5, ("GET", "k"), b"1")),
    "read from nowhere": history((0, 1, ("SET", "k", b"1"), b"OK"), (2, 3, ("GET", "k"), b"7")),
    "lost write": history((0, 1, ("SET", "k", b"1"), b"OK"), (2, 3, ("GET", "k"), None)),
    "same number twice": history((0, 5, ("INCR", "k"), 1), (0, 5, ("INCR", "k"), 1)),
    "doubled increment": history((0, 1, ("INCR", "k"), 1), (2, 3, ("GET", "k"), b"2")),
    "taken twice": history((0, 1, ("SET", "k", b"1"), b"OK"), (2, 5, ("GETDEL", "k"), b"1"),
                           (2, 5, ("GETDEL", "k"), b"1")),
    "new, then old": history((0, 9, ("SET", "k", b"1"), b"OK"), (1, 2, ("GET", "k"), b"1"), (3, 4, ("GET", "k"), None)),
    "both compare and set": history((0, 1, ("SET", "k", b"1"), b"OK"), (2, 9, ("CAS", "k", b"1", b"2"), None),
                                    (2, 9, ("CAS", "k", b"1", b"3"), None)),
    "created twice": history((0, 5, ("SETNX", "k", b"1"), 1), (0, 5, ("SETNX", "k", b"2"), 1)),
}


@pytest.mark.parametrize("name", GOOD_HISTORIES)
def test_a_history_that_can_be_explained_is_accepted(name):
    assert linearizability.is_linearizable(GOOD_HISTORIES[name])


@pytest.mark.parametrize("name", BAD_HISTORIES)
def test_a_history_that_cannot_be_explained_is_refused(name):
    assert not linearizability.is_linearizable(BAD_HISTORIES[name])


A, B, C = b"token-a1", b"token-b1", b"token-c1"


def transaction(start: float, end: float, reads: dict, appends: dict) -> Transaction:
    return Transaction(0, start, end, tuple(reads.items()), tuple(appends.items()))


SERIALIZABLE = [transaction(0, 1, {}, {b"x": A}), transaction(0, 2, {b"x": A}, {b"x": B, b"y": C}),
                transaction(3, 4, {b"x": A + B, b"y": C}, {})]
NOT_SERIALIZABLE = {
    "torn: one append of a transaction seen without the other": (
        [transaction(0, 5, {}, {b"x": A, b"y": B}), transaction(1, 2, {b"x": A, b"y": b""}, {})],
        {b"x": A, b"y": B}),
    "stale: what was acknowledged is not seen": (
        [transaction(0, 1, {}, {b"x": A}), transaction(2, 3, {b"x": b""}, {})], {b"x": A}),
    "lost update: both read nothing and both appended": (
        [transaction(0, 5, {b"x": b""}, {b"x": A}), transaction(0, 5, {b"x": b""}, {b"x": B})], {b"x": A + B}),
    "write skew": (
        [transaction(0, 5, {b"x": b""}, {b"y": A}), transaction(0, 5, {b"y": b""}, {b"x": B})],
        {b"x": B, b"y": A}),
    "two orders": (
        [transaction(0, 5, {}, {b"x": A, b"y": A + b""}), transaction(0, 5, {}, {b"x": B}),
         transaction(0, 5, {b"x": A, b"y": b""}, {})], {b"x": A + B, b"y": A}),
    "lost": ([transaction(0, 1, {}, {b"x": A})], {b"x": b""}),
    "doubled": ([transaction(0, 1, {}, {b"x": A})], {b"x": A + A}),
    "from nowhere": ([transaction(0, 1, {}, {b"x": A})], {b"x": A + B}),
    "not a prefix": ([transaction(0, 1, {}, {b"x": A}), transaction(0, 1, {}, {b"x": B}),
                      transaction(0, 9, {b"x": B}, {})], {b"x": A + B}),
}


def test_serializable_transactions_are_accepted():
    assert append_transactions.violations(SERIALIZABLE, {b"x": A + B, b"y": C}) == []


@pytest.mark.parametrize("name", NOT_SERIALIZABLE)
def test_transactions_that_no_order_explains_are_refused(name):
    assert append_transactions.violations(*NOT_SERIALIZABLE[name])


@pytest.mark.parametrize("mode", MODES)
def test_a_server_that_breaks_its_promise_is_caught(redis7, mode):
    with BreakingProxy(redis7.address, mode) as proxy:
        caught = []
        for number in range(ROUNDS_MAX):
            for workload in workloads.ALL.values():
                caught += workload(proxy.address, f"{mode}{number}")
            if caught:
                return
    pytest.fail(f"{mode}: nothing noticed in {ROUNDS_MAX} rounds")


def test_a_server_that_keeps_its_promises_is_not_accused(redis7):
    for name, workload in workloads.ALL.items():
        assert workload(redis7.address, f"honest {name}") == []
